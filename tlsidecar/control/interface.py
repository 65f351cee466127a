"""What the controller offers to whoever watches and steers it: the admin API, the metrics, the demo.

The controller implements :class:`Control`; nothing here does anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from datetime import datetime
from typing import TYPE_CHECKING, Protocol, TypeAlias

from tlsidecar.api import certificates, denials, problems
from tlsidecar.api.words import Outcome as Outcome
from tlsidecar.api.words import Severity as Severity
from tlsidecar.api.words import State as State
from tlsidecar.api.words import Trigger as Trigger
from tlsidecar.dataplane.snapshot import (
    ConnectionDetail,
    ConnectionPage,
    ConnectionQuery,
    ConnectionSelection,
    GroupPage,
    GroupQuery,
    WorkerSnapshot,
)
from tlsidecar.lazy_dataclass import dataclass
from tlsidecar.outcomes import Reason
from tlsidecar.settings import Settings

if TYPE_CHECKING:
    from certs.certificate import Certificate
    from certs.clock import Clock
    from certs.material import Material
    from certs.sources.crl_downloads import Failing
    from tlsidecar.control.denials import DenialBook
    from tlsidecar.control.history import History
    from tlsidecar.dataplane.tls import Contexts
    from tlsidecar.observe.events import EventHub
    from tlsidecar.observe.failures import FailureLog
    from tlsidecar.observe.refusals import RefusalLog
    from tlsidecar.sandbox.level import Level


Problem: TypeAlias = problems.Problem[str]
Denied: TypeAlias = denials.Denial[str]
Attempt: TypeAlias = certificates.Attempt[str]


@dataclass(frozen=True, slots=True)
class ConfigurationState:
    """The configuration on disk, where it is not the one in force: the keys that differ, or why it would be refused."""

    file: str
    since: datetime
    changes: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()  # of the changes, those that need a restart
    error: str = ""


@dataclass(frozen=True, slots=True)
class Generation:
    """Material put to use, numbered; a connection keeps the one it was accepted under."""

    number: int
    material: Material
    activated_at: datetime


@dataclass(slots=True)
class ReloadCounts:
    """Attempts so far by (outcome, reason), and when one last succeeded (POSIX seconds)."""

    by_outcome: dict[tuple[str, str], int] = field(default_factory=dict)
    last_success_at: float | None = None


@dataclass(frozen=True, slots=True)
class IdentityState:
    """One identity of ours at one moment: what is in use, where it comes from, and how it is renewed.

    A source ``renews`` when it is to be asked for new material in time; else somebody else has to renew, and
    ``next_renewal_at`` and ``renewal_overdue_at`` are None."""

    name: str
    generation: Generation | None = None  # None before the first
    source: str = ""  # in words
    renews: bool = False
    next_renewal_at: datetime | None = None
    renewal_overdue_at: datetime | None = None  # when it is late, by what the material's life leaves room for
    renewal_failures: int = 0  # in a row
    last_attempt: Attempt | None = None
    refusal: Attempt | None = None  # the newest that nothing has mended since
    refused_since: datetime | None = None  # the first that nothing has mended since
    rejected: Certificate | None = None  # the leaf of the last material that came whole, and was refused
    crls_failing: Mapping[str, Failing] = field(default_factory=dict)  # revocation lists on the web, by address
    soft_crl: bool = False
    counts: ReloadCounts = field(default_factory=ReloadCounts)


@dataclass(frozen=True, slots=True)
class DrainOutcome:
    """How a drain ended: everybody left, or some were cut when the timeout ran out."""

    drained: bool
    closed: int
    forced: int
    duration_s: float


def most_telling(attempts: Sequence[Attempt]) -> Attempt:
    """The one that stands for all of them: a refusal, else what was applied."""
    order = (Outcome.REFUSED, Outcome.APPLIED, Outcome.UNCHANGED)
    return min(attempts, key=lambda attempt: order.index(Outcome(attempt.outcome)))


class CannotUndrain(Exception):
    """It cannot serve again as things are; the text says why."""


class Control(Protocol):
    """The controller, as the admin API sees it. Every method runs on the controller's event loop."""

    settings: Settings
    clock: Clock
    refusals: RefusalLog
    failures: FailureLog
    denials: DenialBook
    events: EventHub
    history: History
    sandbox: Level

    @property
    def state(self) -> State: ...

    @property
    def started_at(self) -> datetime: ...

    @property
    def identities(self) -> Sequence[IdentityState]:
        """Ours, in the order of the configuration; at least one."""
        ...

    def contexts_of(self, identity: str) -> Contexts | None:
        """What new connections under an identity of ours are served with; None before the first generation. Raises
        KeyError when there is none of that name."""
        ...

    def attempts(self, limit: int) -> Sequence[Attempt]:
        """The newest attempts to put new material to use, of all identities, newest first."""
        ...

    @property
    def log_level(self) -> str: ...

    def problems(self) -> Sequence[Problem]:
        """Everything that needs attention, worst first."""
        ...

    def is_live(self) -> bool:
        """Whether the loop turns (workers' loops included)."""
        ...

    def is_ready(self) -> bool:
        """Material of some identity valid, listeners bound, not draining."""
        ...

    async def snapshots(self) -> Sequence[WorkerSnapshot]:
        """Every worker's counters."""
        ...

    async def caught_up(self) -> None:
        """Return when everything up to now is in ``refusals`` and ``failures``: workers report it a moment later."""
        ...

    async def connections(self, query: ConnectionQuery) -> ConnectionPage: ...

    async def connection_groups(self, query: GroupQuery) -> GroupPage: ...

    async def connection(self, connection_id: int) -> ConnectionDetail | None: ...

    async def close_connection(self, connection_id: int) -> bool:
        """Close one connection; False when there is none of that id."""
        ...

    async def count(self, selection: ConnectionSelection) -> int:
        """How many connections are meant."""
        ...

    async def end(self, selection: ConnectionSelection, reason: Reason, *, gently: bool = False) -> int:
        """Cut connections, or retire them ``gently``: after their exchange. How many there were."""
        ...

    async def deny(self, identity: str, for_s: float, by: str) -> tuple[Denied, int]:
        """Keep an identity out of all listeners that it may come in by, and cut what it has open there; how many that
        were. Raises tlsidecar.control.denials.TooManyDenials."""
        ...

    async def undeny(self, denial_id: int) -> Denied | None:
        """Keep it out no longer; None when there is no such denial."""
        ...

    async def reload(self, trigger: Trigger) -> Sequence[Attempt]:
        """Read the configuration and every source again, and put what is good to use. Returns when that is done, with
        an attempt of each identity."""
        ...

    async def rotate(self, identity: str | None = None) -> Sequence[Attempt]:
        """Ask the source of one identity, or of all, to renew now: an authority issues a new leaf, a file source reads
        again. Raises KeyError when there is no such identity."""
        ...

    async def drain(self, timeout_s: float | None = None) -> DrainOutcome:
        """Stop accepting, let connections finish, cut what is left at the timeout. The process lives on."""
        ...

    async def undrain(self) -> None:
        """Accept again after a drain; returns when that is so. Raises :class:`CannotUndrain`."""
        ...

    async def shutdown(self) -> None:
        """Drain, then end the process."""
        ...

    def set_log_level(self, level: str) -> None:
        """Raises ValueError for an unknown level."""
        ...
