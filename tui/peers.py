"""What can be done about peers from the action menu: close many at once, keep somebody out for a time, end what is of
an older generation. Each says how many connections it touches, and sends that: the sidecar refuses when it has changed
by more than a tenth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from tui.actions import DRAIN_ANSWER_S, DRAIN_TIMEOUT_S, FEW, NAME_WIDTH, Action, Verb
from tui.amounts import counted
from tui.lines import Kind, Target
from tui.model import Snapshot
from tui.pages.refusals import party_key
from tui.pages.rollover import older_of
from tui.records import Denial
from tui.text import SafeText, safe_text, shorten_middle

DENY_FOR: Mapping[str, int] = {"10 minutes": 600, "1 hour": 3600, "1 day": 86400}
"""What may be chosen, in seconds."""

_TITLE_WIDTH = 40


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is under the cursor: ``name`` as it came, to be sent back, and as it is shown."""

    name: str
    shown: SafeText

    @classmethod
    def under(cls, snapshot: Snapshot, target: Target) -> Peer | None:
        """Of the connection, refusal or refused party that this is; None where no certificate has a name."""
        match target.kind:
            case Kind.CONNECTION:
                row = snapshot.raw_row("connections", "connections", "id", target.key) or snapshot.raw_connection(
                    target.key
                )
            case Kind.REFUSAL:
                row = snapshot.raw_row("refusals", "refusals", "seq", target.key)
            case Kind.PARTY:
                groups = () if snapshot.refusals is None else snapshot.refusals.groups
                newest = next((each.newest_seq for each in groups if party_key(each) == target.key), 0)
                row = snapshot.raw_row("refusals", "refusals", "seq", newest)
            case _:
                return None
        name = row.get("identity") if isinstance(row, dict) else None
        return cls(name, safe_text(name)) if isinstance(name, str) and name else None

    def short(self, width: int = NAME_WIDTH) -> SafeText:
        return shorten_middle(self.shown, width)


def close_identity(peer: Peer, number: int) -> Action:
    """Cuts all connections of a peer, while they are about ``number``."""
    query = urlencode({"identity": peer.name, "expected": number})
    return Action(
        Verb.CLOSE_MANY,
        SafeText(f"Close all of {peer.short(_TITLE_WIDTH)}"),
        SafeText(f"{counted(number, 'connection')} of {peer.short()} cut now, in whatever they are doing."),
        SafeText(f"Yes, close {number}"),
        "DELETE",
        f"/v1/connections?{query}",
        touches=number,
    )


def close_matching(wanted: str, number: int) -> Action:
    """Cuts all connections that match, while they are about ``number``."""
    query = urlencode({"filter": wanted, "expected": number})
    shown = shorten_middle(safe_text(wanted), NAME_WIDTH)
    return Action(
        Verb.CLOSE_MANY,
        SafeText("Close all that match the filter"),
        SafeText(f"{counted(number, 'connection')} matching {shown} cut now, in whatever they are doing."),
        SafeText(f"Yes, close {number}"),
        "DELETE",
        f"/v1/connections?{query}",
        touches=number,
    )


def deny(peer: Peer, how_long: str, number: int) -> Action:
    """``how_long`` is one of :data:`DENY_FOR`. The sidecar is told of the ``number`` of connections only where a tenth
    of it is one at least: else whoever comes again and again could not be kept out."""
    expected = {"expected": number} if number >= FEW else {}
    return Action(
        Verb.DENY,
        SafeText(f"Deny {peer.short(_TITLE_WIDTH)}"),
        SafeText(
            f"{peer.short()} is kept out for {how_long}, whatever the rules say, and {counted(number, 'connection')} "
            "cut now. It ends by itself, by Undeny, or with a restart."
        ),
        SafeText(f"Yes, for {how_long}"),
        "POST",
        "/v1/denials",
        {"identity": peer.name, "for_s": DENY_FOR[how_long], **expected},
        touches=number,
    )


def undeny(denial: Denial) -> Action:
    """Ends a denial before its time."""
    name = shorten_middle(denial.identity, NAME_WIDTH)
    return Action(
        Verb.UNDENY,
        SafeText(f"Undeny {shorten_middle(denial.identity, _TITLE_WIDTH)}"),
        SafeText(f"{name} is judged by the access rules again."),
        SafeText("Yes, undeny"),
        "DELETE",
        f"/v1/denials/{denial.id}",
    )


def older_connections(snapshot: Snapshot) -> int:
    """How many connections were accepted under an older generation than the one in use."""
    certificates = snapshot.certificates
    if certificates is None:
        return 0
    return sum(map(older_of, certificates.identities or (certificates,)))


def drain_older(snapshot: Snapshot) -> Action:
    """Ends connections of older generations, each after its exchange."""
    number = older_connections(snapshot)
    return Action(
        Verb.DRAIN_OLDER,
        SafeText("Drain older generations"),
        SafeText(
            f"{counted(number, 'connection')} accepted under older material than is in use end after their exchange. "
            "Others go on, and so does accepting."
        ),
        SafeText(f"Yes, end {number}"),
        "POST",
        "/v1/drain-generations",
        {"expected": number, "timeout_s": DRAIN_TIMEOUT_S},
        DRAIN_ANSWER_S,
        touches=number,
    )


def undrain(snapshot: Snapshot) -> Action:
    """Has a drained sidecar accept again."""
    return Action(
        Verb.UNDRAIN,
        SafeText("Undrain"),
        SafeText(f"{snapshot.name} listens on its addresses again, and accepts new connections."),
        SafeText("Yes, serve again"),
        "POST",
        "/v1/undrain",
    )
