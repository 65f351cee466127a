"""What is told as news of a sidecar between two looks."""

from __future__ import annotations

from ui_world import NOW, healthy

from tui.changes import Changes
from tui.model import Model
from tui.text import SafeText


def _looked(model: Model, generation: int = 3, pid: int = 1) -> Model:
    reply = {**healthy().status, "generation": generation, "pid": pid}
    model.take_status(reply, 1.0, NOW, 0.0)
    return model


def _words(changes: Changes, model: Model) -> list[str]:
    return [str(words) for words, _ in changes.since(model)]


def test_the_first_look_is_no_news_and_the_same_again_is_none() -> None:
    changes, model = Changes(), _looked(Model(SafeText("a")))
    assert _words(changes, model) == []
    assert _words(changes, _looked(model)) == []


def test_a_new_generation_is_told_once_and_not_after_our_own_change() -> None:
    changes, model = Changes(), _looked(Model(SafeText("a")))
    changes.begin(model)
    assert _words(changes, _looked(model, generation=4)) == ["generation 4 is in use"]
    assert _words(changes, model) == []
    changes.forget_generation()
    assert _words(changes, _looked(model, generation=5)) == []


def test_a_loss_is_told_when_it_is_over_and_a_restart_hides_its_generation() -> None:
    changes, model = Changes(), _looked(Model(SafeText("a")))
    changes.begin(model)
    model.lose(SafeText("gone"), 2.0)
    assert _words(changes, model) == []
    assert _words(changes, _looked(model, generation=9, pid=2)) == ["connected again", "the sidecar was restarted"]
