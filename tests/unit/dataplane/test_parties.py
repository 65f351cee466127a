"""Who talks, and where to: counted once, each by itself while it is among the busiest."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any

from unit.dataplane.http.identities import identity
from unit.dataplane.http1.conversation import Conversation

from tlsidecar.dataplane.parties import MOST_KNOWN, PLACES, RANKED_EVERY_S, Parties, Party, Shares, names_of
from tlsidecar.dataplane.snapshot import PartyRecord

HERE = {"s:1"}


@dataclass
class Open:
    """An open connection of a party."""

    party: Party | None
    bytes_in: int = 0
    bytes_out: int = 0
    requests: int = 0
    streams: int = 0
    under_way: tuple[str, int, int] | None = None


def named(number: int) -> Any:
    return identity(uris=(f"spiffe://a/{number}",), subject=f"CN={number}")


def record_of(parties: Parties, party: Party) -> PartyRecord:
    return next(record for record in parties.records() if record.number == party.number)


def test_all_that_has_the_same_names_is_one_party() -> None:
    parties = Parties()
    one = parties.met(identity(dns=("a.test",), sha256="01"), 0.002)
    assert parties.met(replace(identity(dns=("a.test",), sha256="02"), serial="07"), 0.004) is one
    assert parties.of(identity(dns=("a.test", "b.test"))) is not one  # though it is shown by the same name
    assert parties.of(None) is parties.rest
    record = record_of(parties, one)
    assert (record.name, record.traffic.connections, record.traffic.handshakes) == (
        "a.test",
        {"accepted": 2},
        {("ok", ""): 2},
    )
    assert record.traffic.handshake_seconds.observations == 2
    assert len({each.key for each in parties.records()}) == 2


def test_a_request_is_counted_once_for_party_upstream_and_listener() -> None:
    parties = Parties()
    a, b = parties.of(named(1)), parties.of(named(2))
    a.answered("s:1", 200, 0.002, 10, 100)
    a.answered("s:2", 502, 0.2, 10, 0)
    b.answered("s:1", 204, 0.002, 10, 100)
    parties.rest.answered("", 403, 0.0, 5, 0)
    a.failed("upstream_refused")
    a.refusals += 1
    assert parties.total().requests == {"2xx": 2, "4xx": 1, "5xx": 1}
    assert (parties.at("s:1").requests, parties.at("s:1").bytes_out) == ({"2xx": 2}, 200)
    assert (parties.at("s:2").requests, parties.at("nowhere").requests) == ({"5xx": 1}, {})
    traffic = record_of(parties, a).traffic
    assert (traffic.requests, traffic.failures) == ({"2xx": 1, "5xx": 1}, {"upstream_refused": 1})
    assert sum(traffic.refusals.values()) == 1
    assert traffic.exchange_seconds.observations == 2
    assert parties.total().exchange_seconds.observations == 4


def test_bytes_of_open_connections_are_counted_as_they_come() -> None:
    parties = Parties()
    a = parties.of(named(1))
    open_ = [Open(a, 10, 20, under_way=("s:1", 10, 20)), Open(a, 1, 2, streams=3), Open(None, 5, 5)]
    live = parties.look(open_, {"s:1", "s:2"}, 1.0)
    assert tuple(live) == (16, 27, 3)
    traffic = record_of(parties, a).traffic
    assert (traffic.connections_active, traffic.bytes_in, traffic.bytes_out) == (2, 11, 22)
    assert (parties.at("s:1").bytes_in, parties.at("s:1").bytes_out) == (10, 20)
    a.ended(3, 10, 20)
    a.carried("s:1", 10, 20)
    parties.look(open_[1:], {"s:1", "s:2"}, 1.0)
    traffic = record_of(parties, a).traffic
    assert (traffic.connections_active, traffic.bytes_in, traffic.bytes_out) == (1, 11, 22)
    assert (parties.at("s:1").bytes_in, parties.at("s:1").bytes_out) == (10, 20)


def test_who_comes_when_all_places_are_taken_is_counted_with_everybody_else() -> None:
    parties = Parties()
    placed = [parties.of(named(number)) for number in range(PLACES)]
    late = parties.of(named(PLACES))
    late.answered("s:1", 200, 0.0, 1, 1)
    assert len(parties.records()) == PLACES
    assert late.number not in {record.number for record in parties.records()}
    assert parties.total().requests == parties.at("s:1").requests == {"2xx": 1}
    assert all(party.has_place for party in placed)


def test_who_does_more_takes_the_place_of_who_is_idle_and_begins_at_nothing() -> None:
    parties = Parties()
    placed = [parties.of(named(number)) for number in range(PLACES)]
    for party in placed[1:]:
        party.answered("s:1", 200, 0.0, 1, 1)
        party.requests += 50
    late = parties.of(named(PLACES))
    late.answered("s:1", 200, 0.0, 1, 1)
    connections = [*(Open(party) for party in placed), Open(late, 7, 7, requests=3)]
    parties.look(connections, HERE, RANKED_EVERY_S)
    assert (late.has_place, placed[0].has_place) == (True, False)
    late.answered("s:1", 200, 0.0, 1, 1)
    connections[-1].bytes_in = 9
    parties.look(connections, HERE, RANKED_EVERY_S + 1)
    record = record_of(parties, late)
    assert (record.traffic.requests, record.traffic.bytes_in, record.traffic.bytes_out) == ({"2xx": 1}, 2, 0)
    assert parties.total().requests == {"2xx": PLACES - 1 + 2}  # nothing is lost, or counted twice
    placed[0].answered("s:1", 200, 0.0, 1, 1)
    assert parties.total().requests == {"2xx": PLACES + 2}
    # Idle and without a connection it is forgotten, and a connection that still has it does no harm.
    parties.look([], HERE, 3 * RANKED_EVERY_S)
    assert parties.of(named(0)) is not placed[0]


def test_two_that_are_as_busy_do_not_take_turns() -> None:
    parties = Parties()
    everybody = [parties.of(named(number)) for number in range(PLACES + 4)]
    before = [party.has_place for party in everybody]
    for tick in range(1, 20):
        for party in everybody:
            party.requests += 100
        parties.look([Open(party) for party in everybody], HERE, tick * RANKED_EVERY_S)
    assert [party.has_place for party in everybody] == before


def test_a_flood_of_names_is_bounded() -> None:
    parties = Parties()
    for number in range(MOST_KNOWN + 100):
        parties.met(named(number), 0.0)
    assert parties.of(named(MOST_KNOWN + 50)) is parties.rest
    assert len(parties.records()) == PLACES


def test_an_address_that_is_not_configured_any_more_is_nobodys() -> None:
    parties = Parties()
    parties.of(named(1)).answered("old:1", 200, 0.0, 1, 1)
    parties.look([], HERE, RANKED_EVERY_S)
    assert parties.at("old:1").requests == {}
    assert parties.total().requests == {"2xx": 1}


def test_the_name_that_is_shown_is_short_and_decides_nothing() -> None:
    long = replace(named(1), name="x" * 5000)
    parties = Parties()
    parties.of(long)
    (record,) = parties.records()
    assert (len(record.name), len(record.key)) == (256, 32)
    assert names_of(long) == names_of(named(1))


def test_an_exchange_pays_for_one_call_and_no_more() -> None:
    """All that is counted of it, for listener, upstream and identity, is counted in one call of few bytecodes."""
    party, calls, steps = Party((), "", Shares()), 0, 0
    party.answered("s:1", 200, 0.002, 1, 1)

    def trace(frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal calls, steps
        calls += event == "call"
        steps += event == "opcode"
        frame.f_trace_opcodes = True
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        party.answered("s:1", 200, 0.002, 1, 1)
    finally:
        sys.settrace(before)
    assert calls == 1
    assert steps < 100


def test_the_conversation_counts_what_it_answers() -> None:
    talk = Conversation().client(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    talk.upstream(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    (share,) = talk.ledger.party.shares.values()
    assert (share.requests, share.bytes_in, share.bytes_out) == ({"2xx": 1}, 27, 40)
