"""One finding: what is wrong, since when, and what to do."""

from __future__ import annotations

from collections.abc import Sequence

from tui.amounts import age, utc
from tui.findings import Finding
from tui.lines import BLANK, Role, Span, heading
from tui.pages.overview import SEVERITY_ROLES
from tui.sheet import Look, Page, field_lines, message_page
from tui.text import SafeText


def finding_page(found: Sequence[Finding], key: str, look: Look) -> Page:
    finding = next((each for each in found if each.key == key), None)
    if finding is None:
        return message_page([Span(SafeText("this problem is over"), Role.GOOD)], look)
    lines = [heading("Problem", finding.code)]
    lines += field_lines("severity", SafeText(finding.severity.value), look, SEVERITY_ROLES[finding.severity])
    lines += field_lines("what", finding.message, look, Role.STRONG)
    if finding.subject:
        lines += field_lines("about", finding.subject, look)
    if finding.since is not None:
        lines += field_lines("since", SafeText(f"{utc(finding.since)}, {age(finding.since, look.now)} ago"), look)
    if finding.advice:
        lines += [BLANK, heading("What to do"), *field_lines("", finding.advice, look)]
    return Page(lines)
