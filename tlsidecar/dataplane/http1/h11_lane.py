"""The second lane: two h11 machines and full re-serialisation, for requests that ask to leave HTTP.

The strict scanner and body readers have judged every byte before h11 sees it, and say where each message ends. h11
parses the same heads a second time, and of bodies what goes on: a trailer that is dropped anyway is not its business.
Where the two differ, the message is refused.
"""

from __future__ import annotations

import h11

from tlsidecar.dataplane.http.message import Fields
from tlsidecar.dataplane.http.refusal import MessageRefused, bad_response
from tlsidecar.dataplane.http1 import forward
from tlsidecar.dataplane.http1.body import Piece
from tlsidecar.dataplane.http1.request_head import RequestHead
from tlsidecar.dataplane.http1.response_head import ResponseHead
from tlsidecar.outcomes import Reason


class H11Lane:
    """One exchange. Everything given and returned is wire bytes."""

    def __init__(self, max_head_bytes: int, trailers: frozenset[bytes]) -> None:
        # Chunk lines and trailers have bounds of their own, lower than this.
        incomplete_bytes = max(max_head_bytes, 16 * 1024)
        self._server = h11.Connection(h11.SERVER, max_incomplete_event_size=incomplete_bytes)
        self._client = h11.Connection(h11.CLIENT, max_incomplete_event_size=incomplete_bytes)
        self._trailers = trailers
        self._request_ended = False
        self._response_ended = False

    def __repr__(self) -> str:
        return f"<H11Lane downstream={self._server.states} upstream={self._client.states}>"

    def request_head(self, raw: bytes, head: RequestHead, fields: Fields) -> bytes:
        """The head for the upstream. ``raw`` is the head as it came, ``fields`` those it is to have."""
        event = self._from_client(raw)
        if (
            not isinstance(event, h11.Request)
            or event.method != head.method
            or event.http_version != b"1.%d" % head.minor
            or not _is_subsequence(_as_they_came(head), event.headers.raw_items())
        ):
            raise _disagreement()
        sent = self._client.send(h11.Request(method=head.method, target=head.target, headers=fields))
        return bytes(sent)

    def request_body(self, raw: Piece, *, ended: bool) -> bytes:
        """``raw`` is the framed body as its reader lets it go on; ``ended``: the message is complete with it."""
        sent = []
        event = self._from_client(raw)
        while isinstance(event, (h11.Data, h11.EndOfMessage)):
            if isinstance(event, h11.EndOfMessage):
                self._request_ended = True
                event = h11.EndOfMessage(headers=self._kept(event))
            sent.append(self._client.send(event))
            if self._request_ended:
                break
            event = self._from_client(b"")
        if self._request_ended is not ended:
            raise _disagreement()
        return b"".join(sent)

    def response_head(self, raw: bytes, head: ResponseHead, *, close: bool) -> bytes:
        """A final or interim head for the client."""
        event = self._from_upstream(raw)
        if not isinstance(event, (h11.Response, h11.InformationalResponse)) or event.status_code != head.status:
            raise _response_disagreement()
        answer = type(event)(
            status_code=head.status, headers=forward.response_fields(head, close=close), reason=head.phrase
        )
        try:
            sent = self._server.send(answer)
        except h11.LocalProtocolError:
            raise _response_disagreement() from None
        return bytes(sent)

    def response_body(self, raw: Piece, *, ended: bool) -> bytes:
        """``raw`` is the framed body as its reader lets it go on; ``ended``: the message is complete with it."""
        sent = []
        event = self._from_upstream(raw)
        while isinstance(event, (h11.Data, h11.EndOfMessage)):
            if isinstance(event, h11.EndOfMessage):
                self._response_ended = True
                # A client of HTTP/1.0 gets no chunks, hence no trailers (RFC 9112 section 7.1.2).
                trailers = self._kept(event) if self._server.their_http_version != b"1.0" else []
                event = h11.EndOfMessage(headers=trailers)
            sent.append(self._server.send(event))
            if self._response_ended:
                break
            event = self._from_upstream(b"")
        if self._response_ended is not ended:
            raise _response_disagreement()
        return b"".join(sent)

    def response_closed(self) -> bytes:
        """The upstream's connection ended, and with it the body."""
        self._client.receive_data(b"")
        return self.response_body(b"", ended=True)

    def _from_client(self, raw: Piece) -> object:
        if raw:
            self._server.receive_data(bytes(raw))
        try:
            return self._server.next_event()
        except h11.RemoteProtocolError:
            raise _disagreement() from None

    def _from_upstream(self, raw: Piece) -> object:
        if raw:
            self._client.receive_data(bytes(raw))
        try:
            return self._client.next_event()
        except h11.RemoteProtocolError:
            raise _response_disagreement() from None

    def _kept(self, event: h11.EndOfMessage) -> Fields:
        return [(name, value) for name, value in event.headers.raw_items() if name.lower() in self._trailers]


def _as_they_came(head: RequestHead) -> Fields:
    """Without the Host that one of HTTP/1.0 may have got from us."""
    fields = head.fields or []
    return fields if head.minor else [field for field in fields if field != (b"Host", head.host)]


def _is_subsequence(wanted: Fields, all_fields: Fields) -> bool:
    remaining = iter(all_fields)
    return all(field in remaining for field in wanted)


def _disagreement() -> MessageRefused:
    return MessageRefused(400, Reason.BAD_REQUEST_LINE, "two parsers read it differently")


def _response_disagreement() -> MessageRefused:
    return bad_response("two parsers read it differently")
