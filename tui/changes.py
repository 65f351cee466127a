"""What the reader would otherwise have to notice, between one look at a sidecar and the next: a toast each."""

from __future__ import annotations

from collections.abc import Iterator

from tui.model import Model
from tui.records import Severity
from tui.text import SafeText

News = tuple[SafeText, Severity | None]
"""Words, and how bad it is; None for what is good or ordinary."""


class Changes:
    """Of the sidecar shown: its link, its restarts and the generation in use, as they were last told."""

    def __init__(self) -> None:
        self._was_lost = False
        self._restarts = 0
        self._generation: int | None = None

    def begin(self, model: Model) -> None:
        """Another sidecar, or another moment of a recording: how it is now is no news."""
        self._was_lost, self._restarts = model.link.is_lost, model.restarts
        self._generation = None if model.status is None else model.status.generation

    def forget_generation(self) -> None:
        """The outcome of a change of ours speaks of the new generation itself."""
        self._generation = None

    def since(self, model: Model) -> Iterator[News]:
        """What has changed since this was last asked."""
        if self._was_lost and not model.link.is_lost:
            yield SafeText("connected again"), None
        self._was_lost = model.link.is_lost
        if model.restarts > self._restarts:
            yield SafeText("the sidecar was restarted"), Severity.WARNING
            self._generation = None
        self._restarts = model.restarts
        generation = None if model.status is None else model.status.generation
        if generation is not None and self._generation is not None and generation != self._generation:
            yield SafeText(f"generation {generation} is in use"), None
        self._generation = generation
