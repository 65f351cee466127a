"""What to ask the sidecar for: no more than the visible view needs, so that watching costs it little."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from tui.model import ConnectionQuery, Model
from tui.past import ALL, Whose

POLL_INTERVAL_S = 1.0
BACKGROUND_INTERVAL_S = 5.0
"""Between two looks at a sidecar that is not the one shown."""

CERTIFICATES_MAX_AGE_S = 10.0
LATELY_MAX_AGE_S = 5.0
REFUSAL_MAX_AGE_S = 5.0
FAILURES_MAX_AGE_S = 5.0
OVERVIEW_REFUSALS = 100
MAX_REFUSALS = 1000
"""What the sidecar keeps."""

_LARGE_REFUSALS = 250
_LARGE_REFUSALS_INTERVAL_S = 3.0


class Ask(StrEnum):
    """A read beyond the status."""

    CERTIFICATES = "certificates"
    REFUSALS = "refusals"
    REFUSAL = "refusal"
    FAILURES = "failures"
    HISTORY = "history"
    LATELY = "lately"  # the history of the last minute
    CONNECTIONS = "connections"
    CONNECTION = "connection"


@dataclass(frozen=True, slots=True)
class Interest:
    """What the user looks at. ``needs`` is None for a sidecar that is only kept an eye on."""

    needs: frozenset[Ask] | None = frozenset()
    connections: ConnectionQuery = field(default_factory=ConnectionQuery)
    connection_id: int | None = None
    refusal_seq: int | None = None
    refusals_limit: int = OVERVIEW_REFUSALS
    span: str = ""  # of the history, by its name; empty for all there is
    whose: Whose = ALL  # charts are looked at
    lists_failures: bool = False  # all of them, also those of no upstream
    paused: bool = False
    in_background: bool = False  # one of many: asked less often


def asks(interest: Interest, model: Model, monotonic: float) -> Iterator[Ask]:
    """The reads that the status just taken makes necessary."""
    needs = interest.needs
    if needs is None or interest.paused:
        return
    if not interest.in_background and _wants_lately(model, monotonic):
        yield Ask.LATELY
    if _wants_certificates(needs, model, monotonic):
        yield Ask.CERTIFICATES
    if Ask.REFUSALS in needs and _wants_refusals(interest.refusals_limit, model, monotonic):
        yield Ask.REFUSALS
    if Ask.FAILURES in needs and _wants_failures(model, monotonic, listed=interest.lists_failures):
        yield Ask.FAILURES
    if Ask.HISTORY in needs and _wants_history(interest.span, interest.whose, model, monotonic):
        yield Ask.HISTORY
    if interest.refusal_seq is not None and _wants_refusal(interest.refusal_seq, model, monotonic):
        yield Ask.REFUSAL
    if interest.connection_id is not None:
        if not model.connection_gone:
            yield Ask.CONNECTION
    elif Ask.CONNECTIONS in needs:
        yield Ask.CONNECTIONS


def _wants_lately(model: Model, monotonic: float) -> bool:
    """Of every view, for its second row."""
    return model.lately_at is None or monotonic - model.lately_at >= LATELY_MAX_AGE_S


def _wants_certificates(needs: frozenset[Ask], model: Model, monotonic: float) -> bool:
    if model.certificates is None or model.certificates_key != model.certificates_fingerprint():
        return True
    return Ask.CERTIFICATES in needs and monotonic - model.certificates_at >= CERTIFICATES_MAX_AGE_S


def _wants_refusal(seq: int, model: Model, monotonic: float) -> bool:
    """It is judged again with each look: rules and trust may have changed."""
    told = model.refusal
    return told is None or told.refusal.seq != seq or monotonic - model.refusal_at >= REFUSAL_MAX_AGE_S


def _wants_failures(model: Model, monotonic: float, *, listed: bool) -> bool:
    """At once where an upstream failed; where they are listed, now and then for what else there may be."""
    if model.failures_told not in (0, model.failures_seen):
        return True
    return listed and (model.failures is None or monotonic - model.failures_at >= FAILURES_MAX_AGE_S)


def _wants_history(name: str, whose: Whose, model: Model, monotonic: float) -> bool:
    span = model.span(name)
    read_at = model.pasts_at.get(span.name)
    if read_at is None or monotonic - read_at >= span.every_s:
        return True
    return whose.is_asked_for and model.pasts_of.get(span.name) != whose


def _wants_refusals(limit: int, model: Model, monotonic: float) -> bool:
    if model.status is None:
        return False
    if model.refusals is None:
        return True
    if limit > model.refusals_limit and model.refusals.total > len(model.refusals.refusals):
        return True
    if model.refusals_seen == model.status.totals.refusals_total:
        return False
    return limit <= _LARGE_REFUSALS or monotonic - model.refusals_at >= _LARGE_REFUSALS_INTERVAL_S
