"""What we state about a client to the service, and which of the client's own words stay beside it.

One :class:`IdentityHeaders` belongs to one downstream connection. Nearly all of it is the same on every request, so it
is put together once; what is added to an ordinary head is one ready-made run of bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from ipaddress import ip_address
from itertools import count

from tlsidecar.dataplane.http import names, xfcc
from tlsidecar.dataplane.http.message import Fields, Request
from tlsidecar.dataplane.http.refusal import MessageRefused
from tlsidecar.lazy_dataclass import dataclass
from tlsidecar.outcomes import Reason
from tlsidecar.settings import ClientCertificateHeader

REQUEST_ID_PREFIX_BYTES = 8


class RequestIds:
    """Makes request ids: 32 hex digits, unique within a process and, by their random half, across processes."""

    def __init__(self, random_prefix: bytes) -> None:
        """``random_prefix`` is :data:`REQUEST_ID_PREFIX_BYTES` random bytes."""
        if len(random_prefix) != REQUEST_ID_PREFIX_BYTES:
            raise ValueError(f"a request-id prefix is {REQUEST_ID_PREFIX_BYTES} bytes")
        self._prefix = random_prefix.hex().encode("ascii")
        self._ids = self._count()
        self.next = self._ids.__next__

    def _count(self) -> Iterator[bytes]:
        for block in count():
            high = b"%b%014x" % (self._prefix, block)
            for low in _LAST_DIGITS:
                yield high + low


_REQUEST_ID = b"X-Request-Id: "

# Formatting a number for each request would cost more than all else that is done about its id.
_LAST_DIGITS = [b"%02x" % number for number in range(256)]


@dataclass(frozen=True, slots=True)
class ClientIdentity:
    """What is known of one downstream connection's client.

    ``address`` is its IP address without port, or empty for a Unix socket. ``element`` is the whole
    ``X-Forwarded-Client-Cert`` element about its certificate, or empty when it showed none.
    """

    address: str = ""
    element: bytes = b""


class IdentityHeaders:
    """The fields one downstream connection's requests get. ``terminate`` says whether we speak for an mTLS client;
    on the originate side nothing is stated but a request id."""

    is_traced = False  # whether each request gets a span, and so has fields of its own

    __slots__ = (
        "_address",
        "_before_request_id",
        "_element",
        "_host",
        "_mode",
        "_next_request_id",
        "_node",
        "_terminate",
    )

    def __init__(
        self, client: ClientIdentity, mode: ClientCertificateHeader, request_ids: RequestIds, *, terminate: bool
    ) -> None:
        self._mode = mode
        self._element = client.element if terminate else b""
        self._terminate = terminate
        self._address, self._node = _address(client.address)
        self._next_request_id = request_ids.next
        self._host: bytes | None = None
        self._before_request_id = b""

    def suffix(self, request: Request) -> bytes:
        """What ends a head that keeps nothing of the client's: our fields and the empty line.

        Gives ``request`` its request id where it has none.
        """
        if request.host != self._host:
            self._prepare(request.host)
        if request.request_id:
            return self._before_request_id[: -len(_REQUEST_ID)] + b"\r\n"
        next_request_id = self._next_request_id
        request_id = request.request_id = next_request_id()
        return self._before_request_id + request_id + b"\r\n\r\n"

    def stated(self, host: bytes) -> Fields:
        """Our fields, but for the request id, for each request to ``host`` that keeps nothing of the client's."""
        return self._stated(host) + self._certificate([])

    def next_request_id(self) -> bytes:
        return self._next_request_id()

    def begin_trace(self, request: Request) -> None:
        """Give ``request`` its span, where tracing is on."""

    def fields(self, request: Request) -> Fields:
        """Our fields for ``request``, with the client's own words that are kept. Gives ``request`` its request id.

        Raises :class:`MessageRefused` when what is to be kept is malformed.
        """
        stated = self._stated(request.host)
        certificates = [value for name, value in request.kept if name == names.CLIENT_CERTIFICATE]
        forwarded = [(name, value) for name, value in request.kept if name != names.CLIENT_CERTIFICATE]
        fields = _merge(stated, forwarded)
        fields += self._certificate(certificates)
        if not request.request_id:
            request.request_id = self._next_request_id()
            fields.append((b"X-Request-Id", request.request_id))
        return fields

    def _prepare(self, host: bytes) -> None:
        fields = self._stated(host) + self._certificate([])
        lines = b"".join(b"%b: %b\r\n" % field for field in fields)
        self._host = host
        self._before_request_id = _shared(lines + _REQUEST_ID)

    def _stated(self, host: bytes) -> Fields:
        if not self._terminate:
            return []
        fields = [(b"X-Forwarded-For", self._address)] if self._address else []
        fields.append((b"X-Forwarded-Proto", b"https"))
        fields.append((b"X-Forwarded-Host", host))
        fields.append((b"Forwarded", b'for=%b;host="%b";proto=https' % (self._node, host)))
        return fields

    def _certificate(self, kept: list[bytes]) -> Fields:
        elements = list(kept)
        if self._mode in (ClientCertificateHeader.SANITIZE_SET, ClientCertificateHeader.APPEND_FORWARD):
            elements.append(self._element)
        if kept and not all(xfcc.is_well_formed(value) for value in kept):
            # An open quote in it would swallow what we append.
            raise MessageRefused(400, Reason.BAD_HEADER, "X-Forwarded-Client-Cert is malformed")
        value = b",".join(element for element in elements if element)
        return [(b"X-Forwarded-Client-Cert", value)] if value else []


@lru_cache(maxsize=512)
def _shared(lines: bytes) -> bytes:
    """The same object for equal bytes: a client's connections have them in common, and half a kilobyte each is much for
    one that idles."""
    return lines


def _merge(stated: Fields, kept: Fields) -> Fields:
    """A chain of proxies is told in order, the client's words first; where there is one answer, the client's stands."""
    client: dict[bytes, list[bytes]] = {}
    for name, value in kept:
        client.setdefault(name, []).append(value)
    fields: Fields = []
    for name, value in stated:
        said = client.pop(name.lower(), [])
        if name in (b"X-Forwarded-For", b"Forwarded"):
            fields.append((name, b", ".join([*(word for word in said if word), value])))
        else:
            fields.append((name, said[0] if said else value))
    fields += [(name, word) for name, said in client.items() for word in said]
    return fields


@lru_cache(maxsize=512)
def _address(address: str) -> tuple[bytes, bytes]:
    """The address for X-Forwarded-For and the node for Forwarded (RFC 7239 section 6)."""
    if not address:
        return b"", b"unknown"
    ip = ip_address(address.partition("%")[0])
    text = str(ip).encode("ascii")
    return text, b'"[%b]"' % text if ip.version == 6 else text
