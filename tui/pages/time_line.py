"""How our material came to be what it is: each attempt, and what the new material changed."""

from __future__ import annotations

from collections.abc import Iterator

from tui.amounts import age, counted, utc
from tui.lines import BLANK, Line, Role, Span, column, gap, heading, line
from tui.records import Attempt, Certificates, Difference
from tui.sheet import Look
from tui.text import SafeText, shorten, wrap

_AGE_WIDTH = 8
_OUTCOME_WIDTH = 10
_INDENT = 2 + _AGE_WIDTH + 1
_WHAT_WIDTH = 10

_ROLES = {"applied": Role.GOOD, "unchanged": Role.MUTED, "refused": Role.CRITICAL}


def time_line(certificates: Certificates, look: Look) -> list[Line]:
    """The newest first; nothing where the sidecar tells of none."""
    if not certificates.attempts:
        return []
    lines = [BLANK, heading("Time line", SafeText("attempts at new material, newest first, and how long ago"))]
    several = len(certificates.identities) > 1
    for attempt in certificates.attempts:
        lines += _attempt(attempt, certificates, look, several=several)
    return lines


def _attempt(attempt: Attempt, certificates: Certificates, look: Look, *, several: bool) -> Iterator[Line]:
    trigger = attempt.trigger.replace("_", " ")
    of = f" of {attempt.identity}" if several and attempt.identity else ""
    what = f"generation {attempt.generation}{of}, by {trigger}, {utc(attempt.at)}"
    room = max(10, look.width - _INDENT - _OUTCOME_WIDTH - 2)
    took = f", took {attempt.duration_s:.3f} s"
    if len(what + took) <= room:  # or not at all: a figure that is cut says another one
        what += took
    yield line(
        gap(2),
        column(age(attempt.at, look.now), _AGE_WIDTH, Role.MUTED, right=True),
        gap(),
        column(attempt.outcome, _OUTCOME_WIDTH, _ROLES.get(attempt.outcome, Role.WARNING)),
        gap(),
        Span(shorten(SafeText(what), room)),
    )
    if attempt.outcome == "applied":
        yield from _applied(attempt, certificates, look)
    why = ": ".join(part for part in (attempt.reason, attempt.detail) if part)
    yield from _noted(SafeText(why), look, Role.WARNING)
    for warning in attempt.warnings:
        yield from _noted(SafeText(f"warning: {warning}"), look, Role.WARNING)
    changes = ", ".join(attempt.configuration_changes)
    if attempt.configuration:
        yield from _noted(SafeText(f"configuration {attempt.configuration}: {changes}"), look, Role.TEXT)


def _applied(attempt: Attempt, certificates: Certificates, look: Look) -> Iterator[Line]:
    if attempt.previous_serial and attempt.previous_serial != attempt.serial:
        yield from _noted(SafeText(f"serial {attempt.previous_serial} -> {attempt.serial}"), look, Role.MUTED)
    for each in attempt.differences:
        yield from _difference(each, look)
    counts = certificates.connections_by_generation
    if len(certificates.identities) > 1:
        own = (each for each in certificates.identities if each.name == attempt.identity)
        counts = next((each.connections_by_generation for each in own), {})
    carried = counts.get(SafeText(str(attempt.generation)), 0)
    if carried:
        yield from _noted(SafeText(f"{counted(carried, 'connection')} on this generation now"), look, Role.TEXT)


def _difference(each: Difference, look: Look) -> Iterator[Line]:
    for sign, value, role in (("-", each.before, Role.MUTED), ("+", each.after, Role.STRONG)):
        texts = wrap(value or SafeText("none"), max(10, look.width - _INDENT - _WHAT_WIDTH - 4))
        for number, text in enumerate(texts):
            what = each.what if sign == "-" and not number else SafeText("")
            label = column(shorten(what, _WHAT_WIDTH), _WHAT_WIDTH, Role.MUTED)
            yield line(
                gap(_INDENT), label, gap(), Span(SafeText(sign if not number else " "), role), gap(), Span(text, role)
            )


def _noted(text: SafeText, look: Look, role: Role) -> Iterator[Line]:
    if text:
        for part in wrap(text, max(10, look.width - _INDENT - 1)):
            yield line(gap(_INDENT), Span(part, role))
