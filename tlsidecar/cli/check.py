"""``tlsidecar check``: every problem at once, and proof that the material would serve."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click

from certs.clock import SYSTEM_CLOCK, Clock
from certs.errors import CertsError, MaterialError, MaterialReason
from certs.journal import second_text
from tlsidecar.cli.context import EXIT_BAD_INPUT, echo_json, json_option
from tlsidecar.cli.h2_probe import services_without_http2
from tlsidecar.cli.settings_options import given, settings_options
from tlsidecar.cli.text import say, say_lines, time_text
from tlsidecar.config import ConfigError, ConfigProblem, load
from tlsidecar.lazy_dataclass import dataclass
from tlsidecar.sandbox.level import Level, SandboxError, level_of
from tlsidecar.settings import IdentitySettings, Settings


@dataclass(slots=True)
class MaterialProblem:
    """What is wrong with the material; ``reason`` is its label, empty for what has none (OpenSSL would not take it)."""

    reason: str
    sentence: str
    detail: str = ""
    file: str = ""

    def __str__(self) -> str:
        return ": ".join(part for part in ("material", self.file, self.sentence, self.detail) if part)


@dataclass(slots=True)
class MaterialReport:
    """The material as it would be served, or why it would not."""

    name: str
    identity: str = ""
    serial: str = ""
    not_after: datetime | None = None
    source: str = ""
    is_at_hand: bool = True  # False: it has to be ordered first, which a check does not do
    problems: list[MaterialProblem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@click.command()
@settings_options
@json_option
@click.pass_context
def check(context: click.Context, /, config_file: Path | None, as_json: bool, **flags: Any) -> None:
    """Report every problem of the configuration at once; then load the material, judge it as `run` would, and prove
    it by a handshake in memory; and say what would keep a renewal from being seen. Nothing is bound; services that
    should speak HTTP/2 are asked whether they do. Exit code 2 when anything is wrong.

    Nothing is ordered: of a local authority it is said whether it would issue.
    """
    try:
        settings = load(config_file, given(flags), os.environ)
    except ConfigError as error:
        if as_json:
            problems = [problem.as_dict() for problem in error.problems]
            echo_json({"ok": False, "problems": problems, "material": None, "materials": []})
        else:
            say_lines(str(error))
        context.exit(EXIT_BAD_INPUT)
    reports = [judge(settings, identity, SYSTEM_CLOCK) for identity in settings.identities]
    reports[0].warnings += services_without_http2(settings)
    sandbox, broken = _sandbox(settings)
    faults = (
        [ConfigProblem("sandbox", broken, label="sandbox", where=str(settings.config_file or ""))] if broken else []
    )
    ok = not faults and not any(report.problems for report in reports)
    if as_json:
        problems = [problem.as_dict() for problem in faults]
        documents = [_document(report) for report in reports]
        level = {"mode": sandbox.mode, "abi": sandbox.abi, "reason": sandbox.reason}
        level |= {"holds": sandbox.holds, "covers": list(sandbox.covers), "gaps": list(sandbox.gaps)}
        echo_json({"ok": ok, "problems": problems, "material": documents[0], "materials": documents, "sandbox": level})
    else:
        for problem in faults:
            say(problem)
        _print(settings, reports)
        if not faults:
            _print_sandbox(settings, sandbox)
    if not ok:
        context.exit(EXIT_BAD_INPUT)


def judge(settings: Settings, identity: IdentitySettings, clock: Clock) -> MaterialReport:
    """Load the material of one identity from its source and judge it. Whatever is wrong with it is in the report, not
    raised."""
    from OpenSSL import SSL

    from certs.preflight import inspect
    from certs.sources import prospects
    from certs.steps import at_once
    from tlsidecar.control.proof import build_contexts, never_deciding, never_shown
    from tlsidecar.control.sources import files_of, roles_of, source_of, state_of

    report = MaterialReport(identity.name)
    files = files_of(identity)
    future = [*prospects.of_files(files), *prospects.of_state(state_of(identity))]
    skew = timedelta(seconds=identity.clock_skew_s)
    try:
        report.warnings = [*never_deciding(settings, identity.name)]
        source = source_of(identity, clock)
        report.source = source.describe()
        material = asyncio.run(source.read())
        if material is None:
            report.is_at_hand = False
            report.warnings += future
            return report
        soft_crl = identity.crl_policy == "soft"
        found = inspect(material, roles_of(settings, identity.name), clock.now(), skew, soft_crl=soft_crl)
        report.warnings += [*found.warnings, *future, *prospects.of_clock(material, files, clock, skew)]
        report.problems = [_material_problem(problem) for problem in found.problems]
        if any(problem.reason is MaterialReason.CERTIFICATE_UNPARSABLE for problem in found.problems):
            return report  # nothing of it can be read
        report.identity = material.identity.name
        report.serial = material.identity.serial
        report.not_after = material.identity.not_after
        report.warnings += never_shown(settings, identity.name, material)
        if not report.problems:
            at_once(build_contexts(settings, identity.name, material, 1))
    except MaterialError as error:
        report.problems.append(_material_problem(error))
    except (CertsError, SSL.Error) as error:
        report.problems.append(MaterialProblem("", str(error)))
    return report


def _sandbox(settings: Settings) -> tuple[Level, str]:
    """What the kernel would hold the process to, and why it may not start so."""
    try:
        return level_of(settings), ""
    except SandboxError as error:
        return Level(settings.sandbox, reason=str(error)), str(error)


def _print_sandbox(settings: Settings, sandbox: Level) -> None:
    if not sandbox.holds:
        say(f"sandbox: {sandbox}")
        return
    say(f"ok: sandbox: {sandbox}; not covered: {'; '.join(sandbox.gaps)}")
    for program in dict.fromkeys(identity.command[0] for identity in settings.identities if identity.command):
        say(f"ok: sandbox: {program} runs outside of it")


def _material_problem(error: MaterialError) -> MaterialProblem:
    return MaterialProblem(error.reason.value, error.reason.sentence, error.detail, str(error.path or ""))


def _document(report: MaterialReport) -> dict[str, object]:
    problems = [
        {"reason": problem.reason, "message": problem.sentence, "detail": problem.detail, "file": problem.file}
        for problem in report.problems
    ]
    return {
        "name": report.name,
        "identity": report.identity,
        "serial": report.serial,
        "not_after": second_text(report.not_after) if report.not_after is not None else None,
        "source": report.source,
        "at_hand": report.is_at_hand,
        "problems": problems,
        "warnings": report.warnings,
    }


def _print(settings: Settings, reports: Sequence[MaterialReport]) -> None:
    for report in reports:
        whose = f"identity {report.name}: " if settings.names_identities else ""
        for line in (*report.problems, *(f"warning: {warning}" for warning in report.warnings)):
            say(f"{whose}{line}")
    if any(report.problems for report in reports):
        return
    for listener in settings.listeners:
        upstreams = ", ".join(map(str, listener.upstreams))
        shown = f" as {', '.join(listener.identities)}" if settings.names_identities else ""
        say(f"ok: {listener.name}: {listener.mode} {listener.listen} -> {upstreams}{shown}")
    for report in reports:
        whose = f"{report.name}: " if settings.names_identities else ""
        if report.is_at_hand:
            what = f"{report.identity}, serial {report.serial}, until {time_text(report.not_after)}"
        else:
            what = f"{report.source}: in order; nothing was issued for this check"
        say(f"ok: {whose}{what}")
