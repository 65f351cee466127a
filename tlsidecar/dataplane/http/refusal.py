"""The one exception of this package: a message that is not relayed, with the status it is answered with."""

from __future__ import annotations

from tlsidecar.outcomes import Reason, Stage

# What a client is told to wait, with a 503, before it asks again.
RETRY_AFTER_S = 1

# RFC 9110 section 15.2 sets no limit to them; what is behind it is no answer.
MAX_INTERIM_RESPONSES = 100


class MessageRefused(Exception):
    """A request or response that is turned away. ``detail`` is our own text: nothing of the message is in it.

    ``retry_after_s`` is told to the client where it is set; ``rule`` is the access rule or route that decided.
    """

    def __init__(
        self,
        status: int,
        reason: Reason,
        detail: str = "",
        *,
        stage: Stage = Stage.REQUEST,
        rule: str = "",
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(f"{status} {reason.value}: {detail or reason.sentence}")
        self.status = status
        self.reason = reason
        self.detail = detail
        self.stage = stage
        self.rule = rule
        self.retry_after_s = retry_after_s


def bad_response(detail: str) -> MessageRefused:
    """The upstream's response cannot be relayed: 502."""
    return MessageRefused(502, Reason.UPSTREAM_BAD_RESPONSE, detail, stage=Stage.UPSTREAM)


def upstream_failed(reason: Reason, detail: str = "", stage: Stage = Stage.UPSTREAM) -> MessageRefused:
    """There is no response from the upstream: 504 when it took too long, 503 when trying again soon may help, else
    502."""
    status = 504 if reason in _TOO_LATE else 503 if reason in _NO_FAULT_OF_THE_UPSTREAM else 502
    retry_after_s = RETRY_AFTER_S if status == 503 else None
    return MessageRefused(status, reason, detail, stage=stage, retry_after_s=retry_after_s)


_TOO_LATE = (Reason.UPSTREAM_TIMEOUT, Reason.UPSTREAM_HANDSHAKE_TIMEOUT)
_NO_FAULT_OF_THE_UPSTREAM = (Reason.UPSTREAM_EJECTED, Reason.FD_EXHAUSTED)
