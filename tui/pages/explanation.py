"""Why a peer is let in or not, rule by rule, and the line that would let it in, as the sidecar judges it now."""

from __future__ import annotations

from collections.abc import Iterator

from tui.lines import BLANK, Line, Role, heading
from tui.model import Snapshot
from tui.pages.certificates import certificate_lines
from tui.records import Explanation, Judgement, Refusal
from tui.sheet import Look, field_lines
from tui.text import SafeText


def explanation_lines(snapshot: Snapshot, refusal: Refusal, look: Look) -> list[Line]:
    """What is added to a refusal's page once the sidecar has been asked about it."""
    trouble = snapshot.troubles.get("refusal")
    if trouble is not None:
        return [BLANK, heading("Why"), *field_lines("", SafeText(f"not available: {trouble}"), look, Role.MUTED)]
    told = snapshot.refusal
    if told is None or told.refusal.seq != refusal.seq:
        return []
    explanation = told.explanation
    lines = [BLANK, heading("Judged again, as things are now")]
    if explanation.note:
        lines += field_lines("", explanation.note, look, Role.MUTED)
    for judged in explanation.judgements:
        lines += _judgement(judged, look)
    for number, certificate in enumerate(explanation.chain):
        title = "Certificate shown" if not number else f"Chain {number}"
        lines += [BLANK, heading(title), *certificate_lines(certificate, look)]
    return lines


def config_lines(explanation: Explanation) -> Iterator[SafeText]:
    """The lines of configuration to copy."""
    for judged in explanation.judgements:
        yield from (each.line for each in judged.lines)


def _judgement(judged: Judgement, look: Look) -> list[Line]:
    asked_for = f" (asking for {judged.own_identity})" if judged.own_identity not in ("", "default") else ""
    if judged.allowed:
        by = f", by {judged.rule}" if judged.rule else ""
        lines = field_lines(judged.listener, SafeText(f"would be let in{by}{asked_for}"), look, Role.GOOD)
    else:
        lines = field_lines(
            judged.listener, SafeText(f"would be refused: {judged.sentence}{asked_for}"), look, Role.WARNING
        )
    if judged.method:
        decided = f"decided by the route {judged.route}" if judged.route else "no route matches: the listener's rules"
        lines += field_lines("request", SafeText(f"{judged.method} {judged.path}, {decided}"), look)
    verified = "verifies" if judged.verified else "does not verify"
    role = Role.TEXT if judged.verified else Role.WARNING
    lines += field_lines("chain", SafeText(f"{verified} against the trust in force"), look, role)
    for number, tried in enumerate(judged.rules):
        lines += field_lines(
            "rules" if not number else "", SafeText(f"{tried.rule} ({tried.place})"), look, Role.STRONG
        )
        why = SafeText("matches") if tried.matches else tried.why
        lines += field_lines("", why, look, Role.GOOD if tried.matches else Role.MUTED)
    for each in judged.lines:
        lines += [BLANK, heading("Would let in exactly this peer", SafeText("c copies the line"))]
        lines += field_lines("in", each.place, look)
        lines += field_lines("line", each.line, look, Role.STRONG)
    if judged.note:
        lines += field_lines("", judged.note, look, Role.MUTED)
    return lines
