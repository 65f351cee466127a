"""The admin server on every event loop that the daemon may use."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from unit.admin.fake_control import FakeControl
from unit.admin.transcript import Wire, read_answer

from tlsidecar.admin.server import AdminServer
from tlsidecar.dataplane.reactor import FusedEventLoop
from tlsidecar.settings import Address, Admin


def uvloop_event_loop() -> asyncio.AbstractEventLoop:
    uvloop = pytest.importorskip("uvloop")
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


@pytest.mark.parametrize("make_loop", [asyncio.SelectorEventLoop, FusedEventLoop, uvloop_event_loop])
def test_calls_streams_and_a_clean_end(make_loop: Callable[[], asyncio.AbstractEventLoop], tmp_path: Path) -> None:
    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(_everything_once(tmp_path))


async def _everything_once(tmp_path: Path) -> None:
    admin = Admin(socket=tmp_path / "run" / "admin.sock", http=Address(host="127.0.0.1", port=0))
    control = FakeControl(admin)
    server = AdminServer(control, admin)
    await server.start()
    wire = Wire(admin.socket)
    statuses = [(await wire.get("/v1/status")).json["event_loop"] for _ in range(3)]
    assert set(statuses) == {"uvloop" if "uvloop" in type(asyncio.get_running_loop()).__module__ else "asyncio"}
    answers = await asyncio.gather(*(wire.call("POST", "/v1/reload") for _ in range(40)))
    assert {answer.status for answer in answers} == {200}
    assert server.http_address is not None
    assert (await Wire((server.http_address.host, server.http_address.port)).get("/metrics")).status == 200
    assert (await wire.send(b"POST /v1/drain HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999\r\n\r\n")) is not None
    async with wire.connected() as (reader, writer):
        writer.write(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await read_answer(reader, body=False)) is not None
        control.events.publish("state", {"state": "ready"})
        await asyncio.wait_for(reader.readuntil(b"event: state\n"), 10)
        async with asyncio.timeout(10):
            await server.close()
    assert not admin.socket.exists()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    assert not others
