"""The states of one downstream connection's exchanges, and every legal move between them.

IDLE       nothing of the next request was read
HEAD       a part of its head was
SENDING    its body is being forwarded; no final response head yet
AWAITING   it was forwarded whole; no final response head yet
CROSSING   the response came early: both bodies are being forwarded, and the connection will end with them
ANSWERING  the response's body is being forwarded
TUNNEL     the upstream agreed to an upgrade: no more messages
CLOSING    nothing more is forwarded; terminal
"""

from __future__ import annotations

from enum import Enum, auto


class State(Enum):
    IDLE = auto()
    HEAD = auto()
    SENDING = auto()
    AWAITING = auto()
    CROSSING = auto()
    ANSWERING = auto()
    TUNNEL = auto()
    CLOSING = auto()


class Event(Enum):
    HEAD_BEGUN = auto()
    REQUEST_BEGUN = auto()  # its head was forwarded, a body follows
    REQUEST_WHOLE = auto()  # its last byte was forwarded
    ANSWERED_BY_US = auto()  # turned away, the connection stays
    RESPONSE_BEGUN = auto()
    RESPONSE_WHOLE = auto()
    SWITCHED = auto()
    ENDED = auto()


TRANSITIONS: dict[State, dict[Event, State]] = {
    State.IDLE: {
        Event.HEAD_BEGUN: State.HEAD,
        Event.REQUEST_BEGUN: State.SENDING,
        Event.REQUEST_WHOLE: State.AWAITING,
        Event.ANSWERED_BY_US: State.IDLE,
        Event.ENDED: State.CLOSING,
    },
    State.HEAD: {
        Event.REQUEST_BEGUN: State.SENDING,
        Event.REQUEST_WHOLE: State.AWAITING,
        Event.ANSWERED_BY_US: State.IDLE,
        Event.ENDED: State.CLOSING,
    },
    State.SENDING: {
        Event.REQUEST_WHOLE: State.AWAITING,
        Event.RESPONSE_BEGUN: State.CROSSING,
        Event.ENDED: State.CLOSING,
    },
    State.AWAITING: {
        Event.RESPONSE_BEGUN: State.ANSWERING,
        Event.ANSWERED_BY_US: State.IDLE,
        Event.SWITCHED: State.TUNNEL,
        Event.ENDED: State.CLOSING,
    },
    State.CROSSING: {
        Event.REQUEST_WHOLE: State.ANSWERING,
        Event.ENDED: State.CLOSING,
    },
    State.ANSWERING: {
        Event.RESPONSE_WHOLE: State.IDLE,
        Event.ENDED: State.CLOSING,
    },
    State.TUNNEL: {Event.ENDED: State.CLOSING},
    State.CLOSING: {},
}

# In these the next byte from the client is looked at as soon as it is there.
READING = frozenset({State.IDLE, State.HEAD, State.SENDING, State.CROSSING, State.TUNNEL})
# In these nothing was said to the client yet about the exchange at hand.
UNANSWERED = frozenset({State.IDLE, State.HEAD, State.SENDING, State.AWAITING})
