"""What every full screen has: the two rows at the top, the keys at the bottom, and the keys that work everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen

from tui.export import as_json, save
from tui.keys import BACK, KeyHint, hints
from tui.lines import Role, Span, gap, literal
from tui.pages.chrome import identity_row, summary_row
from tui.peers import Peer
from tui.records import Connection, Json, Severity
from tui.screens.host import Host
from tui.sheet import Look
from tui.tabs import TABS
from tui.text import EMPTY, SafeText, cell_width, safe_text
from tui.widgets.bar import Bar
from tui.widgets.rows import Rows


class ConsoleScreen(Screen[None]):
    """A full screen of the console."""

    AUTO_FOCUS = ""  # not the filter, hidden as it is: a key that comes early would be typed there
    LEADS_TO_FLEET: ClassVar[bool] = True
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "app.actions", "Actions"),
        Binding("p", "app.pause", "Pause"),
        Binding("r", "app.refresh_now", "Refresh now"),
        Binding("y", "copy", "Copy as JSON"),
        Binding("Y", "save", "Save as JSON"),
        Binding("n", "app.sidecars", "Sidecars"),
        Binding("full_stop", "app.step(1)", "Step on"),
        Binding("comma", "app.step(-1)", "Step back"),
        Binding("greater_than_sign", "app.step(60)", "A minute on"),
        Binding("less_than_sign", "app.step(-60)", "A minute back"),
        Binding("right_square_bracket", "app.mark(1)", "Next mark"),
        Binding("left_square_bracket", "app.mark(-1)", "Mark before"),
        Binding("at", "app.moment", "To a moment"),
        Binding("plus", "app.speed(1)", "Faster"),
        Binding("minus", "app.speed(-1)", "Slower"),
        Binding("question_mark", "app.help", "Help"),
        Binding("colon", "app.command_palette", "Command palette"),
        *(Binding(str(number), f"app.view({number})", tab.name) for number, tab in enumerate(TABS, 1)),
    ]

    DEFAULT_CSS = """
    ConsoleScreen {
        layout: vertical;
        background: $background;
        #identity { background: $surface; }
        #summary { background: $surface; }
        #keys { dock: bottom; background: $surface; }
    }
    """

    @property
    def console(self) -> Host:
        app: Host = self.app  # type: ignore[assignment]  # these screens are of that app only
        return app

    def compose(self) -> ComposeResult:
        ascii_art = self.console.options.ascii_art
        yield Bar(id="identity", ascii_art=ascii_art)
        yield Bar(id="summary", ascii_art=ascii_art)
        yield from self.compose_body()
        yield Bar(id="keys", ascii_art=ascii_art)

    def compose_body(self) -> ComposeResult:
        raise NotImplementedError

    def repaint(self) -> None:
        """Draw what the app shows now."""
        look = self.look(self.size.width, self.size.height)
        snapshot = self.console.view.shown
        self.query_one("#identity", Bar).show(identity_row(snapshot, self.console.banner(), look).spans)
        self.query_one("#summary", Bar).show(summary_row(snapshot, look).spans, stale=self.console.view.is_stale)
        self._repaint_keys(look)

    def look(self, width: int, height: int, *, wide: bool = False) -> Look:
        console = self.console
        return Look(console.view.shown_at, max(20, width), height, wide, console.glyphs, console.clock.now())

    @property
    def hints(self) -> Sequence[KeyHint]:
        """The keys of this screen."""
        return (BACK,)

    @property
    def note(self) -> SafeText:
        """A few words at the right of the keys."""
        return EMPTY

    @property
    def selected_connection(self) -> Connection | None:
        """The connection that "close" would mean."""
        return None

    @property
    def selected_peer(self) -> Peer | None:
        """Whose identity "close all" and "deny" would mean."""
        return None

    def exported(self) -> tuple[str, Json] | None:
        """What copying and saving take: its name and its JSON."""
        return None

    def _repaint_keys(self, look: Look) -> None:
        console = self.console
        listed = hints(
            self.hints,
            read_only=console.options.read_only,
            paused=console.view.is_paused or console.stands_still,
            several=console.is_fleet and self.LEADS_TO_FLEET,
            replay=console.options.playback is not None,
        )
        parts: list[tuple[list[Span], str]] = [([gap()], "")]
        used = 1
        note_width = cell_width(self.note) + 1 if self.note else 0
        for key, words, pressed in listed:
            spans = [literal(key, Role.KEY), gap(), literal(words, Role.MUTED), gap(2)]
            used += sum(cell_width(span.text) for span in spans)
            if used + note_width > look.width:
                break
            parts.append((spans, pressed))
        free = look.width - sum(cell_width(span.text) for spans, _ in parts for span in spans)
        if self.note and free >= note_width:
            parts.append(([gap(free - note_width), Span(self.note, Role.MUTED)], ""))
        self.query_one("#keys", Bar).show_parts(parts)

    def on_rows_resized(self, event: Rows.Resized) -> None:
        self.console.repaint()

    def on_bar_pressed(self, event: Bar.Pressed) -> None:
        if event.bar.id == "keys":
            # In the app's name: what this screen sends itself would stop at it, before the bindings are looked at.
            key = events.Key(event.name, None)
            key.set_sender(self.app)
            self.app.post_message(key)

    def action_copy(self) -> None:
        exported = self.exported()
        if exported is not None:
            what, raw = exported
            self._copy(as_json(raw), f"{what} as JSON")

    def _copy(self, text: str, what: str) -> None:
        self.app.copy_to_clipboard(text)
        self.console.tell(SafeText(f"copied {what}, if the terminal lets programs copy (OSC 52)"))

    def action_save(self) -> None:
        exported = self.exported()
        if exported is None:
            return
        what, raw = exported
        try:
            path = save(raw, what, self.console.clock.now(), Path.cwd())
        except OSError as error:
            file = safe_text(str(error.filename or Path.cwd()))
            words = SafeText(f"not saved: {file}: {safe_text(error.strerror or str(error))}")
            self.console.tell(words, Severity.CRITICAL)
        else:
            self.console.tell(SafeText(f"saved {safe_text(str(path))}"))
