"""The controller's questions to one worker's process, for whoever can do without an answer."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any, TypeVar

from tlsidecar.workers.channel import Channel, ChannelClosed, RemoteFailure
from tlsidecar.workers.wire import WireError, unpack

# Whoever reads status or metrics does not wait longer for a worker that is busy or stopped, and gets what it last told.
ANSWER_WITHIN_S = 1.0

_log = logging.getLogger("tlsidecar.workers")

T = TypeVar("T")


class Asker:
    """``channel`` is that of the process which has the worker's number just now; None while there is none."""

    def __init__(self, number: int) -> None:
        self.channel: Channel | None = None
        self._number = number

    def __repr__(self) -> str:
        return f"<Asker {self._number} {self.channel!r}>"

    async def ask(self, verb: str, body: bytes, kind: Any, otherwise: T) -> T:
        """Its answer, which is of type ``kind``; ``otherwise`` when it is gone, fails, or does not answer in time."""
        if self.channel is None:
            return otherwise
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                answer: T = unpack(kind, await self.channel.ask(verb, body))
                return answer
        except (ChannelClosed, TimeoutError):
            return otherwise
        except (RemoteFailure, WireError) as error:
            _log.error("worker %d: %s", self._number, error)
            return otherwise

    def tell(self, verb: str, body: bytes = b"") -> None:
        """What needs no answer; nothing happens when it is gone."""
        if self.channel is not None:
            with contextlib.suppress(ChannelClosed):
                self.channel.tell(verb, body)
