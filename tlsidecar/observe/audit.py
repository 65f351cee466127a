"""The audit trail: one line in the process log for every change asked for over the admin socket, and for whoever was
turned away there.

Each line carries the digest of the line before it, so that a line removed or altered later shows (see
:func:`first_broken_line`). It is evidence against editing a file, not against who can write as this process.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterable, Mapping

from certs.clock import Clock
from tlsidecar.lazy_dataclass import dataclass
from tlsidecar.observe.log import AUDIT_LOGGER
from tlsidecar.observe.sink import LineSink

_log = logging.getLogger(AUDIT_LOGGER)
_CHAINED = "chain"
_START = "0" * 64


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is at the other end of an admin connection, as the kernel saw it at connect (unix(7), SO_PEERCRED).

    The process id may have been used again since: it is for people. -1 stands for unknown.
    """

    uid: int = -1
    gid: int = -1
    pid: int = -1


class AuditLog:
    """Numbers and chains the audit lines of one process."""

    def __init__(self, clock: Clock, sink: LineSink | None = None) -> None:
        """``sink`` is where the process log goes, when it is known: :attr:`writable` asks it."""
        self._clock = clock
        self._sink = sink
        self._sequence = 0
        self._chain = _START

    @property
    def writable(self) -> bool:
        """False while audit lines would be lost: then no change may be made.

        Lines are written behind the caller's back, so the first one that a full disk swallows is noticed after it.
        """
        return self._sink is None or self._sink.is_sound

    def record(
        self,
        caller: Caller,
        verb: str,
        outcome: str,
        *,
        generation_before: int = 0,
        generation_after: int = 0,
        detail: str = "",
    ) -> None:
        """Write one line. ``verb`` is the method and path; ``outcome`` is one word, such as applied or denied."""
        self._sequence += 1
        fields: dict[str, object] = {
            "seq": self._sequence,
            "verb": verb,
            "outcome": outcome,
            "uid": caller.uid,
            "gid": caller.gid,
            "pid": caller.pid,
            "exe": _executable(caller.pid),
            "generation_before": generation_before,
            "generation_after": generation_after,
            "monotonic_s": round(self._clock.monotonic(), 6),
            "detail": detail,
        }
        self._chain = fields[_CHAINED] = _link(self._chain, fields)
        _log.info("%s by uid %d: %s", verb, caller.uid, outcome, extra={"fields": fields})


def first_broken_line(lines: Iterable[str]) -> int | None:
    """The place, counted from 0, of the first JSON audit line that does not follow from the one before it."""
    chain = _START
    for place, line in enumerate(lines):
        fields = json.loads(line)
        for added in ("time", "level", "logger", "message"):
            fields.pop(added, None)
        claimed = fields.pop(_CHAINED, None)
        chain = _link(chain, fields)
        if claimed != chain:
            return place
    return None


def _link(previous: str, fields: Mapping[str, object]) -> str:
    return hashlib.sha256((previous + json.dumps(fields, sort_keys=True)).encode()).hexdigest()


def _executable(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return ""
