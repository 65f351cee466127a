"""The upstream's end: what is read from it, what it may still say once it takes no more, and why it was lost."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from unit.dataplane.shells import CLOSED, RESET, End

from tlsidecar.dataplane.http2.streams import ALONE, RELAYING
from tlsidecar.dataplane.http2.upstream_end import UpstreamEnd
from tlsidecar.dataplane.reactor import READ
from tlsidecar.dataplane.tls_failure import FailureKind, SslFailure
from tlsidecar.outcomes import Reason, Side, Stage

ALERT = SslFailure(FailureKind.ALERT, "the peer sent the alert unknown_ca", "unknown_ca")
TRUNCATED = SslFailure(FailureKind.TRUNCATED, "the connection ended without close_notify")
PROTOCOL = SslFailure(FailureKind.PROTOCOL, "wrong version number")


class Played:
    """The connection that it belongs to, and the session."""

    def __init__(self, *, remote: bool = False) -> None:
        self.done: list[object] = []
        self.state = RELAYING
        self.to_upstream: list[bytes] = []
        self.client_is_there = True
        self.last = b""  # after which the session is alone
        self.endpoint = End()
        self.upstream = SimpleNamespace(text="127.0.0.1:1", active=1)
        peer: Any = SimpleNamespace(identity="them", rule="any", party="theirs") if remote else None
        this, upstream, endpoint = cast("Any", self), cast("Any", self.upstream), cast("Any", self.endpoint)
        self.end = UpstreamEnd(this, this, upstream, endpoint, peer)
        self.end.attach()

    # As the session.

    def receive_upstream(self, buffer: Any, size: int) -> None:
        said = bytes(buffer[:size])
        self.done.append(said)
        self.to_upstream.append(b"an answer")
        if said == self.last:
            self.state = ALONE

    def knows_remote(self, *known: object) -> None:
        self.done.append(known)

    # As the connection.

    def pump(self) -> None:
        self.done.append("pumped")

    def tell_client(self) -> bool:
        self.done.append("told the client")
        return self.client_is_there

    def drained(self) -> None:
        self.done.append("drained")

    def fail(self) -> None:
        self.done.append("failed")

    def upstream_ended(self, reason: Reason, detail: str, stage: Stage) -> None:
        self.done.append((reason, detail, stage))


def test_what_it_says_is_the_sessions() -> None:
    played = Played()
    assert played.endpoint.readable == played.end.readable
    for said in (b"x" * 10, b"y" * 5000):
        played.endpoint.unread.append(said)
        played.end.readable(READ)
    played.end.readable(READ)  # nothing is there
    assert played.done == [b"x" * 10, "pumped", b"y" * 5000, "pumped"]


LOSSES = [
    pytest.param(CLOSED, False, (Reason.UPSTREAM_CLOSED, "", Stage.UPSTREAM), id="closed"),
    pytest.param(RESET, False, (Reason.UPSTREAM_RESET, RESET.text, Stage.UPSTREAM), id="reset"),
    pytest.param(TRUNCATED, True, (Reason.UPSTREAM_CLOSED, "", Stage.UPSTREAM), id="truncated"),
    pytest.param(PROTOCOL, True, (Reason.UPSTREAM_RESET, PROTOCOL.text, Stage.UPSTREAM), id="no TLS"),
    pytest.param(ALERT, True, (Reason.REFUSED_BY_PEER, ALERT.text, Stage.VERIFY), id="refused"),
]


@pytest.mark.parametrize(("said", "remote", "told"), LOSSES)
def test_how_it_was_lost(said: int | SslFailure, remote: bool, told: object) -> None:
    played = Played(remote=remote)
    played.endpoint.unread.append(said)
    played.end.readable(READ)
    known = [("them", "any", Side.PEER, "theirs")] if said is ALERT else []
    assert played.done == [*known, told]


def test_a_service_that_takes_no_more_is_still_heard_out() -> None:
    played = Played()
    played.endpoint.failure = RESET
    played.endpoint.unread += [b"413", b"rest", CLOSED]
    played.end.broken()
    assert played.done[:4] == [b"413", "told the client", b"rest", "told the client"]
    assert played.done[4:] == [(Reason.UPSTREAM_RESET, RESET.text, Stage.UPSTREAM)]
    assert played.to_upstream == []  # what the session had for it goes nowhere


def test_one_that_is_of_no_use_any_more_is_given_up_by_the_connection() -> None:
    played = Played()
    played.last = b"nonsense"
    played.endpoint.unread += [b"nonsense", b"more"]
    played.end.broken()
    assert played.done == [b"nonsense", "told the client", "pumped"]


def test_without_a_client_nobody_is_left_to_tell() -> None:
    played = Played()
    played.client_is_there = False
    played.endpoint.unread += [b"413", b"rest"]
    played.end.broken()
    assert played.done == [b"413", "told the client"]


def test_an_alert_is_the_last_word() -> None:
    played = Played(remote=True)
    played.endpoint.failure = ALERT
    played.endpoint.unread += [b"what came before it"]
    played.end.broken()
    assert [each for each in played.done if isinstance(each, bytes)] == []
    assert played.done[-1] == (Reason.REFUSED_BY_PEER, ALERT.text, Stage.VERIFY)


def test_what_else_it_passes_on() -> None:
    played = Played()
    played.end.drained()
    played.end.fail()
    played.end.leave()
    assert played.done == ["drained", "failed"]
    assert (played.endpoint.closed, played.upstream.active) == ("closed", 0)
    assert repr(played.end) == "<UpstreamEnd 127.0.0.1:1>"
