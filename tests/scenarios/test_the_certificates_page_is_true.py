"""docs/certificates.md: each section's commands are run in turn, and each configuration is loaded; those that need
nothing of anybody else are served by, and renew."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.sidecar import Sidecar
from support.waiting import eventually

from tlsidecar.config import load

PAGE = Path(__file__).parents[2] / "docs" / "certificates.md"
LISTENER = '[[listener]]\nname = "web"\nlisten = "127.0.0.1:0"\nupstream = "127.0.0.1:9"\nallow = ["any"]\n'


def blocks(heading: str) -> list[tuple[str, str]]:
    """The fenced blocks under a heading, each with its language."""
    section = re.split(r"^## ", PAGE.read_text(), flags=re.M)
    (found,) = [each for each in section if each.startswith(heading + "\n")]
    return re.findall(r"^```(\w+)\n(.*?)^```", found, flags=re.M | re.S)


def shell(directory: Path, script: str, **more: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TLSIDECAR_")} | more
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    script = script.replace("tlsidecar ", f"{sys.executable} -m tlsidecar ")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], cwd=directory, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("heading", ["A CA of our own", "Files that somebody else renews", "Several identities"])
def test_from_nothing_to_a_sidecar_that_is_renewed(heading: str, tmp_path: Path) -> None:
    (_, before), (_, config), (_, renew) = blocks(heading)
    shell(tmp_path, before)
    sidecar = Sidecar(tmp_path, config)
    try:
        sidecar.start()
        before_it = serials(sidecar)
        shell(tmp_path, renew, TLSIDECAR_ADMIN_SOCKET=str(sidecar.socket_path))
        eventually(lambda: sum(new != old for new, old in zip(serials(sidecar), before_it, strict=True)) == 1)
        assert len(sidecar.json("/v1/certificates")["attempts"]) == len(before_it) + 1
        assert sidecar.stop() == 0
    finally:
        sidecar.kill()


def serials(sidecar: Sidecar) -> list[str]:
    return [each["leaf"]["serial"] for each in sidecar.json("/v1/certificates")["identities"]]


@pytest.mark.parametrize("heading", ["Whom to trust", "A command", "SPIRE, or another SPIFFE agent", "ACME"])
def test_what_needs_somebody_else_is_taken(heading: str, tmp_path: Path) -> None:
    ((_, config),) = blocks(heading)
    file = tmp_path / "tlsidecar.toml"
    file.write_text(config + LISTENER)
    identity = load(file, {}, {}).identity
    sources = (identity.cert, identity.command, identity.spiffe_socket, identity.acme)
    assert len([source for source in sources if source]) == 1


def test_every_section_with_a_block_is_tried() -> None:
    headings = [each.partition("\n")[0] for each in re.split(r"^## ", PAGE.read_text(), flags=re.M)[1:]]
    tried = {"A CA of our own", "Files that somebody else renews", "Several identities", "Whom to trust", "A command"}
    assert set(headings) == tried | {"SPIRE, or another SPIFFE agent", "ACME"}
