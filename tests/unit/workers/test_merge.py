"""One list of connections out of several workers' lists is the list that one worker would have."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from tlsidecar.dataplane.snapshot import (
    ConnectionKeys,
    ConnectionPage,
    ConnectionQuery,
    ConnectionRecord,
    GroupPage,
    GroupQuery,
    GroupRow,
)
from tlsidecar.workers.merge import connection_groups_of, connections_of

TEXTS = (
    "listener mode protocol peer_address identity subject serial sni alpn tls_version cipher group rule state upstream"
)
RECORD = ConnectionRecord(
    **dict.fromkeys(TEXTS.split(), ""),
    id=0,
    bytes_in=0,
    bytes_out=0,
    requests=0,
    opened_at=datetime.fromtimestamp(0, UTC),
    idle_s=0.0,
    generation=1,
    not_after=None,
    worker=0,
    streams=0,
)
NOW = 100.0


class Worker:
    """Sorts as tlsidecar.dataplane.worker does: idle time by the time of the last activity."""

    def __init__(self, records: Sequence[ConnectionRecord]) -> None:
        self.records = records
        self.sent = 0

    def _ordered(self, query: ConnectionQuery) -> list[ConnectionRecord]:
        return sorted(self.records, key=lambda record: self._key(record, query), reverse=query.runs_down)

    @staticmethod
    def _key(record: ConnectionRecord, query: ConnectionQuery) -> Any:
        return NOW - record.idle_s if query.sort == "idle_s" else getattr(record, query.sort)

    async def connections(self, query: ConnectionQuery) -> ConnectionPage:
        rows = self._ordered(query)[query.offset : query.offset + query.limit]
        self.sent += len(rows)
        return ConnectionPage(len(self.records), len(self.records), tuple(rows))

    async def connection_keys(self, query: ConnectionQuery) -> ConnectionKeys:
        keys = [self._key(record, query) for record in self._ordered(query)[: query.offset + query.limit]]
        return ConnectionKeys(len(self.records), len(self.records), tuple(keys))


def records(seed: int, count: int) -> list[ConnectionRecord]:
    draw = random.Random(seed)
    return [
        replace(RECORD, id=number, bytes_in=draw.randrange(5), identity=draw.choice("abc"), idle_s=draw.random())
        for number in range(count)
    ]


@given(
    seed=st.integers(0, 1000),
    count=st.integers(0, 30),
    workers=st.integers(1, 4),
    sort=st.sampled_from(["id", "bytes_in", "identity", "idle_s"]),
    descending=st.booleans(),
    offset=st.integers(0, 35),
    limit=st.integers(1, 12),
)
async def test_every_window(
    seed: int, count: int, workers: int, sort: str, descending: bool, offset: int, limit: int
) -> None:
    everything = records(seed, count)
    everyone = [Worker(everything[number::workers]) for number in range(workers)]
    query = ConnectionQuery(sort=sort, descending=descending, offset=offset, limit=limit)
    page = await connections_of(cast("Any", everyone), query)
    assert (page.total, page.matched) == (count, count)
    alone = await Worker(everything).connections(query)
    assert [getattr(row, sort) for row in page.rows] == [getattr(row, sort) for row in alone.rows]
    assert len({row.id for row in page.rows}) == len(page.rows)


async def test_a_window_deep_in_the_list_costs_its_rows_only() -> None:
    everything = records(1, 1000)
    everyone = [Worker(everything[number::2]) for number in range(2)]
    await connections_of(cast("Any", everyone), ConnectionQuery(offset=900, limit=10))
    assert sum(worker.sent for worker in everyone) == 10


async def test_windows_one_after_the_other_show_each_connection_once() -> None:
    everything = records(2, 50)
    everyone = [Worker(everything[number::3]) for number in range(3)]
    seen = []
    for offset in range(0, 50, 7):
        page = await connections_of(cast("Any", everyone), ConnectionQuery(sort="identity", offset=offset, limit=7))
        seen += [row.id for row in page.rows]
    assert sorted(seen) == list(range(50))


class Grouping:
    """Tells of groups that were made before."""

    def __init__(self, over_s: float, *rows: GroupRow) -> None:
        self.page = GroupPage(sum(row.connections for row in rows), 0, len(rows), over_s, rows)

    async def connection_groups(self, query: GroupQuery) -> GroupPage:
        return self.page


def group(key: str, connections: int, rate: float = 0.0) -> GroupRow:
    return GroupRow(key, f"identity:={key}", connections, 0, 10, 20, rate, 0.0, 0.0, 0.0)


async def test_groups_of_several_workers_are_added_up() -> None:
    workers = cast(
        "Any", [Grouping(2.0, group("a", 3, 1.0), group("b", 2)), Grouping(2.1, group("b", 2), group("c", 1))]
    )
    page = await connection_groups_of(workers, GroupQuery("identity"))
    assert [(row.key, row.connections, row.bytes_in) for row in page.rows] == [("b", 4, 20), ("a", 3, 10), ("c", 1, 10)]
    assert (page.total, page.groups, page.over_s) == (8, 3, 2.0)
    page = await connection_groups_of(workers, GroupQuery("identity", sort="requests_per_s", limit=1))
    assert [(row.key, row.requests_per_s) for row in page.rows] == [("a", 1.0)]
    page = await connection_groups_of(workers, GroupQuery("identity", sort="key", descending=False, limit=1, offset=1))
    assert [row.key for row in page.rows] == ["b"]


async def test_rates_are_known_when_every_worker_knows_them() -> None:
    workers = cast("Any", [Grouping(2.0, group("a", 1)), Grouping(0.0, group("a", 1))])
    assert (await connection_groups_of(workers, GroupQuery("identity"))).over_s == 0.0
