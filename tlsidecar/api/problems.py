"""What needs a person's attention."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Generic

from tlsidecar.api.declare import NO_TEXT, Doc, T
from tlsidecar.api.words import Severity
from tlsidecar.lazy_dataclass import dataclass


@dataclass(frozen=True)
class Problem(Generic[T]):
    """One thing that is wrong, as the daemon judges it. Its code and its subject tell it from all others."""

    severity: Annotated[Severity, Doc("how much it matters; problems are ranked, worst first")]
    code: Annotated[T, Doc("which kind of problem, for programs")]
    message: Annotated[T, Doc("what is wrong, in a sentence", long=True)]
    since: Annotated[datetime | None, Doc("when it began", always=True)]
    subject: Annotated[T, Doc("what it is about: a listener, file, worker; empty for the whole process")] = NO_TEXT
    advice: Annotated[T, Doc("what to do about it; empty where there is nothing to add", long=True)] = NO_TEXT

    @property
    def key(self) -> str:
        """What is the same while it goes on."""
        return f"{self.code}\0{self.subject}"
