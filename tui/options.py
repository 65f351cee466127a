"""How the interactive UI was asked to be."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import BinaryIO

from tui.reach.processes import Processes
from tui.reach.sources import Source
from tui.replay.playback import Playback

DEFAULT_THEME = "textual-dark"


@dataclass(frozen=True, slots=True)
class Options:
    """What the console was started with."""

    sources: tuple[Source, ...]
    read_only: bool = False
    mouse: bool = True
    ascii_art: bool = False
    theme: str = DEFAULT_THEME
    automatic: bool = True
    """Poll and repaint by themselves; off, only :meth:`tui.app.Console.tick` does."""
    processes: Processes = field(default_factory=Processes)
    """What the sources start; ended with the console."""
    record: BinaryIO | None = None
    """A new file, for a recording."""
    playback: Playback | None = None
    """Of the recording that the sources are in; the console's clock, too."""
