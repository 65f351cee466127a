"""What a connection knows of its listener, made of the listener's settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
from support.clock import ClockLoop

from certs.clock import SYSTEM_CLOCK
from tlsidecar.dataplane.frontend import Frontend
from tlsidecar.dataplane.outbound.network import Network
from tlsidecar.dataplane.shared import Shared
from tlsidecar.dataplane.tally import Tally
from tlsidecar.settings import HTTP_1_1, Address, Limits, ListenerSettings, Mode, Protocol


class Contexts:
    def __init__(self, identity: str) -> None:
        self.identity = identity
        self.generation = 1


class Observer:
    exchanged = None


class Reactor:
    def __init__(self) -> None:
        self.loop = ClockLoop()


def frontend(*names: str, tally: Tally | None = None, **more: Any) -> tuple[Frontend, Shared]:
    """A listener that serves as these of two identities."""
    reactor = cast("Any", Reactor())
    contexts = cast("Any", [Contexts("default"), Contexts("other")])
    shared = Shared(reactor, SYSTEM_CLOCK, cast("Any", Observer()), contexts)
    settings = ListenerSettings(
        "web", more.pop("mode", Mode.TERMINATE), Address(port=1), (Address(port=2),), identities=names, **more
    )
    nobody = cast("Callable[..., None]", lambda *_: None)
    return Frontend(shared, Network(reactor.loop), settings, nobody, nobody, tally), shared


def test_one_identity_is_no_choice() -> None:
    made, shared = frontend("other")
    assert made.handshake_terms.choice is None
    assert made.current is shared.current["other"]
    assert made.outbound.current is made.current


def test_of_several_the_first_is_the_one_that_others_are_chosen_beside() -> None:
    made, shared = frontend("other", "default")
    assert made.current is shared.current["other"]
    assert made.handshake_terms.choice is not None


def test_what_it_serves_follows_what_is_in_use() -> None:
    """A connection looks when it begins: what was swapped in since the listener was made is what it gets."""
    made, shared = frontend("default")
    newer = cast("Any", Contexts("default"))
    shared.current["default"].contexts = newer
    assert made.current.contexts is newer


@pytest.mark.parametrize("mode", list(Mode))
def test_words_of_the_settings(mode: Mode) -> None:
    made, _ = frontend("default", mode=mode, protocol=Protocol.HTTP, limits=Limits(handshake_timeout_s=7))
    assert (made.name, made.mode, made.protocol) == ("web", mode.value, "http")
    assert made.terminates is (mode is Mode.TERMINATE)
    assert made.handshake_deadlines.after_s == 7
    assert made.offered == made.settings.offered == (HTTP_1_1,)
    assert repr(made) == "<Frontend web>"


def test_a_listener_that_is_set_up_anew_goes_on_counting() -> None:
    counted = frontend("default")[0].tally
    assert frontend("default", tally=counted)[0].tally is counted
    assert counted.listener == "web"


def test_nobody_is_waited_for_once_it_is_closed() -> None:
    made, _ = frontend("default")
    late: list[str] = []
    for name, deadlines in (
        ("handshake", made.handshake_deadlines),
        ("remote's handshake", made.outbound.terms.handshakes.deadlines),
        ("connect", made.outbound.terms.connect_deadlines),
    ):
        deadlines.add(object(), lambda name=name: late.append(name))
    made.close()
    cast("ClockLoop", made.shared.reactor.loop).pass_s(1000)
    assert late == []
