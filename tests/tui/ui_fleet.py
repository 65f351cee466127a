"""Many simulated sidecars in one process, for the tests of a fleet: each on a real socket, with traffic that moves.

``python tests/tui/ui_fleet.py --folder DIR --count 200`` serves until interrupted; it prints ``ready`` once all listen.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import ui_world as worlds
from ui_sidecar import Sidecar, running

# One in twenty is in trouble, one in fifty about to be.
_TROUBLED = 20
_EXPIRED = 50


async def serve(folder: Path, count: int) -> None:
    """Until it is cancelled."""
    async with AsyncExitStack() as stack:
        sidecars = [
            await stack.enter_async_context(running(folder / f"web-{number:03}.sock", _world(number)))
            for number in range(count)
        ]
        print("ready", flush=True)  # noqa: T201 - what the test waits for
        while True:
            await asyncio.sleep(1)
            _go_on(sidecars)


def _world(number: int) -> worlds.World:
    now = datetime.now(UTC)
    kind = worlds.degraded if number % _TROUBLED == 3 else worlds.expired if number % _EXPIRED == 7 else worlds.healthy
    world = kind(now)
    world.status["node"] = f"web-{number:03}"
    return world


def _go_on(sidecars: list[Sidecar]) -> None:
    for sidecar in sidecars:
        world = sidecar.world
        world.advance(
            (datetime.now(UTC) - world.now).total_seconds(),
            bytes_in=random.randrange(20_000),
            bytes_out=random.randrange(900_000),
            connections=random.randrange(3),
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--count", type=int, default=200)
    options = parser.parse_args()
    with suppress(KeyboardInterrupt):
        asyncio.run(serve(options.folder, options.count))


if __name__ == "__main__":
    main()
