"""Small windows over a screen: a menu, a question, a text to read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input

from tui.lines import BLANK, Kind, Line, Role, Span, Target, gap, heading, line, literal
from tui.screens.host import Host
from tui.sheet import Page
from tui.text import EMPTY, SafeText, cell_width, pad, shorten, wrap
from tui.widgets.bar import Bar
from tui.widgets.rows import Rows

_WIDTH = 64
_BORDER_AND_PADDING = 6


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing to choose; ``name`` is what the window returns."""

    name: str
    label: SafeText
    role: Role = Role.TEXT
    note: SafeText = EMPTY


class Window(ModalScreen[str | None]):
    """A bordered sheet in the middle of the screen. Returns the name chosen, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q", "leave", "Leave")]

    DEFAULT_CSS = f"""
    Window {{
        align: center middle;
        background: $background 60%;
        #window {{
            width: {_WIDTH}; max-width: 100%; height: auto; max-height: 100%;
            border: round $primary; padding: 0 2; background: $surface;
        }}
        Rows {{ height: auto; max-height: 100%; background: $surface; scrollbar-gutter: auto; }}
        &.-tall #window {{ width: 84; height: 100%; }}
        &.-tall Rows {{ height: 1fr; }}
        &.-ascii #window {{ border: ascii $primary; }}
    }}
    """

    @property
    def console(self) -> Host:
        app: Host = self.app  # type: ignore[assignment]  # these windows are of that app only
        return app

    def compose(self) -> ComposeResult:
        self.set_class(self.console.options.ascii_art, "-ascii")
        with Vertical(id="window"):
            yield Rows(id="choice", ascii_art=self.console.options.ascii_art)

    def on_mount(self) -> None:
        self.fill()

    def fill(self) -> None:
        rows = self.query_one(Rows)
        rows.show(self.page(min(_WIDTH, self.app.size.width) - _BORDER_AND_PADDING))
        rows.focus()

    def page(self, width: int) -> Page:
        raise NotImplementedError

    def on_rows_opened(self, event: Rows.Opened) -> None:
        if event.target.kind is Kind.CHOICE:
            self.dismiss(str(event.target.key))

    def action_leave(self) -> None:
        self.dismiss(None)


class Menu(Window):
    """Things to choose from."""

    KEYS: ClassVar[Sequence[tuple[str, str]]] = (("enter", "choose"), ("esc", "leave"))

    def __init__(self, title: SafeText, entries: Sequence[Entry], text: SafeText = EMPTY) -> None:
        super().__init__()
        self._title = title
        self._text = text
        self._entries = entries

    def page(self, width: int) -> Page:
        lines: list[Line] = [heading(shorten(self._title, width)), BLANK]
        if self._text:
            lines += [line(Span(text)) for text in wrap(self._text, width)]
            lines.append(BLANK)
        label_width = max((cell_width(entry.label) for entry in self._entries), default=0)
        for entry in self._entries:
            note_width = max(0, width - label_width - 4)
            note = Span(shorten(entry.note, note_width), Role.MUTED)
            room = min(width - 2, label_width)
            label = Span(pad(shorten(entry.label, room), room), entry.role)
            lines.append(line(gap(2), label, gap(2), note, target=Target(Kind.CHOICE, entry.name)))
        lines += [
            BLANK,
            line(*(span for key, words in self.KEYS for span in (literal(key, Role.KEY), literal(f" {words}   ")))),
        ]
        return Page(lines)


class Switches(Menu):
    """Things to switch on and off. ``off`` has those that are off, in the end, too."""

    KEYS: ClassVar[Sequence[tuple[str, str]]] = (("enter", "switch on or off"), ("esc", "done"))

    def __init__(self, title: SafeText, names: Sequence[str], off: frozenset[str]) -> None:
        super().__init__(title, ())
        self._names = names
        self.off = off

    def page(self, width: int) -> Page:
        self._entries = [Entry(name, SafeText(f"[{' ' if name in self.off else 'x'}] {name}")) for name in self._names]
        return super().page(width)

    def on_rows_opened(self, event: Rows.Opened) -> None:
        event.prevent_default()  # the window stays
        self.off ^= {str(event.target.key)}
        event.rows.show(self.page(event.rows.width))


class Question(Menu):
    """Yes or no; no is under the cursor at first."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer('yes')", "Yes"),
        Binding("n", "answer('no')", "No"),
    ]
    KEYS: ClassVar[Sequence[tuple[str, str]]] = (("enter", "choose"), ("y", "yes"), ("n", "no"), ("esc", "leave"))

    def __init__(self, title: SafeText, text: SafeText, yes: SafeText) -> None:
        super().__init__(
            title,
            [Entry("no", SafeText("No, leave it")), Entry("yes", yes, Role.WARNING)],
            text,
        )

    def action_answer(self, name: str) -> None:
        self.dismiss(name)


class Field(Window):
    """A line to type; returns it, or None for nothing."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "Leave", priority=True)]
    DEFAULT_CSS = """
    Field {
        Input { height: 1; border: none; padding: 0 1; margin: 1 0; background: $panel; }
    }
    """

    def __init__(self, title: SafeText, example: str) -> None:
        super().__init__()
        self._title = title
        self._example = example

    def compose(self) -> ComposeResult:
        ascii_art = self.console.options.ascii_art
        self.set_class(ascii_art, "-ascii")
        with Vertical(id="window"):
            yield Bar(id="title", ascii_art=ascii_art)
            field = Input(placeholder=self._example, id="field", compact=True)
            field.cursor_blink = False
            yield field
            yield Bar(id="way", ascii_art=ascii_art)

    def fill(self) -> None:
        self.query_one("#title", Bar).show(heading(self._title).spans)
        way = [literal("enter", Role.KEY), literal(" go on   "), literal("esc", Role.KEY), literal(" leave")]
        self.query_one("#way", Bar).show(way)
        self.query_one(Input).focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.dismiss(event.value.strip() or None)


class Reading(Window):
    """A text to read."""

    def __init__(self, page: Page) -> None:
        super().__init__()
        self._page = page
        self.add_class("-tall")

    def page(self, width: int) -> Page:
        return self._page
