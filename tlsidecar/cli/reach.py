"""The sidecars that certificate commands are to reach: sockets of this machine, and whatever the console reaches."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from certs.probe import SidecarUnreachable, UnknownTarget
from tlsidecar.admin.client import AdminClient
from tlsidecar.api.errors import Unreachable
from tlsidecar.cli.sidecar_probe import AdminProbe

if TYPE_CHECKING:
    from tui.client import AdminClient as ReachedClient
    from tui.reach.endpoints import Endpoint
    from tui.reach.processes import Processes
    from tui.reach.sources import Source

T = TypeVar("T")


@contextmanager
def sidecars(targets: Sequence[str], commands: Sequence[str]) -> Iterator[Sequence[AdminProbe]]:
    """Implements certs.probe.Reach. A socket is asked directly, so that it needs nothing of the console's."""
    if not commands and all(_is_socket(target) for target in targets):
        yield [_here(Path(target)) for target in dict.fromkeys(targets)]
        return
    with _Loop() as loop:
        yield from _reached(loop, targets, commands)


def _is_socket(target: str) -> bool:
    return bool(target) and "://" not in target and not target.startswith("unix:") and not Path(target).is_dir()


def _here(path: Path) -> AdminProbe:
    return AdminProbe(str(path), AdminClient(path))


def _reached(loop: _Loop, targets: Sequence[str], commands: Sequence[str]) -> Iterator[Sequence[AdminProbe]]:
    """Those behind targets, in their order, each once; the programs that lead there end with the context."""
    try:
        from tui.reach.processes import Processes
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "tui":
            raise
        raise UnknownTarget("this installation has no package tui: only sockets can be reached") from None
    processes = Processes()
    clients: list[ReachedClient] = []
    try:
        found = loop.run(_endpoints(_sources(targets, commands, processes)))
        yield [_probe(loop, endpoint, clients) for endpoint in found]
    finally:
        loop.run(_close(clients, processes))


def _sources(targets: Sequence[str], commands: Sequence[str], processes: Processes) -> list[Source]:
    from tui.reach.targets import BadTarget, parse_command, parse_target

    try:
        return [
            *(parse_target(target, processes) for target in targets),
            *(parse_command(command, processes) for command in commands),
        ]
    except BadTarget as error:
        raise UnknownTarget(str(error)) from None


async def _endpoints(sources: Sequence[Source]) -> Sequence[Endpoint]:
    several = await asyncio.gather(*(_listed(source) for source in sources))
    lost = [str(each) for each in several if isinstance(each, Unreachable)]
    if lost:
        raise SidecarUnreachable("\n".join(dict.fromkeys(lost)))
    found = (endpoint for each in several if not isinstance(each, Unreachable) for endpoint in each)
    return list({str(endpoint.name): endpoint for endpoint in found}.values())


async def _listed(source: Source) -> Sequence[Endpoint] | Unreachable:
    try:
        return await source.endpoints()
    except Unreachable as error:
        return error


def _probe(loop: _Loop, endpoint: Endpoint, clients: list[ReachedClient]) -> AdminProbe:
    from tui.client import AdminClient as ReachedClient
    from tui.reach.endpoints import SocketEndpoint

    if isinstance(endpoint, SocketEndpoint):
        return _here(endpoint.path)
    client = ReachedClient(endpoint)
    clients.append(client)
    return AdminProbe(str(endpoint.name), _Reached(loop, client), is_here=False)


class _Reached:
    """The console's client, asked from outside of its event loop; reads share one connection, and so one login."""

    def __init__(self, loop: _Loop, client: ReachedClient) -> None:
        self._loop = loop
        self._client = client

    def get(self, target: str) -> dict[str, Any]:
        return dict(self._loop.run(self._client.read(target)))

    def call(self, method: str, target: str) -> dict[str, Any]:
        return dict(self._loop.run(self._client.change(method, target)))


class _Loop:
    """An event loop in a thread of its own, so that whoever asks several sidecars at once shares it."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __repr__(self) -> str:
        return f"<_Loop {self._loop!r}>"

    def __enter__(self) -> _Loop:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.run(_cancel_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """What it gives or raises; it is cancelled where the caller is interrupted."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise


async def _cancel_all() -> None:
    """What daemon threads still ask for when the command was interrupted."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _close(clients: Sequence[ReachedClient], processes: Processes) -> None:
    for client in clients:
        await client.close()
    await processes.close()
