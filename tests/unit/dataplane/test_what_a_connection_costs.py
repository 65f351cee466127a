"""What a new connection need not do it does not: counted, since nothing else would tell when it was lost."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any, cast

import pytest
from OpenSSL import SSL
from unit.certs import forge
from unit.control.world import SETTINGS

import tlsidecar
from certs.clock import SYSTEM_CLOCK
from tlsidecar.dataplane.reactor import FusedEventLoop
from tlsidecar.dataplane.tls import Contexts
from tlsidecar.dataplane.worker import Worker
from tlsidecar.settings import Address, ListenerSettings, Mode, Protocol

OURS = str(Path(tlsidecar.__file__).parents[1])
ELSEWHERE = (str(Path(__file__).parents[2]), sys.prefix)
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CONNECTIONS = 20
LONG_AFTER = forge.NOW + 8000 * forge.DAY
WITHIN_S = 30.0


class Nobody:
    """Listens to no report."""

    exchanged = None

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


class Calls:
    """How often each function of ours was called, and asyncio's and the socket module's that it called for us."""

    def __init__(self) -> None:
        self.of: Counter[str] = Counter()

    def _called(self, frame: FrameType, event: str, _argument: object) -> None:
        file = frame.f_code.co_filename
        if event == "call" and (
            (file.startswith(OURS) and not file.startswith(ELSEWHERE)) or file.endswith(("/socket.py", "/enum.py"))
        ):
            self.of[frame.f_code.co_qualname] += 1

    @contextmanager
    def counted(self) -> Iterator[None]:
        sys.setprofile(self._called)
        try:
            yield
        finally:
            sys.setprofile(None)


def ask(context: SSL.Context, port: int, service: socket.socket, times: int) -> None:
    """Both the clients and the service, in a thread that is not counted."""
    for _ in range(times):
        with socket.create_connection(("127.0.0.1", port), timeout=WITHIN_S) as client:
            client.settimeout(None)
            tls = SSL.Connection(context, client)
            tls.set_connect_state()
            tls.do_handshake()
            tls.send(REQUEST)
            served, _ = service.accept()
            with served:
                assert served.recv(4096).startswith(b"GET / ")
                served.sendall(ANSWER)
                assert tls.recv(4096).endswith(b"ok")
                tls.shutdown()
                if not served.recv(4096):
                    continue


async def calls_of(protocol: Protocol) -> Counter[str]:
    loop = asyncio.get_running_loop()
    root = forge.authority(ends=LONG_AFTER)
    material = forge.material(forge.leaf(root, ends=LONG_AFTER), trust=[root])
    client = forge.leaf(root, ends=LONG_AFTER)
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.use_certificate(client.certificate)
    context.use_privatekey(client.key)  # type: ignore[arg-type]
    calls = Calls()
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.create_server(("127.0.0.1", 0)) as service:
        service.settimeout(WITHIN_S)
        listening.setblocking(False)
        port = listening.getsockname()[1]
        there = Address("127.0.0.1", service.getsockname()[1])
        listener = ListenerSettings(
            "in", Mode.TERMINATE, Address("127.0.0.1", port), (there,), allow=("any",), protocol=protocol
        )
        settings = replace(SETTINGS, listeners=(listener,))
        contexts = Contexts(1, material, settings.tls)
        worker = Worker(settings, loop, {"in": [listening]}, [contexts], cast("Any", Nobody()), SYSTEM_CLOCK)
        worker.start()
        await loop.run_in_executor(None, ask, context, port, service, 2)  # what is known after the first is known
        with calls.counted():
            await asyncio.wait_for(loop.run_in_executor(None, ask, context, port, service, CONNECTIONS), WITHIN_S)
        worker.close()
    return calls.of


@pytest.mark.parametrize(("protocol", "most"), [(Protocol.TCP, 165)])
def test_a_new_connection_calls_few_functions(protocol: Protocol, most: int) -> None:
    with asyncio.Runner(loop_factory=FusedEventLoop) as runner:
        calls = runner.run(calls_of(protocol))
    # Whole calls. How many steps find their turn at once is the machine's doing: 152 to 157 were seen.
    each = sum(number // CONNECTIONS for number in calls.values())
    assert each <= most, calls.most_common()
