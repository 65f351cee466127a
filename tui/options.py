"""How the interactive UI was asked to be."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

DEFAULT_THEME = "textual-dark"


@dataclass(frozen=True, slots=True)
class Options:
    sockets: tuple[Path, ...]
    read_only: bool = False
    mouse: bool = True
    ascii_art: bool = False
    theme: str = DEFAULT_THEME
    automatic: bool = True
    """Poll and repaint by themselves; off, only :meth:`tui.app.Console.tick` does."""
