"""What could not be done, and is nobody's guilt who asked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Generic

from tlsidecar.api.declare import T, Told


@dataclass(frozen=True)
class Failure(Generic[T]):
    """The failures of one listener at one upstream for one reason."""

    listener: Annotated[T, Told("the listener's name")]
    upstream: Annotated[T, Told("the address; empty where none was chosen")]
    reason: Annotated[T, Told("why, for programs")]
    sentence: Annotated[T, Told("why, in words")]
    detail: Annotated[T, Told("of the newest: the error in the system's words", long=True)]
    count: Annotated[int, Told("since the process began")]
    first_at: Annotated[datetime | None, Told("the first of them", always=True)]
    last_at: Annotated[datetime | None, Told("the newest of them", always=True)]
    last_identity: Annotated[T, Told("whom the newest could not serve")]


@dataclass(frozen=True)
class Failures(Generic[T]):
    """Connections and requests that could not be served."""

    now: Annotated[datetime | None, Told("the sidecar's clock", always=True)]
    total: Annotated[int, Told("since the process began, those no longer kept included")]
    failures: Annotated[tuple[Failure[T], ...], Told("the newest first")]
