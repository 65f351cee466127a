"""What a TLS client asks for in its first message (RFC 8446 section 4.1.2), looked at before OpenSSL reads it.

Only as far as the two things in it that are asked for: the server name (RFC 6066 section 3) and the application
protocols (RFC 7301 section 3.1). Whatever cannot be read is nobody we look for: OpenSSL judges it.
"""

from __future__ import annotations

from tlsidecar.lazy_dataclass import dataclass

MAX_HELLO_BYTES = 16 * 1024  # one record (RFC 8446 section 5.1): longer ones are not looked through

_HANDSHAKE_RECORD, _CLIENT_HELLO = 22, 1
_RECORD_HEAD_BYTES = 5
_SERVER_NAME, _ALPN = 0, 16


@dataclass(frozen=True, slots=True)
class ClientHello:
    """``server_name`` is in lower case, empty where none is asked for; ``protocols`` in the client's order."""

    server_name: str = ""
    protocols: tuple[bytes, ...] = ()


class HelloIncomplete(Exception):
    """More bytes may make it whole."""


def read_hello(data: bytes) -> ClientHello | None:
    """The hello at the start of a connection; None when it is none, or cannot be read.

    Raises :class:`HelloIncomplete` when ``data`` is only its beginning.
    """
    if data[:1] and data[0] != _HANDSHAKE_RECORD:
        return None
    if len(data) < _RECORD_HEAD_BYTES:
        raise HelloIncomplete
    length = int.from_bytes(data[3:5])
    if data[1] != 3 or not 0 < length <= MAX_HELLO_BYTES:
        return None
    record = data[_RECORD_HEAD_BYTES : _RECORD_HEAD_BYTES + length]
    if len(record) < length:
        raise HelloIncomplete
    try:
        return _hello(_Reader(record))
    except ValueError:
        return None


class _Reader:
    """Takes fields off the front; raises ValueError where there is not enough."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def take(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._data):
            raise ValueError("cut short")
        taken, self._at = self._data[self._at : end], end
        return taken

    def rest(self) -> bytes:
        return self.take(len(self._data) - self._at)

    def number(self, octets: int) -> int:
        return int.from_bytes(self.take(octets))

    def vector(self, octets: int) -> _Reader:
        """A field behind its length, which has so many octets."""
        return _Reader(self.take(self.number(octets)))


def _hello(record: _Reader) -> ClientHello | None:
    if record.number(1) != _CLIENT_HELLO:
        return None
    body = record.vector(3)
    body.take(2 + 32)  # version and random
    body.vector(1)  # session
    body.vector(2)  # cipher suites
    body.vector(1)  # compression methods
    if not body:
        return ClientHello()
    extensions = body.vector(2)
    name = ""
    protocols: tuple[bytes, ...] = ()
    while extensions:
        kind, content = extensions.number(2), extensions.vector(2)
        if kind == _SERVER_NAME:
            name = _server_name(content)
        elif kind == _ALPN:
            protocols = _protocols(content)
    return ClientHello(name, protocols)


def _server_name(content: _Reader) -> str:
    names = content.vector(2)
    while names:
        kind, name = names.number(1), names.vector(2)
        if kind == 0:
            return name.rest().decode("ascii").lower()
    return ""


def _protocols(content: _Reader) -> tuple[bytes, ...]:
    names, found = content.vector(2), []
    while names:
        found.append(names.vector(1).rest())
    return tuple(found)
