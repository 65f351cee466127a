"""Our material, what we trust, and the last attempt to renew."""

from __future__ import annotations

from collections.abc import Sequence

from tui.keys import ENTER, FILTER
from tui.model import Snapshot
from tui.pages.certificates import certificates_page
from tui.plan import Ask
from tui.records import Json, Problem
from tui.sheet import Look, Sheet
from tui.tabs.tab import Tab, TabState


class Certificates(Tab):
    """What we show and whom we trust, as it is in use."""

    name = "Certificates"
    short = "Certs"
    needs = frozenset({Ask.CERTIFICATES})
    hints = (ENTER, FILTER)
    filters_words = True

    def sheet(self, snapshot: Snapshot, found: Sequence[Problem], look: Look, state: TabState) -> Sheet:
        return certificates_page(snapshot, look, state.filter)

    def is_unread(self, snapshot: Snapshot) -> bool:
        return snapshot.certificates is None

    def exported(self, snapshot: Snapshot, key: int | str | None) -> tuple[str, Json] | None:
        return snapshot.whole("certificates")
