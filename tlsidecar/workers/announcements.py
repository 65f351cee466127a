"""What a worker tells the controller unasked: what happened to connections and requests.

:class:`Announcements` sends it, :func:`take` is the controller's end. A worker is not held up by a controller that
does not read: above a bound announcements are dropped, and how many is said.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

from tlsidecar.dataplane.report import Opened, UpstreamChange
from tlsidecar.outcomes import Failure, Refusal
from tlsidecar.recorder import Closed, Collector
from tlsidecar.workers import messages
from tlsidecar.workers.channel import Channel, ChannelClosed
from tlsidecar.workers.wire import WireError, pack, packed, plain_of, unpack, value_of

# Announcements are sent together, so often, and no more than so many at once.
ANNOUNCE_EVERY_S = 0.02
ANNOUNCED_AT_ONCE = 512

# While so much waits for a controller that reads nothing, announcements are dropped.
UNSENT_BYTES = 4 * 1024 * 1024

_log = logging.getLogger("tlsidecar.workers")


class Announcements:
    """A tlsidecar.recorder.Announcer that sends what happened to the controller, some of it at a time."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._loop = asyncio.get_running_loop()
        self._kept: list[tuple[str, object]] = []
        self._lost = 0
        self._due = False

    def opened(self, connection: Opened) -> None:
        self._add(messages.OPENED, plain_of(Opened, connection))

    def closed(self, connection: Closed) -> None:
        self._add(messages.CLOSED, plain_of(Closed, connection))

    def refused(self, refusal: Refusal) -> None:
        self._add(messages.REFUSED, plain_of(Refusal, refusal))

    def failed(self, failure: Failure) -> None:
        self._add(messages.FAILED, plain_of(Failure, failure))

    def upstream_changed(self, change: UpstreamChange) -> None:
        self._add(messages.UPSTREAM, plain_of(UpstreamChange, change))

    def flush(self) -> None:
        self._due = False
        kept, self._kept = self._kept, []
        try:
            if self._lost:
                self._channel.tell(messages.LOST, pack(int, self._lost))
                self._lost = 0
            if kept:
                self._channel.tell(messages.ANNOUNCED, packed(kept))
        except ChannelClosed:
            pass  # nobody is left to tell

    def _add(self, kind: str, plain: object) -> None:
        if self._channel.unsent_bytes > UNSENT_BYTES:
            self._lost += 1
            return
        self._kept.append((kind, plain))
        if len(self._kept) >= ANNOUNCED_AT_ONCE:
            self.flush()
        elif not self._due:
            self._due = True
            self._loop.call_later(ANNOUNCE_EVERY_S, self.flush)


def take(collector: Collector, worker: int, verb: str, body: bytes) -> None:
    """Report what a worker sent unasked. Raises ValueError (of which :class:`WireError` is one) or TypeError for what
    none of ours sends."""
    if verb == messages.ANNOUNCED:
        for kind, value in json.loads(body):
            _report(collector, kind, value)
    elif verb == messages.LOST:
        _log.warning(
            "%d events of a worker were dropped: it told more than could be taken",
            unpack(int, body),
            extra={"fields": {"worker": worker}},
        )
    else:
        raise WireError(f"{verb!r} is not a message")


def _report(collector: Collector, kind: str, value: Any) -> None:
    if kind == messages.OPENED:
        collector.opened(value_of(Opened, value))
    elif kind == messages.CLOSED:
        collector.closed(value_of(Closed, value))
    elif kind == messages.REFUSED:
        collector.refused(value_of(Refusal, value))
    elif kind == messages.FAILED:
        collector.failed(value_of(Failure, value))
    elif kind == messages.UPSTREAM:
        collector.upstream_changed(value_of(UpstreamChange, value))
    else:
        raise WireError(f"{kind!r} is not announced")
