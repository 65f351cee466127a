"""Filtering and sorting of what is held here. (Connections are filtered and sorted by the sidecar.)"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from enum import StrEnum
from operator import attrgetter
from typing import Any

from tlsidecar.api.filter import parse
from tlsidecar.api.filter_fields import (
    EVENT_FIELDS,
    FAILURE_FIELDS,
    REFUSAL_FIELDS,
    event_matcher,
    failure_matcher,
    refusal_matcher,
)
from tui.records import Event, Failure, Refusal, RefusalGroup, decoded

_EARLIEST = datetime.min.replace(tzinfo=UTC)


class ListSort(StrEnum):
    """What refusals, the groups of them and failures are sorted by."""

    AT = "at"  # of what is counted together, the last time
    COUNT = "count"
    FIRST = "first"
    WHO = "who"
    REASON = "reason"
    LISTENER = "listener"
    STAGE = "stage"
    PEER = "peer"
    UPSTREAM = "upstream"


LARGEST_FIRST = frozenset({ListSort.AT, ListSort.COUNT, ListSort.FIRST})

_Keys = Mapping[ListSort, Callable[[Any], Any]]

_OF_ALL: _Keys = {ListSort.REASON: attrgetter("reason"), ListSort.LISTENER: attrgetter("listener")}

_COUNTED: _Keys = {
    **_OF_ALL,
    ListSort.AT: lambda each: each.last_at or _EARLIEST,
    ListSort.FIRST: lambda each: each.first_at or _EARLIEST,
    ListSort.COUNT: attrgetter("count"),
}

_JUDGED: _Keys = {
    ListSort.WHO: attrgetter("who"),
    ListSort.STAGE: attrgetter("stage"),
    ListSort.PEER: attrgetter("peer_address"),
}

_REFUSAL_KEYS: _Keys = {**_OF_ALL, **_JUDGED, ListSort.AT: lambda refusal: refusal.at or _EARLIEST}
_GROUP_KEYS: _Keys = {**_COUNTED, **_JUDGED}
_FAILURE_KEYS: _Keys = {**_COUNTED, ListSort.UPSTREAM: attrgetter("upstream")}


def matches(texts: Sequence[str], wanted: str) -> bool:
    """Whether every word of ``wanted`` is in one of ``texts``, letter case aside."""
    words = wanted.casefold().split()
    if not words:
        return True
    everything = "\n".join(texts).casefold()
    return all(word in everything for word in words)


def arranged_refusals(
    refusals: Sequence[Refusal], wanted: str, sort: ListSort, descending: bool, now: datetime
) -> Sequence[Refusal]:
    """Those that match, in order; the newer ones follow where ``sort`` finds no difference."""
    means = refusal_matcher(parse(wanted, REFUSAL_FIELDS), now)
    kept = [refusal for refusal in refusals if means(refusal)]
    read = _REFUSAL_KEYS.get(sort, _REFUSAL_KEYS[ListSort.AT])
    return sorted(kept, key=lambda refusal: (read(refusal), refusal.seq), reverse=descending)


def arranged_groups(
    groups: Sequence[RefusalGroup],
    held: Sequence[Refusal],
    wanted: str,
    sort: ListSort,
    descending: bool,
    now: datetime,
) -> Sequence[RefusalGroup]:
    """A group is meant where one of its refusals is: one that is held, or the newest as the group tells of it."""
    kept = list(groups)
    if wanted:
        means = refusal_matcher(parse(wanted, REFUSAL_FIELDS), now)
        found = {party_of(refusal) for refusal in held if means(refusal)}
        told = {party_of(refusal) for refusal in held}
        kept = [
            each
            for each in groups
            if (party := group_party(each)) in found or (party not in told and means(_newest(each)))
        ]
    return sorted(kept, key=lambda group: (_GROUP_KEYS[sort](group), group.newest_seq), reverse=descending)


def arranged_failures(
    failures: Sequence[Failure], wanted: str, sort: ListSort, descending: bool, now: datetime
) -> Sequence[Failure]:
    """Those that match, in order."""
    means = failure_matcher(parse(wanted, FAILURE_FIELDS), now)
    return sorted(filter(means, failures), key=_FAILURE_KEYS[sort], reverse=descending)


def arranged_events(events: Sequence[Event], wanted: str, now: datetime) -> Sequence[Event]:
    """The oldest first, as a log reads."""
    if not wanted:
        return events
    means = event_matcher(parse(wanted, EVENT_FIELDS), lambda: now)
    return [event for event in events if means(event.told)]


def group_party(group: RefusalGroup) -> tuple[str, ...]:
    """What the refusals of a group have in common."""
    return group.who, group.listener, group.side, group.stage, group.reason, group.rule


def party_of(refusal: Refusal) -> tuple[str, ...]:
    """The same of one refusal: strangers without a certificate are known by their address, without its port."""
    who = refusal.identity or refusal.subject or host_of(refusal.peer_address)
    return who, refusal.listener, refusal.side, refusal.stage, refusal.reason, refusal.rule


def host_of(address: str) -> str:
    """Without its port; of a Unix socket, and of what has none, the whole."""
    host, colon, _ = address.rpartition(":")
    return host.strip("[]") if colon and not address.startswith("unix") else address


def _newest(group: RefusalGroup) -> Refusal:
    """As much of a group's newest refusal as the group tells."""
    names = ("listener", "peer_address", "side", "stage", "reason", "sentence", "rule")
    told = {"seq": group.newest_seq, "identity": group.who, **{name: getattr(group, name) for name in names}}
    return replace(decoded(Refusal, told), at=group.last_at)
