"""A console on a sidecar, driven by hand: the clock stands still and nothing polls by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from textual import events
from textual.pilot import Pilot
from ui_clock import StillClock
from ui_sidecar import Sidecar, running
from ui_world import World

from tui.app import Console
from tui.client import AdminClient
from tui.options import Options
from tui.reach.targets import local
from tui.records import event_of

PATIENCE_S = 60.0  # of the console with the sidecar, which may stand still while others' screens are drawn
_ROUNDS = 3
_CHARACTERS = {"slash": "/", "question_mark": "?", "colon": ":", "space": " "}


@dataclass
class Bench:
    app: Console
    pilot: Pilot[int]
    sidecars: list[Sidecar]
    clock: StillClock
    toasts: list[str] = field(default_factory=list)  # ever told: those on the screen go by the real clock

    def __post_init__(self) -> None:
        notify = self.app.notify

        def told(message: str, **options: Any) -> None:
            self.toasts.append(message)
            notify(message, **options)

        self.app.notify = told  # type: ignore[method-assign]

    @property
    def sidecar(self) -> Sidecar:
        return self.sidecars[0]

    async def press(self, *keys: str) -> None:
        """Press keys as the terminal's driver would, each when the one before is dealt with.

        The pilot's own ``press`` waits until the process is idle, three times 20 ms a key and longer on a busy
        machine; this waits until the messages are processed.
        """
        driver = self.app._driver
        assert driver is not None
        for key in keys:
            event = events.Key(key, key if len(key) == 1 else _CHARACTERS.get(key))
            event.set_sender(self.app)
            driver.send_message(event)
            await self.settle()

    async def type(self, text: str) -> None:
        """Keys that come together, as over a slow line: none waits for the one before."""
        driver = self.app._driver
        assert driver is not None
        for character in text:
            event = events.Key({"/": "slash", "\r": "enter"}.get(character, character), character)
            event.set_sender(self.app)
            driver.send_message(event)
        await self.settle()

    async def settle(self) -> None:
        """Until every message is processed, and those that they led to."""
        before = self.app.screen
        for _ in range(_ROUNDS):
            await asyncio.sleep(0)
            await self.pilot._wait_for_screen()
        if self.app.screen is not before:
            await self.pilot.pause()  # a new screen is laid out a little later
        for _ in range(_ROUNDS):
            screen = self.app.screen
            screen._on_timer_update()  # lays out and draws; what that leads to is drawn in the next round
            await self.pilot._wait_for_screen()
        self.app.screen._on_timer_update()

    async def second(self, number: int = 1) -> None:
        """Let seconds pass, each with a poll."""
        for _ in range(number):
            self.clock.move(1)
            for sidecar in self.sidecars:
                sidecar.world.advance(1)
            await self.app.tick()
        await self.settle()

    async def eventually(self, condition: Callable[[], bool]) -> None:
        """For what is settled by somebody else: a worker, a sidecar, a timer."""
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                await asyncio.sleep(0.01)
                await self.settle()

    def happened(self) -> None:
        """Hand over the events that the sidecar has, as the subscription would."""
        for kind, fields in self.sidecar.world.events:
            self.app.monitor.model.take_event(event_of(kind, fields))

    @property
    def lines(self) -> list[str]:
        """The screen, overlays included, as text."""
        return [strip.text for strip in self.app.screen._compositor.render_strips(self.app.size)]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


@asynccontextmanager
async def bench(
    folder: Path,
    *worlds: World,
    size: tuple[int, int] = (80, 24),
    automatic: bool = False,
    toasts: bool = False,
    **options: object,
) -> AsyncIterator[Bench]:
    """A console on one sidecar for each world, having polled once. No answer comes late, however busy the machine."""
    clock = StillClock()
    async with AsyncExitStack() as stack:
        stack.enter_context(mock.patch("tui.roster.AdminClient", partial(AdminClient, timeout_s=PATIENCE_S)))
        sidecars = [
            await stack.enter_async_context(running(folder / f"s{number}.sock", world))
            for number, world in enumerate(worlds)
        ]
        sources = tuple(local(sidecar.socket) for sidecar in sidecars)
        app = Console(Options(sources, automatic=automatic, **options), clock)  # type: ignore[arg-type]
        async with app.run_test(size=size, notifications=toasts) as pilot:
            ready = Bench(app, pilot, sidecars, clock)
            if not automatic:
                await app.tick()
            await ready.settle()
            yield ready
