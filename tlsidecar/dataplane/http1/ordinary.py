"""The ordinary exchange in two calls: one whole request in one read, one whole response in another.

Each method makes the same moves as the general way (:mod:`.client_messages`, :mod:`.upstream_messages`), or none, and
then the bytes are for that. There is no ``Finished`` at the end: an exchange that
:meth:`OrdinaryMessages.response_in_one` returns is over.
"""

from __future__ import annotations

from tlsidecar.dataplane.http.exchange import Exchange
from tlsidecar.dataplane.http.message import Request
from tlsidecar.dataplane.http.refusal import MessageRefused
from tlsidecar.dataplane.http1 import forward, states
from tlsidecar.dataplane.http1.chunked import is_whole_in_chunks
from tlsidecar.dataplane.http1.client_messages import BODY_WITHOUT_MEANING, ClientMessages
from tlsidecar.dataplane.http1.head_reader import Buffer
from tlsidecar.dataplane.http1.request_head import Framing, RequestHead
from tlsidecar.dataplane.http1.upstream_messages import UpstreamMessages

# See :mod:`.states`.
_CHUNKED = Framing.CHUNKED


class OrdinaryMessages(ClientMessages, UpstreamMessages):
    """Both directions, and the short way through them."""

    __slots__ = ()

    def request_in_one(self, buffer: Buffer, end: int) -> bytes | None:
        """What goes upstream, if ``buffer[:end]`` is exactly one ordinary request; else ``None``, and nothing has
        happened: call :meth:`receive_downstream`.

        The shell then gets an upstream connection, as for ``Connect``, and sends it.
        """
        if self.state is not states.IDLE or self._held.data or not self._is_ordinary:
            return None
        head = self._requests.shared(buffer, end)
        if head is None:
            return None
        body_end = head.end + head.length
        if head.framing is _CHUNKED:
            # How much is in chunks nobody has counted: not where a bound would have to be kept.
            if self._bounds_bodies or not is_whole_in_chunks(buffer, head.end, end):
                return None
            body_end = end
        if body_end != end:
            return None
        if body_end > head.end and head.method in BODY_WITHOUT_MEANING:
            return None
        if head.binds_connection or self._binds_upstream:
            return None
        if self._used_halves:
            self._reset()
        request: Request = head
        if head.copied:  # everybody's
            if self._asks_first:  # who is asked may change it
                request = head = head.copy()
            else:
                request = head.request()
        exchange = Exchange(self._downstream, request, self._clock.now)
        if head.length > self._max_body_bytes or (self._asks_first and not self._is_let_through(exchange, head)):
            return None
        self.head = head
        self.exchange = exchange
        self.stays = head.keep_alive and not self.draining
        exchange.bytes_in = end
        exchange.holds_upstream = exchange.was_wanted = True
        self.state = states.AWAITING
        if request is head:
            data = forward.request_bytes(head, buffer, self._identity)
        else:
            data = head.copied + self._identity.suffix(request)
        if body_end > head.end:
            data += buffer[head.end : end]
        self._replay = data
        return data

    def response_in_one(self, buffer: Buffer, end: int) -> Exchange | None:
        """The exchange, which is over, if ``buffer[:end]`` is exactly the ordinary response that is awaited and goes on
        as it is; else ``None``, and nothing has happened: call :meth:`receive_upstream`.

        The shell then sends ``buffer[:end]`` downstream, takes the upstream connection back for reuse and finishes the
        exchange.
        """
        if self.state is not states.AWAITING or self._used_halves or not self.stays or self._held.data:
            return None
        exchange = self.exchange
        if self.draining or self.client_ended or exchange is None or exchange.request.method == b"HEAD":
            return None
        status = self._responses.whole(buffer, end)
        if not status or status == 401:
            return None
        exchange.status = status
        exchange.bytes_out = end
        exchange.holds_upstream = False
        self.exchange = self.head = self._replay = None
        self.state = states.IDLE
        return exchange

    def request_data_in_one(self, buffer: Buffer, end: int) -> bool:
        """Whether all of ``buffer[:end]`` is of a body that is being sent, goes up as it is, and goes on after it; else
        nothing has happened."""
        half = self._request_half
        if self.state is not states.SENDING or half is None or not half.passes(buffer, end):
            return False
        assert self.exchange is not None
        self.exchange.bytes_in += end
        return True

    def response_data_in_one(self, buffer: Buffer, end: int) -> bool:
        """The same of a response."""
        half = self._response_half
        if self.state is not states.ANSWERING or half is None or not half.passes(buffer, end):
            return False
        assert self.exchange is not None
        self.exchange.bytes_out += end
        return True

    def _is_let_through(self, exchange: Exchange, head: RequestHead) -> bool:
        """Ask whoever has a say, as :meth:`_begin` does; ``False`` leaves it to that."""
        if self._requests_left is not None and self._requests_left <= 1:
            return False
        target = head.target
        try:
            exchange.admit()
        except MessageRefused:
            return False
        if self._requests_left is not None:
            self._requests_left -= 1
        head.target_rewritten = head.target != target
        return True
