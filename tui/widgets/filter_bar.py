"""The field that a filter is typed in, and under it what is wrong with what was typed."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widgets import Input

from tlsidecar.api.filter import FilterError
from tui.lines import Role, Span, gap, literal
from tui.text import cell_width, safe_text
from tui.widgets.bar import Bar

_LABEL_WIDTH = 9


class FilterBar(Vertical):
    """Hidden until there is something in it, or it is to be typed in. The input's messages go on to the screen."""

    DEFAULT_CSS = f"""
    FilterBar {{
        display: none; height: auto;
        &.-shown {{ display: block; }}
        #filter-row {{ height: 1; background: $surface; }}
        #filter-label {{ width: {_LABEL_WIDTH}; background: $surface; }}
        #filter {{ width: 1fr; height: 1; border: none; padding: 0; background: $surface; }}
        #mistake {{ display: none; background: $surface; }}
        #mistake.-shown {{ display: block; }}
    }}
    """

    def __init__(self, example: str, *, ascii_art: bool = False) -> None:
        super().__init__()
        self._example = example
        self._ascii_art = ascii_art

    def compose(self) -> ComposeResult:
        with Horizontal(id="filter-row"):
            yield Bar(id="filter-label", ascii_art=self._ascii_art)
            field = Input(placeholder=self._example, id="filter", compact=True, select_on_focus=False)
            field.cursor_blink = False
            yield field
        yield Bar(id="mistake", ascii_art=self._ascii_art)

    def on_mount(self) -> None:
        self.query_one("#filter-label", Bar).show([gap(), literal("filter:", Role.KEY), gap()])

    @property
    def is_typed_in(self) -> bool:
        """Whether the next key goes there, also before the field has been told."""
        return self.screen.focused is self._field

    @property
    def _field(self) -> Input:
        return self.query_one("#filter", Input)

    def show(self, typed: str, mistake: FilterError | None, *, focus: bool) -> None:
        """What stands there; away with it where it is empty, unless it has the ``focus``."""
        with self.prevent(Input.Changed):
            self._field.value = typed
        self.set_class(focus or bool(typed), "-shown")
        if focus:
            self.screen.set_focus(self._field)  # now: the next key may be here already
        self.show_mistake(typed, mistake)

    def show_mistake(self, typed: str, mistake: FilterError | None) -> None:
        """Under the place where it is."""
        bar = self.query_one("#mistake", Bar)
        bar.set_class(mistake is not None, "-shown")
        if mistake is not None:
            before = cell_width(safe_text(typed[: mistake.position])) + _LABEL_WIDTH
            words = safe_text(f"^ {mistake.message}")
            left = max(0, min(before, self.screen.size.width - cell_width(words) - 1))
            bar.show([gap(left), Span(words, Role.CRITICAL)])
