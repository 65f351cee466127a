"""Where the exchanges of one downstream connection stand, and every legal move.

IDLE       nothing of the next request was read
HEAD       a part of its head was
SENDING    its body is being forwarded; no final response head yet
AWAITING   it was forwarded whole; no final response head yet
CROSSING   the response came early: both bodies are being forwarded, and the connection will end with them
ANSWERING  the response's body is being forwarded
TUNNEL     the upstream agreed to an upgrade: no more messages
CLOSING    nothing more is forwarded; terminal

Beside the state three facts decide what comes next: whether the connection outlives the exchange at hand, whether it is
to take another one at all, and whether the client has ended. All four are in :class:`Standing`.
"""

from __future__ import annotations

from enum import Enum, auto


class ConversationState(Enum):
    """See the module."""

    IDLE = auto()
    HEAD = auto()
    SENDING = auto()
    AWAITING = auto()
    CROSSING = auto()
    ANSWERING = auto()
    TUNNEL = auto()
    CLOSING = auto()


class Event(Enum):
    """What moves a conversation from one state to the next."""

    HEAD_BEGUN = auto()
    REQUEST_BEGUN = auto()  # its head was forwarded, a body follows
    REQUEST_WHOLE = auto()  # its last byte was forwarded
    ANSWERED_BY_US = auto()  # turned away, the connection stays
    RESPONSE_BEGUN = auto()
    RESPONSE_WHOLE = auto()
    SWITCHED = auto()
    ENDED = auto()


# Looking a member up in its enumeration costs more than what is done with it (CPython 3.11), and each exchange asks
# for a dozen.
IDLE, HEAD, SENDING, AWAITING, CROSSING, ANSWERING, TUNNEL, CLOSING = ConversationState
(HEAD_BEGUN, REQUEST_BEGUN, REQUEST_WHOLE, ANSWERED_BY_US, RESPONSE_BEGUN, RESPONSE_WHOLE, SWITCHED, ENDED) = Event


TRANSITIONS: dict[ConversationState, dict[Event, ConversationState]] = {
    IDLE: {
        HEAD_BEGUN: HEAD,
        REQUEST_BEGUN: SENDING,
        REQUEST_WHOLE: AWAITING,
        ANSWERED_BY_US: IDLE,
        ENDED: CLOSING,
    },
    HEAD: {
        REQUEST_BEGUN: SENDING,
        REQUEST_WHOLE: AWAITING,
        ANSWERED_BY_US: IDLE,
        ENDED: CLOSING,
    },
    SENDING: {
        REQUEST_WHOLE: AWAITING,
        RESPONSE_BEGUN: CROSSING,
        ENDED: CLOSING,
    },
    AWAITING: {
        RESPONSE_BEGUN: ANSWERING,
        ANSWERED_BY_US: IDLE,
        SWITCHED: TUNNEL,
        ENDED: CLOSING,
    },
    CROSSING: {
        REQUEST_WHOLE: ANSWERING,
        ENDED: CLOSING,
    },
    ANSWERING: {
        RESPONSE_WHOLE: IDLE,
        ENDED: CLOSING,
    },
    TUNNEL: {ENDED: CLOSING},
    CLOSING: {},
}

# In these the next byte from the client is looked at as soon as it is there.
READING = frozenset(
    {
        IDLE,
        HEAD,
        SENDING,
        CROSSING,
        TUNNEL,
    }
)
# In these nothing was said to the client yet about the exchange at hand.
UNANSWERED = frozenset({IDLE, HEAD, SENDING, AWAITING})


class IllegalMove(AssertionError):
    """A defect of ours: an event in a state in which it cannot happen."""

    def __init__(self, state: ConversationState, event: Event) -> None:
        super().__init__(f"{event.name} in {state.name}")


class Standing:
    """The state, and what else decides which move comes next."""

    __slots__ = ("client_ended", "draining", "state", "stays")

    def __init__(self) -> None:
        self.state = IDLE
        self.stays = True  # the connection outlives the exchange at hand
        self.draining = False  # no further exchange is taken
        self.client_ended = False  # it has said that it sends no more, and may still be reading

    def move(self, event: Event) -> None:
        """Raises :class:`IllegalMove`."""
        following = TRANSITIONS[self.state].get(event)
        if following is None:
            raise IllegalMove(self.state, event)
        self.state = following
