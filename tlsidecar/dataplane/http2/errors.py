"""What goes wrong in HTTP/2, by how much it takes down: a connection, a stream, or a peer's budget."""

from __future__ import annotations

from enum import IntEnum


class ErrorCode(IntEnum):
    """RFC 9113 section 7."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    INTERNAL_ERROR = 0x2
    FLOW_CONTROL_ERROR = 0x3
    SETTINGS_TIMEOUT = 0x4
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    CONNECT_ERROR = 0xA
    ENHANCE_YOUR_CALM = 0xB
    INADEQUATE_SECURITY = 0xC
    HTTP_1_1_REQUIRED = 0xD


class Http2Error(Exception):
    """What a peer sent cannot be taken. ``detail`` is our own text: nothing that was sent is in it."""

    def __init__(self, code: ErrorCode, detail: str) -> None:
        super().__init__(f"{code.name}: {detail}")
        self.code = code
        self.detail = detail


class ConnectionFault(Http2Error):
    """The whole connection ends: GOAWAY (RFC 9113 section 5.4.1)."""


class StreamFault(Http2Error):
    """One stream ends: RST_STREAM (RFC 9113 section 5.4.2)."""


class Flood(ConnectionFault):
    """Legal frames, but more of them than a peer is allowed."""

    def __init__(self, detail: str) -> None:
        super().__init__(ErrorCode.ENHANCE_YOUR_CALM, detail)


def flow_control(detail: str) -> ConnectionFault:
    """What ends the connection where a window was overrun or overgrown."""
    return ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, detail)


def broken(detail: str) -> ConnectionFault:
    """What ends the connection where a rule of the protocol was broken."""
    return ConnectionFault(ErrorCode.PROTOCOL_ERROR, detail)
