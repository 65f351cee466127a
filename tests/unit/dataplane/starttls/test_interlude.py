"""The start of a session inside TLS: what goes through its translation, when it is over, and who broke it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from unit.dataplane.shells import CLOSED, RESET, End

from tlsidecar.dataplane.reactor import READ
from tlsidecar.dataplane.starttls import interlude as module
from tlsidecar.dataplane.starttls.interlude import Interlude
from tlsidecar.dataplane.starttls.translation import Unfit
from tlsidecar.dataplane.tls_failure import FailureKind, SslFailure
from tlsidecar.outcomes import Reason
from tlsidecar.settings import Limits

TRUNCATED = SslFailure(FailureKind.TRUNCATED, "the connection ended without close_notify")


class Shouting:
    """What the client says goes on in upper case, what the server says in lower case, until either says "over"."""

    def __init__(self) -> None:
        self.over = False
        self.held = [b"", b""]

    def from_client(self, data: bytes) -> bytes:
        return self._translated(data, data.upper())

    def from_server(self, data: bytes) -> bytes:
        return self._translated(data, data.lower())

    def _translated(self, data: bytes, passed: bytes) -> bytes:
        if data == b"?":
            raise Unfit("what it says is no shouting")
        self.over = data == b"over"
        return b"" if self.over else passed

    def rest(self) -> tuple[bytes, bytes]:
        return b"of the client", b"of the server"


class Play:
    """``inside``: the client is the one that speaks TLS. ``told`` is what the owner was."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, inside: bool = True) -> None:
        self.tls, self.plain = End("tls"), End("plain")
        self.kinds: list[str] = []
        for kind, end in (("TlsEndpoint", self.tls), ("RemoteEndpoint", self.tls), ("PlainEndpoint", self.plain)):
            monkeypatch.setattr(module, kind, lambda *_, kind=kind, end=end: (self.kinds.append(kind), end)[1])
        self.client, self.server = (self.tls, self.plain) if inside else (self.plain, self.tls)
        self.told: list[tuple[object, ...]] = []
        self.reactor = SimpleNamespace(now=1000.0)
        nothing = cast("Any", None)
        self.interlude = Interlude(
            cast("Any", self.reactor),
            nothing,
            nothing,
            nothing,
            Limits(write_timeout_s=30, idle_timeout_s=300),
            Shouting(),
            self,
            inside=inside,
        )

    def interlude_over(self, inward: bytes, outward: bytes) -> None:
        self.told.append((inward, outward))

    def relay_ended(self, reason: Reason, detail: str) -> None:
        self.told.append((reason, detail))

    def say(self, end: End, *said: bytes | int | SslFailure) -> None:
        end.unread += said
        for _ in said:
            end.readable(READ)


BOTH = pytest.mark.parametrize("inside", [True, False], ids=["terminate", "originate"])


@BOTH
def test_each_direction_is_translated_as_what_it_is(inside: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    play = Play(monkeypatch, inside=inside)
    assert play.kinds[0] == ("TlsEndpoint" if inside else "RemoteEndpoint")
    play.tls.unread.append(b"Came with the end of the handshake")
    play.interlude.start(b"Said before", b"welcome")
    assert play.client.sent.startswith(b"welcome")
    assert play.server.sent.startswith(b"SAID BEFORE")
    play.say(play.client, b"Question")
    play.say(play.server, b"Answer")
    assert play.server.sent.endswith(b"QUESTION")
    assert play.client.sent.endswith(b"answer")
    tls_said = len(b"Came with the end of the handshake")
    asked, answered = len(b"Question"), len(b"Answer")
    tls, plain = (asked, answered) if inside else (answered, asked)
    assert (play.interlude.bytes_in, play.interlude.bytes_out) == (tls_said + tls, plain)
    assert repr(play.interlude) == f"<Interlude Shouting in={tls_said + tls} out={plain}>"


@BOTH
@pytest.mark.parametrize("end", [b"over", CLOSED], ids=["translated", "one has said all"])
def test_what_is_left_is_handed_over_to_the_side_it_is_for(
    end: bytes | int, inside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    play = Play(monkeypatch, inside=inside)
    play.interlude.start()
    play.plain.handed_over, play.tls.handed_over = b"queued inward, ", b"queued outward, "
    play.say(play.client, end)
    from_client, from_server = b"of the client", b"of the server"
    inward, outward = (from_client, from_server) if inside else (from_server, from_client)
    assert play.told == [(b"queued inward, " + inward, b"queued outward, " + outward)]
    play.interlude.stop()  # as the connection does with whatever relay it has
    assert len(play.told) == 1


@BOTH
def test_who_does_not_speak_the_protocol_is_named(inside: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for side, reason in (("client", Reason.STARTTLS_REFUSED), ("server", Reason.UPSTREAM_BAD_RESPONSE)):
        play = Play(monkeypatch, inside=inside)
        play.interlude.start()
        play.say(getattr(play, side), b"?")
        assert play.told == [(reason, "what it says is no shouting")]


FAILURES = [
    pytest.param("tls", TRUNCATED, Reason.TRUNCATED, id="TLS is truncated"),
    pytest.param("tls", RESET, Reason.PEER_RESET, id="the TLS side resets"),
    pytest.param("plain", RESET, Reason.UPSTREAM_RESET, id="the plain side resets"),
]


@pytest.mark.parametrize(("side", "failure", "reason"), FAILURES)
def test_a_side_that_fails(side: str, failure: SslFailure, reason: Reason, monkeypatch: pytest.MonkeyPatch) -> None:
    play = Play(monkeypatch)
    play.interlude.start()
    play.say(getattr(play, side), failure)
    assert play.told == [(reason, failure.text)]
    assert (play.tls.readable, play.plain.readable) == (None, None)

    play = Play(monkeypatch)
    play.interlude.start()
    end = getattr(play, side)
    end.write_failure = failure
    play.say(play.plain if side == "tls" else play.tls, b"something for it")
    assert play.told == [(reason, failure.text)]

    play = Play(monkeypatch)
    play.interlude.start()
    getattr(play, side).failure = failure  # of a write that was queued
    play.interlude.broken()
    assert play.told == [(reason, failure.text)]


def test_a_client_that_is_gone_before_its_welcome(monkeypatch: pytest.MonkeyPatch) -> None:
    play = Play(monkeypatch, inside=False)
    play.client.write_failure = RESET
    play.interlude.start(b"said", b"welcome")
    assert play.told == [(Reason.UPSTREAM_RESET, RESET.text)]
    assert play.server.sent == b""


def test_a_side_whose_other_side_takes_nothing_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    play = Play(monkeypatch)
    play.interlude.start()
    assert (play.interlude.patience_s, play.interlude.timeout_reason) == (300, Reason.IDLE_TIMEOUT)
    play.plain.queued_bytes = 1
    play.say(play.tls, b"more")
    assert (play.tls.is_reading, play.plain.is_reading) == (False, True)
    assert (play.interlude.patience_s, play.interlude.timeout_reason) == (30, Reason.SLOW_READER)
    play.interlude.drained()
    assert not play.tls.is_reading  # something is queued still
    play.plain.queued_bytes = 0
    play.reactor.now = 1020.0
    play.interlude.drained()
    assert play.tls.is_reading
    assert play.interlude.active_at == 1020.0  # bytes have moved


def test_only_what_is_read_is_a_sign_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    play = Play(monkeypatch)
    play.interlude.start()
    play.reactor.now = 1010.0
    play.tls.readable(READ)  # a record of TLS's own
    assert play.interlude.active_at == 1000.0
    play.say(play.tls, b"a word")
    assert play.interlude.active_at == 1010.0


def test_a_defect_of_ours_is_told_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    play = Play(monkeypatch)
    play.interlude.start()
    play.interlude.fail()
    play.interlude.fail()
    assert play.told == [(Reason.INTERNAL_ERROR, "")]
