"""docs/certificates.md: the blocks of each section are run in turn: commands, a sidecar with the configuration, and
commands beside it. Whoever issues and is not ours is stood in for by a program, or an agent, of the tests."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from support.certs_cli import certs
from support.sidecar import Sidecar
from support.spiffe_agent import Agent, Identity, response
from support.waiting import eventually
from unit.certs import forge

from certs.errors import MaterialError
from certs.material import Material
from certs.sources.command import CommandSource
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
    (_, config), *_ = blocks("A command")
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


def recipe(number: int, directory: Path) -> list[str]:
    """One of the programs on the page, as a command."""
    scripts = [script for language, script in blocks("A command") if language == "bash"]
    program = directory / "issue"
    program.write_text(scripts[number])
    program.chmod(0o755)
    return [str(program)]


def on_path(monkeypatch: pytest.MonkeyPatch, directory: Path, name: str, script: str) -> None:
    """A stand-in for a program that is not on this machine, or would ask the world."""
    (directory / "bin").mkdir()
    (directory / "bin" / name).write_text(f"#!/bin/sh\n{script}")
    (directory / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory / 'bin'}:{os.environ['PATH']}")


async def issued_by(command: list[str], *variables: str) -> Material:
    """What the sidecar's own source makes of it, with nothing but PATH and these in its environment."""
    return await CommandSource(command, None, variables=variables).renew()


@contextmanager
def vault(reply: dict[str, object]) -> Iterator[str]:
    """POST /v1/pki/issue/web in the form of Vault's API documentation; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            is_right = self.path == "/v1/pki/issue/web" and asked == {"common_name": "localhost", "ttl": "1h"}
            is_known = self.headers["X-Vault-Token"] == "s.right"
            self.send_response(404 if not is_right else 200 if is_known else 403)
            self.end_headers()
            self.wfile.write(json.dumps(reply if is_known else {"errors": ["permission denied"]}).encode())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.needs("jq", "curl")
@pytest.mark.parametrize("chain", [{"ca_chain"}, set()], ids=["a chain", "the issuer alone"])
async def test_what_vault_issues(
    chain: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    root = forge.authority("Root")
    made, issuer = forge.leaf(root), root.pem.decode()
    data: dict[str, object] = {"certificate": made.pem.decode(), "issuing_ca": issuer, "ca_chain": [issuer]}
    data = {name: value for name, value in data.items() if name in {"certificate", "issuing_ca"} | chain}
    command = recipe(0, tmp_path)
    with vault({"data": data | {"private_key": made.key_pem().decode(), "private_key_type": "ec"}}) as address:
        monkeypatch.setenv("VAULT_ADDR", address)
        monkeypatch.setenv("VAULT_TOKEN", "s.right")
        material = await issued_by(command, "VAULT_ADDR", "VAULT_TOKEN")
        assert (material.leaf, material.trust) == (made.read, (root.read,))
        monkeypatch.setenv("VAULT_TOKEN", "s.wrong")
        with pytest.raises(MaterialError, match="exit code 1; what it said is in the log"):
            await issued_by(command, "VAULT_ADDR", "VAULT_TOKEN")
        assert "permission denied" in caplog.text


async def test_what_step_issues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    root = forge.authority("Root")
    made = forge.leaf(root)
    (tmp_path / "certs").mkdir()
    files = {"crt": made.pem, "key": made.key_pem(), "certs/root_ca.crt": root.pem}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    on_path(
        monkeypatch,
        tmp_path,
        "step",
        f"""case "$*" in
        "ca certificate --force localhost crt key")
            test -e {tmp_path}/refuses && {{ echo no such provisioner >&2; exit 1; }}
            pwd >{tmp_path}/where; cp {tmp_path}/crt {tmp_path}/key .; echo a word to the user;;
        path) echo {tmp_path};;
        *) exit 9;; esac""",
    )
    material = await issued_by(recipe(1, tmp_path))
    assert (material.leaf, material.trust) == (made.read, (root.read,))
    assert not Path((tmp_path / "where").read_text().strip()).exists()  # the key is left nowhere
    (tmp_path / "refuses").touch()
    with pytest.raises(MaterialError, match="exit code 1; what it said is in the log"):
        await issued_by(recipe(1, tmp_path))
    assert "no such provisioner" in caplog.text


@pytest.mark.needs("jq", "openssl")
async def test_what_aws_issues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = forge.authority("Root")
    (tmp_path / "ca.crt").write_bytes(root.pem)
    (tmp_path / "ca.key").write_bytes(root.key_pem())
    on_path(
        monkeypatch,
        tmp_path,
        "aws",
        f"""case "$2 $3 $4" in
        "issue-certificate --certificate-authority-arn arn:ca")
            openssl x509 -req -in "${{6#fileb://}}" -CA {tmp_path}/ca.crt -CAkey {tmp_path}/ca.key -days 1 \
                -copy_extensions copy -out {tmp_path}/crt 2>/dev/null; pwd >{tmp_path}/where; echo arn:crt;;
        "wait certificate-issued --certificate-authority-arn") test "$7" = arn:crt;;
        "get-certificate --certificate-authority-arn arn:ca")
            jq -n --rawfile c {tmp_path}/crt --rawfile r {tmp_path}/ca.crt '{{Certificate: $c, CertificateChain: $r}}';;
        *) exit 9;; esac""",
    )
    monkeypatch.setenv("CA_ARN", "arn:ca")
    material = await issued_by(recipe(2, tmp_path), "CA_ARN")
    assert (material.identity.dns, material.trust) == (("localhost",), (root.read,))
    assert not Path((tmp_path / "where").read_text().strip()).exists()
    monkeypatch.setenv("CA_ARN", "arn:other")
    with pytest.raises(MaterialError, match="exit code 9"):
        await issued_by(recipe(2, tmp_path), "CA_ARN")


def test_every_section_with_a_block_is_tried() -> None:
    headings = [each.partition("\n")[0] for each in re.split(r"^## ", PAGE.read_text(), flags=re.M)[1:]]
    assert set(headings) == {*OURS, "A command", "SPIRE, or another SPIFFE agent", "ACME"}
