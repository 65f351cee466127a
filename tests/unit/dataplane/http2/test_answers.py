"""Our own answers on a stream, read back by the reference decoder."""

from __future__ import annotations

import hpack
import pytest

from tlsidecar.dataplane.http.refusal import MessageRefused
from tlsidecar.dataplane.http2.answers import block, grpc_status
from tlsidecar.outcomes import Reason


def read(encoded: bytes) -> list[tuple[str, str]]:
    return [(str(name), str(value)) for name, value in hpack.Decoder().decode(encoded)]


def test_a_refusal_has_a_status_and_no_body() -> None:
    refused = MessageRefused(403, Reason.ROUTE_DENIED)
    assert read(block(refused, grpc=False)) == [(":status", "403"), ("content-length", "0")]


def test_a_rate_says_when_to_come_again() -> None:
    refused = MessageRefused(429, Reason.RATE_LIMITED, retry_after_s=3)
    assert ("retry-after", "3") in read(block(refused, grpc=False))


@pytest.mark.parametrize(
    ("reason", "status", "code"),
    [
        (Reason.ROUTE_DENIED, 403, 7),
        (Reason.RATE_LIMITED, 429, 8),
        (Reason.UPSTREAM_REFUSED, 502, 14),
        (Reason.UPSTREAM_TIMEOUT, 504, 14),
        (Reason.BAD_HEADER, 400, 13),
        (Reason.METHOD_REFUSED, 501, 2),
    ],
)
def test_grpc_gets_trailers_only(reason: Reason, status: int, code: int) -> None:
    assert read(block(MessageRefused(status, reason), grpc=True)) == [
        (":status", "200"),
        ("content-type", "application/grpc"),
        ("grpc-status", str(code)),
        ("grpc-message", reason.sentence),
    ]
    assert grpc_status(status) == code


def test_answers_refer_to_no_table() -> None:
    refused = MessageRefused(403, Reason.ROUTE_DENIED)
    assert block(refused, grpc=False) == block(refused, grpc=False)
    assert read(block(refused, grpc=True)) == read(block(refused, grpc=True))  # each by a decoder that knows nothing
