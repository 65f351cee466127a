"""How often the screen is drawn: once a second, soon after something was told, and no more often than a slow line
behind the terminal can take."""

from __future__ import annotations

from dataclasses import dataclass

REPAINT_INTERVAL_S = 1.0

SHORTEST_REPAINT_S = 0.1
"""Replies and events that come closer together than this are drawn together."""

MOST_OCTETS_A_SECOND = 20_000
"""What is sent to the terminal by itself, at most; keys are answered at once."""

OCTETS_A_CELL = 6.5
"""Of lines that changed, colours included, as measured (python -m benchmarks.keys)."""


@dataclass(slots=True)
class Pace:
    """When the screen was last told to draw, and how many cells had been drawn in all before that."""

    at: float | None = None
    cells_before: int = 0

    def draws(self, now: float, cells: int) -> None:
        """The screen is drawn now; it has drawn so many cells up to here."""
        self.at, self.cells_before = now, cells

    def asked(self) -> None:
        """Somebody pressed a key that asks the sidecar for something: the answer is drawn when it comes."""
        self.at = None

    def wait_s(self, now: float, cells: int, screen: int) -> float:
        """Until it may be drawn again by itself: what the last drawing sent has to be through. That is at most the
        ``screen``, in cells: another one in front has another count, and keys draw in between."""
        if self.at is None:
            return 0.0
        sent = min(screen, max(0, cells - self.cells_before)) * OCTETS_A_CELL
        return max(0.0, self.at + sent / MOST_OCTETS_A_SECOND - now)
