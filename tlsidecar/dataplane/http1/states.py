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


TRANSITIONS: dict[ConversationState, dict[Event, ConversationState]] = {
    ConversationState.IDLE: {
        Event.HEAD_BEGUN: ConversationState.HEAD,
        Event.REQUEST_BEGUN: ConversationState.SENDING,
        Event.REQUEST_WHOLE: ConversationState.AWAITING,
        Event.ANSWERED_BY_US: ConversationState.IDLE,
        Event.ENDED: ConversationState.CLOSING,
    },
    ConversationState.HEAD: {
        Event.REQUEST_BEGUN: ConversationState.SENDING,
        Event.REQUEST_WHOLE: ConversationState.AWAITING,
        Event.ANSWERED_BY_US: ConversationState.IDLE,
        Event.ENDED: ConversationState.CLOSING,
    },
    ConversationState.SENDING: {
        Event.REQUEST_WHOLE: ConversationState.AWAITING,
        Event.RESPONSE_BEGUN: ConversationState.CROSSING,
        Event.ENDED: ConversationState.CLOSING,
    },
    ConversationState.AWAITING: {
        Event.RESPONSE_BEGUN: ConversationState.ANSWERING,
        Event.ANSWERED_BY_US: ConversationState.IDLE,
        Event.SWITCHED: ConversationState.TUNNEL,
        Event.ENDED: ConversationState.CLOSING,
    },
    ConversationState.CROSSING: {
        Event.REQUEST_WHOLE: ConversationState.ANSWERING,
        Event.ENDED: ConversationState.CLOSING,
    },
    ConversationState.ANSWERING: {
        Event.RESPONSE_WHOLE: ConversationState.IDLE,
        Event.ENDED: ConversationState.CLOSING,
    },
    ConversationState.TUNNEL: {Event.ENDED: ConversationState.CLOSING},
    ConversationState.CLOSING: {},
}

# In these the next byte from the client is looked at as soon as it is there.
READING = frozenset(
    {
        ConversationState.IDLE,
        ConversationState.HEAD,
        ConversationState.SENDING,
        ConversationState.CROSSING,
        ConversationState.TUNNEL,
    }
)
# In these nothing was said to the client yet about the exchange at hand.
UNANSWERED = frozenset(
    {ConversationState.IDLE, ConversationState.HEAD, ConversationState.SENDING, ConversationState.AWAITING}
)


class IllegalMove(AssertionError):
    """A defect of ours: an event in a state in which it cannot happen."""

    def __init__(self, state: ConversationState, event: Event) -> None:
        super().__init__(f"{event.name} in {state.name}")


class Standing:
    """The state, and what else decides which move comes next."""

    __slots__ = ("client_ended", "draining", "state", "stays")

    def __init__(self) -> None:
        self.state = ConversationState.IDLE
        self.stays = True  # the connection outlives the exchange at hand
        self.draining = False  # no further exchange is taken
        self.client_ended = False  # it has said that it sends no more, and may still be reading

    def move(self, event: Event) -> None:
        """Raises :class:`IllegalMove`."""
        following = TRANSITIONS[self.state].get(event)
        if following is None:
            raise IllegalMove(self.state, event)
        self.state = following
