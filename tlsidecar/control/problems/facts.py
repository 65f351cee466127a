"""What problems are judged from: everything that is known at one moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from certs.certificate import Certificate
from certs.sources.crl_downloads import Failing
from tlsidecar.control.guard import Defect
from tlsidecar.control.interface import Attempt, ConfigurationState, Denied, Generation, Severity
from tlsidecar.control.outages import Outage
from tlsidecar.dataplane.snapshot import WorkerSnapshot
from tlsidecar.observe.refusals import RefusalGroup


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
    """What is known at ``now``. A source ``renews`` when it is to be asked for new material in time; else somebody
    else has to renew, and ``next_renewal_at`` is None."""

    now: datetime
    generation: Generation | None = None
    last_attempt: Attempt | None = None
    refused_since: datetime | None = None
    rejected: Certificate | None = None  # the leaf of the last material that came whole, and was refused
    crls_failing: Mapping[str, Failing] = field(default_factory=dict)  # revocation lists on the web, by address
    renews: bool = False
    next_renewal_at: datetime | None = None
    renewal_failures: int = 0
    soft_crl: bool = False
    snapshots: Sequence[WorkerSnapshot] = ()
    outages: Sequence[Outage] = ()
    not_ready: Mapping[str, str] = field(default_factory=dict)  # listeners that are not ready, and why
    refusals: Sequence[RefusalGroup] = ()
    workers_failing: Mapping[int, tuple[str, datetime]] = field(default_factory=dict)
    configuration: ConfigurationState | None = None
    clock_jump: tuple[datetime, float] | None = None  # when, and by how many seconds
    dropped_log_lines: int = 0
    draining_since: datetime | None = None
    denied: Sequence[Denied] = ()
    defects: Mapping[str, Defect] = field(default_factory=dict)
