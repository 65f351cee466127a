"""Times as the admin API writes them."""

from __future__ import annotations

from datetime import UTC, datetime


def timestamp(at: datetime | float | None) -> str | None:
    """RFC 3339 UTC with milliseconds, from a datetime or POSIX seconds; None stays None."""
    if at is None:
        return None
    if not isinstance(at, datetime):
        at = datetime.fromtimestamp(at, UTC)
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
