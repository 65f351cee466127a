"""How far each sidecar is in a change of the CA, judged by what all of them trust."""

from __future__ import annotations

from datetime import timedelta

from ui_world import NOW, Document, World, certificate, healthy

from tui.model import Model
from tui.pages.fleet_row import FleetRow
from tui.pages.rollover import (
    Readiness,
    Rollover,
    RolloverRow,
    older_of,
    rollover_of,
    rollover_summary_row,
    rollover_table,
)
from tui.records import Certificates, decoded
from tui.sheet import Look
from tui.sight import Sight
from tui.text import SafeText

LOOK = Look(now=NOW, width=160, height=24)


def root(name: str, days_ago: int) -> Document:
    begun = NOW - timedelta(days=days_ago)
    return certificate(f"CN={name}", f"CN={name}", begun, begun + timedelta(days=3650), is_ca=True)


OLD, NEW = root("Old", 900), root("New", 1)


def told(world: World, trust: list[Document], issuer: Document, counts: dict[str, int] | None = None) -> World:
    """What a sidecar trusts, whose leaf it shows, and how many connections it has by generation (3 is in use)."""
    leaf = certificate("CN=web", issuer["subject"], NOW - timedelta(hours=1), NOW + timedelta(hours=23))
    world.certificates |= {"trust": trust, "leaf": leaf, "chain": [], "connections_by_generation": counts or {"3": 5}}
    world.certificates |= {"generation": 3, "identities": []}
    return world


def row(name: str, world: World | None) -> FleetRow:
    model = Model(SafeText(name))
    if world is not None:
        model.take_status(world.document("status"), 10.0, NOW, 0.0)
        model.take_certificates(world.document("certificates"), 10.0)
    return FleetRow(SafeText(name), SafeText(name), Sight.of(model.snapshot(10.0)), 10.0)


def judged(*worlds: World | None, worst_first: bool = False) -> Rollover:
    rows = [row(f"sidecar-{number}", world) for number, world in enumerate(worlds)]
    return rollover_of(rows, rows, worst_first)


def readiness(rollover: Rollover) -> list[Readiness]:
    return [each.readiness for each in rollover.rows]


def test_with_one_ca_there_is_nothing_to_roll_over() -> None:
    rollover = judged(told(healthy(), [OLD], OLD), told(healthy(), [OLD], OLD))
    assert readiness(rollover) == [Readiness.SINGLE] * 2
    assert "one CA, no rollover under way" in rollover_summary_row(rollover, LOOK).plain


def test_one_that_lacks_a_ca_that_another_trusts_keeps_all_from_switching() -> None:
    rollover = judged(told(healthy(), [OLD, NEW], OLD), told(healthy(), [OLD], OLD))
    assert readiness(rollover) == [Readiness.SWITCH, Readiness.NOT]
    assert rollover.rows[1].why == ["does not trust CN=New", "shows a leaf of CN=Old"]
    assert "1 not ready to switch" in rollover_summary_row(rollover, LOOK).plain


def test_it_is_over_when_nobody_shows_or_lives_on_what_is_old() -> None:
    both = [OLD, NEW]
    rollover = judged(
        told(healthy(), both, NEW), told(healthy(), both, NEW, {"2": 7, "3": 1}), told(healthy(), both, OLD)
    )
    assert readiness(rollover) == [Readiness.FINISH, Readiness.SWITCH, Readiness.SWITCH]
    assert [each.why for each in rollover.rows] == [(), ["7 connections by older material"], ["shows a leaf of CN=Old"]]
    assert "ready to switch; 2 not yet to finish" in rollover_summary_row(rollover, LOOK).plain


def test_one_that_does_not_answer_is_ready_for_nothing_and_is_said() -> None:
    both = [OLD, NEW]
    rollover = judged(told(healthy(), both, NEW), None)
    assert readiness(rollover) == [Readiness.FINISH, Readiness.UNKNOWN]
    told_of = rollover_summary_row(rollover, LOOK).plain
    assert "1 of 2 ready to finish" in told_of
    assert "1 not read" in told_of
    assert readiness(judged(None)) == [Readiness.UNKNOWN]
    assert "asking the sidecars what they trust" in rollover_summary_row(judged(None), LOOK).plain


def test_a_leaf_of_nobody_known_is_behind_and_so_is_one_whose_last_attempt_was_refused() -> None:
    both = [OLD, NEW]
    stranger = told(healthy(), both, root("Stranger", 5))
    stranger.certificates["last_attempt"] = {"outcome": "refused", "reason": "key_mismatch"}
    (only,) = judged(stranger).rows
    assert only.readiness is Readiness.SWITCH
    assert list(only.why) == ["shows a leaf of an unknown CA", "last attempt refused: key_mismatch"]


def test_the_worst_stands_first_and_among_equals_the_order_stays() -> None:
    both = [OLD, NEW]
    worlds = [told(healthy(), both, NEW), told(healthy(), both, OLD), None, told(healthy(), [OLD], OLD)]
    assert [each.row.name for each in judged(*worlds, worst_first=True).rows] == [
        *("sidecar-3", "sidecar-1", "sidecar-0", "sidecar-2")
    ]
    assert [each.row.name for each in judged(*worlds).rows] == [f"sidecar-{number}" for number in range(4)]


def test_two_cas_of_one_name_are_two() -> None:
    again = root("Old", 1)
    first, second = told(healthy(), [OLD, again], OLD), told(healthy(), [OLD], OLD)
    first.certificates["chain"] = second.certificates["chain"] = [OLD]
    rollover = judged(first, second)
    assert readiness(rollover) == [Readiness.SWITCH, Readiness.NOT]
    newest, oldest = (part.strip() for part in rollover_summary_row(rollover, LOOK).plain.split("CN=Old")[1:])
    assert newest.startswith("trusted by 1 of 2, issued 0")
    assert oldest.startswith("trusted by 2 of 2, issued 2")


def test_each_row_says_who_it_is_what_it_is_ready_for_and_why_it_is_no_further() -> None:
    table = rollover_table(judged(told(healthy(), [OLD, NEW], OLD)), LOOK)
    shown = table.line(0)
    assert shown is not None
    for words in ("sidecar-0", "switch", "CN=Old", "shows a leaf of CN=Old"):
        assert words in shown.plain


def test_only_numbers_below_the_one_in_use_are_older() -> None:
    own = decoded(Certificates, {"generation": 10, "connections_by_generation": {"9": 2, "10": 5, "11": 1, "x": 7}})
    assert older_of(own) == 2
    assert isinstance(judged(None).rows[0], RolloverRow)
