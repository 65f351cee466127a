"""A worker whole, on its loop, with real sockets."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from typing import Any, cast

from unit.certs import forge
from unit.control.world import SETTINGS

from certs.clock import SYSTEM_CLOCK
from tlsidecar.dataplane.reactor import FusedEventLoop
from tlsidecar.dataplane.tls import Contexts
from tlsidecar.dataplane.worker import Worker
from tlsidecar.settings import Address, ListenerSettings, Mode, Protocol

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
WITHIN_S = 30.0


class Nobody:
    """Listens to no report."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


def test_a_request_that_has_come_when_it_drains_is_answered() -> None:
    with asyncio.Runner(loop_factory=FusedEventLoop) as runner:
        answer = runner.run(_asked_before_a_drain())
    assert answer.startswith(b"HTTP/1.1 502 ")  # nobody is behind it
    assert b"connection: close" in answer.lower()


async def _asked_before_a_drain() -> bytes:
    loop = asyncio.get_running_loop()
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setblocking(False)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nobody = Address("127.0.0.1", closed.getsockname()[1])
    root = forge.authority()
    listener = ListenerSettings(
        name="out",
        mode=Mode.ORIGINATE,
        protocol=Protocol.HTTP,
        listen=Address("127.0.0.1", 0),
        upstreams=(nobody,),
        expect=("dns:localhost",),
    )
    settings = replace(SETTINGS, listeners=(listener,))
    contexts = Contexts(1, forge.material(forge.leaf(root), trust=[root]), settings.tls)
    worker = Worker(settings, loop, {"out": [listening]}, [contexts], cast("Any", Nobody()), SYSTEM_CLOCK)
    worker.start()
    drained = asyncio.Event()
    client = socket.create_connection(listening.getsockname())
    client.setblocking(False)
    async with asyncio.timeout(WITHIN_S):
        while worker.is_empty:
            await asyncio.sleep(0.001)
        client.send(REQUEST)  # which the worker has not read when it hears of the drain
        worker.drain(drained.set)
        answer = b""
        while more := await loop.sock_recv(client, 4096):
            answer += more
        client.close()
        await drained.wait()
    worker.close()
    return answer
