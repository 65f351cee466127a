"""What needs a person's attention, worst first: judged here and nowhere else, each with since when and what to do.

Each judgement is a function of the :class:`~.facts.Facts`. A problem is known by its code and its subject together, so
that no worker, listener or certificate hides another. A judgement that fails, over a name that cannot be read, costs
its own problems and no others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime

from tlsidecar.control.interface import Problem, Severity
from tlsidecar.control.problems import certificates, process, traffic
from tlsidecar.control.problems.advice import ADVICE
from tlsidecar.control.problems.facts import Facts, Found

__all__ = ["Facts", "Problems"]

Judgement = Callable[[Facts], Iterator[Found]]

JUDGEMENTS: tuple[Judgement, ...] = (
    certificates.own_certificate,
    certificates.renewal,
    certificates.authorities,
    certificates.revocation_lists,
    certificates.crl_downloads,
    certificates.refused,
    certificates.newer_at_hand,
    certificates.trust,
    traffic.outages,
    traffic.upstreams,
    traffic.limits,
    traffic.repeated_refusals,
    process.workers,
    process.configuration,
    process.clock,
    process.log,
    process.draining,
    process.denied,
    process.defects,
)

_ORDER = {Severity.CRITICAL: 0, Severity.WARNING: 1, Severity.NOTICE: 2}


class Problems:
    """Ranks what is wrong and remembers since when each problem has been there."""

    def __init__(self, failed: Callable[[str, Exception], None]) -> None:
        """``failed`` is called with the name of a judgement that failed."""
        self._failed = failed
        self._since: dict[tuple[str, str], datetime] = {}

    def judge(self, facts: Facts) -> list[Problem]:
        """Every problem, worst first, then oldest first."""
        found: dict[tuple[str, str], Found] = {}
        for judgement in JUDGEMENTS:
            try:
                for problem in judgement(facts):
                    found.setdefault((problem.code, problem.subject), problem)
            except Exception as error:
                self._failed(f"judging {judgement.__name__.replace('_', ' ')}", error)
        self._since = {key: min(self._since.get(key, each.since), each.since) for key, each in found.items()}
        ranked = sorted(found.items(), key=lambda item: (_ORDER[item[1].severity], self._since[item[0]]))
        return [
            Problem(each.severity, each.code, each.message, self._since[key], each.subject, ADVICE[each.code])
            for key, each in ranked
        ]
