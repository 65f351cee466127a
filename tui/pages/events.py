"""The event stream, as a log reads: the newest at the bottom."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tui.amounts import clock_time, utc
from tui.lines import Kind, Role, Span, heading
from tui.model import Snapshot
from tui.pages.arrange import arranged_events
from tui.records import Event
from tui.sheet import Column, Look, Page, Table, field_lines, message_page
from tui.text import SafeText, cell_width, safe_text, shorten, shorten_identity

_KIND_ROLES = {
    "refusal": Role.WARNING,
    "reload": Role.NOTICE,
    "state": Role.NOTICE,
    "drain": Role.WARNING,
    "upstream": Role.WARNING,
    "lost": Role.CRITICAL,
}

_IDENTITY = re.compile(r"(?<=identity=)\S+")
_LEAST_IDENTITY = 16


def _shortened(summary: SafeText, width: int) -> SafeText:
    """What does not fit loses its end; but of an identity there the middle, since its own end tells most."""
    found = _IDENTITY.search(summary) if cell_width(summary) > width else None
    if found is not None:
        room = width - cell_width(SafeText(summary[: found.start()]))
        shorter = shorten_identity(SafeText(found.group()), max(_LEAST_IDENTITY, room))
        summary = SafeText(summary[: found.start()] + shorter + summary[found.end() :])
    return shorten(summary, width)


EVENT_COLUMNS: Sequence[Column[Event]] = (
    Column("TIME", 9, lambda event, look: Span(clock_time(event.at), Role.MUTED)),
    Column("SEQ", 8, lambda event, look: Span(SafeText(str(event.seq)), Role.MUTED), right=True, rank=1),
    Column("EVENT", 8, lambda event, look: Span(event.kind, _KIND_ROLES.get(event.kind, Role.TEXT))),
    Column("WHAT", 40, lambda event, look: Span(event.summary), share=1, shorten=_shortened),
)


def events_table(
    snapshot: Snapshot, look: Look, wanted: str = "", hidden: frozenset[str] = frozenset()
) -> Table[Event] | Page:
    """Those of kinds that are not hidden, or what there is to say in their place."""
    events = arranged_events(snapshot.events, wanted, look.now)
    if hidden:
        events = [event for event in events if event.kind not in hidden]
    trouble = snapshot.troubles.get("events")
    if not events:
        words = "no event matches the filter" if wanted and snapshot.events else "no events yet: waiting for the first"
        spans = [Span(SafeText(words), Role.MUTED)]
        if trouble is not None:
            spans = [Span(SafeText(f"no event stream: {trouble}"), Role.WARNING)]
        return message_page(spans, look)
    return Table(columns=EVENT_COLUMNS, items=events, look=look, kind=Kind.EVENT, key=lambda event: event.number)


def event_page(snapshot: Snapshot, number: int, look: Look) -> Page:
    """One event with every field it came with."""
    event = snapshot.event(number)
    if event is None:
        return message_page([Span(SafeText("this event is not kept any more"), Role.NOTICE)], look)
    lines = [heading(f"Event {event.seq}", event.kind), *field_lines("when", utc(event.at), look)]
    for name, value in event.raw.items():
        if name not in ("seq", "at"):
            lines += field_lines(safe_text(name, 32), safe_text(value, 2048), look)
    return Page(lines)
