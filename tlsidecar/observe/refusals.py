"""The newest refusals, kept for whoever asks who was turned away and why."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from itertools import islice

from tlsidecar.outcomes import Refusal

KEPT_REFUSALS = 1000
# A peer chooses these texts: a thousand refusals of 8 KiB targets and 64 KiB subjects must not add up.
KEPT_TEXT_CHARACTERS = 1024
_PEER_TEXTS = ("peer_address", "detail", "identity", "subject", "issuer", "serial", "method", "target", "request_id")


class RefusalLog:
    """The last ``capacity`` refusals, numbered from 1 since the process began."""

    def __init__(self, capacity: int = KEPT_REFUSALS) -> None:
        self._kept: deque[Refusal] = deque(maxlen=capacity)
        self._total = 0

    def __repr__(self) -> str:
        return f"<RefusalLog {self._total} recorded, {len(self._kept)} kept>"

    @property
    def total(self) -> int:
        """How many were ever recorded; also the number of the newest."""
        return self._total

    def record(self, refusal: Refusal) -> int:
        """Keep one; returns its number. Over-long text from the peer is cut and ends in an ellipsis."""
        self._total += 1
        self._kept.append(_bounded(refusal))
        return self._total

    def newest(self, limit: int = 100) -> list[tuple[int, Refusal]]:
        """At most ``limit`` with their numbers, newest first."""
        return [(self._total - age, refusal) for age, refusal in enumerate(islice(reversed(self._kept), limit))]


def _bounded(refusal: Refusal) -> Refusal:
    overlong = {
        name: text[: KEPT_TEXT_CHARACTERS - 1] + "…"
        for name in _PEER_TEXTS
        if len(text := getattr(refusal, name)) > KEPT_TEXT_CHARACTERS
    }
    return replace(refusal, **overlong) if overlong else refusal
