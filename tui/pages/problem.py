"""One problem: what is wrong, since when, and what to do."""

from __future__ import annotations

from collections.abc import Sequence

from tui.amounts import utc
from tui.lines import BLANK, Role, Span, heading
from tui.pages.overview import SEVERITY_ROLES
from tui.problems import problem_age
from tui.records import Problem
from tui.sheet import Look, Page, field_lines, message_page
from tui.text import SafeText


def problem_page(found: Sequence[Problem], key: str, look: Look) -> Page:
    """One problem, with what to do about it. It may be over before it is looked at."""
    problem = next((each for each in found if each.key == key), None)
    if problem is None:
        return message_page([Span(SafeText("this problem is over"), Role.GOOD)], look)
    lines = [heading("Problem", problem.code)]
    lines += field_lines("severity", SafeText(problem.severity.value), look, SEVERITY_ROLES[problem.severity])
    lines += field_lines("what", problem.message, look, Role.STRONG)
    if problem.subject:
        lines += field_lines("about", problem.subject, look)
    if problem.since is not None:
        lines += field_lines("since", SafeText(f"{utc(problem.since)}, {problem_age(problem, look)} ago"), look)
    if problem.advice:
        lines += [BLANK, heading("What to do"), *field_lines("", problem.advice, look)]
    return Page(lines)
