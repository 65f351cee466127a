"""Log lines of one cause, limited in rate, with the count of what was left out.

A thousand lines that say the same hide the one that does not. Of each cause so many are written at once and one a
while after that; how many were left out is said with the next that is written, and at the end of a flood by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable

from tlsidecar.lazy_dataclass import dataclass

BURST_LINES = 10
EVERY_S = 10.0
# Causes that are told apart: the reasons of all listeners are far fewer.
KEPT_CAUSES = 512

Flush = Callable[[int], None]
Later = Callable[[float, Callable[[], None]], object]


@dataclass(slots=True)
class _Cause:
    allowance: float
    asked_at: float  # monotonic seconds
    left_out: int = 0
    is_due: bool = False  # a flush has been asked for


class LineLimit:
    """Lives on one event loop."""

    def __init__(
        self,
        *,
        now: Callable[[], float] | None = None,
        later: Later | None = None,
        burst: int = BURST_LINES,
        every_s: float = EVERY_S,
    ) -> None:
        """``now`` gives monotonic seconds, ``later`` calls back after so many; both are the running loop's unless
        given."""
        self._now = now or (lambda: asyncio.get_running_loop().time())
        self._later = later or (lambda delay_s, call: asyncio.get_running_loop().call_later(delay_s, call))
        self._burst = burst
        self._every_s = every_s
        self._causes: dict[Hashable, _Cause] = {}

    def __repr__(self) -> str:
        return f"<LineLimit {len(self._causes)} causes>"

    def admit(self, cause: Hashable, flush: Flush) -> int | None:
        """How many lines of ``cause`` were left out since the last, when this one is to be written; None when it is
        not. ``flush`` is called with the count when nothing follows that could say it."""
        now = self._now()
        known = self._causes.get(cause)
        if known is None:
            if len(self._causes) >= KEPT_CAUSES:
                self._causes.clear()
            known = self._causes[cause] = _Cause(float(self._burst), now)
        known.allowance = min(self._burst, known.allowance + (now - known.asked_at) / self._every_s)
        known.asked_at = now
        if known.allowance >= 1:
            known.allowance -= 1
            left_out, known.left_out = known.left_out, 0
            return left_out
        known.left_out += 1
        if not known.is_due:
            known.is_due = True
            self._later(self._every_s, lambda: self._flush(known, flush))
        return None

    @staticmethod
    def _flush(cause: _Cause, flush: Flush) -> None:
        cause.is_due = False
        if cause.left_out:
            left_out, cause.left_out = cause.left_out, 0
            flush(left_out)
