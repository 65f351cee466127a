"""The port for scrapers: three paths, whoever asks, and no way to any other."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from unit.admin.fake_control import FakeControl, critical

from tlsidecar.admin.binding import AdminSocketTaken
from tlsidecar.admin.scraping import ScrapingServer
from tlsidecar.control.interface import State
from tlsidecar.settings import METRICS_LISTENER, Address, Admin, ListenerSettings, Metrics, Mode, Settings


async def asked(method: str, path: str, where: Address | Path) -> tuple[str, str]:
    """Status line and body."""
    if isinstance(where, Path):
        reader, writer = await asyncio.open_unix_connection(where)
    else:
        reader, writer = await asyncio.open_connection(where.host, where.port)
    writer.write(f"{method} {path} HTTP/1.1\r\nHost: scraped\r\nConnection: close\r\n\r\n".encode())
    async with asyncio.timeout(10):
        head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    return head.partition("\r\n")[0], body


@contextlib.asynccontextmanager
async def scraped(tmp_path: Path, metrics: Metrics) -> AsyncIterator[tuple[ScrapingServer, FakeControl, Settings]]:
    control = FakeControl(Admin(socket=tmp_path / "run" / "admin.sock"))
    settings = replace(control.settings, metrics=metrics)
    if metrics.allow:
        upstream = Address(path=str(tmp_path / "run" / "metrics.sock"))
        own = ListenerSettings(METRICS_LISTENER, Mode.TERMINATE, Address("127.0.0.1", 0), (upstream,))
        settings = replace(settings, listeners=(*settings.listeners, own))
    server = ScrapingServer(control, settings)
    await server.start()
    try:
        yield server, control, settings
    finally:
        await server.close()


IN_THE_CLEAR = Metrics(listen=Address("127.0.0.1", 0))


async def test_it_gives_metrics_and_health_and_nothing_else(tmp_path: Path) -> None:
    async with scraped(tmp_path, IN_THE_CLEAR) as (server, _, _):
        where = server.address
        assert where is not None
        status, body = await asked("GET", "/metrics", where)
        assert status == "HTTP/1.1 200 OK"
        assert "tlsidecar_connections_active" in body
        assert await asked("GET", "/healthz", where) == ("HTTP/1.1 200 OK", "live\n")
        for path in ("/v1/status", "/v1/connections", "/", "/v1/openapi.json"):
            assert (await asked("GET", path, where))[0] == "HTTP/1.1 404 Not Found"
        for method, path in (("POST", "/v1/shutdown"), ("DELETE", "/v1/connections/1")):
            assert (await asked(method, path, where))[0] == "HTTP/1.1 404 Not Found"
        assert (await asked("POST", "/metrics", where))[0] == "HTTP/1.1 405 Method Not Allowed"


async def test_to_a_stranger_readiness_has_no_reasons(tmp_path: Path) -> None:
    async with scraped(tmp_path, IN_THE_CLEAR) as (server, control, _):
        assert server.address is not None
        assert await asked("GET", "/readyz", server.address) == ("HTTP/1.1 200 OK", "ready\n")
        control.state = State.STARTING
        control.found_problems = [critical("no_material", "/etc/secret/tls.key is not there")]
        status, body = await asked("GET", "/readyz", server.address)
        assert (status, body) == ("HTTP/1.1 503 Service Unavailable", "not ready\n")


async def test_with_access_rules_it_stands_behind_a_listener_on_a_socket_of_its_own(tmp_path: Path) -> None:
    metrics = Metrics(listen=Address("127.0.0.1", 0), allow=("ou:monitoring",))
    async with scraped(tmp_path, metrics) as (server, _, settings):
        path = Path(settings.listeners[-1].upstreams[0].path)
        assert server.address is None, "nothing is bound in the clear"
        assert path.stat().st_mode & 0o777 == 0o600
        assert (await asked("GET", "/healthz", path))[0] == "HTTP/1.1 200 OK"
    assert not path.exists()


async def test_where_it_is_not_asked_for_there_is_none(tmp_path: Path) -> None:
    async with scraped(tmp_path, Metrics()) as (server, _, _):
        assert server.address is None


async def test_an_address_that_is_taken_is_said_by_its_key(tmp_path: Path) -> None:
    async with scraped(tmp_path, IN_THE_CLEAR) as (server, _, _):
        taken = server.address
        assert taken is not None
        with pytest.raises(AdminSocketTaken, match=f"metrics.listen cannot listen on {taken}: Address already in use"):
            async with scraped(tmp_path, Metrics(listen=taken)):
                pass
