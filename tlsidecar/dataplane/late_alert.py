"""The alert of a remote that will not have us, when it came too late to be read.

In TLS 1.3 a server judges its client after the client's handshake is over; it sends an alert and closes, and if
something of ours is still unread there, that close is a reset. A write of ours that meets it fails, and after a write
that failed OpenSSL reads nothing more, though the alert lies in the socket's buffer. So until a remote has sent its
first byte it is looked for before every record that is written, and when even so a write fails, by its size.
"""

from __future__ import annotations

import socket

from tlsidecar.dataplane.tls_failure import FailureKind, SslFailure

# A protected record that holds an alert and nothing else: its two bytes, the content type, the tag (RFC 8446 section
# 5.2; each of our suites has a tag of 16 bytes). No session ticket is as short.
_ALERT_RECORD = b"\x17\x03\x03\x00\x13"

_TEXT = "the peer sent an alert and a reset; which alert it was is lost"


def late_alert(sock: socket.socket) -> SslFailure | None:
    """What the remote meant, after a write to it failed and before anything was read from it; None when it only
    went."""
    try:
        unread = sock.recv(len(_ALERT_RECORD), socket.MSG_PEEK)
    except OSError:
        return None
    return SslFailure(FailureKind.ALERT, _TEXT) if unread == _ALERT_RECORD else None
