"""A clock that stands still, sidecars on real sockets, and an environment that does not change how things look."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from ui_clock import StillClock
from ui_sidecar import Sidecar, running
from ui_world import World

_CHANGES_THE_LOOK = (
    *("NO_COLOR", "COLORTERM", "FORCE_COLOR", "UNICODE_VERSION", "TLSIDECAR_ADMIN_SOCKET"),
    *("LC_ALL", "LC_CTYPE", "LANG"),
)


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        *_CHANGES_THE_LOOK,
        *(name for name in os.environ if name.startswith("TEXTUAL_") and name != "TEXTUAL_SNAPSHOT_TEMPDIR"),
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
def socket(tmp_path: Path) -> Path:
    return tmp_path / "admin.sock"


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Callable[[World], Awaitable[Sidecar]]]:
    """Start sidecars: ``sidecar = await serve(world)``; each has a socket of its own."""
    async with AsyncExitStack() as stack:
        number = 0

        async def start(world: World) -> Sidecar:
            nonlocal number
            number += 1
            return await stack.enter_async_context(running(tmp_path / f"admin{number}.sock", world))

        yield start
