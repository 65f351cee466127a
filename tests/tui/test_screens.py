"""Every tab at every size in every state, as the text of its lines: what a reader without colours sees.

The pictures of ``test_snapshots.py`` show the whole console in some states; these need no toolkit, and so can show them
all. After a change that is meant: ``pytest tests/tui/test_screens.py --snapshot-update``, then read the difference.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from syrupy.assertion import SnapshotAssertion
from ui_world import NOW, World, degraded, empty, expired, healthy, parties

from tlsidecar.api.words import CONNECTION_GROUPS
from tui.freshness import freshness
from tui.lines import ASCII_GLYPHS, UNICODE_GLYPHS
from tui.model import ConnectionQuery, GroupSort, Model, Snapshot
from tui.pages.chrome import Banner, identity_row, summary_row
from tui.pages.groups import groups_table
from tui.problems import problems
from tui.records import event_of
from tui.sheet import Look, Sheet
from tui.tabs import TABS
from tui.text import SafeText, ascii_only, cell_width

SIZES = ((80, 24), (120, 40), (200, 50))
_BEGAN = 100.0
_ROWS_AROUND = 5  # at the top two, the tabs, the keys; of the sheet, its header


def idle() -> World:
    world = healthy(connections=2)
    world.refusals.clear()
    for listener in world.status["listeners"]:
        listener["recent_handshake_p99_s"] = None
    return world


def draining() -> World:
    world = healthy()
    world.status["state"] = "draining"
    world.status["ready"] = False
    return world


STATES: dict[str, Callable[[], World]] = {
    "idle": idle,
    "busy": healthy,
    "degraded": degraded,
    "draining": draining,
    "expired": expired,
    "stale": healthy,
    "empty": empty,
}


def _model(world: World, *, busy: bool) -> Model:
    """Twenty seconds of watching."""
    model, dice = Model(SafeText("/run/web/admin.sock")), random.Random(4)
    model.take_status(world.document("status"), _BEGAN, world.now, 0.0)
    for second in range(1, 21):
        moved = dice.randrange(200_000) if busy else 0
        world.advance(1, bytes_in=moved, bytes_out=3 * moved, connections=int(busy))
        model.take_status(world.document("status"), _BEGAN + second, world.now, 0.0)
    model.take_certificates(world.document("certificates"), _BEGAN)
    total = world.status["totals"]["refusals_total"]
    told = {"total": total, "refusals": world.refusals, "groups": parties(world.refusals)}
    model.take_refusals(told, 100, _BEGAN)
    model.take_failures(world.document("failures"), _BEGAN)
    listed = {"total": len(world.connections), "matched": len(world.connections), "connections": world.connections}
    model.take_connections(listed, ConnectionQuery())
    model.take_past(world.past(7200, 20), model.span(""), _BEGAN)
    if busy:
        model.take_lately(world.past(60, 10), _BEGAN)
    for kind, fields in world.events:
        model.take_event(event_of(kind, fields))
    return model


def _screens(snapshot: Snapshot, size: tuple[int, int], monotonic: float, *, ascii_art: bool) -> Iterator[str]:
    columns, rows = size
    glyphs = ASCII_GLYPHS if ascii_art else UNICODE_GLYPHS
    look = Look(snapshot.taken_at or NOW, columns - 1, rows - _ROWS_AROUND, glyphs=glyphs)
    found = problems(snapshot)
    banner = Banner(freshness(snapshot.link, monotonic))
    whole = Look(look.now, columns, rows, glyphs=glyphs)
    yield identity_row(snapshot, banner, whole).plain
    yield summary_row(snapshot, whole).plain
    for tab in TABS:
        yield f"--- {tab.name} {tab.note(snapshot, tab.fresh_state())}"
        yield from _lines(tab.sheet(snapshot, found, look, tab.fresh_state()), look.height)


def _lines(sheet: Sheet, height: int) -> Iterator[str]:
    if sheet.header is not None:
        yield sheet.header.plain
    for index in range(min(sheet.count, height)):
        line = sheet.line(index)
        assert line is not None
        yield line.plain


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_every_tab(state: str, size: tuple[int, int], snapshot: SnapshotAssertion) -> None:
    model = _model(STATES[state](), busy=state not in ("idle", "empty"))
    monotonic = _BEGAN + 20
    if state == "stale":
        model.lose(SafeText("nobody listens on /run/web/admin.sock: the sidecar has ended"), monotonic + 1)
        monotonic += 12
    shown = list(_screens(model.snapshot(monotonic), size, monotonic, ascii_art=False))
    assert all(text.isprintable() and cell_width(SafeText(text)) <= size[0] for text in shown)
    assert "\n".join(text.rstrip() for text in shown) == snapshot


@pytest.mark.parametrize("state", STATES)
def test_ascii_says_the_same(state: str) -> None:
    """Only signs differ: every word that is there with them is there without."""
    model = _model(STATES[state](), busy=True)
    for size in SIZES:
        shown = model.snapshot(_BEGAN + 20)
        plain = [ascii_only(SafeText(text)) for text in _screens(shown, size, _BEGAN + 20, ascii_art=True)]
        signs = list(_screens(shown, size, _BEGAN + 20, ascii_art=False))
        assert len(plain) == len(signs)
        for one, other in zip(plain, signs, strict=True):
            assert one.isascii()
            assert [
                each for each in other.split() if each.isalpha() and each.isascii() and each not in one.split()
            ] == []


@pytest.mark.parametrize("by", CONNECTION_GROUPS)
def test_every_grouping(by: str, snapshot: SnapshotAssertion) -> None:
    model = _model(healthy(), busy=True)
    keys = {"peer": "10.0.0.7", "tls": "TLSv1.3 TLS_AES_256_GCM_SHA384 X25519MLKEM768", "generation": "3"}
    names = [
        f"{keys.get(by, 'spiffe://prod.example/ns/shop/sa/team-payments-backend')}-{number}" for number in range(3)
    ]
    groups = [
        {
            "key": name,
            "filter": f"{by}:={name}",
            "connections": 1200 // (number + 1),
            "requests": 98_000 * number,
            "bytes_in": 1 << (20 + number),
            "bytes_out": 1 << (24 + number),
            "requests_per_s": 12.5 * number,
            "bytes_in_per_s": 2048.0 * number,
            "bytes_out_per_s": 40_960.0 * number,
            "failures_per_s": 0.5 * (number == 1),
        }
        for number, name in enumerate(names)
    ]
    reply = {"total": 1800, "matched": 1800, "groups_matched": 3, "groups": groups, "connections": []}
    model.take_connections(reply, ConnectionQuery(sort=GroupSort.CONNECTIONS, group=by))
    shown = []
    for columns, rows in SIZES:
        look = Look(NOW + timedelta(seconds=20), columns - 1, rows)
        shown += [line.rstrip() for line in _lines(groups_table(model.snapshot(_BEGAN + 20), look), rows)]
    assert "\n".join(shown) == snapshot
