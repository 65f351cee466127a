"""The start of a MySQL session, until the server has said whether it lets the client in: one end has sent a packet that
wanted TLS and the other has not, so their sequence numbers are one apart, and so is the bit in the client's answer."""

from __future__ import annotations

from collections.abc import Callable

from tlsidecar.dataplane.starttls.mysql import CLIENT_SSL, HEADER_BYTES
from tlsidecar.dataplane.starttls.translation import Unfit

_MOST_PACKET_BYTES = 128 * 1024  # a client's attributes have up to 64 KiB (connect_attrs)
_OK, _ERROR = b"\x00", b"\xff"


class MysqlSession:
    """Numbers the packets of the connection phase anew, until the server's OK or error."""

    def __init__(self, *, inside: bool) -> None:
        """``inside``: the client is the one that speaks TLS; otherwise the server is."""
        self.over = False
        self._shift = -1 if inside else 1  # from the client's numbers to the server's
        self._ssl = not inside
        self._answered = False
        self._from_client = bytearray()
        self._from_server = bytearray()

    def from_client(self, data: bytes) -> bytes:
        return self._passed(self._from_client, data, self._said_by_client, self._shift)

    def from_server(self, data: bytes) -> bytes:
        return self._passed(self._from_server, data, self._said_by_server, -self._shift)

    def _passed(self, held: bytearray, data: bytes, said: Callable[[bytes], bytes], shift: int) -> bytes:
        """The packets in ``held`` that are whole with ``data``, as they go on; none once the session is over."""
        held += data
        passed = bytearray()
        at = 0
        while not self.over and (whole := _whole(held, at)):
            passed += self._numbered(said(bytes(held[at : at + whole])), shift)
            at += whole
        del held[:at]  # once for all of them: empty packets are four bytes each
        return bytes(passed)

    def _said_by_client(self, packet: bytes) -> bytes:
        if self._answered:
            return packet
        self._answered = True
        return self._with_capabilities(packet)

    def _said_by_server(self, packet: bytes) -> bytes:
        self.over = packet[HEADER_BYTES : HEADER_BYTES + 1] in (_OK, _ERROR)
        return packet

    def rest(self) -> tuple[bytes, bytes]:
        held = (bytes(self._from_client), bytes(self._from_server))
        self._from_client.clear()
        self._from_server.clear()
        return held

    def _with_capabilities(self, answer: bytes) -> bytes:
        if len(answer) < HEADER_BYTES + 4:
            raise Unfit("an answer to the greeting that is too short")
        capabilities = int.from_bytes(answer[HEADER_BYTES : HEADER_BYTES + 4], "little")
        capabilities = capabilities | CLIENT_SSL if self._ssl else capabilities & ~CLIENT_SSL
        return answer[:HEADER_BYTES] + capabilities.to_bytes(4, "little") + answer[HEADER_BYTES + 4 :]

    @staticmethod
    def _numbered(one: bytes, shift: int) -> bytes:
        """A command, which begins at 0 again, keeps its number."""
        return one[:3] + bytes([(one[3] + shift) & 0xFF]) + one[HEADER_BYTES:] if one[3] else one


def _whole(held: bytearray, at: int) -> int:
    """How long the packet is that begins at ``at``, 0 while it is not whole. Raises :class:`Unfit`."""
    if len(held) < at + HEADER_BYTES:
        return 0
    whole = HEADER_BYTES + int.from_bytes(held[at : at + 3], "little")
    if whole > _MOST_PACKET_BYTES:
        raise Unfit(f"a packet of more than {_MOST_PACKET_BYTES} bytes before the session has begun")
    return whole if len(held) >= at + whole else 0
