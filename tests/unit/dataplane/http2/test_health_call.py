"""gRPC's health check: what a server's answers mean, in any pieces."""

from __future__ import annotations

import h2.config
import h2.connection
import pytest

from tlsidecar.dataplane.http2.health_call import GrpcHealthCall

SERVING, NOT_SERVING, UNKNOWN = b"\x08\x01", b"\x08\x02", b""


def answers(*, status: str | None, message: bytes | None, call: GrpcHealthCall) -> bytes:
    """What hyper's h2, as the server, says to the call."""
    server = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
    server.initiate_connection()
    events = server.receive_data(call.opening)
    head = next(event for event in events if type(event).__name__ == "RequestReceived")
    fields = dict(head.headers)
    assert fields[":path"] == "/grpc.health.v1.Health/Check"
    assert (fields[":authority"], fields["te"]) == ("health.example", "trailers")
    ok = [(":status", "200"), ("content-type", "application/grpc")]
    if message is None:
        server.send_headers(head.stream_id, [*ok, *([("grpc-status", status)] if status else [])], end_stream=True)
    else:
        server.send_headers(head.stream_id, ok)
        server.send_data(head.stream_id, b"\0" + len(message).to_bytes(4) + message)
        server.send_headers(head.stream_id, [("grpc-status", status or "0")], end_stream=True)
    return server.data_to_send()


@pytest.mark.parametrize("step", [1, 7, 100_000])
@pytest.mark.parametrize(
    ("status", "message", "verdict"),
    [
        ("0", SERVING, ""),
        ("0", NOT_SERVING, "it says that it is not serving"),
        ("0", UNKNOWN, "it says that it is not serving"),
        ("12", None, "the call of /grpc.health.v1.Health/Check was answered with 12"),
        ("0", None, "the call of /grpc.health.v1.Health/Check was answered with 0"),
        (None, None, "the call of /grpc.health.v1.Health/Check was answered with no status"),
        ("2", SERVING, "the call of /grpc.health.v1.Health/Check was answered with 2"),
    ],
)
def test_verdicts(status: str | None, message: bytes | None, verdict: str, step: int) -> None:
    call = GrpcHealthCall("health.example", scheme="http")
    data = answers(status=status, message=message, call=call)
    said = [call.verdict(data[at : at + step]) for at in range(0, len(data), step)]
    assert next(each for each in said if each is not None) == verdict
    assert said.index(verdict) == next(at for at, each in enumerate(said) if each is not None)


def test_what_is_not_grpc_is_said() -> None:
    call = GrpcHealthCall("health.example", scheme="http")
    with pytest.raises(ValueError, match="what it answered is not gRPC"):
        call.verdict(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
