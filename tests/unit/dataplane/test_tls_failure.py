"""What OpenSSL's queue of errors comes to."""

from __future__ import annotations

import pytest

from tlsidecar.dataplane.tls_failure import FailureKind, SslFailure
from tlsidecar.outcomes import Reason

EOF = "unexpected eof while reading"


@pytest.mark.parametrize(
    ("queue", "text", "reason"),
    [
        (["first octet invalid", "padding check failed", "bad signature"], "bad signature", Reason.BAD_SIGNATURE),
        (["provider signature failure", "bad signature"], "bad signature", Reason.BAD_SIGNATURE),
        (["record too small", "record layer failure"], "record too small", Reason.RECORD_FLOOD),
        (["wrong version number", "record layer failure"], "wrong version number", Reason.NOT_TLS),
        (["record layer failure"], "record layer failure", Reason.NOT_TLS),
        (["unexpected message", ""], "unexpected message", Reason.PROTOCOL_ERROR),
        (["no suitable key share"], "no suitable key share", Reason.NO_SHARED_CIPHER),
    ],
)
def test_the_newest_that_says_something_counts(queue: list[str], text: str, reason: Reason) -> None:
    for failure in (
        SslFailure.from_queue([(None, each) for each in queue]),
        SslFailure.from_queue([(1, each) for each in queue]),
    ):
        assert (failure.kind, failure.text) == (FailureKind.PROTOCOL, text)
        assert failure.handshake_reason() is reason


def test_an_end_is_an_end_though_the_alert_could_not_be_sent() -> None:
    assert SslFailure.from_queue([(294, EOF), (32, "")]).kind is FailureKind.TRUNCATED
    assert SslFailure.from_queue([]).kind is FailureKind.TRUNCATED
