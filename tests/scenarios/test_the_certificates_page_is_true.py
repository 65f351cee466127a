"""docs/certificates.md: the blocks of each section are run in turn: commands, a sidecar with the configuration, and
commands beside it. Whoever issues and is not ours is stood in for by a program, or an agent, of the tests."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.certs_cli import certs
from support.sidecar import Sidecar
from support.spiffe_agent import Agent, Identity, response
from support.waiting import eventually
from unit.certs import forge

from tlsidecar.config import load

PAGE = Path(__file__).parents[2] / "docs" / "certificates.md"
LISTENER = '[[listener]]\nname = "web"\nlisten = "127.0.0.1:0"\nupstream = "127.0.0.1:9"\nallow = ["any"]\n'
OURS = ["A CA of our own", "Files that somebody else renews", "Whom to trust", "Whom to trust no more"]
OURS += ["Several identities"]
# Of each section with commands beside the sidecar: how many of its identities have another leaf in the end.
ID = "spiffe://prod.example/web"
RENEWED = {"Whom to trust": 0, "Whom to trust no more": 0}


def blocks(heading: str) -> list[tuple[str, str]]:
    """The fenced blocks under a heading, each with its language."""
    section = re.split(r"^## ", PAGE.read_text(), flags=re.M)
    (found,) = [each for each in section if each.startswith(heading + "\n")]
    return re.findall(r"^```(\w+)\n(.*?)^```", found, flags=re.M | re.S)


def shell(directory: Path, script: str, **more: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TLSIDECAR_")} | more
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    script = script.replace("tlsidecar ", f"{sys.executable} -m tlsidecar ")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], cwd=directory, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextmanager
def serving_by(config: str, directory: Path) -> Iterator[Sidecar]:
    sidecar = Sidecar(directory, config if "[[listener]]" in config else config + LISTENER)
    try:
        yield sidecar.start()
        assert sidecar.stop() == 0
    finally:
        sidecar.kill()


def serials(sidecar: Sidecar) -> list[str]:
    return [each["leaf"]["serial"] for each in sidecar.json("/v1/certificates")["identities"]]


@pytest.mark.parametrize("heading", OURS)
def test_from_nothing_to_a_sidecar_that_is_renewed(heading: str, tmp_path: Path) -> None:
    found = blocks(heading)
    (at,) = [number for number, (language, _) in enumerate(found) if language == "toml"]
    shell(tmp_path, "".join(script for _, script in found[:at]))
    with serving_by(found[at][1], tmp_path) as sidecar:
        before = serials(sidecar)
        for _, script in found[at + 1 :]:
            shell(tmp_path, script, TLSIDECAR_ADMIN_SOCKET=str(sidecar.socket_path))
        wanted = RENEWED.get(heading, 1)
        eventually(lambda: sum(new != old for new, old in zip(serials(sidecar), before, strict=True)) == wanted)
        if heading == "Whom to trust no more":
            assert [each["revoked"] for each in sidecar.json("/v1/certificates")["crls"]].count(1) == 1


def test_a_command(tmp_path: Path) -> None:
    """With a program that asks a CA of ours."""
    ((_, config),) = blocks("A command")
    certs("init", tmp_path / "pki")
    program = tmp_path / "issue"
    tlsidecar, out = f"{sys.executable} -m tlsidecar", tmp_path / "out"
    program.write_text(
        f"#!/bin/sh\ntest \"$1 $2 $VAULT_ADDR\" = '--ttl 1h https://vault' || exit 9\n"
        f"{tlsidecar} certs issue {tmp_path}/pki --out {out} --dns localhost {'$1 $2'} >/dev/null &&\n"
        f"cat {out}/tls.crt {out}/tls.key {out}/ca.crt\n"
    )
    program.chmod(0o755)
    config = config.replace("/usr/local/bin/issue", str(program))
    sidecar = Sidecar(tmp_path / "sidecar", config + LISTENER, env={"VAULT_ADDR": "https://vault", "VAULT_TOKEN": ""})
    try:
        sidecar.start()
        before = serials(sidecar)
        assert sidecar.call("POST", "/v1/rotate")[1]["outcome"] == "applied"
        assert serials(sidecar) != before
    finally:
        sidecar.kill()


def test_an_agent(tmp_path: Path) -> None:
    ((_, config),) = blocks("SPIRE, or another SPIFFE agent")
    now = datetime.now(UTC)
    root = forge.authority("Root", starts=now - timedelta(days=1), ends=now + timedelta(days=1))

    def svid() -> bytes:
        made = forge.leaf(root, dns=(), uris=(ID,), starts=now - timedelta(hours=1), ends=now + timedelta(hours=1))
        return response([Identity(ID, [made.certificate], made.key, [root.certificate])])  # type: ignore[arg-type]

    with Agent(tmp_path / "agent.sock", svid()) as agent:
        config = config.replace("unix:///run/spire/agent.sock", agent.url)
        with serving_by(config, tmp_path / "sidecar") as sidecar:
            (before,) = serials(sidecar)
            agent.say(svid())
            eventually(lambda: serials(sidecar) != [before])


def test_acme_is_taken(tmp_path: Path) -> None:
    ((_, config),) = blocks("ACME")
    (tmp_path / "tlsidecar.toml").write_text(config + LISTENER)
    assert load(tmp_path / "tlsidecar.toml", {}, {}).identity.acme is not None


@pytest.mark.needs("jq")
def test_what_is_made_of_vaults_answer() -> None:
    """An answer of ``pki/issue`` in the form of Vault's API documentation, through the filter on the page."""
    recipe = next(line for line in PAGE.read_text().splitlines() if line.startswith("| HashiCorp Vault"))
    wanted = re.search(r"jq -r '(.*)'`", recipe.replace("\\|", "|"))
    assert wanted is not None
    root = forge.authority("Root")
    made = forge.leaf(root)
    leaf, issuer, key = made.pem.decode(), root.pem.decode(), made.key_pem().decode()
    data = {"certificate": leaf, "issuing_ca": issuer, "ca_chain": [issuer], "private_key": key}
    done = subprocess.run(
        ["jq", "-r", wanted[1]], input=json.dumps({"data": data}), capture_output=True, text=True, check=True
    )
    kinds = re.findall(r"^-----BEGIN (.*)-----$", done.stdout, flags=re.M)
    assert kinds == ["CERTIFICATE", "CERTIFICATE", "PRIVATE KEY"]


def test_every_section_with_a_block_is_tried() -> None:
    headings = [each.partition("\n")[0] for each in re.split(r"^## ", PAGE.read_text(), flags=re.M)[1:]]
    assert set(headings) == {*OURS, "A command", "SPIRE, or another SPIFFE agent", "ACME"}
