"""``tlsidecar demo``: a whole mTLS set-up on loopback that proves itself, line by line, with real clients."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from tlsidecar.demo.proofs import PROOFS, Failed
from tlsidecar.demo.stage import DemoSetup, StageError
from tlsidecar.demo.traffic import Traffic

EXIT_OK = 0
EXIT_FAILED = 1


def main(once: bool) -> int:
    """Run the demo; 0 only if every line held. On a terminal the UI opens on it afterwards, unless ``once``."""
    with tempfile.TemporaryDirectory(prefix="tlsidecar-demo-") as directory:
        try:
            with DemoSetup(Path(directory)) as stage:
                held = _prove(stage)
                if held and not once and sys.stdin.isatty() and sys.stdout.isatty():
                    _show(stage)
        except StageError as error:
            _say(f"the demo could not be set up: {error}")
            return EXIT_FAILED
    return EXIT_OK if held else EXIT_FAILED


def _prove(stage: DemoSetup) -> bool:
    _say("two sidecars are running: one beside the service (web), one beside its local caller (shop)\n")
    held = 0
    for proof in PROOFS:
        try:
            lines = proof(stage)
        except (Failed, StageError) as failure:
            _say(f"  FAILED  {failure}")
            continue
        held += 1
        for number, line in enumerate(lines):
            _say(f"  {'ok     ' if not number else '       '} {line}")
    _say(f"\n{held} of {len(PROOFS)} held")
    return held == len(PROOFS)


def _show(stage: DemoSetup) -> None:
    """Keep some traffic going and open the terminal UI on both sidecars."""
    _say("opening the terminal UI; ctrl+q leaves and ends the demo")
    command = [sys.executable, "-m", "tlsidecar", "ui"]
    for sidecar in stage.sidecars:
        command += ["--socket", str(sidecar.socket)]
    with Traffic(stage):
        code = subprocess.run(command, check=False).returncode  # noqa: S603 - our own program
    if code == 2:
        _say("without the terminal UI, look with: tlsidecar status --socket " + str(stage.sidecars[0].socket))


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
