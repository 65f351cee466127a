"""Readiness for the data plane: one epoll and one handler per file descriptor, beside asyncio in the same thread.

asyncio's own ``add_reader`` builds a Handle and enters a context for every event, which costs about as much as
reading a small request. So the data plane's descriptors are served straight from ``epoll``:

- *fused*: :class:`FusedSelector` is the selector of a stock asyncio loop. Its ``select`` serves the data plane's events
  itself and hands the loop only the loop's own, and only then returns. One epoll, one system call a turn.
- *nested*: on any other loop (uvloop) the reactor's epoll is itself a descriptor that the loop watches.

Handlers must treat events as hints: a descriptor closed earlier in the same turn may have been given out again, so a
handler always tries the operation and copes with "would block". Registration with no interest is forbidden by
construction (``rewatch`` with 0 forgets): a level-triggered hang-up on an idle registration would spin the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import select
import selectors
import time
from array import array
from collections.abc import Callable
from typing import Any, TypeVarTuple

Handler = Callable[[int], None]
_Given = TypeVarTuple("_Given")

READ = select.EPOLLIN
WRITE = select.EPOLLOUT
EDGE = select.EPOLLET

# At most this many events are taken in one turn, so that timers and the control plane get theirs.
EVENTS_PER_TURN = 256

SHORT_OF_MEMORY_S = 0.01  # between two tries to go on

_log = logging.getLogger("tlsidecar.dataplane")


class Registry:
    """Who is to be called for which descriptor, and for what it is watched: tables by its number, for descriptors are
    small and dense (POSIX.1-2017, section 2.14), and a place costs twelve bytes."""

    def __init__(self) -> None:
        self.handlers: list[Handler | None] = []
        self.events = array("I")

    def grow(self, descriptor: int) -> None:
        """Have a place for ``descriptor``."""
        missing = descriptor + 1 - len(self.handlers)
        if missing > 0:
            missing += len(self.handlers) // 8
            self.handlers += [None] * missing
            self.events.extend([0] * missing)


class FusedSelector(selectors.EpollSelector):
    """An epoll selector that serves the data plane's descriptors itself; the rest is asyncio's."""

    def __init__(self) -> None:
        super().__init__()
        self.epoll: select.epoll = self._selector  # type: ignore[attr-defined]
        self.registry = Registry()
        self.reactor: Reactor | None = None
        self.loop_wanted = False  # it was given something to do since it last asked for events

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = super().register(fileobj, events, data)
        self.registry.grow(key.fd)  # so that select() may look any number up
        return key

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Serve the data plane, turn after turn, until the loop has something to do: an event of its own, a timer that
        is due, or what a handler left it (:attr:`loop_wanted`)."""
        reactor = self.reactor
        if reactor is None:
            return super().select(timeout)
        self.loop_wanted = False
        due = 0.0 if timeout is None else time.monotonic() + timeout
        handlers = self.registry.handlers
        others: list[tuple[int, int]] = []
        while True:
            wait_s = -1.0
            if timeout is not None:
                # epoll counts in milliseconds: round up, or a timer due in 0.4 ms would be polled for in a busy loop.
                wait_s = -(-timeout // 0.001) * 0.001 if timeout > 0 else 0.0
            try:
                events = self.epoll.poll(wait_s if reactor.unfinished is None else 0.0, EVENTS_PER_TURN)
            except InterruptedError:
                return []
            except MemoryError:  # for the list of events; whoever ends gives some back
                time.sleep(SHORT_OF_MEMORY_S)
                continue
            reactor.now = time.monotonic()
            reactor.turn += 1
            for descriptor, event in events:
                handler = handlers[descriptor]
                if handler is None:
                    others.append((descriptor, event))
                    continue
                try:
                    handler(event)
                except Exception:
                    reactor.crashed(descriptor, handler)
            unfinished = reactor.unfinished
            if unfinished is not None and not unfinished():
                reactor.unfinished = None
            if others:
                return self._for_asyncio(others)
            if self.loop_wanted:
                return []
            if timeout is not None:
                timeout = due - time.monotonic()
                if timeout <= 0:
                    return []

    def _for_asyncio(self, events: list[tuple[int, int]]) -> list[tuple[selectors.SelectorKey, int]]:
        keys: dict[int, selectors.SelectorKey] = self._fd_to_key  # type: ignore[attr-defined]
        ready: list[tuple[selectors.SelectorKey, int]] = []
        for descriptor, event in events:
            key = keys.get(descriptor)
            if key is None:
                continue
            mask = 0
            if event & ~select.EPOLLIN:
                mask |= selectors.EVENT_WRITE
            if event & ~select.EPOLLOUT:
                mask |= selectors.EVENT_READ
            ready.append((key, mask & key.events))
        return ready


class FusedEventLoop(asyncio.SelectorEventLoop):
    """A stock asyncio loop whose selector a :class:`Reactor` can share.

    Between two turns of the data plane asyncio mostly has nothing to do, and finding that out costs it as much as a
    small read: so the selector is told when it has, by the methods that all of asyncio gives a loop work by. (Other
    threads and signals wake it by a descriptor.)
    """

    def __init__(self) -> None:
        self._fused = FusedSelector()
        super().__init__(self._fused)

    # As asyncio has it, without a frame of Python's for each of the many who ask.
    time = staticmethod(time.monotonic)

    def call_soon(
        self, callback: Callable[[*_Given], object], *args: *_Given, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        self._fused.loop_wanted = True
        return super().call_soon(callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[*_Given], object],
        *args: *_Given,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        self._fused.loop_wanted = True
        return super().call_at(when, callback, *args, context=context)

    def stop(self) -> None:
        self._fused.loop_wanted = True
        super().stop()


class Reactor:
    """Watches descriptors and calls their handlers; ``now`` is the monotonic time of the current turn, in seconds, and
    ``turn`` its number."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.now = time.monotonic()
        self.turn = 0
        self.unfinished: Callable[[], bool] | None = None
        selector = getattr(loop, "_selector", None)
        if isinstance(selector, FusedSelector):
            selector.reactor = self
            self._fused: FusedSelector | None = selector
            self._epoll = selector.epoll
            self._registry = selector.registry
        else:
            self._fused = None
            self._epoll = select.epoll()
            self._registry = Registry()
            loop.add_reader(self._epoll.fileno(), self._turn)

    def __repr__(self) -> str:
        way = "fused" if self._fused else "nested"
        return f"<Reactor {way} watching={len(self)}>"

    def __len__(self) -> int:
        return sum(handler is not None for handler in self._registry.handlers)

    def refresh(self) -> float:
        """Read the clock anew, for who was called by the loop and not by this: :attr:`now`."""
        now = self.now = time.monotonic()
        return now

    def watch(self, descriptor: int, events: int, handler: Handler) -> None:
        """Call ``handler`` whenever one of ``events`` holds. The descriptor must not be watched yet."""
        registry = self._registry
        self._epoll.register(descriptor, events)
        if descriptor >= len(registry.handlers):
            registry.grow(descriptor)
        registry.handlers[descriptor] = handler
        registry.events[descriptor] = events

    def rewatch(self, descriptor: int, events: int, handler: Handler) -> None:
        """Change what is waited for and who is called; 0 events forgets the descriptor."""
        registry = self._registry
        handlers = registry.handlers
        if not events:
            self.forget(descriptor)
        elif 0 <= descriptor < len(handlers) and handlers[descriptor] is not None:
            if events != registry.events[descriptor]:
                self._epoll.modify(descriptor, events)
                registry.events[descriptor] = events
            handlers[descriptor] = handler
        else:
            self.watch(descriptor, events, handler)

    def forget(self, descriptor: int) -> None:
        """Stop watching; nothing happens when it was not watched. Call before the descriptor is closed."""
        handlers = self._registry.handlers
        if 0 <= descriptor < len(handlers) and handlers[descriptor] is not None:
            handlers[descriptor] = None
            self._epoll.unregister(descriptor)

    def keep_turning(self, unfinished: Callable[[], bool]) -> None:
        """Call ``unfinished`` at the end of every turn, this one too, and begin the next without waiting, until it
        answers False. It must not raise; there is one at a time."""
        self.unfinished = unfinished
        if self._fused is None:
            self.loop.call_soon(self._turn_again)

    def _turn_again(self) -> None:
        unfinished = self.unfinished
        if unfinished is not None:
            self._turn()
            if unfinished():
                self.loop.call_soon(self._turn_again)
            else:
                self.unfinished = None

    def close(self) -> None:
        """Forget everything."""
        self.unfinished = None
        for descriptor in range(len(self._registry.handlers)):
            self.forget(descriptor)
        if self._fused is not None:
            self._fused.reactor = None
            return
        self.loop.remove_reader(self._epoll.fileno())
        self._epoll.close()

    def crashed(self, descriptor: int, handler: Callable[..., None]) -> None:
        """A handler raised: a defect, or no memory. Its connection is lost, every other one goes on."""
        self.forget(descriptor)
        with contextlib.suppress(MemoryError):  # the same that it would tell of
            _log.exception("a connection handler failed", extra={"fields": {"reason": "internal_error"}})
        owner: Any = getattr(handler, "__self__", handler)
        fail = getattr(owner, "fail", None)
        if fail is None:
            return
        try:
            fail()
        except Exception:
            _log.exception("a failed connection could not be closed")

    def _turn(self) -> None:
        self.now = time.monotonic()
        self.turn += 1
        handlers = self._registry.handlers
        for descriptor, event in self._epoll.poll(0, EVENTS_PER_TURN):
            handler = handlers[descriptor]
            if handler is None:
                continue
            try:
                handler(event)
            except Exception:
                self.crashed(descriptor, handler)
