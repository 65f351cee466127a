"""What can be changed from the action menu: the call, the question asked before, and the words for its outcome."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from tlsidecar.api.decode import decoded, integer, text
from tlsidecar.api.errors import AdminError, Refused
from tui.amounts import counted, grouped
from tui.client import CHANGE_TIMEOUT_S
from tui.model import Snapshot
from tui.records import AttemptReply, Connection, Json, Severity
from tui.text import SafeText, shorten_middle

DRAIN_TIMEOUT_S = 30
DRAIN_ANSWER_S = DRAIN_TIMEOUT_S + 15.0

NAME_WIDTH = 120
"""Cells of a peer's name: a question is short, however long that is."""

_CHANGED_PART = 0.1
"""Of what a question told, at most so much may have changed by the answer: the sidecar does no more, either."""

FEW = 10
"""Connections. A tenth of fewer is less than one of them."""

LOG_LEVELS = ("debug", "info", "warning", "error")


class Verb(StrEnum):
    """What an action is called in the audit of a session and in tests."""

    RELOAD = "reload"
    ROTATE = "rotate"
    DRAIN = "drain"
    CLOSE = "close"
    CLOSE_MANY = "close-many"
    DENY = "deny"
    UNDENY = "undeny"
    DRAIN_OLDER = "drain-older"
    UNDRAIN = "undrain"
    LOG_LEVEL = "log-level"


@dataclass(frozen=True, slots=True)
class Action:
    """One change, ready to be confirmed and sent."""

    verb: Verb
    title: SafeText
    consequence: SafeText
    confirm: SafeText
    method: str
    path: str
    body: Json | None = None
    timeout_s: float = CHANGE_TIMEOUT_S
    about: str = ""  # which one of several things of a kind it changes
    touches: int | None = None  # connections, where the question tells how many

    @property
    def key(self) -> str:
        """Its name in a menu."""
        return f"{self.verb.value} {self.about}" if self.about else self.verb.value

    def differs_from(self, asked: Action) -> SafeText | None:
        """What has changed too much since ``asked`` was asked; None for nothing."""
        now, before = self.touches, asked.touches
        if now is None or before is None or not has_changed_for(self.verb, now, before):
            return None
        return SafeText(f"{self.verb}: not done, it is {counted(now, 'connection')} now and was {grouped(before)}")


def has_changed(now: int, before: int) -> bool:
    """Whether what was asked about were ``before``, and ``now`` are others."""
    return abs(now - before) > _CHANGED_PART * before


def has_changed_for(verb: Verb, now: int, before: int) -> bool:
    """The same of the connections that an action touches. Somebody to be kept out who has a few, and comes again and
    again, never has as many as at the last look: it is the name that counts."""
    return has_changed(now, before) and not (verb is Verb.DENY and max(now, before) < FEW)


def actions(snapshot: Snapshot, connection: Connection | None) -> Sequence[Action]:
    """Everything on offer now; closing only where a connection is under the cursor. The log level comes apart."""
    name = snapshot.name
    offered = [
        Action(
            Verb.RELOAD,
            SafeText("Reload certificates"),
            SafeText(
                f"{name} reads its certificate, key and trust again and puts them to use if they are good. "
                "Open connections stay."
            ),
            SafeText("Yes, reload"),
            "POST",
            "/v1/reload",
        ),
        Action(
            Verb.ROTATE,
            SafeText("Rotate now"),
            SafeText(
                f"{name} asks its source for a new certificate now: a local CA issues one, files are read again. "
                "Open connections stay."
            ),
            SafeText("Yes, rotate"),
            "POST",
            "/v1/rotate",
        ),
        drain(snapshot),
    ]
    offered[2:2] = _rotations(snapshot)
    if connection is not None:
        who = shorten_middle(connection.identity or connection.subject or connection.peer_address, NAME_WIDTH)
        where = shorten_middle(connection.peer_address, NAME_WIDTH)
        offered.append(
            Action(
                Verb.CLOSE,
                SafeText(f"Close connection {connection.id}"),
                SafeText(f"The connection of {who} from {where} is cut now, in whatever it is doing."),
                SafeText("Yes, close it"),
                "DELETE",
                f"/v1/connections/{connection.id}",
            )
        )
    return offered


def drain(snapshot: Snapshot) -> Action:
    """Has it finish what is open, and accept nothing more."""
    open_now = 0 if snapshot.status is None else snapshot.status.totals.connections_active
    return Action(
        Verb.DRAIN,
        SafeText("Drain"),
        SafeText(
            f"{snapshot.name} stops accepting. What is open ({counted(open_now, 'connection')}) gets "
            f"{DRAIN_TIMEOUT_S} s to finish, then it is cut. It does not serve again until Undrain, or a restart."
        ),
        SafeText("Yes, drain"),
        "POST",
        "/v1/drain",
        {"timeout_s": DRAIN_TIMEOUT_S, "expected": open_now},
        DRAIN_ANSWER_S,
        touches=open_now,
    )


def _rotations(snapshot: Snapshot) -> list[Action]:
    """Of each identity by itself, where there are several."""
    identities = () if snapshot.status is None else snapshot.status.identities
    if len(identities) < 2:
        return []
    return [
        Action(
            Verb.ROTATE,
            SafeText(f"Rotate {shorten_middle(each.name, NAME_WIDTH)} now"),
            SafeText(f"The source of the identity {each.name} is asked for a new certificate now. The others stay."),
            SafeText("Yes, rotate"),
            "POST",
            "/v1/rotate",
            {"identity": each.name},
            about=each.name,
        )
        for each in identities
    ]


def log_level_action(snapshot: Snapshot, level: str) -> Action:
    """Set the log level to one of :data:`LOG_LEVELS`."""
    assert level in LOG_LEVELS
    current = SafeText("unknown") if snapshot.status is None else snapshot.status.log_level
    return Action(
        Verb.LOG_LEVEL,
        SafeText(f"Log level {level}"),
        SafeText(f"{snapshot.name} logs from level {level} on; now it is {current}. A restart sets it back."),
        SafeText(f"Yes, log {level}"),
        "PUT",
        "/v1/log-level",
        {"level": level},
    )


@dataclass(frozen=True, slots=True)
class ActionResult:
    """How an action ended, in words; ``severity`` is None when it went well."""

    words: SafeText
    severity: Severity | None = None


def outcome(action: Action, reply: Json) -> ActionResult:
    """The words for an action that was carried out."""
    match action.verb:
        case Verb.RELOAD | Verb.ROTATE:
            answer = decoded(AttemptReply, reply)
            attempt = answer.attempt
            how = answer.outcome or attempt.outcome
            if how == "unchanged":
                return ActionResult(SafeText(f"{action.verb}: unchanged, the same certificate is in use"))
            words = f"{action.verb}: {how}, generation {attempt.generation}, serial {attempt.serial}"
            if attempt.warnings:
                return ActionResult(SafeText(f"{words}; warning: {'; '.join(attempt.warnings)}"), Severity.WARNING)
            return ActionResult(SafeText(words))
        case Verb.DRAIN:
            closed, forced = integer(reply.get("closed")), integer(reply.get("forced"))
            words = (
                f"drain: {text(reply.get('outcome'))}, {counted(closed, 'connection')} finished, {grouped(forced)} cut"
            )
            return ActionResult(SafeText(words), Severity.WARNING if forced else None)
        case Verb.CLOSE:
            return ActionResult(SafeText(f"connection {integer(reply.get('id'))} closed"))
        case Verb.CLOSE_MANY | Verb.DRAIN_OLDER:
            left = integer(reply.get("left"))
            still = f"; {grouped(left)} have not ended yet" if left else ""
            words = f"{counted(integer(reply.get('ended')), 'connection')} ended{still}"
            return ActionResult(SafeText(words), Severity.WARNING if left else None)
        case Verb.UNDRAIN:
            return ActionResult(SafeText("undrained: new connections are accepted again"))
        case Verb.DENY:
            return ActionResult(SafeText(f"kept out; {counted(integer(reply.get('closed')), 'connection')} cut"))
        case Verb.UNDENY:
            return ActionResult(SafeText("judged by the access rules again"))
        case Verb.LOG_LEVEL:
            return ActionResult(SafeText(f"log level {text(reply.get('level'))}, before {text(reply.get('previous'))}"))


def failure(action: Action, error: AdminError) -> ActionResult:
    """The words for an action that was not carried out, or of which that is not known."""
    if isinstance(error, Refused):
        return ActionResult(SafeText(f"{action.verb} refused: {error.message}"), Severity.CRITICAL)
    return ActionResult(SafeText(f"{action.verb}: {error.message}"), Severity.CRITICAL)
