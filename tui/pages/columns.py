"""Columns that several lists have, of whatever has these fields; and what stands in a list's place while it is not
known."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from tui.amounts import age, count
from tui.lines import Role, Span
from tui.model import Snapshot
from tui.pages.arrange import ListSort
from tui.plan import Ask
from tui.sheet import Column, Look, Page, message_page
from tui.text import SafeText, shorten_identity, shorten_middle


class OnListener(Protocol):
    """A record that belongs to a listener."""

    @property
    def listener(self) -> SafeText: ...


class OfPeer(Protocol):
    """A record that has a peer."""

    @property
    def peer_address(self) -> SafeText: ...


class Ended(Protocol):
    """It did not go well, for a reason."""

    @property
    def reason(self) -> SafeText: ...


class Turned(Protocol):
    """Somebody was turned away, somewhere on the way in."""

    @property
    def who(self) -> SafeText: ...

    @property
    def stage(self) -> SafeText: ...

    @property
    def sentence(self) -> SafeText: ...


class Counted(Protocol):
    """Several of a kind, counted together."""

    @property
    def count(self) -> int: ...

    @property
    def first_at(self) -> datetime | None: ...

    @property
    def last_at(self) -> datetime | None: ...


LAST: Column[Counted] = Column(
    "LAST",
    7,
    lambda each, look: Span(age(each.last_at, look.now)),
    right=True,
    mirrored=True,
    sort=ListSort.AT,
    letter="A",
)
TIMES: Column[Counted] = Column(
    "TIMES", 6, lambda each, look: Span(count(each.count), Role.STRONG), right=True, sort=ListSort.COUNT, letter="C"
)
SINCE: Column[Counted] = Column(
    "SINCE",
    7,
    lambda each, look: Span(age(each.first_at, look.now), Role.MUTED),
    right=True,
    rank=1,
    mirrored=True,
    sort=ListSort.FIRST,
    letter="F",
)
WHO: Column[Turned] = Column(
    "WHO",
    22,
    lambda each, look: Span(each.who, Role.STRONG),
    share=3,
    wish=42,
    sort=ListSort.WHO,
    letter="W",
    shorten=shorten_identity,
    factored=True,
)
WHY: Column[Ended] = Column(
    "WHY", 19, lambda each, look: Span(each.reason, Role.WARNING), sort=ListSort.REASON, letter="R"
)
STAGE: Column[Turned] = Column("STAGE", 9, lambda each, look: Span(each.stage), rank=2, sort=ListSort.STAGE, letter="T")
LISTENER: Column[OnListener] = Column(
    "LISTENER",
    9,
    lambda each, look: Span(each.listener, Role.MUTED),
    rank=1,
    sort=ListSort.LISTENER,
    letter="L",
    shorten=shorten_middle,
)
IN_WORDS: Column[Turned] = Column("IN WORDS", 28, lambda each, look: Span(each.sentence), rank=4, share=2, wish=36)
PEER: Column[OfPeer] = Column(
    "PEER",
    21,
    lambda each, look: Span(each.peer_address, Role.MUTED),
    rank=5,
    sort=ListSort.PEER,
    letter="P",
    shorten=shorten_middle,
)


def not_known(snapshot: Snapshot, ask: Ask, look: Look) -> Page:
    """In place of a list that cannot be had, or has not been read yet."""
    trouble = snapshot.troubles.get(ask)
    if trouble is not None:
        return message_page([Span(SafeText(f"not available: {trouble}"), Role.WARNING)], look)
    return nothing("asking the sidecar", look)


def nothing(words: str, look: Look) -> Page:
    """A list that is empty says so in a sentence."""
    return message_page([Span(SafeText(words), Role.MUTED)], look)


def no_connections(snapshot: Snapshot, look: Look) -> Page:
    """None at all, or none that the filter means."""
    page = snapshot.connections
    is_filtered = bool(snapshot.connections_query.filter) and page is not None and page.total > 0
    return nothing("no connection matches the filter" if is_filtered else "no open connections", look)
