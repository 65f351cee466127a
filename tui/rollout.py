"""One action on several sidecars: the question with the number it touches, and the words for how it went."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tlsidecar.api.decode import integer
from tlsidecar.api.errors import AdminError
from tui.actions import (
    DRAIN_TIMEOUT_S,
    Action,
    ActionResult,
    Verb,
    actions,
    failure,
    has_changed,
    has_changed_for,
    log_level_action,
    outcome,
)
from tui.amounts import counted, grouped
from tui.lines import BLANK, Line, Role, Span, gap, heading, line
from tui.model import Snapshot
from tui.monitor import Monitor
from tui.peers import Peer, deny, undeny, undrain
from tui.records import Denial, Denials, Json, Severity, decoded
from tui.sheet import Page
from tui.text import EMPTY, SafeText, safe_text, shorten_middle, wrap

AT_ONCE = 8
"""Sidecars that are asked to change at the same time."""

_CUTTING = (Verb.DRAIN, Verb.DENY)
"""What ends connections; the numbers that others tell are of what goes on all the same."""

_NAMED = 4
_NAME_WIDTH = 30
_IDLE = {
    Verb.UNDRAIN: ("is draining", "not draining"),
    Verb.UNDENY: ("keeps it out", "without such a denial"),
}
"""What is said where an action would change none of them, and of those that it would not change."""

VERBS: Sequence[tuple[Verb, str]] = (
    (Verb.RELOAD, "Reload certificates"),
    (Verb.ROTATE, "Rotate now"),
    (Verb.DRAIN, "Drain"),
    (Verb.UNDRAIN, "Undrain"),
    (Verb.DENY, "Deny an identity"),
    (Verb.UNDENY, "Undeny an identity"),
    (Verb.LOG_LEVEL, "Log level"),
)


@dataclass(frozen=True, slots=True)
class Rollout:
    """An action for each sidecar that answers; ``silent`` are those chosen that do not, ``idle`` those that it would
    not change. ``connections`` are those it touches, or may."""

    verb: Verb
    name: SafeText
    steps: Sequence[tuple[Monitor, Action]]
    silent: int
    connections: int
    idle: int = 0
    whom: SafeText = EMPTY  # kept out, and for how long

    @property
    def nobody(self) -> SafeText:
        """In place of a question, where it is for none."""
        if self.idle:
            return SafeText(f"{self.verb}: none of them {_IDLE[self.verb][0]}")
        return SafeText(f"{self.verb}: none of them answers")

    @property
    def title(self) -> SafeText:
        return SafeText(f"{self.name} on {counted(len(self.steps), 'sidecar')}")

    @property
    def question(self) -> SafeText:
        labels = [shorten_middle(monitor.client.endpoint.label, _NAME_WIDTH) for monitor, _ in self.steps]
        names = ", ".join(labels[:_NAMED])
        more = f" and {grouped(len(labels) - _NAMED)} more" if len(labels) > _NAMED else ""
        left = f" {counted(self.silent, 'sidecar')} that did not answer: left out." if self.silent else ""
        left += f" {counted(self.idle, 'sidecar')} {_IDLE[self.verb][1]}: left out." if self.idle else ""
        return SafeText(f"{names}{more}: {self._consequence}{left}")

    @property
    def _consequence(self) -> str:
        match self.verb:
            case Verb.RELOAD:
                return "each reads its certificate, key and trust again and uses them if they are good."
            case Verb.ROTATE:
                return "each asks its source for a new certificate now. Open connections stay."
            case Verb.DRAIN:
                return (
                    f"each stops accepting. What is open ({counted(self.connections, 'connection')} in all) gets "
                    f"{DRAIN_TIMEOUT_S} s to finish, then it is cut. None serves again until Undrain, or a restart."
                )
            case Verb.UNDRAIN:
                return "each listens on its addresses again, and accepts new connections."
            case Verb.UNDENY:
                return f"each judges {self.whom} by its access rules again."
            case Verb.DENY:
                return (
                    f"each keeps {self.whom}, whatever its rules say, and {counted(self.connections, 'connection')} "
                    "in all are cut now. It ends by itself, by Undeny, or with a restart."
                )
            case _:
                return "each logs from that level on. A restart sets it back."

    @property
    def confirm(self) -> SafeText:
        return SafeText(f"Yes, {self.name[:1].lower()}{self.name[1:]}: {grouped(len(self.steps))}")

    def differs_from(self, asked: Rollout) -> SafeText | None:
        """What has changed too much since ``asked`` was asked; None for nothing."""
        if has_changed(len(self.steps), len(asked.steps)):
            return self._not_done(len(self.steps), len(asked.steps), "sidecar")
        if self.verb in _CUTTING and has_changed_for(self.verb, self.connections, asked.connections):
            return self._not_done(self.connections, asked.connections, "connection")
        return None

    def _not_done(self, now: int, before: int, what: str) -> SafeText:
        return SafeText(f"{self.verb}: not done, it is {counted(now, what)} now and was {grouped(before)}")


def rollout(verb: Verb, chosen: Sequence[Monitor], monotonic: float, level: str = "") -> Rollout:
    """``verb`` on all of ``chosen`` that answer."""
    answering, silent = _answering(chosen, monotonic)
    meant = [(each, told) for each, told in answering if verb is not Verb.UNDRAIN or _is_draining(told)]
    return Rollout(
        verb,
        SafeText(f"Log level {level}" if level else dict(VERBS)[verb]),
        [(monitor, _action(verb, snapshot, level)) for monitor, snapshot in meant],
        silent,
        sum(told.status.totals.connections_active for _, told in meant if told.status is not None),
        idle=len(answering) - len(meant),
    )


async def denial(chosen: Sequence[Monitor], peer: Peer, how_long: str, monotonic: float) -> Rollout:
    """``peer`` kept out of all of ``chosen`` that answer, each of which is asked how many connections that touches."""
    told, silent = await _told(chosen, monotonic, "/v1/connections", identity=peer.name, limit=1)
    numbers = [(monitor, integer(reply.get("matched"))) for monitor, reply in told]
    return Rollout(
        Verb.DENY,
        SafeText(f"Deny {peer.short(_NAME_WIDTH)}"),
        [(monitor, deny(peer, how_long, found)) for monitor, found in numbers],
        silent,
        sum(found for _, found in numbers),
        whom=SafeText(f"{peer.short()} out for {how_long}"),
    )


async def denied(chosen: Sequence[Monitor], monotonic: float) -> Mapping[str, int]:
    """Whom any of ``chosen`` keeps out, as the sidecars have their names, and how many of them do."""
    told, _ = await _told(chosen, monotonic, "/v1/denials")
    return Counter(name for _, reply in told for name in {name for name, _ in _denials(reply)})


async def undenial(chosen: Sequence[Monitor], name: str, monotonic: float) -> Rollout:
    """``name`` judged by the rules again on all of ``chosen`` that answer and keep it out."""
    told, silent = await _told(chosen, monotonic, "/v1/denials")
    steps = [
        (monitor, undeny(denial))
        for monitor, reply in told
        for denied_name, denial in _denials(reply)
        if denied_name == name
    ]
    peer = Peer(name, safe_text(name))
    return Rollout(
        Verb.UNDENY,
        SafeText(f"Undeny {peer.short(_NAME_WIDTH)}"),
        steps,
        silent,
        0,
        idle=len(told) - len({id(monitor) for monitor, _ in steps}),
        whom=peer.short(),
    )


def _denials(reply: Json) -> list[tuple[str, Denial]]:
    """Each with the identity as it came: two that look alike on the screen need not be one."""
    rows = reply.get("denials")
    listed = decoded(Denials, reply).denials
    if not isinstance(rows, list) or len(rows) != len(listed):
        return []
    return [
        (row["identity"], denial)
        for row, denial in zip(rows, listed, strict=True)
        if isinstance(row, dict) and isinstance(row.get("identity"), str)
    ]


async def _told(
    chosen: Sequence[Monitor], monotonic: float, path: str, **query: str | int
) -> tuple[list[tuple[Monitor, Json]], int]:
    """What those that answer say to a read, some asked at a time; and how many do not answer."""
    answering, _ = _answering(chosen, monotonic)
    gate = asyncio.Semaphore(AT_ONCE)

    async def reply(monitor: Monitor) -> Json | None:
        async with gate:
            try:
                return await monitor.client.read(path, **query)
            except AdminError:
                return None

    async with asyncio.TaskGroup() as group:
        asked = [(monitor, group.create_task(reply(monitor))) for monitor, _ in answering]
    told = [(monitor, found) for monitor, task in asked if (found := task.result()) is not None]
    return told, len(chosen) - len(told)


def _answering(chosen: Sequence[Monitor], monotonic: float) -> tuple[list[tuple[Monitor, Snapshot]], int]:
    """Those that answer, as they are known; and how many do not."""
    snapshots = [(monitor, monitor.model.snapshot(monotonic)) for monitor in chosen]
    answering = [(each, told) for each, told in snapshots if told.status is not None and not told.link.is_lost]
    return answering, len(chosen) - len(answering)


def _is_draining(snapshot: Snapshot) -> bool:
    return snapshot.status is not None and snapshot.status.state == "draining"


def _action(verb: Verb, snapshot: Snapshot, level: str) -> Action:
    if verb is Verb.LOG_LEVEL:
        return log_level_action(snapshot, level)
    if verb is Verb.UNDRAIN:
        return undrain(snapshot)
    return next(action for action in actions(snapshot, None) if action.verb is verb)


Ended = Sequence[tuple[SafeText, ActionResult]]
"""Who was asked, and how it ended there."""


async def carry_out(plan: Rollout) -> Ended:
    """Ask them all, some at a time; each is asked once."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def step(monitor: Monitor, action: Action) -> ActionResult:
        async with gate:
            try:
                told = outcome(action, await _change(monitor, action))
            except AdminError as error:
                told = failure(action, error)
        monitor.wake()
        return told

    async with asyncio.TaskGroup() as group:
        asked = [(monitor, group.create_task(step(monitor, action))) for monitor, action in plan.steps]
    return [(monitor.client.endpoint.label, task.result()) for monitor, task in asked]


async def _change(monitor: Monitor, action: Action) -> dict[str, object]:
    return dict(await monitor.client.change(action.method, action.path, action.body, timeout_s=action.timeout_s))


def _failed(ended: Ended) -> Ended:
    return [(label, told) for label, told in ended if told.severity is not None]


def summary(plan: Rollout, ended: Ended) -> ActionResult:
    """One sentence for all of it."""
    failed = _failed(ended)
    if not failed:
        return ActionResult(SafeText(f"{plan.verb}: done on {counted(len(ended), 'sidecar')}"))
    worst = min((told.severity for _, told in failed if told.severity is not None), key=lambda each: each.rank)
    well = len(ended) - len(failed)
    return ActionResult(SafeText(f"{plan.verb}: went well on {grouped(well)}, not on {grouped(len(failed))}"), worst)


def report(plan: Rollout, ended: Ended, width: int) -> Page | None:
    """Where it did not go well, and why; None where it did everywhere."""
    failed = _failed(ended)
    if not failed:
        return None
    lines: list[Line] = [heading(plan.title), BLANK, line(Span(summary(plan, ended).words)), BLANK]
    for label, told in failed:
        role = Role.CRITICAL if told.severity is Severity.CRITICAL else Role.WARNING
        lines.append(line(Span(shorten_middle(label, width), Role.STRONG)))
        lines += [line(gap(2), Span(text, role)) for text in wrap(told.words, max(8, width - 2))]
    return Page(lines)
