"""``grpc.health.v1.Health/Check`` of a whole server (grpc/doc/health-checking.md)."""

from __future__ import annotations

from typing import Final

from tlsidecar.dataplane.http2.client import GrpcCall
from tlsidecar.dataplane.http2.errors import Http2Error

_PATH: Final = "/grpc.health.v1.Health/Check"
_ANY_SERVICE: Final = b""  # HealthCheckRequest without a service: the server as a whole
_SERVING: Final = b"\x08\x01"  # HealthCheckResponse { status: SERVING }
_MAX_ANSWER_BYTES: Final = 4096


class GrpcHealthCall:
    """One call; see :class:`tlsidecar.dataplane.outbound.health.HealthCall`."""

    __slots__ = ("_call", "_serves")

    def __init__(self, authority: str, *, scheme: str) -> None:
        self._call = GrpcCall(_PATH, authority, _ANY_SERVICE, scheme=scheme, max_message_bytes=_MAX_ANSWER_BYTES)
        self._serves: bool | None = None

    @property
    def opening(self) -> bytes:
        return self._call.opening

    @property
    def to_send(self) -> bytes:
        return self._call.to_send

    def verdict(self, data: bytes) -> str | None:
        try:
            for message in self._call.receive(data):
                self._serves = message == _SERVING
        except Http2Error as error:
            raise ValueError(f"what it answered is not gRPC: {error}") from None
        status = self._call.status
        if status is None:
            return None
        if status.grpc == 0 and self._serves is not None:
            return "" if self._serves else "it says that it is not serving"
        return f"the call of {_PATH} was answered with {status.grpc if status.grpc is not None else 'no status'}"
