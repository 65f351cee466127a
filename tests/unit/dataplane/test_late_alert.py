"""An alert that came too late to be read is known by its size."""

from __future__ import annotations

import os
import socket

import pytest

from tlsidecar.dataplane.late_alert import late_alert
from tlsidecar.dataplane.tls_failure import FailureKind


@pytest.mark.parametrize(
    ("unread", "is_alert"),
    [
        (b"\x17\x03\x03\x00\x13" + os.urandom(19), True),
        (b"\x17\x03\x03\x00\xfa" + os.urandom(250), False),  # a session ticket, or data
        (b"\x15\x03\x03\x00\x02\x02\x30", False),  # an alert in the clear, which OpenSSL has read itself
        (b"\x17\x03", False),
    ],
)
def test_what_lies_unread(unread: bytes, is_alert: bool) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(unread)
        found = late_alert(ours)
        assert (found is not None and found.kind is FailureKind.ALERT) is is_alert
        assert ours.recv(1000) == unread  # looked at, and left


def test_one_who_only_went_sent_none() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        theirs.close()
        assert late_alert(ours) is None
    closed = socket.socket()
    closed.close()
    assert late_alert(closed) is None
