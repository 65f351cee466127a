"""From the upstream: interim and final heads, and bodies, all for the exchange at hand."""

from __future__ import annotations

import re

from tlsidecar.dataplane.http.grammar import CONNECTION_SCHEMES
from tlsidecar.dataplane.http.refusal import bad_response
from tlsidecar.dataplane.http1 import states
from tlsidecar.dataplane.http1.commands import Command, SendUpstream
from tlsidecar.dataplane.http1.head_reader import Buffer
from tlsidecar.dataplane.http1.messages import Messages
from tlsidecar.dataplane.http1.request_head import Framing
from tlsidecar.dataplane.http1.response_head import ResponseHead

_CLOSE = Framing.CLOSE  # see :mod:`.states`
_ASKS_FOR_CONNECTION = re.compile(rb"(?i)\nWWW-Authenticate:[^\r]*?\b" + CONNECTION_SCHEMES + rb"\b").search


class UpstreamMessages(Messages):
    """Responses."""

    __slots__ = ()

    def _read_upstream(self, buffer: Buffer, start: int, end: int, out: list[Command]) -> None:
        position = start
        while position < end:
            if self.state is states.SENDING or self.state is states.AWAITING:
                assert self.head is not None
                response = self._response.scan(buffer, position, end, self.head)
                if response is None:
                    break
                self._used_halves = True
                position = response.end
                if response.status < 200:
                    self._pass_interim(response, buffer, out)
                    continue
                self._respond(response, buffer, out)
            elif self.state is states.ANSWERING or self.state is states.CROSSING:
                position = self._response_data(buffer, position, end, out)
            elif self.state is states.TUNNEL:
                self._downstream_data(out, memoryview(buffer)[position:end])
                return
            else:
                return
            if self._response.done:
                # Whatever lies beyond belongs to no response: the next request may have begun by now.
                self._end_response(out, beyond=position < end)
                return
        if buffer is not self._response.partial_head or position > start:
            self._used_halves = True
            self._response.partial_head = bytearray(memoryview(buffer)[position:end])

    def _respond(self, response: ResponseHead, buffer: Buffer, out: list[Command]) -> None:
        request = self.head
        assert request is not None
        if self._is_last or request.minor == 0 or self.state is states.SENDING:
            # In SENDING: the rest of the request may never come, and where it ends would not be certain.
            self.stays = False
        assert self.exchange is not None
        self.exchange.status = response.status
        self._response_head = response
        if response.status == 401 and _ASKS_FOR_CONNECTION(buffer, response.start, response.end):
            self._binds_upstream = True
        self._replay = self._request.replay = None
        self._downstream_data(out, self._response.begin(response, buffer, request, close=not self.stays))
        self.move(states.RESPONSE_BEGUN)

    def _pass_interim(self, response: ResponseHead, buffer: Buffer, out: list[Command]) -> None:
        assert self.head is not None
        self._replay = self._request.replay = None
        data = self._response.interim(response, buffer, self.head)
        if response.status != 101:
            self._downstream_data(out, data)
            return
        if self.state is not states.AWAITING:
            raise bad_response("101 before the request was whole")
        assert self.exchange is not None
        self.exchange.status = 101
        self.move(states.SWITCHED)
        self._downstream_data(out, data)
        if self._held:
            # Data of the new protocol that the client sent ahead.
            out.append(SendUpstream(bytes(self._held.data)))
            self._held.clear()

    def _response_data(self, buffer: Buffer, start: int, end: int, out: list[Command]) -> int:
        position, pieces = self._response.read(buffer, start, end)
        for piece in pieces:
            self._downstream_data(out, piece)
        return position

    def _end_response(self, out: list[Command], *, beyond: bool) -> None:
        """The response was forwarded whole; ``beyond``: the upstream sent more than it."""
        response = self._response_head
        assert response is not None
        request_whole = self.state is states.ANSWERING
        certain = response.keep_alive and response.framing is not _CLOSE and not response.body_may_follow
        self._release(out, reusable=request_whole and certain and not beyond and not self._is_single_use)
        self._finish(out)
        if not self.stays:
            self._close(out)
            return
        self.move(states.RESPONSE_WHOLE)
        self._next_request(out)
