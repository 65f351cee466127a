"""Whom an operator keeps out for a time."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Generic

from tlsidecar.api.declare import Doc, T
from tlsidecar.lazy_dataclass import dataclass

MOST_DENIALS = 100
"""At once: more is what access rules are for."""

LONGEST_DENIAL_S = 7 * 86400.0


@dataclass(frozen=True)
class Denial(Generic[T]):
    """One identity that is kept out, whatever the access rules say."""

    id: Annotated[int, Doc("its number, from 1")]
    identity: Annotated[T, Doc("a name in the certificate (URI, DNS, IP, e-mail, CN, subject), or sha256: and digest")]
    since: Annotated[datetime | None, Doc("when it began", always=True)]
    until: Annotated[datetime | None, Doc("when it ends by itself", always=True)]
    by: Annotated[T, Doc("who asked for it: the uid at the admin socket")]


@dataclass(frozen=True)
class Denials(Generic[T]):
    """Those in force."""

    now: Annotated[datetime | None, Doc("the sidecar's clock", always=True)]
    denials: Annotated[tuple[Denial[T], ...], Doc("the oldest first")]


@dataclass(frozen=True)
class DenialReply(Generic[T]):
    """The answer to keeping somebody out."""

    now: Annotated[datetime | None, Doc("the sidecar's clock", always=True)]
    denial: Annotated[Denial[T], Doc("in force now")]
    closed: Annotated[int, Doc("connections of this identity that were cut")]


@dataclass(frozen=True)
class DenialEnded(Generic[T]):
    """The answer to an undo."""

    now: Annotated[datetime | None, Doc("the sidecar's clock", always=True)]
    denial: Annotated[Denial[T], Doc("in force no more")]
