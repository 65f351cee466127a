"""The one exception of this package: a message that is not relayed, with the status it is answered with."""

from __future__ import annotations

from tlsidecar.outcomes import Reason, Stage

# What a client is told to wait, with a 503, before it asks again.
RETRY_AFTER_S = 1


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
