"""Where the admin API of one sidecar is, and how a connection to it is opened."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tlsidecar.api.errors import Unreachable, connect_failure
from tui.reach.channel import Channel
from tui.reach.processes import Processes
from tui.text import EMPTY, SafeText, safe_text

_LOGIN_S = 15.0
_LONGEST_RETRY_S = 10.0
_LONGEST_LOGIN_RETRY_S = 60.0
"""A login that fails is tried again less often than a socket: it costs the other machine something, and is logged."""


class Endpoint(Protocol):
    """One sidecar's admin API. ``name`` is what was asked for and tells it from all others, ``label`` what it is called
    in a list; ``login_s`` is what opening may take beyond what an answer takes, ``longest_retry_s`` the longest pause
    between attempts."""

    @property
    def name(self) -> SafeText: ...

    @property
    def label(self) -> SafeText: ...

    @property
    def login_s(self) -> float: ...

    @property
    def longest_retry_s(self) -> float: ...

    async def open(self) -> Channel:
        """A connection. Raises Unreachable."""
        ...


@dataclass(frozen=True, slots=True)
class SocketEndpoint:
    """A Unix socket of this machine."""

    path: Path
    label: SafeText = EMPTY
    login_s: float = 0.0
    longest_retry_s: float = _LONGEST_RETRY_S

    def __post_init__(self) -> None:
        if not self.label:
            object.__setattr__(self, "label", self.name)

    @property
    def name(self) -> SafeText:
        return safe_text(str(self.path))

    async def open(self) -> Channel:
        try:
            return Channel(*await asyncio.open_unix_connection(str(self.path)))
        except OSError as error:
            raise connect_failure(self.path, error) from None


@dataclass(frozen=True, slots=True)
class CommandEndpoint:
    """What a command says and hears on its stdout and stdin."""

    name: SafeText
    label: SafeText
    command: tuple[str, ...]
    processes: Processes = field(repr=False, compare=False)
    login_s: float = _LOGIN_S
    longest_retry_s: float = _LONGEST_LOGIN_RETRY_S

    async def open(self) -> Channel:
        return await self.processes.channel(self.command)


@dataclass(frozen=True, slots=True)
class NoEndpoint:
    """What stands for a target that means no sidecar now, and says why."""

    name: SafeText
    label: SafeText
    reason: SafeText
    login_s: float = 0.0
    longest_retry_s: float = _LONGEST_RETRY_S

    async def open(self) -> Channel:
        raise Unreachable(self.reason)
