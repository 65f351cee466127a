"""What the screens need of the application they belong to; :class:`tui.app.Console` is it."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Protocol

from tui.clock import Clock
from tui.lines import Glyphs, Target
from tui.monitor import Monitor
from tui.options import Options
from tui.pages.chrome import Banner
from tui.records import Severity
from tui.tabs.tab import Tab
from tui.text import SafeText
from tui.view import View


class Host(Protocol):
    """What screens and their mixins may ask of the console that shows them."""

    options: Options
    glyphs: Glyphs
    clock: Clock
    monitor: Monitor  # the sidecar shown
    view: View

    @property
    def is_fleet(self) -> bool: ...

    @property
    def tab(self) -> Tab: ...

    @property
    def stands_still(self) -> bool: ...

    def start(self) -> None: ...

    def banner(self) -> Banner: ...

    def repaint(self) -> None: ...

    def interest_changed(self) -> None: ...

    def refresh_now(self) -> None: ...

    def kinds_changed(self) -> None: ...

    def open_target(self, target: Target) -> None: ...

    def close_detail(self) -> None: ...

    def show_fleet(self) -> None: ...

    def open_sidecar(self, name: str) -> None: ...

    def converse(self, windows: Coroutine[Any, Any, None]) -> None: ...

    def tell(self, words: SafeText, severity: Severity | None = None) -> None: ...
