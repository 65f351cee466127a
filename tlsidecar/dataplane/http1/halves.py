"""The two directions of one exchange: what is read, judged and rewritten on the way up, and on the way back.

A half knows nothing of the other or of the connection's life; the conversation has them move in step.
"""

from __future__ import annotations

from tlsidecar.dataplane.http.identity_headers import IdentityHeaders
from tlsidecar.dataplane.http.refusal import MAX_INTERIM_RESPONSES, bad_response
from tlsidecar.dataplane.http1 import forward
from tlsidecar.dataplane.http1.body import BodyReader, ChunkingReader, CloseReader, LengthReader, NoBody, Piece
from tlsidecar.dataplane.http1.chunked import ChunkedReader
from tlsidecar.dataplane.http1.h11_lane import H11Lane
from tlsidecar.dataplane.http1.head_reader import Buffer
from tlsidecar.dataplane.http1.request_head import Framing, RequestHead
from tlsidecar.dataplane.http1.request_reader import RequestReader
from tlsidecar.dataplane.http1.response_head import ResponseHead, ResponseReader
from tlsidecar.dataplane.http1.rules import Http1Rules

# What was handed over for the upstream is kept for a retry up to this size.
REPLAY_BYTES = 64 * 1024

_NO_BODY = NoBody()
# See :mod:`.states`.
_LENGTH = Framing.LENGTH
_CHUNKED = Framing.CHUNKED
_CLOSE = Framing.CLOSE


class RequestHalf:
    """From the client to the upstream."""

    __slots__ = (
        "_body",
        "_force_h11",
        "_identity",
        "_reader",
        "_replay_bytes",
        "_rules",
        "lane",
        "replay",
    )

    def __init__(self, rules: Http1Rules, identity: IdentityHeaders, *, force_h11: bool) -> None:
        self._rules = rules
        self._identity = identity
        self._force_h11 = force_h11
        self.lane: H11Lane | None = None
        self._reader: RequestReader | None = None
        self._body: BodyReader = _NO_BODY
        self._replay_bytes = 0
        self.replay: list[bytes] | None = None  # all that was handed over, while it can be handed over again

    @property
    def done(self) -> bool:
        return self._body.done

    def scan(self, buffer: Buffer, start: int, end: int) -> RequestHead | None:
        """The head that starts at ``start``, or ``None`` while it is incomplete: call again with all of it.

        Raises :class:`MessageRefused`.
        """
        resumed = self._reader
        scanner = self._rules.requests
        head = scanner.fast(buffer, start, end) if resumed is None else None
        if head is not None:
            return head
        reader = self._reader = resumed or scanner.reader()
        head_end = reader.read(buffer, start, end)
        if head_end is None:
            return None
        # What came in pieces goes on in the same bytes as what came whole.
        head = scanner.fast(buffer, start, head_end) if resumed is not None else None
        head = head or reader.head(start, head_end)
        self._reader = None
        return head

    @property
    def seen(self) -> tuple[bytes, bytes]:
        """The method and the target of a head that is not whole, or was refused, as far as they were read."""
        return self._reader.seen if self._reader is not None else (b"", b"")

    def begin(self, head: RequestHead, buffer: Buffer, *, last: bool = False) -> bytes:
        """The head for the upstream; ``last``: its connection ends with this exchange.

        Raises :class:`MessageRefused`.
        """
        rules = self._rules
        self._body = body_reader(head.framing, head.length, rules.trailers, rules.limits.max_body_bytes)
        if head.is_plain and not self._force_h11:
            data = forward.request_bytes(head, buffer, self._identity, rules.host_rewrite, last=last)
        else:
            self.lane = H11Lane(rules.limits.max_header_bytes, rules.trailers)
            fields = forward.request_fields(head, buffer, self._identity, rules.host_rewrite, last=last)
            data = self.lane.request_head(bytes(memoryview(buffer)[head.start : head.end]), head, fields)
            if self._body.done:
                data += self.lane.request_body(b"", ended=True)
        self.replay = [data]
        self._replay_bytes = len(data)
        return data

    def passes(self, buffer: Buffer, end: int) -> bool:
        """Take all of ``buffer[:end]``, if it goes up as it is and the body goes on after it; else ``False``, and
        nothing has happened."""
        if self.lane is not None or not self._body.passes(buffer, end):
            return False
        self._keep_for_replay([memoryview(buffer)[:end]])
        return True

    def read(self, buffer: Buffer, start: int, end: int) -> tuple[int, list[Piece]]:
        """Where the body's part of ``buffer[start:end]`` ends, and what goes up for it. Raises
        :class:`MessageRefused`."""
        pieces: list[Piece] = []
        position = self._body.read(buffer, start, end, pieces)
        if self.lane is not None:
            pieces = [self.lane.request_body(b"".join(pieces), ended=self._body.done)]
        self._keep_for_replay(pieces)
        return position, pieces

    def _keep_for_replay(self, pieces: list[Piece]) -> None:
        if self.replay is None:
            return
        self._replay_bytes += sum(map(len, pieces))
        if self._replay_bytes > REPLAY_BYTES:
            self.replay = None
        else:
            self.replay += map(bytes, pieces)


class ResponseHalf:
    """From the upstream to the client."""

    __slots__ = (
        "_body",
        "_interim",
        "_reader",
        "_rules",
        "lane",
        "partial_head",
        "passes",
    )

    def __init__(self, rules: Http1Rules) -> None:
        """``passes`` is the body's own (:meth:`.body.BodyReader.passes`) while what it says may go down as it is: each
        event of a stream is asked for."""
        self.passes = _NO_BODY.passes
        self._rules = rules
        self.lane: H11Lane | None = None
        self._reader: ResponseReader | None = None
        self._body: BodyReader = _NO_BODY
        self._interim = 0
        self.partial_head = bytearray()

    @property
    def done(self) -> bool:
        return self._body.done

    @property
    def ends_by_close(self) -> bool:
        return isinstance(self._body, CloseReader)

    def scan(self, buffer: Buffer, start: int, end: int, request: RequestHead) -> ResponseHead | None:
        """The head that starts at ``start``, or ``None`` while it is incomplete: call again with all of it.

        Raises :class:`MessageRefused`.
        """
        resumed = self._reader
        head = self._fast_head(buffer, start, end, request) if resumed is None else None
        if head is not None:
            return head
        reader = resumed or self._rules.responses.reader(request.method)
        head_end = reader.read(buffer, start, end)
        if head_end is None:
            self._reader = reader
            return None
        self._reader = None
        head = self._fast_head(buffer, start, head_end, request) if resumed is not None else None
        return head or reader.head(start, head_end)

    def interim(self, response: ResponseHead, buffer: Buffer, request: RequestHead) -> Piece:
        """An interim head for the client, or nothing. Raises :class:`MessageRefused`."""
        self._interim += 1
        if self._interim > MAX_INTERIM_RESPONSES:
            raise bad_response("a flood of interim responses")
        if response.status == 101:
            if not request.upgrade or response.upgrade not in request.upgrade.lower().split(b", "):
                raise bad_response("101 without a request for it")
        elif request.minor == 0 or (response.status == 100 and not request.expects_continue):
            return b""  # the client would not know what to make of it
        return self._head(response, buffer, close=False)

    def begin(self, response: ResponseHead, buffer: Buffer, request: RequestHead, *, close: bool) -> Piece:
        """A final head for the client; ``close`` says that its connection ends with it. Raises
        :class:`MessageRefused`."""
        framing = response.framing
        in_chunks = request.minor == 1 and framing in (_CHUNKED, _CLOSE)
        response.goes_in_chunks = in_chunks
        if self.lane is not None:
            in_chunks = framing is _CHUNKED  # h11 reads it as it came, and frames it anew
        self._body = body_reader(framing, response.length, self._rules.trailers, takes_chunks=in_chunks)
        if self.lane is None:
            self.passes = self._body.passes
        data = self._head(response, buffer, close=close)
        if self._body.done and self.lane is not None:
            return bytes(data) + self.lane.response_body(b"", ended=True)
        return data

    def read(self, buffer: Buffer, start: int, end: int) -> tuple[int, list[Piece]]:
        """Where the body's part of ``buffer[start:end]`` ends, and what goes down for it. Raises
        :class:`MessageRefused`."""
        pieces: list[Piece] = []
        position = self._body.read(buffer, start, end, pieces)
        if self.lane is not None:
            pieces = [self.lane.response_body(b"".join(pieces), ended=self._body.done)]
        return position, pieces

    def finish(self) -> bytes:
        """The upstream ended its connection, and with it the body; what is left to say to the client."""
        assert isinstance(self._body, CloseReader)
        rest = self._body.finish()
        return self.lane.response_closed() if self.lane is not None else rest

    def _fast_head(self, buffer: Buffer, start: int, end: int, request: RequestHead) -> ResponseHead | None:
        if self.lane is not None:
            return None
        head = self._rules.responses.fast(buffer, start, end, request.method)
        # A client of HTTP/1.0 gets no chunks: its head is written anew, from the fields that only a precise one has.
        if head is not None and request.minor == 0 and head.framing is _CHUNKED:
            return None
        return head

    def _head(self, response: ResponseHead, buffer: Buffer, *, close: bool) -> Piece:
        if self.lane is None:
            return forward.response_bytes(response, buffer, close=close)
        raw = bytes(memoryview(buffer)[response.start : response.end])
        return self.lane.response_head(raw, response, close=close)


def body_reader(
    framing: Framing,
    length: int,
    trailers: frozenset[bytes] = frozenset(),
    max_body_bytes: int | None = None,
    *,
    takes_chunks: bool = True,
) -> BodyReader:
    """The reader for a body that is framed so, and goes on to somebody who ``takes_chunks`` (HTTP/1.1) or not."""
    if framing is _LENGTH:
        return LengthReader(length)
    if framing is _CHUNKED:
        return ChunkedReader(trailers, max_body_bytes, framed=takes_chunks)
    if framing is _CLOSE:
        return ChunkingReader() if takes_chunks else CloseReader()
    return NoBody()
