"""One list of connections out of several workers' lists."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from operator import add
from typing import Any

from tlsidecar.dataplane.grouping import first_groups
from tlsidecar.dataplane.snapshot import (
    ConnectionPage,
    ConnectionQuery,
    ConnectionRecord,
    GroupPage,
    GroupQuery,
    GroupRow,
)
from tlsidecar.workers.handle import WorkerHandle


async def connections_of(workers: Sequence[WorkerHandle], query: ConnectionQuery) -> ConnectionPage:
    """The same window as one worker with all the connections would show.

    The rows of a window deep in the list are not all fetched to be thrown away: each worker first tells what its rows
    are sorted by, which is cheap, and then only those rows that are shown.
    """
    if len(workers) == 1:
        return await workers[0].connections(query)
    if not query.offset and query.sort != "idle_s":  # which each worker counts from a moment of its own
        pages = await asyncio.gather(*(worker.connections(query) for worker in workers))
        rows = _merged(query, [page.rows for page in pages])
        return ConnectionPage(
            sum(page.total for page in pages), sum(page.matched for page in pages), tuple(rows[: query.limit])
        )
    keys = await asyncio.gather(*(worker.connection_keys(query) for worker in workers))
    windows = _windows([each.keys for each in keys], query)
    pages = await asyncio.gather(
        *(
            worker.connections(replace(query, offset=start, limit=end - start))
            for worker, (start, end) in zip(workers, windows, strict=True)
            if end > start
        )
    )
    rows = _merged(query, [page.rows for page in pages])
    return ConnectionPage(sum(each.total for each in keys), sum(each.matched for each in keys), tuple(rows))


async def connection_groups_of(workers: Sequence[WorkerHandle], query: GroupQuery) -> GroupPage:
    """The window on the groups of all workers together."""
    pages = await asyncio.gather(*(worker.connection_groups(query) for worker in workers))
    sums: dict[tuple[str, str], GroupRow] = {}
    for row in (row for page in pages for row in page.rows):
        held = sums.get(row[:2])
        sums[row[:2]] = row if held is None else GroupRow(*row[:2], *map(add, held[2:], row[2:]))
    rows = first_groups(sums.values(), query, query.offset + query.limit)
    return GroupPage(
        total=sum(page.total for page in pages),
        matched=sum(page.matched for page in pages),
        groups=pages[0].groups if len(pages) == 1 else len(sums),
        over_s=min(page.over_s for page in pages),
        rows=tuple(rows[query.offset :]),
    )


def _windows(lists: Sequence[Sequence[Any]], query: ConnectionQuery) -> list[tuple[int, int]]:
    """Which part of each sorted list lies in the window of all of them merged."""
    tagged = [[(key, number) for key in keys] for number, keys in enumerate(lists)]
    merged = heapq.merge(*tagged, key=lambda pair: pair[0], reverse=query.runs_down)
    owners = [number for _, number in islice(merged, query.offset + query.limit)]
    starts = [owners[: query.offset].count(number) for number in range(len(lists))]
    counts = [owners[query.offset :].count(number) for number in range(len(lists))]
    return [(start, start + count) for start, count in zip(starts, counts, strict=True)]


def _merged(query: ConnectionQuery, lists: Sequence[Sequence[ConnectionRecord]]) -> list[ConnectionRecord]:
    # idle_s in a record is the reverse of what workers sort by, the time of the last activity.
    reverse = query.descending
    return list(heapq.merge(*lists, key=lambda record: getattr(record, query.sort), reverse=reverse))
