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
# What broke off by itself, and not by a decision of ours.
_BROKE_OFF = frozenset(
    {Reason.TRUNCATED, Reason.PEER_RESET, Reason.APP_RESET, Reason.STREAM_RESET, Reason.REFUSED_BY_PEER}
)


def ending_of(reason: Reason) -> Ending:
    """How a connection that was opened is let go. Whoever is cut off for what it did (a flood, a broken protocol) is so
    at once: to hear it out would be to take more of the same."""
    if reason is Reason.COMPLETED:
        return Ending.ENDED
    if reason in _POLITE:
        return Ending.POLITE
    return Ending.CUT if reason in _BROKE_OFF or reason.culprit is Culprit.UPSTREAM else Ending.KILLED
