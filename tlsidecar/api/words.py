"""The closed vocabularies of the admin API: each word is a value on the wire."""

from __future__ import annotations

from enum import StrEnum

PAGE_ROWS = 1000
"""Rows of a list that one reply has at most."""


class State(StrEnum):
    """Where the process is in its life. ``degraded`` serves, with something that needs a person."""

    STARTING = "starting"
    READY = "ready"
    DEGRADED = "degraded"
    DRAINING = "draining"


class Severity(StrEnum):
    """How much a problem matters; a word of a newer sidecar that is not here counts as a warning."""

    CRITICAL = "critical"
    WARNING = "warning"
    NOTICE = "notice"

    @classmethod
    def _missing_(cls, value: object) -> Severity:
        return cls.WARNING

    @property
    def rank(self) -> int:
        """0 is worst."""
        return (Severity.CRITICAL, Severity.WARNING, Severity.NOTICE).index(self)


class Trigger(StrEnum):
    """What asked for a reload."""

    START = "start"
    SIGNAL = "signal"
    FILE_CHANGE = "file_change"
    ADMIN = "admin"
    TIMER = "timer"


class Outcome(StrEnum):
    """How an attempt ended: new material in use, the same material found again, or refused and nothing changed."""

    APPLIED = "applied"
    UNCHANGED = "unchanged"
    REFUSED = "refused"


class MarkKind(StrEnum):
    """What a mark in the history stands for: an attempt to put new material to use, a problem's beginning or end."""

    RELOAD = "reload"
    PROBLEM = "problem"
    PROBLEM_OVER = "problem_over"


class DrainEnd(StrEnum):
    """How a drain ended: everybody left, or some were cut when the timeout ran out."""

    DRAINED = "drained"
    FORCED = "forced"


CONNECTION_SORT_KEYS = (
    "id",
    "listener",
    "peer_address",
    "identity",
    "state",
    "bytes_in",
    "bytes_out",
    "requests",
    "opened_at",
    "idle_s",
    "generation",
)
"""The fields that connections can be sorted by."""

CONNECTION_GROUPS = ("identity", "namespace", "listener", "generation", "tls", "peer")
"""What connections can be counted together by. A namespace is that of a SPIFFE ID, with its trust domain."""

GROUP_SORT_KEYS = (
    "connections",
    "requests",
    "bytes_in",
    "bytes_out",
    "requests_per_s",
    "bytes_per_s",
    "bytes_in_per_s",
    "bytes_out_per_s",
    "failures_per_s",
    "key",
)
"""What groups can be sorted by; the first by themselves."""

EVENT_KINDS = (
    *("state", "reload", "problem", "refusal", "failure", "opened", "closed", "drain", "upstream", "worker", "denial"),
    "lost",
)
"""What an event may tell of."""

LOG_LEVELS = ("debug", "info", "warning", "error")
