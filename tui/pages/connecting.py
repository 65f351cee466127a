"""What stands in place of every view until the sidecar has answered once."""

from __future__ import annotations

from tui.amounts import duration
from tui.lines import BLANK, Role, Span, gap, heading, line, literal
from tui.model import Snapshot
from tui.sheet import Look, Page, message_page
from tui.text import SafeText


def connecting_page(snapshot: Snapshot, monotonic: float, look: Look) -> Page:
    """In the place of every tab while there is no sidecar to ask."""
    link = snapshot.link
    if not link.is_lost:
        return message_page([Span(SafeText(f"connecting to {snapshot.socket}"), Role.MUTED)], look)
    wait_s = 0.0 if link.next_attempt_at is None else max(0.0, link.next_attempt_at - monotonic)
    page = message_page(
        [
            Span(link.error, Role.CRITICAL),
            Span(SafeText(f"attempt {link.attempt} failed, the next one is in {duration(wait_s + 0.999)}")),
        ],
        look,
    )
    return Page(
        [
            heading("Not connected", snapshot.socket),
            *page.lines,
            BLANK,
            line(gap(2), literal("r", Role.KEY), literal(" try now   "), literal("ctrl+q", Role.KEY), literal(" quit")),
        ]
    )
