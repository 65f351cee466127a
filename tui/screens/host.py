"""What the screens need of the application they belong to; :class:`tui.app.Console` is it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from tui.clock import Clock
from tui.lines import Glyphs, Target
from tui.model import Snapshot
from tui.monitor import Monitor
from tui.options import Options
from tui.pages.chrome import Banner
from tui.records import Json, Problem, Severity
from tui.tabs.tab import Tab
from tui.text import SafeText


class Host(Protocol):
    options: Options
    glyphs: Glyphs
    clock: Clock
    monitor: Monitor  # the sidecar shown
    shown: Snapshot  # what is drawn: now, or the moment of the pause
    shown_at: datetime
    monotonic: float
    found: Sequence[Problem]

    @property
    def is_fleet(self) -> bool: ...

    @property
    def tab(self) -> Tab: ...

    @property
    def is_stale(self) -> bool: ...

    @property
    def is_paused(self) -> bool: ...

    @property
    def stands_still(self) -> bool: ...

    def start(self) -> None: ...

    def banner(self) -> Banner: ...

    def repaint(self) -> None: ...

    def interest_changed(self) -> None: ...

    def refresh_now(self) -> None: ...

    def choose_kinds(self) -> None: ...

    def open_target(self, target: Target) -> None: ...

    def close_detail(self) -> None: ...

    def show_fleet(self) -> None: ...

    def open_sidecar(self, name: str) -> None: ...

    def tell(self, words: SafeText, severity: Severity | None = None) -> None: ...

    def copy_json(self, what: str, raw: Json) -> None: ...

    def copy_text(self, what: str, text: str) -> None: ...

    def save_json(self, what: str, raw: Json) -> None: ...
