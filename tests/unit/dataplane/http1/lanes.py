"""A stream of requests through one lane or the other, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass

from unit.dataplane.http1.conversation import Conversation, Message, cut, listener, parse_requests

from tlsidecar.dataplane.http1.states import ConversationState
from tlsidecar.settings import Http

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SETTINGS = listener(http=Http(trailers=("x-keep",), underscores="allow"))


@dataclass
class Outcome:
    """What one way of passing a stream came to."""

    wire: bytes
    messages: list[Message]
    refusals: list[tuple[int, str]]
    closed: bool


def passed(stream: bytes, cuts: list[int], *, force_h11: bool = False, in_one: bool = True) -> Outcome:
    """Send ``stream`` in pieces through one lane; the upstream answers each request once it is whole."""
    talk = Conversation(SETTINGS, force_h11=force_h11, in_one=in_one)
    for piece in cut(stream, cuts):
        if talk.closed:
            break
        talk.client(piece)
        while talk.machine.state is ConversationState.AWAITING and not talk.closed:
            talk.upstream(OK if talk.machine.head and talk.machine.head.method != b"HEAD" else OK[:-2])
    refusals = [(record.status, str(record.reason)) for record in talk.records if record.reason]
    # One message for each request that was begun, at most: never two.
    for peer in talk.upstreams:
        assert len(parse_requests(bytes(peer.received))) <= 1
    return Outcome(talk.sent_up, talk.requests(), refusals, bool(talk.closed))


def comparable(outcome: Outcome) -> object:
    return [message.comparable() for message in outcome.messages], outcome.refusals, outcome.closed
