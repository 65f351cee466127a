"""Who is kept out: until the time is over, the denial undone, or asked for anew."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.certs import forge
from unit.certs.forge import ManualClock

from tlsidecar.api.denials import MOST_DENIALS
from tlsidecar.control.denials import DenialBook, TooManyDenials
from tlsidecar.dataplane.denials import is_named
from tlsidecar.observe.events import EventHub

PEER = forge.leaf(
    None,
    dns=("Shop.test",),
    uris=("spiffe://prod.example/ns/shop/sa/web",),
    ips=("10.0.0.7",),
    subject=[(forge.NameOID.COMMON_NAME, "shop")],
).identity
OTHER = forge.leaf(None, dns=("other.test",)).identity


def book() -> tuple[DenialBook, ManualClock]:
    clock = ManualClock()
    return DenialBook(clock, EventHub(clock)), clock


def test_it_ends_by_itself() -> None:
    denials, clock = book()
    denied = denials.add("shop.test", 60, "uid 0")
    assert denials.of(PEER) == "kept out until 2026-11-23T12:01:00Z by uid 0"
    assert denials.of(OTHER) == ""
    clock.jump(timedelta(days=1))  # the wall clock shortens nothing
    assert denials.of(PEER)
    assert not denials.expire()
    clock.advance(timedelta(seconds=60))
    assert denials.of(PEER) == ""
    assert denials.kept_out == (denied,)
    assert denials.expire()
    assert denials.kept_out == ()
    assert not denials.expire()


def test_the_log_says_when_it_begins_and_when_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    denials, clock = book()
    denied = denials.add("shop.test", 60, "uid 0")
    denials.end(denied.id)
    denials.add("other.test", 60, "uid 0")
    clock.advance(timedelta(seconds=60))
    denials.expire()
    assert [record.getMessage() for record in caplog.records] == [
        "an identity is kept out",
        "an identity is kept out no more: undone",
        "an identity is kept out",
        "an identity is kept out no more: over",
    ]


def test_it_can_be_undone_once() -> None:
    denials, _ = book()
    denied = denials.add("shop.test", 60, "uid 0")
    assert denials.end(denied.id) == denied
    assert (denials.of(PEER), denials.end(denied.id)) == ("", None)


def test_asked_for_again_its_time_begins_anew() -> None:
    denials, clock = book()
    denials.add("shop.test", 60, "uid 0")
    clock.advance(timedelta(seconds=50))
    denials.add("shop.test", 60, "uid 0")
    clock.advance(timedelta(seconds=50))
    assert not denials.expire()
    assert [each.id for each in denials.kept_out] == [2]


def test_there_are_so_many_at_most() -> None:
    denials, _ = book()
    for number in range(MOST_DENIALS):
        denials.add(f"host-{number}.test", 60, "uid 0")
    with pytest.raises(TooManyDenials, match="100 identities"):
        denials.add("one-more.test", 60, "uid 0")
    denials.add("host-0.test", 60, "uid 0")


@pytest.mark.parametrize(
    "name",
    ["spiffe://prod.example/ns/shop/sa/web", "shop.TEST", "10.0.0.7", "shop", "CN=shop", f"sha256:{PEER.sha256}"],
)
def test_any_whole_name_will_do(name: str) -> None:
    assert is_named(PEER, name)
    assert not is_named(OTHER, name)


@given(st.text(max_size=12))
def test_no_part_of_a_name_will_do(text: str) -> None:
    if text.lower() not in ("shop.test", "shop", "10.0.0.7", "cn=shop"):
        assert not is_named(PEER, text)
