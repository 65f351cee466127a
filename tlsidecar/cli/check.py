"""``tlsidecar check``: every problem at once, and proof that the material would serve."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from certs.clock import SYSTEM_CLOCK, Clock
from certs.errors import CertsError, MaterialError, MaterialReason
from certs.journal import second_text
from tlsidecar.cli.context import EXIT_BAD_INPUT, echo_json, json_option
from tlsidecar.cli.h2_probe import services_without_http2
from tlsidecar.cli.settings_options import given, settings_options
from tlsidecar.cli.text import moment, safe_text
from tlsidecar.config import ConfigError, load
from tlsidecar.settings import Settings


@dataclass(slots=True)
class Finding:
    """What was found about the material; ``reason`` is a label, empty for a warning."""

    reason: str
    sentence: str
    detail: str = ""
    file: str = ""

    def __str__(self) -> str:
        return ": ".join(part for part in ("material", self.file, self.sentence, self.detail) if part)


@dataclass(slots=True)
class MaterialReport:
    """The material as it would be served, or why it would not."""

    identity: str = ""
    serial: str = ""
    not_after: str = ""
    source: str = ""
    is_at_hand: bool = True  # False: it has to be ordered first, which a check does not do
    problems: list[Finding] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@click.command()
@settings_options
@json_option
@click.pass_context
def check(context: click.Context, /, config_file: Path | None, as_json: bool, **flags: Any) -> None:
    """Report every problem of the configuration at once; then load the material, judge it as `run` would, and prove
    it by a handshake in memory. Nothing is bound; services that should speak HTTP/2 are asked whether they do.
    Exit code 2 when anything is wrong.

    Nothing is ordered: of a local authority it is said whether it would issue.
    """
    try:
        settings = load(config_file, given(flags), os.environ)
    except ConfigError as error:
        if as_json:
            echo_json({"ok": False, "problems": [problem.as_dict() for problem in error.problems], "material": None})
        else:
            click.echo(safe_lines(str(error)))
        context.exit(EXIT_BAD_INPUT)
    report = judge(settings, SYSTEM_CLOCK)
    report.warnings += services_without_http2(settings)
    if as_json:
        echo_json({"ok": not report.problems, "problems": [], "material": _document(report)})
    else:
        _print(settings, report)
    if report.problems:
        context.exit(EXIT_BAD_INPUT)


def judge(settings: Settings, clock: Clock) -> MaterialReport:
    """Load the material from its source and judge it. Whatever is wrong with it is in the report, not raised."""
    from OpenSSL import SSL

    from certs.preflight import inspect
    from tlsidecar.control.proof import build_contexts
    from tlsidecar.control.sources import roles_of, source_of

    identity = settings.identity
    report = MaterialReport()
    try:
        source = source_of(identity, clock)
        report.source = source.describe()
        material = asyncio.run(source.read())
        if material is None:
            report.is_at_hand = False
            return report
        soft_crl = identity.crl_policy == "soft"
        skew = timedelta(seconds=identity.clock_skew_s)
        found = inspect(material, roles_of(settings), clock.now(), skew, soft_crl=soft_crl)
        report.warnings = list(found.warnings)
        report.problems = [_finding(problem) for problem in found.problems]
        if any(problem.reason is MaterialReason.CERTIFICATE_UNPARSABLE for problem in found.problems):
            return report  # which has been told
        report.identity = material.identity.name
        report.serial = material.identity.serial
        report.not_after = second_text(material.identity.not_after)
        if not report.problems:
            build_contexts(settings, material, 1)
    except MaterialError as error:
        report.problems.append(_finding(error))
    except (CertsError, SSL.Error) as error:
        report.problems.append(Finding("", str(error)))
    return report


def safe_lines(text: str) -> str:
    return "\n".join(safe_text(line) for line in text.split("\n"))


def _finding(error: MaterialError) -> Finding:
    return Finding(error.reason.value, error.reason.sentence, error.detail, str(error.path or ""))


def _document(report: MaterialReport) -> dict[str, object]:
    problems = [
        {"reason": problem.reason, "message": problem.sentence, "detail": problem.detail, "file": problem.file}
        for problem in report.problems
    ]
    return {
        "identity": report.identity,
        "serial": report.serial,
        "not_after": report.not_after or None,
        "source": report.source,
        "at_hand": report.is_at_hand,
        "problems": problems,
        "warnings": report.warnings,
    }


def _print(settings: Settings, report: MaterialReport) -> None:
    lines: Sequence[object] = [*report.problems, *(f"warning: {warning}" for warning in report.warnings)]
    for line in lines:
        click.echo(safe_text(line))
    if report.problems:
        return
    for listener in settings.listeners:
        upstreams = ", ".join(map(str, listener.upstreams))
        click.echo(safe_text(f"ok: {listener.name}: {listener.mode} {listener.listen} -> {upstreams}"))
    if not report.is_at_hand:
        click.echo(safe_text(f"ok: {report.source}: in order; nothing was issued for this check"))
        return
    click.echo(safe_text(f"ok: {report.identity}, serial {report.serial}, until {moment(report.not_after)}"))
