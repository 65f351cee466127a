"""What a target means: one sidecar, or as many as there are at the moment."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tlsidecar.api.errors import Unreachable
from tui.reach.endpoints import CommandEndpoint, Endpoint, SocketEndpoint
from tui.reach.names import is_pod_name
from tui.reach.processes import Processes
from tui.text import SafeText, safe_text

_FOLDER_INTERVAL_S = 5.0
_PODS_INTERVAL_S = 30.0
_LIST_S = 30.0
_SOCKET_SUFFIX = ".sock"
_SOCKET_BELOW = "admin.sock"


class Source(Protocol):
    """One target. ``interval_s`` is how often it is looked at again; None where it means one sidecar for good."""

    @property
    def name(self) -> SafeText: ...

    @property
    def interval_s(self) -> float | None: ...

    async def endpoints(self) -> Sequence[Endpoint]:
        """The sidecars there are now. Raises Unreachable, saying why, when there are none or they cannot be listed."""
        ...


@dataclass(frozen=True, slots=True)
class OneEndpoint:
    """A target that names its sidecar."""

    endpoint: Endpoint
    interval_s: float | None = None

    @property
    def name(self) -> SafeText:
        return self.endpoint.name

    async def endpoints(self) -> Sequence[Endpoint]:
        return (self.endpoint,)


@dataclass(frozen=True, slots=True)
class Folder:
    """A directory: each socket in it that is called ``….sock``, and each ``admin.sock`` one level below. The others may
    be anybody's; beside each admin socket there is one where a sidecar waits for its successor."""

    path: Path
    interval_s: float | None = _FOLDER_INTERVAL_S

    @property
    def name(self) -> SafeText:
        return safe_text(str(self.path))

    async def endpoints(self) -> Sequence[Endpoint]:
        try:
            found = sorted(self._sockets())
        except OSError as error:
            raise Unreachable(SafeText(f"{self.name}: {safe_text(error.strerror or str(error), 80)}")) from None
        if not found:
            raise Unreachable(SafeText(f"no socket *{_SOCKET_SUFFIX} in {self.name}"))
        return [SocketEndpoint(self.path / each, safe_text(each)) for each in found]

    def _sockets(self) -> list[str]:
        names: list[str] = []
        with os.scandir(self.path) as entries:
            for entry in entries:
                with suppress(OSError):  # gone meanwhile, a link to nowhere, or not for us to see
                    if entry.is_dir():
                        if stat.S_ISSOCK((self.path / entry.name / _SOCKET_BELOW).stat().st_mode):
                            names.append(f"{entry.name}/{_SOCKET_BELOW}")
                    elif entry.name.endswith(_SOCKET_SUFFIX) and stat.S_ISSOCK(entry.stat().st_mode):
                        names.append(entry.name)
        return names


@dataclass(frozen=True, slots=True)
class Pods:
    """The running pods that kubectl lists, one ``pod/NAME`` a line. ``into`` is the command that runs ``admin-pipe`` in
    one of them."""

    name: SafeText
    listing: tuple[str, ...]
    into: Callable[[str], tuple[str, ...]]
    processes: Processes
    interval_s: float | None = _PODS_INTERVAL_S

    async def endpoints(self) -> Sequence[Endpoint]:
        printed = await self.processes.output(self.listing, _LIST_S)
        pods = {line.strip().removeprefix("pod/") for line in printed.decode(errors="replace").splitlines()} - {""}
        if odd := next((pod for pod in sorted(pods) if not is_pod_name(pod)), None):
            raise Unreachable(SafeText(f"kubectl: not the name of a pod: {safe_text(odd, 80)}"))
        if not pods:
            raise Unreachable(SafeText(f"no running pod: {self.name}"))
        place = self.name.partition("?")[0].rstrip("/")
        return [
            CommandEndpoint(safe_text(f"{place}/{pod}"), safe_text(pod), self.into(pod), self.processes)
            for pod in sorted(pods)
        ]
