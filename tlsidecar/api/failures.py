"""What could not be done, and is nobody's guilt who asked."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Generic

from tlsidecar.api.declare import Doc, T
from tlsidecar.lazy_dataclass import dataclass


@dataclass(frozen=True)
class Failure(Generic[T]):
    """The failures of one listener at one upstream for one reason."""

    listener: Annotated[T, Doc("the listener's name")]
    upstream: Annotated[T, Doc("the address; empty where none was chosen")]
    reason: Annotated[T, Doc("why, for programs")]
    sentence: Annotated[T, Doc("why, in words")]
    detail: Annotated[T, Doc("of the newest: the error in the system's words", long=True)]
    count: Annotated[int, Doc("since the process began")]
    first_at: Annotated[datetime | None, Doc("the first of them", always=True)]
    last_at: Annotated[datetime | None, Doc("the newest of them", always=True)]
    last_identity: Annotated[T, Doc("whom the newest could not serve")]


@dataclass(frozen=True)
class Failures(Generic[T]):
    """Connections and requests that could not be served."""

    now: Annotated[datetime | None, Doc("the sidecar's clock", always=True)]
    total: Annotated[int, Doc("since the process began, those no longer kept included")]
    failures: Annotated[tuple[Failure[T], ...], Doc("the newest first")]
