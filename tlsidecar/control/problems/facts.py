"""What problems are judged from: everything that is known at one moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from datetime import datetime
from typing import NamedTuple

from tlsidecar.control.guard import Defect
from tlsidecar.control.interface import ConfigurationState, Denied, IdentityState, Severity
from tlsidecar.control.outages import Outage
from tlsidecar.dataplane.snapshot import WorkerSnapshot
from tlsidecar.lazy_dataclass import dataclass
from tlsidecar.observe.refusals import RefusalsOfOne


class Found(NamedTuple):
    """One thing that a judgement found wrong. ``since`` is as far as the judgement knows; ``subject`` is the listener,
    upstream, worker, file or certificate it is about, empty for the whole process."""

    severity: Severity
    code: str
    message: str
    since: datetime
    subject: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known at ``now``."""

    now: datetime
    identities: Sequence[IdentityState] = ()
    snapshots: Sequence[WorkerSnapshot] = ()
    outages: Sequence[Outage] = ()
    not_ready: Mapping[str, str] = field(default_factory=dict)  # listeners that are not ready, and why
    refusals: Sequence[RefusalsOfOne] = ()
    workers_failing: Mapping[int, tuple[str, datetime]] = field(default_factory=dict)
    configuration: ConfigurationState | None = None
    clock_jump: tuple[datetime, float] | None = None  # when, and by how many seconds
    dropped_log_lines: int = 0
    draining_since: datetime | None = None
    denied: Sequence[Denied] = ()
    defects: Mapping[str, Defect] = field(default_factory=dict)
