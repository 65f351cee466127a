"""How fresh what is shown is: connected, stale, or being retried; and how far the two clocks are apart."""

from __future__ import annotations

from dataclasses import dataclass

from tui.amounts import duration
from tui.lines import Role
from tui.text import EMPTY, SafeText

STALE_AFTER_S = 3.0
"""Three polls without an answer are not a slow one any more."""

SKEW_LIMIT_S = 5.0
"""More than this between the sidecar's clock and ours is worth a warning; less is the network's and the poll's."""


@dataclass(frozen=True, slots=True)
class Link:
    """The state of the admin socket. Moments are monotonic seconds."""

    last_reply_at: float | None = None
    attempt: int = 0  # failed attempts since the last reply; 0 while connected
    error: SafeText = EMPTY
    next_attempt_at: float | None = None

    @property
    def is_lost(self) -> bool:
        return self.attempt > 0


@dataclass(frozen=True, slots=True)
class Freshness:
    """What row 1 says of the admin socket."""

    label: SafeText
    role: Role
    is_fresh: bool
    stale_s: float | None  # None: fresh, or never heard of


def freshness(link: Link, monotonic: float) -> Freshness:
    """The words for ``link`` at the monotonic moment given, seconds."""
    age_s = None if link.last_reply_at is None else max(0.0, monotonic - link.last_reply_at)
    if link.is_lost:
        stale = "" if age_s is None else f" STALE {duration(age_s)}"
        return Freshness(SafeText(f"RETRY {link.attempt}/∞{stale}"), Role.CRITICAL, False, age_s)
    if age_s is None:
        return Freshness(SafeText("connecting"), Role.NOTICE, False, None)
    if age_s > STALE_AFTER_S:
        return Freshness(SafeText(f"STALE {duration(age_s)}"), Role.WARNING, False, age_s)
    return Freshness(SafeText("connected"), Role.GOOD, True, None)
