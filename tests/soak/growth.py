"""What each process of a sidecar holds while it is under load, and whether it grows.

The rule: a process that was there from the warm-up (the first third) to the end is judged by the medians of the two
halves of the rest. Its memory may have grown by MOST_GROWTH_BYTES between them, its descriptors and threads by the few
that come and go. Processes that began later are not judged by themselves: what they begin with is their parent's."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import tree_of

WARM_UP_FRACTION = 1 / 3
# Over minutes the allocator's arenas still come and go: a leak of a kilobyte a connection would be far above this.
MOST_GROWTH_BYTES = 3 * 1024 * 1024
MOST_DESCRIPTORS_MORE = 4
MOST_THREADS_MORE = 2


@dataclass(frozen=True)
class Sample:
    """One process at one moment."""

    at_s: float
    resident: int
    descriptors: int
    threads: int


class Growth:
    """Samples of a process and all that it has started."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._samples: dict[int, list[Sample]] = {}
        self._names: dict[int, str] = {}
        self._moments: list[float] = []

    def sample(self, at_s: float) -> None:
        self._moments.append(at_s)
        for pid in tree_of(self._pid):
            try:
                self._samples.setdefault(pid, []).append(_sample(pid, at_s))
                self._names.setdefault(pid, _name(pid))
            except OSError:
                continue  # it has just ended

    @property
    def processes(self) -> int:
        """How many were ever seen."""
        return len(self._samples)

    def told(self) -> list[str]:
        """Print the figures of each process that lasted; what of them breaks the rule."""
        warm_from = self._moments[int(len(self._moments) * WARM_UP_FRACTION)]
        problems = []
        for pid, samples in self._samples.items():
            warm = [sample for sample in samples if sample.at_s >= warm_from]
            if samples[0].at_s > warm_from or samples[-1].at_s < self._moments[-1] or len(warm) < 2:
                continue
            name = "the sidecar" if pid == self._pid else f"{self._names[pid]} {pid}"
            slope, _ = statistics.linear_regression([each.at_s for each in warm], [each.resident for each in warm])
            resident, descriptors, threads = (_halves(warm, field) for field in _FIELDS)
            print(
                f"{name:<17} resident {samples[0].resident / 1e6:.1f} MB at first, {resident[0] / 1e6:.1f} then "
                f"{resident[1] / 1e6:.1f} after warm-up ({slope * 3600 / 1e6:+.1f} MB an hour); descriptors "
                f"{descriptors[0]:.0f} then {descriptors[1]:.0f}; threads {threads[0]:.0f} then {threads[1]:.0f}"
            )
            if resident[1] - resident[0] > MOST_GROWTH_BYTES:
                problems.append(f"{name}: resident memory grew by {(resident[1] - resident[0]) / 1e6:.1f} MB")
            if descriptors[1] - descriptors[0] > MOST_DESCRIPTORS_MORE:
                problems.append(f"{name}: descriptors grew from {descriptors[0]:.0f} to {descriptors[1]:.0f}")
            if max(each.threads for each in warm) > warm[0].threads + MOST_THREADS_MORE:
                problems.append(f"{name}: threads grew")
        return problems


def cpu_s(pid: int) -> float:
    """Processor time of the tree so far, with that of children that have ended and were waited for."""
    ticks = 0
    for each in tree_of(pid):
        try:
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


_FIELDS: tuple[Callable[[Sample], int], ...] = (
    lambda sample: sample.resident,
    lambda sample: sample.descriptors,
    lambda sample: sample.threads,
)


def _halves(samples: list[Sample], field: Callable[[Sample], int]) -> tuple[float, float]:
    half = len(samples) // 2
    early, late = (statistics.median(field(each) for each in part) for part in (samples[:half], samples[half:]))
    return early, late


def _sample(pid: int, at_s: float) -> Sample:
    status = Path(f"/proc/{pid}/status").read_text()
    threads = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("Threads:"))
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return Sample(at_s, pages * os.sysconf("SC_PAGE_SIZE"), len(os.listdir(f"/proc/{pid}/fd")), threads)


def _name(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()
