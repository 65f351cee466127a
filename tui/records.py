"""The admin API's records as the console holds them: every text in them is safe to show. Events, whose fields are each
kind's own, become a line here."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias

from tlsidecar.api import (
    certificates,
    connections,
    denials,
    explanations,
    failures,
    history,
    problems,
    refusals,
    status,
)
from tlsidecar.api.declare import Json as Json
from tlsidecar.api.decode import decoded as decoded
from tlsidecar.api.decode import integer, text
from tlsidecar.api.text import DETAIL_LIMIT, SafeText, safe_text
from tlsidecar.api.times import moment
from tlsidecar.api.words import Severity as Severity

Status: TypeAlias = status.Status[SafeText]
Listener: TypeAlias = status.Listener[SafeText]
Upstream: TypeAlias = status.Upstream[SafeText]
OwnCertificate: TypeAlias = status.OwnCertificate[SafeText]
Sandbox: TypeAlias = status.Sandbox[SafeText]
Problem: TypeAlias = problems.Problem[SafeText]
Certificate: TypeAlias = certificates.Certificate[SafeText]
RevocationList: TypeAlias = certificates.RevocationList[SafeText]
Attempt: TypeAlias = certificates.Attempt[SafeText]
Difference: TypeAlias = certificates.Difference[SafeText]
AttemptReply: TypeAlias = certificates.AttemptReply[SafeText]
OwnMaterial: TypeAlias = certificates.OwnMaterial[SafeText]
Certificates: TypeAlias = certificates.Certificates[SafeText]
Connection: TypeAlias = connections.Connection[SafeText]
ConnectionInFull: TypeAlias = connections.ConnectionInFull[SafeText]
ConnectionReply: TypeAlias = connections.ConnectionReply[SafeText]
ConnectionGroup: TypeAlias = connections.ConnectionGroup[SafeText]
Connections: TypeAlias = connections.Connections[SafeText]
Refusal: TypeAlias = refusals.Refusal[SafeText]
RefusalGroup: TypeAlias = refusals.RefusalGroup[SafeText]
Refusals: TypeAlias = refusals.Refusals[SafeText]
RefusalReply: TypeAlias = explanations.RefusalReply[SafeText]
Explanation: TypeAlias = explanations.Explanation[SafeText]
Judgement: TypeAlias = explanations.Judgement[SafeText]
Denial: TypeAlias = denials.Denial[SafeText]
Denials: TypeAlias = denials.Denials[SafeText]
Failure: TypeAlias = failures.Failure[SafeText]
Failures: TypeAlias = failures.Failures[SafeText]
Past: TypeAlias = history.History[SafeText]
Series: TypeAlias = history.Series[SafeText]
Mark: TypeAlias = history.Mark[SafeText]


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened. ``raw`` is how it came, for copying and for its own page; it is never drawn as it is.

    ``seq`` begins anew with each process of the sidecar; ``number`` is the model's, and tells it from all others."""

    seq: int
    at: datetime | None
    kind: SafeText
    summary: SafeText
    raw: Json = field(repr=False, compare=False)
    number: int = 0

    @property
    def listener(self) -> str:
        """Whose it is; empty for what is of none."""
        return str(self.raw.get("listener") or "")

    @property
    def told(self) -> tuple[str, Json]:
        """What a filter looks at: the kind, and the fields with the words that are shown of them."""
        return self.kind, {**self.raw, "summary": self.summary}


def event_of(kind: str, data: Json) -> Event:
    """One message of ``GET /v1/events``."""
    return Event(
        seq=integer(data.get("seq")),
        at=moment(data.get("at")),
        kind=safe_text(kind, 32),
        summary=_event_summary(kind, data),
        raw=data,
    )


# What an event says first; the rest follows in the order it came.
_EVENT_FIELDS_FIRST = (
    "message",
    "state",
    "outcome",
    "reason",
    "identity",
    "subject",
    "peer_address",
    "listener",
    "id",
    "connection_id",
    "generation",
)
_EVENT_FIELDS_APART = frozenset({"seq", "at", "now", "kind", "sentence"})


def _event_summary(kind: str, data: Json) -> SafeText:
    if data.get("restarted") is True:
        return SafeText("the sidecar was restarted: its events are numbered anew")
    if kind == "lost":
        return SafeText(f"events {integer(data.get('from'))} to {integer(data.get('to'))} are no longer kept")
    names = [name for name in _EVENT_FIELDS_FIRST if name in data]
    names += [name for name in data if name not in _EVENT_FIELDS_FIRST and name not in _EVENT_FIELDS_APART]
    parts = [f"{safe_text(name, 32)}={_brief(data[name])}" for name in names if data[name] not in ("", None)]
    return safe_text("  ".join(parts), DETAIL_LIMIT)


def _brief(value: object) -> SafeText:
    if not isinstance(value, dict) or not value:
        return text(value)
    return SafeText(" ".join(f"{safe_text(key, 32)}={safe_text(inner, 64)}" for key, inner in value.items() if inner))
