"""How a connection is let go, which says what happened: an end is an end, and a cut must not pass for one."""

from __future__ import annotations

from enum import Enum, auto

from tlsidecar.outcomes import Culprit, Reason


class Ending(Enum):
    """How a connection's sockets are let go."""

    ENDED = auto()  # both sides have ended
    POLITE = auto()  # both are told an end
    CUT = auto()  # neither may take it for an end: a reset, after what was relayed before
    KILLED = auto()  # a reset at once


_POLITE = frozenset(
    {
        Reason.IDLE_TIMEOUT,
        Reason.HEAD_TIMEOUT,  # of a connection that never asked anything
        Reason.DRAINED,
        Reason.MAX_AGE,
        Reason.GENERATION_DRAINED,
        Reason.POLICY_CHANGED,
        Reason.PEER_CERTIFICATE_EXPIRED,
        Reason.PEER_CERTIFICATE_REVOKED,
    }
)
# Who is cut off for not reading has had its time.
_HAD_ITS_TIME = frozenset({Reason.SLOW_READER, Reason.CLOSE_TIMEOUT})


def ending_of(reason: Reason) -> Ending:
    """How a connection that was opened is let go."""
    if reason is Reason.COMPLETED:
        return Ending.ENDED
    if reason in _POLITE:
        return Ending.POLITE
    by_others = reason.culprit in (Culprit.PEER, Culprit.UPSTREAM)
    return Ending.CUT if by_others and reason not in _HAD_ITS_TIME else Ending.KILLED
