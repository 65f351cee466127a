"""A gRPC service of all four kinds, by grpcio, with plain bytes for messages; and clients for it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc

from support.pki import Pair, Pki

SERVICE = "demo.Echo"
_NO_LIMIT = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class EchoService:
    """``metadata`` is what came with the newest call."""

    def __init__(self) -> None:
        self.metadata: dict[str, str | bytes] = {}
        self.calls = 0
        self.cancelled = 0
        self.serves = True

    def _came(self, context: grpc.ServicerContext) -> None:
        self.calls += 1
        self.metadata = dict(context.invocation_metadata())

    def unary(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        self._came(context)
        context.send_initial_metadata([("x-initial", "1"), ("x-raw-bin", b"\x00\xff")])
        context.set_trailing_metadata([("x-trailing", "2"), ("x-trailing-bin", b"\xfe\x00")])
        if request == b"fail":
            context.abort(grpc.StatusCode.NOT_FOUND, "no such thing: 50 % ü")
        if request == b"slow":
            time.sleep(2)
        return request

    def server_stream(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        self._came(context)
        if request == b"forever":
            # Not after the loop: grpcio drops a generator whose call was cancelled while it was being sent for.
            context.add_callback(self._was_cancelled)
            while context.is_active():
                yield b"tick"
                time.sleep(0.05)
            return
        for number in range(int(request)):
            yield b"%d" % number

    def _was_cancelled(self) -> None:
        self.cancelled += 1

    def client_stream(self, requests: Iterable[bytes], context: grpc.ServicerContext) -> bytes:
        self._came(context)
        return b"%d" % sum(len(request) for request in requests)

    def check(self, request: bytes, _context: grpc.ServicerContext) -> bytes:
        """grpc.health.v1.Health/Check, of the whole server."""
        assert request == b""
        return b"\x08\x01" if self.serves else b"\x08\x02"

    def both(self, requests: Iterable[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        self._came(context)
        for request in requests:
            yield request.upper()


@contextlib.contextmanager
def grpc_service(
    address: str = "127.0.0.1:0", *, credentials: grpc.ServerCredentials | None = None
) -> Iterator[tuple[EchoService, str]]:
    """The service, and the address where it listens."""
    service = EchoService()
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(service.unary),
        "ServerStream": grpc.unary_stream_rpc_method_handler(service.server_stream),
        "ClientStream": grpc.stream_unary_rpc_method_handler(service.client_stream),
        "Both": grpc.stream_stream_rpc_method_handler(service.both),
    }
    server = grpc.server(ThreadPoolExecutor(24), options=_NO_LIMIT)
    health = {"Check": grpc.unary_unary_rpc_method_handler(service.check)}
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler(SERVICE, handlers),
            grpc.method_handlers_generic_handler("grpc.health.v1.Health", health),
        )
    )
    port = server.add_insecure_port(address) if credentials is None else server.add_secure_port(address, credentials)
    server.start()
    try:
        yield service, f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def credentials(pki: Pki, pair: Pair) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(pki.trust.read_bytes(), _pem(pair.key), _pem(pair.cert))


def server_credentials(pki: Pki, pair: Pair) -> grpc.ServerCredentials:
    chain = [(_pem(pair.key), _pem(pair.cert))]
    return grpc.ssl_server_credentials(chain, pki.trust.read_bytes(), require_client_auth=True)


@contextlib.contextmanager
def channel(
    port: int, secrets: grpc.ChannelCredentials | None = None, *more: tuple[str, object]
) -> Iterator[grpc.Channel]:
    # A pool of its own: channels of one address would share a connection.
    options = [*_NO_LIMIT, ("grpc.use_local_subchannel_pool", 1), *more]
    target = f"localhost:{port}" if secrets is not None else f"127.0.0.1:{port}"
    made = (
        grpc.secure_channel(target, secrets, options) if secrets is not None else grpc.insecure_channel(target, options)
    )
    with made:
        yield made


def unary(through: grpc.Channel, method: str = "Unary") -> grpc.UnaryUnaryMultiCallable:
    return through.unary_unary(f"/{SERVICE}/{method}")


def _pem(path: Path) -> bytes:
    return path.read_bytes()
