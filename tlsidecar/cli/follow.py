"""``--follow``: what a list has that was not there a moment ago, until interrupted."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator, Sequence

from tlsidecar.admin.client import Row
from tlsidecar.api.words import PAGE_ROWS

LOOK_EVERY_S = 1.0


def news(
    look: Callable[[], Sequence[Row]], at_first: int, key: Callable[[Row], Hashable], stamp: Callable[[Row], int]
) -> Iterator[Row]:
    """Of the first look the newest rows, ``at_first`` of them; then, for ever, those whose stamp is above all that was
    seen under their key. The oldest of a look comes first; a look lists the newest first."""
    seen: dict[Hashable, int] = {}
    most = at_first
    while True:
        fresh = [row for row in look() if stamp(row) > seen.get(key(row), 0)]
        for row in fresh:
            seen[key(row)] = max(stamp(row), seen.get(key(row), 0))
        yield from reversed(fresh[:most])
        most = PAGE_ROWS
        time.sleep(LOOK_EVERY_S)
