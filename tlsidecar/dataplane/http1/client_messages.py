"""From the client: heads and bodies in the order in which they came.

Requests that arrive before their turn wait in ``_held``, unjudged. Once it is over its bound, the conversation's
``wants_downstream`` is false and the shell stops reading.
"""

from __future__ import annotations

from tlsidecar.dataplane.http.exchange import Exchange
from tlsidecar.dataplane.http.refusal import MessageRefused
from tlsidecar.dataplane.http1 import states
from tlsidecar.dataplane.http1.body import Piece
from tlsidecar.dataplane.http1.commands import Command, Connect, SendUpstream
from tlsidecar.dataplane.http1.head_reader import Buffer
from tlsidecar.dataplane.http1.messages import JOINED_BYTES, Messages
from tlsidecar.dataplane.http1.request_head import Framing, RequestHead
from tlsidecar.outcomes import Reason

# Methods whose request bodies have no meaning (RFC 9110 sections 9.3.1, 9.3.2, 9.3.5 and 9.3.7).
BODY_WITHOUT_MEANING = frozenset({b"GET", b"HEAD", b"DELETE", b"OPTIONS"})
# Before a request, ignored (RFC 9112 section 2.2).
MAX_EMPTY_LINES = 8

_CR = 0x0D


class ClientMessages(Messages):
    """Requests."""

    __slots__ = ()

    def _read_held(self, out: list[Command]) -> None:
        held = self._held
        position = self._read_downstream(held.data, 0, len(held), out)
        if self._held is held:
            held.drop(position)

    def _read_downstream(self, buffer: Buffer, start: int, end: int, out: list[Command]) -> int:
        """Take what has its turn; returns where the rest starts."""
        position = start
        refusal = None
        try:
            while position < end:
                if self.state is states.IDLE or self.state is states.HEAD:
                    if self.state is states.IDLE and buffer[position] == _CR:
                        position = self._skip_empty_lines(buffer, position, end)
                        if position == end or (position + 1 == end and buffer[position] == _CR):
                            return position
                    head = self._scan(buffer, position, end)
                    if head is None:
                        return position
                    position = head.end
                    self._begin(head, buffer, out)
                elif self.state is states.SENDING or self.state is states.CROSSING:
                    position = self._request_data(buffer, position, end, out)
                elif self.state is states.TUNNEL:
                    out.append(SendUpstream(self._kept(buffer, memoryview(buffer)[position:end])))
                    return end
                elif self.state is states.CLOSING:
                    return end
                else:
                    return position
        except MessageRefused as refused:
            refusal = refused.with_traceback(None)  # its frames hold views on our buffers
        if refusal is None:
            return position
        self._refuse(out, refusal)
        return end

    def _skip_empty_lines(self, buffer: Buffer, start: int, end: int) -> int:
        """Where the empty lines before a request end (RFC 9112 section 2.2); some clients send one after a body."""
        while self._empty_lines < MAX_EMPTY_LINES and start + 2 <= end and buffer[start : start + 2] == b"\r\n":
            self._empty_lines += 1
            start += 2
        return start

    def _scan(self, buffer: Buffer, start: int, end: int) -> RequestHead | None:
        if self.state is states.IDLE:
            self._reset()
        self._partial_bytes = end - start
        head = self._request.scan(buffer, start, end)
        if head is None and self.state is states.IDLE:
            self.head_begun_at = self._clock.now
            self.move(states.HEAD_BEGUN)
        return head

    def _begin(self, head: RequestHead, buffer: Buffer, out: list[Command]) -> None:
        now = self._held.arrived(head.end) if buffer is self._held.data else self._clock.now
        self.head = head
        exchange = self.exchange = Exchange(self._downstream, head, now)
        exchange.bytes_in = head.end - head.start
        self._used_halves = True
        self._empty_lines = 0
        self._binds_upstream |= head.binds_connection
        if self._requests_left is not None:
            self._requests_left -= 1
        self.stays = head.keep_alive and not self.draining and self._requests_left != 0
        if head.length > self._max_body_bytes:
            raise MessageRefused(413, Reason.BODY_TOO_LARGE)
        target = head.target
        try:
            exchange.admit()
        except MessageRefused as refusal:
            if head.length or head.framing is Framing.CHUNKED:
                raise  # its body would have to be read first
            self._answer(out, refusal)
            return
        head.target_rewritten = head.target != target
        # Services ignore such a body now and then, and what is hidden in it would be their next request.
        self._is_single_use = head.method in BODY_WITHOUT_MEANING and head.has_body
        data = self._request.begin(head, buffer, last=self._is_single_use)
        self._response.lane = self._request.lane
        out += [Connect(exchange), SendUpstream(data)]
        exchange.wait()
        self.move(states.REQUEST_WHOLE if self._request.done else states.REQUEST_BEGUN)

    def _request_data(self, buffer: Buffer, start: int, end: int, out: list[Command]) -> int:
        position, pieces = self._request.read(buffer, start, end)
        assert self.exchange is not None
        self.exchange.bytes_in += position - start
        for piece in pieces:
            last = out[-1] if out else None
            if isinstance(last, SendUpstream) and len(last.data) + len(piece) <= JOINED_BYTES:
                last.data = b"".join((last.data, piece))
            elif piece:
                out.append(SendUpstream(self._kept(buffer, piece)))
        if self._request.done:
            self.move(states.REQUEST_WHOLE)
        return position

    def _kept(self, buffer: Buffer, piece: Piece) -> Piece:
        """What is held is about to be cut off at its start, which no view may outlive."""
        return bytes(piece) if buffer is self._held.data else piece

    def _next_request(self, out: list[Command]) -> None:
        if self._held:
            self._read_held(out)
        if self.client_ended and self.state is states.HEAD:
            self._refuse(out, MessageRefused(400, Reason.INCOMPLETE_REQUEST))
        elif self._is_last and self.state is states.IDLE:
            self._close(out)
