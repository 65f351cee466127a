"""Row 1 tells how fresh the screen is."""

from __future__ import annotations

import pytest

from tui.freshness import Link, freshness
from tui.text import SafeText


@pytest.mark.parametrize(
    ("link", "label", "is_fresh", "stale_s"),
    [
        (Link(), "connecting", False, None),
        (Link(last_reply_at=100.0), "connected", True, None),
        (Link(last_reply_at=97.0), "connected", True, None),
        (Link(last_reply_at=93.0), "STALE 7s", False, 7.0),
        (Link(last_reply_at=93.0, attempt=3, error=SafeText("gone")), "RETRY 3/∞ STALE 7s", False, 7.0),
        (Link(attempt=1, error=SafeText("gone")), "RETRY 1/∞", False, None),
        (Link(last_reply_at=100.5), "connected", True, None),
    ],
)
def test_label(link: Link, label: str, is_fresh: bool, stale_s: float | None) -> None:
    told = freshness(link, 100.0)
    assert (told.label, told.is_fresh, told.stale_s) == (label, is_fresh, stale_s)
