"""Header compression (RFC 7541): a decoder with bounded memory, and an encoder that keeps no state.

The encoder uses the static table and literals that are not indexed. There is then no table that could get out of step
with the peer's, and no way for what one client sends to show in the length of what another one gets.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeAlias

from tlsidecar.dataplane.http2 import huffman
from tlsidecar.dataplane.http2.errors import ConnectionFault, ErrorCode, Flood

Field: TypeAlias = "tuple[bytes, bytes]"

# RFC 7541 appendix A, from index 1 on.
STATIC_TABLE: Final[tuple[Field, ...]] = tuple(
    (name, value)
    for name, _, value in (
        line.encode("ascii").partition(b"=")
        for line in """\
:authority
:method=GET
:method=POST
:path=/
:path=/index.html
:scheme=http
:scheme=https
:status=200
:status=204
:status=206
:status=304
:status=400
:status=404
:status=500
accept-charset
accept-encoding=gzip, deflate
accept-language
accept-ranges
accept
access-control-allow-origin
age
allow
authorization
cache-control
content-disposition
content-encoding
content-language
content-length
content-location
content-range
content-type
cookie
date
etag
expect
expires
from
host
if-match
if-modified-since
if-none-match
if-range
if-unmodified-since
last-modified
link
location
max-forwards
proxy-authenticate
proxy-authorization
range
referer
refresh
retry-after
server
set-cookie
strict-transport-security
transfer-encoding
user-agent
vary
via
www-authenticate""".splitlines()
    )
)
_STATIC_ENTRIES: Final = len(STATIC_TABLE)

TABLE_BYTES: Final = 4096  # the default of SETTINGS_HEADER_TABLE_SIZE, which we never change
ENTRY_OVERHEAD_BYTES: Final = 32  # what RFC 7541 section 4.1 adds to the lengths of name and value

_INTEGER_SHIFT_LIMIT: Final = 21  # five bytes at most after the prefix; no length or index needs more

# Never remembered by the encoder, and marked so that no other hop compresses them (RFC 7541 section 7.1.3).
SECRET_NAMES: Final = frozenset(
    {b"authorization", b"proxy-authorization", b"cookie", b"set-cookie", b"x-api-key", b"x-auth-token"}
)

_REMEMBERED_BYTES: Final = 256  # longer fields are rarely the same again


class Decoder:
    """One direction of one connection. ``max_fields`` and ``max_bytes`` bound one block's fields, each counted as
    RFC 7541 section 4.1 counts an entry of the table, references into the table as often as they are made."""

    __slots__ = ("_max_bytes", "_max_fields", "_size", "_table", "_table_bytes", "never_indexed", "version")

    def __init__(self, max_fields: int, max_bytes: int) -> None:
        self._max_fields = max_fields
        self._max_bytes = max_bytes
        self._table: list[Field] = []  # the newest last
        self._size = 0
        self._table_bytes = TABLE_BYTES
        self.never_indexed: list[int] = []  # which fields of the last block no hop may index (section 6.2.3)
        self.version = 0  # changes with the table: the same block means the same while it does not

    def __repr__(self) -> str:
        return f"<Decoder {len(self._table)} entries, {self._size} of {self._table_bytes} bytes>"

    def decode(self, block: bytes) -> list[Field]:
        """The fields of one whole header block, in order.

        Raises :class:`ConnectionFault` (COMPRESSION_ERROR), or :class:`Flood` where there is more than is allowed;
        the decoder is of no use after either.
        """
        try:
            return self._decode(block)
        except IndexError:
            raise _bad("a block that ends in the middle, or an index beyond the table") from None

    def entry(self, index: int) -> Field:
        """What a block says by this index, which was found in one (section 2.3.3)."""
        return STATIC_TABLE[index - 1] if index <= _STATIC_ENTRIES else self._table[_STATIC_ENTRIES - index]

    def _decode(self, block: bytes) -> list[Field]:
        fields: list[Field] = []
        self.never_indexed = never_indexed = []
        table = self._table
        left = self._max_bytes
        updates = 0
        at = 0
        size = len(block)
        while at < size:
            first = block[at]
            if first & 0x80:
                if first < 0xFF:
                    index = first & 0x7F
                    at += 1
                else:
                    index, at = _integer(block, at, 0x7F)
                if index > _STATIC_ENTRIES:
                    field = table[_STATIC_ENTRIES - index]
                elif index:
                    field = STATIC_TABLE[index - 1]
                else:
                    raise _bad("index 0")
            elif first & 0x60 == 0x20:
                updates += 1
                if fields or updates > 2:
                    raise _bad("a table size update that is not at the start of a block")
                limit, at = _integer(block, at, 0x1F)
                self._resize(limit)
                continue
            else:
                prefix = 0x3F if first & 0x40 else 0x0F
                if first & prefix < prefix:
                    index = first & prefix
                    at += 1
                else:
                    index, at = _integer(block, at, prefix)
                if index > _STATIC_ENTRIES:
                    name = table[_STATIC_ENTRIES - index][0]
                elif index:
                    name = STATIC_TABLE[index - 1][0]
                else:
                    name, at = _string(block, at)
                value, at = _string(block, at)
                field = (name, value)
                if prefix == 0x3F:
                    self._insert(field)
                elif first & 0x10:
                    never_indexed.append(len(fields))
            left -= len(field[0]) + len(field[1]) + ENTRY_OVERHEAD_BYTES
            if left < 0:
                raise Flood("a header list over the limit")
            fields.append(field)
        if len(fields) > self._max_fields:
            raise Flood("too many header fields")
        return fields

    def _insert(self, field: Field) -> None:
        self.version += 1
        self._table.append(field)
        self._size += len(field[0]) + len(field[1]) + ENTRY_OVERHEAD_BYTES
        if self._size > self._table_bytes:
            self._evict()

    def _resize(self, limit: int) -> None:
        if limit > TABLE_BYTES:
            raise _bad("a table larger than ours")
        self.version += 1
        self._table_bytes = limit
        self._evict()

    def _evict(self) -> None:
        table = self._table
        evicted = 0
        while self._size > self._table_bytes:
            name, value = table[evicted]
            self._size -= len(name) + len(value) + ENTRY_OVERHEAD_BYTES
            evicted += 1
        del table[:evicted]


def _integer(block: bytes, at: int, prefix: int) -> tuple[int, int]:
    """RFC 7541 section 5.1: the integer whose prefix is in the byte at ``at``, and where the next thing starts."""
    value = block[at] & prefix
    at += 1
    if value < prefix:
        return value, at
    shift = 0
    while True:
        byte = block[at]
        at += 1
        value += (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        if shift == _INTEGER_SHIFT_LIMIT:
            raise _bad("an integer that does not end")
        shift += 7


def _string(block: bytes, at: int) -> tuple[bytes, int]:
    """RFC 7541 section 5.2."""
    first = block[at]
    if first & 0x7F == 0x7F:
        length, at = _integer(block, at, 0x7F)
    else:
        length = first & 0x7F
        at += 1
    end = at + length
    if end > len(block):
        raise _bad("a string longer than its block")
    raw = block[at:end]
    if not first & 0x80:
        return raw, end
    try:
        return huffman.decode(raw), end
    except huffman.HuffmanError as error:
        raise _bad(str(error)) from None


def values_in(block: bytes) -> list[slice | int]:
    """For each field of a block that was decoded: where its value is, encoded and with its length, or the index of the
    entry that has it."""
    found: list[slice | int] = []
    at = 0
    while at < len(block):
        first = block[at]
        if first & 0x80:
            index, at = _integer(block, at, 0x7F)
            found.append(index)
        elif first & 0x60 == 0x20:
            _, at = _integer(block, at, 0x1F)
        else:
            index, at = _integer(block, at, 0x3F if first & 0x40 else 0x0F)
            if not index:
                at = _after_string(block, at)
            end = _after_string(block, at)
            found.append(slice(at, end))
            at = end
    return found


def _after_string(block: bytes, at: int) -> int:
    length, at = _integer(block, at, 0x7F)
    return at + length


def _bad(detail: str) -> ConnectionFault:
    return ConnectionFault(ErrorCode.COMPRESSION_ERROR, detail)


class Encoder:
    """Encodes fields, and remembers the bytes of some of them: of each that is no secret and not long, the first
    ``capacity``, then anew. It keeps nothing else, so one serves any number of connections."""

    __slots__ = ("_capacity", "_known")

    def __init__(self, capacity: int = 2048) -> None:
        self._capacity = capacity
        self._known: dict[Field, bytes] = {}

    def __repr__(self) -> str:
        return f"<Encoder {len(self._known)} fields remembered>"

    def encode(self, field: Field) -> bytes:
        """``field`` as it goes into a header block. The name is in lower case; nothing here judges it."""
        known = self._known.get(field)
        if known is not None:
            return known
        name, value = field
        if name in SECRET_NAMES:
            return literal(name, value, secret=True)
        coded = literal(name, value)
        if len(coded) <= _REMEMBERED_BYTES:
            if len(self._known) >= self._capacity:
                self._known.clear()
            self._known[field] = coded
        return coded

    def block(self, fields: Iterable[Field]) -> bytes:
        """A whole header block."""
        encode = self.encode
        return b"".join([encode(field) for field in fields])


def literal(name: bytes, value: bytes, *, secret: bool = False) -> bytes:
    """One field: its index where the static table has the whole of it, else a literal without indexing, or never to
    be indexed by anybody if it is ``secret``."""
    index = _STATIC_INDEX.get((name, value))
    if index is not None and not secret:
        return bytes((0x80 | index,))
    kind = 0x10 if secret else 0x00
    index = _STATIC_NAME_INDEX.get(name)
    start = integer(index, 0x0F, kind) if index is not None else bytes((kind,)) + integer(len(name), 0x7F) + name
    return start + integer(len(value), 0x7F) + value


def is_never_indexed(coded: bytes) -> bool:
    """Whether it is a field that no hop may index (section 6.2.3)."""
    return bool(coded) and coded[0] & 0xF0 == 0x10


def integer(value: int, prefix: int, kind: int = 0) -> bytes:
    """RFC 7541 section 5.1; ``prefix`` is the greatest number that fits into the first byte, beside ``kind``."""
    if value < prefix:
        return bytes((kind | value,))
    coded = bytearray((kind | prefix,))
    value -= prefix
    while value > 0x7F:
        coded.append(value & 0x7F | 0x80)
        value >>= 7
    coded.append(value)
    return bytes(coded)


_STATIC_INDEX: Final = {field: at for at, field in enumerate(STATIC_TABLE, 1) if field[1]}
# The first entry of each name: RFC 7541 does not care which.
_STATIC_NAME_INDEX: Final = {name: at for at, (name, _) in reversed([*enumerate(STATIC_TABLE, 1)])}
