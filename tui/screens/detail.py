"""One thing in full, over the tabs: a connection, a certificate, a refusal, a listener, an event, a problem."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from tui.keys import BACK, COPY_LINE, KeyHint
from tui.lines import Kind, Role, Span, Target, gap, literal
from tui.pages.certificates import certificate_page
from tui.pages.config import listener_page
from tui.pages.connections import connection_page
from tui.pages.events import event_page
from tui.pages.explanation import config_lines
from tui.pages.failures import failure_page
from tui.pages.problem import problem_page
from tui.pages.refusals import party_page, refusal_page
from tui.peers import Peer
from tui.records import Connection, Json
from tui.screens.base import ConsoleScreen
from tui.sheet import Look, Page, in_columns
from tui.text import SafeText, shorten_middle
from tui.widgets.bar import Bar
from tui.widgets.rows import Rows


class DetailScreen(ConsoleScreen):
    """Everything known of ``target``, kept up to date while it is shown."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,backspace,q", "back", "Back"),
        Binding("c", "copy_line", "Copy the line of configuration"),
    ]

    DEFAULT_CSS = """
    DetailScreen {
        #title { background: $panel; }
        Rows { height: 1fr; scrollbar-gutter: stable; }
    }
    """

    def __init__(self, target: Target) -> None:
        super().__init__()
        self.target = target

    def compose_body(self) -> ComposeResult:
        ascii_art = self.console.options.ascii_art
        yield Bar(id="title", ascii_art=ascii_art)
        yield Rows(id="detail", ascii_art=ascii_art)

    def on_mount(self) -> None:
        self.query_one(Rows).focus()

    def repaint(self) -> None:
        super().repaint()
        rows = self.query_one(Rows)
        rows.show(in_columns(self._page, self.look(rows.width, rows.size.height)), stale=self.console.view.is_stale)
        name = shorten_middle(SafeText(self._thing()), max(10, self.size.width - 30))
        self.query_one("#title", Bar).show(
            [gap(), literal(self.console.tab.name, Role.MUTED), literal(" > ", Role.MUTED), Span(name, Role.STRONG)]
        )

    def _thing(self) -> str:
        key = self.target.key
        match self.target.kind:
            case Kind.CERTIFICATE:
                return "certificate" if not str(key).startswith("crl ") else "revocation list"
            case Kind.PROBLEM:
                return "problem"
            case Kind.PARTY:
                return "refused"
            case Kind.EVENT:
                event = self.console.view.shown.event(key)
                return "event" if event is None else f"event {event.seq}"
            case kind:
                return f"{kind.value} {key}"

    def _page(self, look: Look) -> Page:
        snapshot = self.console.view.shown
        key = self.target.key
        match self.target.kind:
            case Kind.CONNECTION:
                return connection_page(snapshot, look)
            case Kind.CERTIFICATE:
                return certificate_page(snapshot, str(key), look)
            case Kind.REFUSAL:
                return refusal_page(snapshot, int(key), look)
            case Kind.EVENT:
                return event_page(snapshot, int(key), look)
            case Kind.LISTENER:
                return listener_page(snapshot, str(key), look)
            case Kind.PROBLEM:
                return problem_page(self.console.view.found, str(key), look)
            case Kind.PARTY:
                return party_page(snapshot, str(key), look)
            case Kind.FAILURE:
                return failure_page(snapshot, str(key), look)
            case Kind.CHOICE | Kind.GROUP | Kind.SIDECAR:
                return Page(())

    @property
    def connection_id(self) -> int | None:
        """The connection to ask the sidecar for."""
        return int(self.target.key) if self.target.kind is Kind.CONNECTION else None

    @property
    def refusal_seq(self) -> int | None:
        """The refusal to ask the sidecar for."""
        return int(self.target.key) if self.target.kind is Kind.REFUSAL else None

    @property
    def hints(self) -> Sequence[KeyHint]:
        return (COPY_LINE, BACK) if self._config_lines else (BACK,)

    @property
    def _config_lines(self) -> Sequence[str]:
        """What would let in the peer of the refusal shown."""
        told = self.console.view.shown.refusal
        if told is None or told.refusal.seq != self.refusal_seq:
            return ()
        return tuple(config_lines(told.explanation))

    def action_copy_line(self) -> None:
        if self._config_lines:
            self._copy("\n".join(self._config_lines), "the line")

    @property
    def selected_connection(self) -> Connection | None:
        snapshot = self.console.view.shown
        return snapshot.connection if self.connection_id is not None and not snapshot.connection_gone else None

    @property
    def selected_peer(self) -> Peer | None:
        return Peer.under(self.console.view.shown, self.target)

    def exported(self) -> tuple[str, Json] | None:
        snapshot = self.console.view.shown
        key = self.target.key
        match self.target.kind:
            case Kind.CONNECTION:
                row = snapshot.raw_connection(key) if snapshot.connection is not None else None
                return None if row is None else (f"connection-{key}", row)
            case Kind.CERTIFICATE:
                return snapshot.whole("certificates")
            case Kind.REFUSAL:
                row = snapshot.raw_row("refusals", "refusals", "seq", key)
                return None if row is None else (f"refusal-{key}", row)
            case Kind.PARTY:
                return snapshot.whole("refusals")
            case Kind.FAILURE:
                return snapshot.whole("failures")
            case Kind.EVENT:
                event = snapshot.event(key)
                return None if event is None else (f"event-{event.seq}", event.raw)
            case _:
                return snapshot.whole("status")

    def on_rows_opened(self, event: Rows.Opened) -> None:
        if event.target.kind is not Kind.CHOICE:
            self.console.open_target(event.target)

    def action_back(self) -> None:
        self.console.close_detail()
