"""Why a peer is let in or turned away, rule by rule, and what would let it in."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Generic

from tlsidecar.api.certificates import Certificate
from tlsidecar.api.declare import NO_TEXT, Doc, T
from tlsidecar.api.refusals import Refusal
from tlsidecar.lazy_dataclass import dataclass

# Of a length that whole bytes have.
_BASE64URL = re.compile(r"(?:[A-Za-z0-9_-]{4})*(?:[A-Za-z0-9_-]{2,4})")


@dataclass(frozen=True)
class RuleTried(Generic[T]):
    """One access rule beside one certificate."""

    rule: Annotated[T, Doc("the rule")]
    place: Annotated[T, Doc("the key that has it: allow, expect, or route[…].allow")]
    matches: Annotated[bool, Doc("whether it lets the peer pass")]
    why: Annotated[T, Doc("why it does not match; empty when it does", long=True)]


@dataclass(frozen=True)
class ConfigLine(Generic[T]):
    """A line of the configuration that stands in for the one that is there."""

    place: Annotated[T, Doc("the table it belongs to: the listener, or one of its routes")]
    line: Annotated[T, Doc("the line, as TOML, to copy", long=True)]
    rule: Annotated[T, Doc("the rule that is new in it: exactly this peer")]


@dataclass(frozen=True)
class Judgement(Generic[T]):
    """What one listener makes of a peer now."""

    listener: Annotated[T, Doc("the listener's name")]
    mode: Annotated[T, Doc("terminate or originate")]
    allowed: Annotated[bool, Doc("whether the peer, and the request where one is asked about, would be let in")]
    stage: Annotated[T, Doc("where it would be turned away; empty when it would not")]
    reason: Annotated[T, Doc("why, for programs; empty when it would not")]
    sentence: Annotated[T, Doc("why, in words")]
    detail: Annotated[T, Doc("more, where there is more", long=True)]
    verified: Annotated[bool, Doc("whether the chain verifies against the trust in force, and the leaf is in order")]
    rule: Annotated[T, Doc("the rule that lets it in, or the route that does not")]
    rules: Annotated[tuple[RuleTried[T], ...], Doc("every rule that was tried, in order")]
    method: Annotated[T, Doc("of the request asked about; empty without one")]
    path: Annotated[T, Doc("of the request asked about, in the form that is judged; empty without one")]
    route: Annotated[T, Doc("the route that decides on it; empty where the listener's own rules do")]
    status: Annotated[int, Doc("the HTTP status it would be answered with; 0 without a request, or when let through")]
    lines: Annotated[tuple[ConfigLine[T], ...], Doc("what would let in exactly this peer; empty where no rule can")]
    note: Annotated[T, Doc("what is to be known before that; empty where nothing is", long=True)]
    own_identity: Annotated[T, Doc("which of our identities the peer asks for: its trust is what counts")] = NO_TEXT


@dataclass(frozen=True)
class Explanation(Generic[T]):
    """A peer's certificate, and what becomes of it."""

    allowed: Annotated[bool, Doc("whether some listener asked about would let it in now")]
    identity: Annotated[T, Doc("who the certificate says it is; empty where none is known")]
    chain: Annotated[tuple[Certificate[T], ...], Doc("leaf first; of a refusal, what is kept of it")]
    judgements: Annotated[tuple[Judgement[T], ...], Doc("by listener, as things are now")]
    note: Annotated[T, Doc("what could not be said, and why; empty where nothing is missing", long=True)]


@dataclass(frozen=True)
class ExplanationReply(Generic[T]):
    """The answer to a question about a certificate or a connection."""

    now: Annotated[datetime | None, Doc("the sidecar's clock", always=True)]
    explanation: Annotated[Explanation[T], Doc("why it is let in, or not")]


@dataclass(frozen=True)
class RefusalReply(Generic[T]):
    """One refusal, and what would become of the same peer now."""

    now: Annotated[datetime | None, Doc("the sidecar's clock", always=True)]
    refusal: Annotated[Refusal[T], Doc("as it was")]
    explanation: Annotated[Explanation[T], Doc("as it would be now")]


def as_text(chain: Iterable[bytes]) -> str:
    """Certificates (DER) as a query has them."""
    return ",".join(urlsafe_b64encode(der).rstrip(b"=").decode("ascii") for der in chain)


def from_text(text: str) -> tuple[bytes, ...]:
    """The reverse of :func:`as_text`. Raises ValueError, whose text is for the one who asked."""
    parts = text.split(",")
    if not all(_BASE64URL.fullmatch(part) for part in parts):
        raise ValueError("certificate is DER in base64url without padding; several, leaf first, with commas between")
    return tuple(urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in parts)


def is_allowed(judgements: Iterable[Judgement[T]]) -> bool:
    """Whether some listener lets the peer in."""
    return any(each.allowed for each in judgements)
