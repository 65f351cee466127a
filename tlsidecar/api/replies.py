"""The answers that are no more than a word or two: errors, drains, the log level."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Generic

from tlsidecar.api.declare import Doc, T
from tlsidecar.api.words import LOG_LEVELS, DrainEnd
from tlsidecar.lazy_dataclass import dataclass


@dataclass(frozen=True)
class ErrorDetails(Generic[T]):
    """Why a call failed."""

    code: Annotated[T, Doc("for programs")]
    message: Annotated[T, Doc("for people", long=True)]
    position: Annotated[int | None, Doc("of a filter's error: the character that it begins at, from 0")]


@dataclass(frozen=True)
class Error(Generic[T]):
    """The answer to a call that failed."""

    now: Annotated[datetime | None, Doc("the sidecar's clock", always=True)]
    error: Annotated[ErrorDetails[T], Doc("why")]


@dataclass(frozen=True)
class Drained(Generic[T]):
    """How a drain ended."""

    now: Annotated[datetime | None, Doc("the sidecar's clock", always=True)]
    outcome: Annotated[T, Doc("drained: everybody left; forced: some were cut", words=DrainEnd)]
    closed: Annotated[int, Doc("connections that finished")]
    forced: Annotated[int, Doc("connections cut when the time was up")]
    duration_s: Annotated[float, Doc("how long it took", unit="s")]


@dataclass(frozen=True)
class Undrained(Generic[T]):
    """The answer to an undrain."""

    now: Annotated[datetime | None, Doc("the sidecar's clock", always=True)]
    outcome: Annotated[T, Doc("new connections are accepted again", words=("undrained",))]


@dataclass(frozen=True)
class Stopping(Generic[T]):
    """The answer to a shutdown."""

    now: Annotated[datetime | None, Doc("the sidecar's clock", always=True)]
    outcome: Annotated[T, Doc("the drain has begun; the process ends after it", words=("stopping",))]


@dataclass(frozen=True)
class LogLevel(Generic[T]):
    """The process log's level."""

    now: Annotated[datetime | None, Doc("the sidecar's clock", always=True)]
    level: Annotated[T, Doc("in force now", words=LOG_LEVELS)]
    previous: Annotated[T, Doc("in force before", words=LOG_LEVELS)]
