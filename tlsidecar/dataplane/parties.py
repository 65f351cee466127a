"""Who talks on a listener, and where to: what each party had of each upstream.

A party is all that has the same names in its certificate, which a new certificate leaves as they are. The busiest have
a place, and are counted each by itself; everybody else is counted together. Places change hands by what was done
lately, so that a thousand idle connections keep nobody out.

A :class:`Share` is what one party had of one upstream. It counts in place of the listener, whose counters are the sum
of its shares: an exchange is counted once, however many charts show it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Hashable, Iterable, Mapping
from hashlib import sha256
from itertools import count
from operator import attrgetter
from typing import NamedTuple, Protocol

from certs.identity import Identity
from tlsidecar.dataplane.snapshot import (
    BYTES_LIKE_A_REQUEST,
    EXCHANGE_BUCKETS_S,
    HANDSHAKE_BUCKETS_S,
    Histogram,
    PartyRecord,
    TrafficCounters,
)

PLACES = 16
"""Parties of one listener in one worker that are counted each by itself."""

RANKED_EVERY_S = 10.0

# Known without a place: beyond that they are counted with everybody else, and not even ranked.
MOST_KNOWN = 4096

# A newcomer takes a place from one that did half as much: less would have two take turns.
_MARGIN = 2
_NAME_CHARACTERS = 256

_CODE_CLASSES = ("none", *(f"{first}xx" for first in range(1, 10)))


def names_of(identity: Identity) -> Hashable:
    """What a party is known by: all its names, which a new certificate leaves as they are, else the certificate. Never
    the name that is shown, which others may share."""
    names = (identity.uris, identity.dns, identity.ips, identity.emails, identity.common_name)
    return (*names, identity.subject) if any(names) else identity.sha256


class Share:
    """Exchanges of one party with one upstream that are over; bytes as the client has sent and was sent them."""

    __slots__ = ("bytes_in", "bytes_out", "codes", "seconds", "total_s")

    def __init__(self) -> None:
        self.codes = [0] * len(_CODE_CLASSES)
        self.seconds = [0] * (len(EXCHANGE_BUCKETS_S) + 1)
        self.total_s = 0.0
        self.bytes_in = 0
        self.bytes_out = 0

    def add(self, other: Share) -> None:
        self.codes = [mine + theirs for mine, theirs in zip(self.codes, other.codes, strict=True)]
        self.seconds = [mine + theirs for mine, theirs in zip(self.seconds, other.seconds, strict=True)]
        self.total_s += other.total_s
        self.bytes_in += other.bytes_in
        self.bytes_out += other.bytes_out

    @property
    def requests(self) -> dict[str, int]:
        """By class of the answer."""
        return {name: number for name, number in zip(_CODE_CLASSES, self.codes, strict=True) if number}

    @property
    def exchange_seconds(self) -> Histogram:
        return Histogram(EXCHANGE_BUCKETS_S, list(self.seconds), self.total_s)


class Shares(dict[str, Share]):
    """By the upstream's address; "" for what reached none. There is one of each that is asked for."""

    __slots__ = ()

    def __missing__(self, upstream: str) -> Share:
        share = self[upstream] = Share()
        return share


class Party:
    """One, or everybody who has no place. ``connections`` counts handshakes that succeeded with it."""

    __slots__ = (
        "active",
        "bytes_in",
        "bytes_out",
        "connections",
        "failures",
        "handshake_seconds",
        "has_place",
        "live_in",
        "live_out",
        "live_requests",
        "name",
        "names",
        "number",
        "refusals",
        "requests",
        "score",
        "seen",
        "shares",
    )

    def __init__(self, names: Hashable, name: str, shares: Shares) -> None:
        self.names = names
        self.name = name
        self.shares = shares
        self.has_place = False
        self.score = 0.0
        self.active = self.live_in = self.live_out = self.live_requests = 0  # as of the last look
        self.begin(0)

    def begin(self, number: int) -> None:
        """Count from nothing; ``number`` tells this count from one before."""
        self.number = number
        self.connections = 0
        self.handshake_seconds = Histogram(HANDSHAKE_BUCKETS_S)
        self.refusals = 0
        self.failures: dict[str, int] = {}
        self.requests = 0  # of connections that are over; for ranking alone
        self.bytes_in, self.bytes_out = -self.live_in, -self.live_out
        self.seen = self._done

    def __repr__(self) -> str:
        return f"<Party {self.name!r} {'with a place' if self.has_place else 'among the others'}>"

    def answered(self, upstream: str, status: int, seconds: float, bytes_in: int, bytes_out: int) -> None:
        """A request was answered with ``status`` (0: with nothing) after so long, by that upstream or by none."""
        share = self.shares[upstream]
        share.codes[status // 100] += 1
        share.seconds[bisect_left(EXCHANGE_BUCKETS_S, seconds)] += 1
        share.total_s += seconds
        share.bytes_in += bytes_in
        share.bytes_out += bytes_out

    def carried(self, upstream: str, bytes_in: int, bytes_out: int) -> None:
        """A connection without requests is over."""
        share = self.shares[upstream]
        share.bytes_in += bytes_in
        share.bytes_out += bytes_out

    def failed(self, reason: str) -> None:
        self.failures[reason] = self.failures.get(reason, 0) + 1

    def ended(self, requests: int, bytes_in: int, bytes_out: int) -> None:
        """A connection is over, with what it had carried."""
        self.requests += requests
        self.bytes_in += bytes_in
        self.bytes_out += bytes_out

    @property
    def _done(self) -> float:
        """What it has done so far, to be compared with what others have."""
        moved = self.bytes_in + self.live_in + self.bytes_out + self.live_out
        return self.requests + self.live_requests + self.connections + moved / BYTES_LIKE_A_REQUEST

    def rank(self) -> None:
        done = self._done
        self.score = self.score / 2 + max(0.0, done - self.seen)
        self.seen = done

    def record(self) -> PartyRecord:
        shares = _sum(self.shares.values())
        counters = TrafficCounters(
            connections_active=self.active,
            connections={"accepted": self.connections},
            handshakes={("ok", ""): self.connections},
            handshake_seconds=self.handshake_seconds.copy(),
            bytes_in=self.bytes_in + self.live_in,
            bytes_out=self.bytes_out + self.live_out,
            requests=shares.requests,
            exchange_seconds=shares.exchange_seconds,
            refusals={("", ""): self.refusals} if self.refusals else {},
            failures=dict(self.failures),
        )
        key = sha256(repr(self.names).encode("utf-8", "backslashreplace")).hexdigest()[:32]
        return PartyRecord(key, self.name[:_NAME_CHARACTERS], self.number, counters)


class PartyConnection(Protocol):
    """What is looked at of a connection."""

    @property
    def party(self) -> Party | None: ...

    @property
    def bytes_in(self) -> int: ...

    @property
    def bytes_out(self) -> int: ...

    @property
    def requests(self) -> int: ...

    @property
    def streams(self) -> int: ...

    @property
    def under_way(self) -> tuple[str, int, int] | None:
        """The upstream, and the bytes of the client and for it, of what is in no share yet."""
        ...


class Live(NamedTuple):
    """What the connections that are open have carried, and how many streams are open on them."""

    bytes_in: int
    bytes_out: int
    streams: int


class Parties:
    """Those of one listener in one worker."""

    def __init__(self) -> None:
        self.rest = Party("", "", Shares())
        self._known: dict[Hashable, Party] = {}
        self._numbers = count(1)
        self._ranked_at = 0.0
        self._under_way: dict[str, tuple[int, int]] = {}

    def __repr__(self) -> str:
        return f"<Parties {len(self._known)}, {len(self._placed())} with a place>"

    def of(self, identity: Identity | None) -> Party:
        """The party that has this certificate; nobody's is everybody's."""
        if identity is None:
            return self.rest
        names = names_of(identity)
        party = self._known.get(names)
        if party is None:
            if len(self._known) >= MOST_KNOWN:
                return self.rest
            party = self._known[names] = Party(names, identity.name, self.rest.shares)
            if len(self._known) <= PLACES or len(self._placed()) < PLACES:
                self._place(party)
        return party

    def met(self, identity: Identity | None, seconds: float) -> Party:
        """The same; a handshake with it took so long."""
        party = self.of(identity)
        party.connections += 1
        party.handshake_seconds.observe(seconds)
        return party

    def look(self, connections: Iterable[PartyConnection], upstreams: Collection[str], now: float) -> Live:
        """What the open connections have carried by now. ``upstreams`` are the addresses there are; ``now`` is
        monotonic seconds."""
        parties = (self.rest, *self._known.values())
        for party in parties:
            party.active = party.live_in = party.live_out = party.live_requests = 0
        is_ranking = now - self._ranked_at >= RANKED_EVERY_S
        is_split = len(upstreams) > 1  # with one, its bytes are the listener's
        under_way: dict[str, tuple[int, int]] = {}
        live_in = live_out = streams = 0
        for connection in connections:
            bytes_in, bytes_out = connection.bytes_in, connection.bytes_out
            live_in += bytes_in
            live_out += bytes_out
            streams += connection.streams
            of = connection.party
            if of is not None:
                of.active += 1
                of.live_in += bytes_in
                of.live_out += bytes_out
                if is_ranking:
                    of.live_requests += connection.requests
            if is_split:
                each = connection.under_way
                if each is not None:
                    before = under_way.get(each[0], (0, 0))
                    under_way[each[0]] = (before[0] + each[1], before[1] + each[2])
        self._under_way = under_way
        if is_ranking:
            self._ranked_at = now
            self._rank(upstreams)
        return Live(live_in, live_out, streams)

    def records(self) -> tuple[PartyRecord, ...]:
        """Those that have a place, as of the last look."""
        return tuple(party.record() for party in self._placed())

    def total(self) -> Share:
        """What all of them had of all upstreams."""
        return _sum(share for shares in self._all_shares() for share in shares.values())

    def at(self, upstream: str) -> Share:
        """What all of them had of one upstream, and what of it was under way at the last look."""
        found = _sum(shares[upstream] for shares in self._all_shares() if upstream in shares)
        bytes_in, bytes_out = self._under_way.get(upstream, (0, 0))
        found.bytes_in += bytes_in
        found.bytes_out += bytes_out
        return found

    def _all_shares(self) -> list[Shares]:
        return [self.rest.shares, *(party.shares for party in self._placed())]

    def _placed(self) -> list[Party]:
        return [party for party in self._known.values() if party.has_place]

    # Who has a place.

    def _place(self, party: Party) -> None:
        party.has_place = True
        party.shares = Shares()
        party.begin(next(self._numbers))

    def _displace(self, party: Party) -> None:
        """What it has had is everybody's now."""
        _fold(self.rest.shares, party.shares)
        party.has_place = False
        party.shares = self.rest.shares

    def _rank(self, upstreams: Collection[str]) -> None:
        for party in self._known.values():
            party.rank()
        placed = sorted(self._placed(), key=attrgetter("score"))
        others = sorted(
            (party for party in self._known.values() if not party.has_place), key=attrgetter("score"), reverse=True
        )
        for newcomer in others:
            if len(placed) >= PLACES:
                if not placed or newcomer.score <= _MARGIN * placed[0].score:
                    break
                self._displace(placed.pop(0))
            elif newcomer.score <= 0:
                break
            self._place(newcomer)
        for party in others:
            if not party.has_place and not party.active and party.score < 1:
                del self._known[party.names]
        for shares in self._all_shares():  # an address that is not configured any more
            for address in [each for each in shares if each and each not in upstreams]:
                _fold(shares, {"": shares.pop(address)})


def _fold(into: Shares, shares: Mapping[str, Share]) -> None:
    for address, share in shares.items():
        into[address].add(share)


def _sum(shares: Iterable[Share]) -> Share:
    total = Share()
    for share in shares:
        total.add(share)
    return total
