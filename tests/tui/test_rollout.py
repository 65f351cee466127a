"""One action on several sidecars: who it is for, what is asked, and how it is told that it went."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from ui_world import NOW, healthy

from tlsidecar.api.errors import Refused, Unreachable
from tui.actions import Verb
from tui.model import Model
from tui.monitor import Monitor
from tui.peers import Peer
from tui.records import Severity
from tui.rollout import carry_out, denial, denied, report, rollout, summary, undenial
from tui.text import SafeText

PEER = Peer("spiffe://a/b", SafeText("spiffe://a/b"))


class Sidecar:
    """A monitor whose client answers from here. ``replies`` are by path; an error is raised."""

    def __init__(self, name: str, connections: int = 10, state: str = "ready", **replies: Any) -> None:
        self.client = self
        self.endpoint = self
        self.name = self.label = SafeText(name)
        self.model = Model(self.name)
        self.replies = dict[str, Any](replies)
        self.changed: list[tuple[str, str, Any]] = []
        self.woken = 0
        world = healthy()
        world.status["totals"]["connections_active"] = connections
        world.status["state"] = state
        self.model.take_status(world.document("status"), 1000.0, NOW, 0.0)

    async def read(self, path: str, **query: object) -> Mapping[str, Any]:
        return self._answer(path.rpartition("/")[2])

    async def change(self, method: str, path: str, body: Any, *, timeout_s: float) -> Mapping[str, Any]:
        self.changed.append((method, path, body))
        return self._answer("change")

    def _answer(self, name: str) -> Mapping[str, Any]:
        answer = self.replies.get(name, {})
        if isinstance(answer, Exception):
            raise answer
        return cast("Mapping[str, Any]", answer)

    def wake(self) -> None:
        self.woken += 1


def lost(name: str) -> Sidecar:
    gone = Sidecar(name)
    gone.model = Model(gone.name)
    return gone


def chosen(*several: Sidecar) -> list[Monitor]:
    return cast("list[Monitor]", list(several))


def unreachable() -> Unreachable:
    return Unreachable(SafeText("admin.sock: no answer in time"))


def test_those_that_do_not_answer_are_left_out_and_counted() -> None:
    plan = rollout(Verb.DRAIN, chosen(Sidecar("a", 10), Sidecar("b", 5), lost("c")), 1000.0)
    assert plan.title == "Drain on 2 sidecars"
    assert plan.connections == 15
    assert plan.question.startswith("a, b: each stops accepting. What is open (15 connections in all) gets 30 s")
    assert plan.question.endswith("1 sidecar that did not answer: left out.")
    assert plan.confirm == "Yes, drain: 2"


def test_with_nobody_to_ask_there_is_a_sentence_in_place_of_the_question() -> None:
    assert rollout(Verb.RELOAD, chosen(lost("a")), 1000.0).nobody == "reload: none of them answers"
    plan = rollout(Verb.UNDRAIN, chosen(Sidecar("a")), 1000.0)
    assert (list(plan.steps), plan.nobody) == ([], "undrain: none of them is draining")


def test_only_those_that_drain_are_undrained() -> None:
    drained = Sidecar("b", state="draining")
    plan = rollout(Verb.UNDRAIN, chosen(Sidecar("a"), drained), 1000.0)
    assert [monitor for monitor, _ in plan.steps] == chosen(drained)
    assert plan.question.endswith("1 sidecar not draining: left out.")


def test_a_long_list_is_named_in_part() -> None:
    plan = rollout(Verb.ROTATE, chosen(*(Sidecar(f"s{number}") for number in range(7))), 1000.0)
    assert plan.question.startswith("s0, s1, s2, s3 and 3 more: each asks its source")


def test_what_has_changed_by_more_than_a_tenth_is_not_done() -> None:
    before = rollout(Verb.DRAIN, chosen(Sidecar("a", 100), Sidecar("b", 100)), 1000.0)
    near = rollout(Verb.DRAIN, chosen(Sidecar("a", 100), Sidecar("b", 119)), 1000.0)
    far = rollout(Verb.DRAIN, chosen(Sidecar("a", 100), Sidecar("b", 121)), 1000.0)
    fewer = rollout(Verb.DRAIN, chosen(Sidecar("a", 200)), 1000.0)
    assert near.differs_from(before) is None
    assert far.differs_from(before) == "drain: not done, it is 221 connections now and was 200"
    assert fewer.differs_from(before) == "drain: not done, it is 1 sidecar now and was 2"
    level = rollout(Verb.LOG_LEVEL, chosen(Sidecar("a", 1)), 1000.0, "debug")
    again = rollout(Verb.LOG_LEVEL, chosen(Sidecar("a", 900)), 1000.0, "debug")
    assert again.differs_from(level) is None, "it touches no connection"


async def test_a_denial_asks_each_how_many_it_touches_and_sends_it_that() -> None:
    one, other = Sidecar("a", connections=7), Sidecar("b")
    one.replies["connections"], other.replies["connections"] = {"matched": 30}, {"matched": 9}
    silent = Sidecar("c", connections=5)
    silent.replies["connections"] = unreachable()
    plan = await denial(chosen(one, other, silent), PEER, "1 hour", 1000.0)
    assert (plan.connections, plan.silent) == (39, 1)
    assert [action.body for _, action in plan.steps] == [
        {"identity": "spiffe://a/b", "for_s": 3600, "expected": 30},
        {"identity": "spiffe://a/b", "for_s": 3600},  # of so few a tenth is less than one
    ]
    assert "keeps spiffe://a/b out for 1 hour, whatever its rules say, and 39 connections" in plan.question


async def test_of_many_others_than_were_asked_about_nobody_is_kept_out() -> None:
    plans = []
    for matched in (2, 9, 10, 100, 110, 111):
        sidecar = Sidecar("a")
        sidecar.replies["connections"] = {"matched": matched}
        plans.append(await denial(chosen(sidecar), PEER, "1 hour", 1000.0))
    few, nine, ten, hundred, near, far = plans
    assert nine.differs_from(few) is None
    assert ten.differs_from(few) == "deny: not done, it is 10 connections now and was 2"
    assert near.differs_from(hundred) is None
    assert far.differs_from(hundred) == "deny: not done, it is 111 connections now and was 100"


async def test_a_name_is_let_in_again_where_it_is_kept_out_under_that_very_name() -> None:
    rows = [{"id": 4, "identity": "spiffe://a/b"}, {"id": 5, "identity": "spiffe://a/b\u200b"}]
    both, none = Sidecar("a"), Sidecar("b")
    both.replies["denials"] = {"denials": [*rows, {"id": 6, "identity": "spiffe://a/b"}]}
    none.replies["denials"] = {"denials": rows[1:]}
    assert await denied(chosen(both, none), 1000.0) == {"spiffe://a/b": 1, "spiffe://a/b\u200b": 2}
    plan = await undenial(chosen(both, none), "spiffe://a/b", 1000.0)
    assert [action.path for _, action in plan.steps] == ["/v1/denials/4", "/v1/denials/6"]
    assert plan.idle == 1
    assert "1 sidecar without such a denial: left out." in plan.question


async def test_each_is_asked_once_and_looked_at_again_and_the_failed_are_named() -> None:
    well, refused, gone = Sidecar("a"), Sidecar("b"), Sidecar("c")
    well.replies["change"] = {"outcome": "applied", "attempt": {"generation": 4, "serial": "7f"}}
    refused.replies["change"] = Refused(SafeText("key_mismatch"), 409, "refused", {})
    gone.replies["change"] = unreachable()
    several = (well, refused, gone)
    plan = rollout(Verb.RELOAD, chosen(*several), 1000.0)
    ended = await carry_out(plan)
    assert [each.changed for each in several] == [[("POST", "/v1/reload", None)]] * 3
    assert [each.woken for each in several] == [1, 1, 1]
    told = summary(plan, ended)
    assert told.words == "reload: went well on 1, not on 2"
    assert told.severity in (Severity.CRITICAL, Severity.WARNING)
    page = report(plan, ended, 60)
    assert page is not None
    text = "\n".join(line.plain for line in page.lines)
    assert "key_mismatch" in text
    assert "no answer in time" in text
    assert "\na\n" not in text


async def test_where_it_went_well_everywhere_there_is_nothing_to_read() -> None:
    plan = rollout(Verb.RELOAD, chosen(Sidecar("a", change={"outcome": "unchanged", "attempt": {}})), 1000.0)
    ended = await carry_out(plan)
    assert summary(plan, ended).words == "reload: done on 1 sidecar"
    assert report(plan, ended, 60) is None
