"""The certificate commands, as somebody at a terminal or a script meets them."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from cryptography.x509.oid import NameOID
from unit.certs import forge

from certs.cli import CertsContext, certs
from certs.durations import duration_text, parse_duration
from certs.material import Material
from certs.pem import certificates_in, read_blocks
from certs.preflight import preflight
from certs.probe import ChainLink, LivePeer, Reloaded, Served, SidecarRefused, SidecarUnreachable
from certs.sources.files import FileSource
from certs.text import describe_certificate, safe_text


def run(*arguments: object, probe: object = None, clock: object = None, code: int = 0) -> Result:
    context = CertsContext()
    if isinstance(probe, Sidecar):
        context.reach = lambda targets, _: nullcontext([Asked(name, probe) for name in targets])
    if clock is not None:
        context.clock = clock  # type: ignore[assignment]
    result = CliRunner().invoke(certs, list(map(str, arguments)), obj=context)
    assert result.exit_code == code, result.output
    if result.exception is not None:
        assert isinstance(result.exception, SystemExit), result.exception
    return result


def run_json(*arguments: object, **more: Any) -> dict[str, Any]:
    result = run(*arguments, "--json", **more)
    answer = json.loads(result.stdout)
    assert isinstance(answer, dict)
    return answer


@pytest.fixture
def pki(tmp_path: Path) -> Path:
    run("init", tmp_path / "pki", "--name", "Dev CA")
    return tmp_path / "pki"


@pytest.fixture
def out(pki: Path, tmp_path: Path) -> Path:
    run("issue", pki, "--out", tmp_path / "out", "--dns", "web.internal", "--ip", "127.0.0.1")
    return tmp_path / "out"


class Sidecar:
    """Stands in for a sidecar's admin socket; its listener is a real one, its certificate read from real files."""

    def __init__(self, out: Path) -> None:
        self.source = FileSource(out / "tls.crt", out / "tls.key", out / "ca.crt")
        self.material: Material = self.source.load()
        self.generation = 1
        self.live_peers: tuple[LivePeer, ...] = ()
        self.reloads = 0
        self.stuck = False
        self.refuses = ""
        self.is_here = True
        self._out = out
        self._server = socket.create_server(("127.0.0.1", 0))
        self._context = self._tls()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def reload(self) -> Reloaded:
        self.reloads += 1
        if self.refuses:
            return Reloaded("refused", self.refuses, "detail")
        if not self.stuck:
            self.material = self.source.load()
            preflight(self.material, [], self.material.identity.not_before + timedelta(minutes=6))
            self._context = self._tls()
            self.generation += 1
        return Reloaded("applied")

    def served(self) -> Served:
        return Served(
            serial=self.material.identity.serial,
            generation=self.generation,
            source=self.material.source,
            trust=tuple(each.sha256 for each in self.material.trust),
            chain=tuple(
                ChainLink(described["sha256"], described["issuer"])
                for described in map(describe_certificate, (self.material.leaf, *self.material.chain))
            ),
            listeners=(f"127.0.0.1:{self._server.getsockname()[1]}",),
        )

    def peers(self) -> tuple[LivePeer, ...]:
        return self.live_peers

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join(10)

    def _tls(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._out / "tls.crt", self._out / "tls.key")
        context.load_verify_locations(self._out / "ca.crt")
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            try:
                with self._context.wrap_socket(connection, server_side=True) as tls:
                    tls.recv(1)
            except OSError:
                connection.close()


@dataclass
class Asked:
    """It, by the name that a command was given; some names are of others."""

    name: str
    sidecar: Sidecar

    @property
    def is_here(self) -> bool:
        return self.sidecar.is_here

    def reload(self) -> Reloaded:
        if self.name == "/gone.sock":
            raise SidecarUnreachable(f"{self.name}: nobody answers any more")
        if self.name == "/refuses.sock":
            return Reloaded("refused", "wrong_purpose", "detail")
        return self._asked().reload()

    def served(self) -> Served:
        return self._asked().served()

    def peers(self) -> tuple[LivePeer, ...]:
        return self._asked().peers()

    def _asked(self) -> Sidecar:
        if self.name == "/nobody.sock":
            raise SidecarUnreachable(f"{self.name}: nobody answers")
        if self.name == "/other.sock":
            raise SidecarRefused(f"{self.name}: not allowed")
        return self.sidecar


@pytest.fixture
def sidecar(out: Path) -> Iterator[Sidecar]:
    sidecar = Sidecar(out)
    yield sidecar
    sidecar.close()


@pytest.mark.parametrize("arguments", [["--help"], ["init", "--help"], ["rotate", "--help"]])
def test_help(arguments: list[str]) -> None:
    assert "Usage" in run(*arguments).stdout


def test_init_says_what_it_made(tmp_path: Path) -> None:
    answer = run_json("init", tmp_path / "pki", "--name", "Dev CA")
    assert answer["root"]["subject"] == "CN=Dev CA Root 1"
    assert answer["intermediate"]["is_ca"]
    assert Path(answer["trust"]).exists()
    result = run("init", tmp_path / "pki", code=2)
    assert result.stdout == ""
    assert "not empty" in result.stderr


def test_init_takes_lifetimes_and_constraints(tmp_path: Path) -> None:
    bounds = ["--permit-dns", "internal", "--permit-ip", "10.0.0.0/8", "--permit-trust-domain", "td"]
    run("init", tmp_path / "pki", "--root-lifetime", "30d", "--intermediate-lifetime", "7d", *bounds)
    run("issue", tmp_path / "pki", "--out", tmp_path / "a", "--dns", "a.internal", "--spiffe", "spiffe://td/a")
    result = run("issue", tmp_path / "pki", "--out", tmp_path / "b", "--dns", "a.example", code=2)
    assert "permitted subtree violation" in result.stderr
    assert not (tmp_path / "b").exists()


def test_issue_publishes_a_set_that_loads(pki: Path, tmp_path: Path) -> None:
    answer = run_json(
        "issue", pki, "--out", tmp_path / "out", "--dns", "Web.internal", "--ip", "::1", "--spiffe", "spiffe://td/web",
        "--cn", "web", "--ou", "sre", "--ttl", "1h30m",
    )  # fmt: skip
    material = FileSource(*(tmp_path / "out" / name for name in ("tls.crt", "tls.key", "ca.crt"))).load()
    assert material.identity.serial == answer["serial"]
    assert material.identity.dns == ("web.internal",)
    assert material.identity.organizational_units == ("sre",)
    assert answer["identity"] == "spiffe://td/web"
    lived = material.identity.not_after - material.identity.not_before
    assert lived == timedelta(hours=1, minutes=35)


@pytest.mark.parametrize(
    ("flag", "purposes"),
    [
        ("--client", ["clientAuth"]),
        ("--server", ["serverAuth"]),
        ("--both", ["serverAuth", "clientAuth"]),
        (None, ["serverAuth", "clientAuth"]),
    ],
)
def test_issue_for_either_end(pki: Path, tmp_path: Path, flag: str | None, purposes: list[str]) -> None:
    run("issue", pki, "--out", tmp_path / "out", "--dns", "a", *([flag] if flag else []))
    leaf = run_json("show", tmp_path / "out" / "tls.crt")["items"][0]
    assert leaf["purposes"] == purposes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--ttl", "24h"], "needs a name"),
        (["--dns", "a b"], "not a DNS name"),
        (["--dns", "a", "--ttl", "3"], 'has no unit: write "3s"'),
        (["--dns", "a", "--ttl", "400d"], "398"),
        (["--spiffe", "spiffe://TD/x"], "not a SPIFFE ID"),
        (["--ip", "web"], "not an IP address"),
    ],
)
def test_issue_says_what_is_wrong(pki: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    result = run("issue", pki, "--out", tmp_path / "out", *arguments, code=2)
    assert message in result.stderr
    assert result.stdout == ""
    assert not (tmp_path / "out").exists()


def test_issue_where_nothing_can_be_published(pki: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "tls.crt").write_text("mine")
    assert "not published by us" in run("issue", pki, "--out", tmp_path / "out", "--dns", "a", code=1).stderr


def test_rotate_makes_a_new_key_and_leaf_for_the_same_names(out: Path) -> None:
    before = FileSource(out / "tls.crt", out / "tls.key", out / "ca.crt").load()
    answer = run_json("rotate", out)
    after = FileSource(out / "tls.crt", out / "tls.key", out / "ca.crt").load()
    assert (answer["old_serial"], answer["new_serial"]) == (before.identity.serial, after.identity.serial)
    assert before.identity.serial != after.identity.serial
    assert before.key.spki != after.key.spki
    assert (before.identity.dns, before.identity.ips) == (after.identity.dns, after.identity.ips)
    text = run("rotate", out).stdout
    assert after.identity.serial in text
    assert "published in" in text


def test_rotate_on_a_dry_run_changes_nothing(out: Path, pki: Path, sidecar: Sidecar) -> None:
    before = {path: path.read_bytes() for path in [*out.rglob("*"), *pki.rglob("*")] if path.is_file()}
    answer = run_json("rotate", out, "--dry-run", "--socket", "/a.sock", probe=sidecar)
    assert answer["dry_run"]
    assert answer["names"] == ["web.internal", "127.0.0.1"]
    assert answer["sidecars"] == [{"socket": "/a.sock", "generation": 1, "serial": answer["old_serial"]}]
    assert "nothing was changed" in run("rotate", out, "--dry-run").stdout
    assert {path: path.read_bytes() for path in [*out.rglob("*"), *pki.rglob("*")] if path.is_file()} == before
    assert sidecar.reloads == 0


def test_rotate_proves_that_the_new_leaf_is_served(out: Path, sidecar: Sidecar) -> None:
    answer = run_json("rotate", out, "--socket", "/a.sock", "--socket", "/b.sock", probe=sidecar)
    assert [proof["socket"] for proof in answer["sidecars"]] == ["/a.sock", "/b.sock"]
    assert max(proof["generation"] for proof in answer["sidecars"]) == sidecar.generation == 3
    assert sidecar.material.identity.serial == answer["new_serial"]
    text = run("rotate", out, "--socket", "/a.sock", probe=sidecar).stdout
    assert "generation 4, served on 127.0.0.1:" in text


def test_rotate_does_not_believe_a_sidecar_that_still_serves_the_old(out: Path, sidecar: Sidecar) -> None:
    sidecar.stuck = True
    old = sidecar.material.identity.serial
    result = run("rotate", out, "--socket", "/a.sock", "--timeout", "1s", probe=sidecar, code=1)
    assert f"serves {old} from files:" in result.stderr

    class Lying(Sidecar):
        """Says the new serial, while its listener shows the old."""

        def served(self) -> Served:
            fresh = self.source.load().identity.serial
            return replace(super().served(), serial=fresh)

    liar = Lying(out)
    liar.stuck = True
    try:
        shown = liar.material.identity.serial
        result = run("rotate", out, "--socket", "/a.sock", "--timeout", "1s", probe=liar, code=1)
        assert f"still shows {shown}" in result.stderr
    finally:
        liar.close()


def test_rotate_believes_a_sidecar_elsewhere_and_says_so(out: Path, sidecar: Sidecar) -> None:
    """Its listeners' addresses are another machine's."""
    sidecar.is_here = False
    (proof,) = run_json("rotate", out, "--socket", "ssh://web-1", probe=sidecar)["sidecars"]
    assert (proof["socket"], proof["listeners"], proof["generation"]) == ("ssh://web-1", [], 2)
    assert "generation 3, served, as it says itself," in run("rotate", out, "--socket", "a", probe=sidecar).stdout
    sidecar.stuck = True
    run("rotate", out, "--socket", "a", "--timeout", "1s", probe=sidecar, code=1)


@pytest.mark.parametrize(("name", "code"), [("nobody.sock", 3), ("other.sock", 4)])
def test_rotate_asks_the_sidecars_before_it_changes_anything(out: Path, sidecar: Sidecar, name: str, code: int) -> None:
    before = (out / "tls.crt").read_bytes()
    run("rotate", out, "--socket", f"/{name}", probe=sidecar, code=code)
    assert (out / "tls.crt").read_bytes() == before


def test_rotate_refused_by_the_sidecar(out: Path, sidecar: Sidecar) -> None:
    sidecar.refuses = "wrong_purpose"
    result = run("rotate", out, "--socket", "/a.sock", probe=sidecar, code=4)
    assert "wrong_purpose: detail" in result.stderr


def test_rotate_tells_of_each_sidecar_though_one_fails(out: Path, sidecar: Sidecar) -> None:
    sockets = [argument for name in ("gone", "a", "refuses") for argument in ("--socket", f"/{name}.sock")]
    result = run("rotate", out, *sockets, probe=sidecar, code=4)
    assert "note: /a.sock: generation 2, served on 127.0.0.1:" in result.stderr
    assert "error: /gone.sock: nobody answers any more\n/refuses.sock: the sidecar refused" in result.stderr
    assert result.stdout == ""
    assert (
        sidecar.material.identity.serial
        == FileSource(out / "tls.crt", out / "tls.key", out / "ca.crt").load().identity.serial
    )


def test_rotate_finds_its_ca_or_is_told(out: Path, pki: Path, tmp_path: Path) -> None:
    moved = pki.rename(tmp_path / "moved")
    assert "certs init" in run("rotate", out, code=2).stderr
    run("rotate", out, "--ca", moved)
    run("rotate", out)  # it has learned where the CA is now


def test_rotate_mends_a_set_whose_certificate_is_damaged(out: Path) -> None:
    os.truncate(out / "tls.crt", 100)
    result = run("rotate", out)
    assert "old serial   (none)" in result.stdout
    assert "cut short" in result.stderr
    FileSource(out / "tls.crt", out / "tls.key", out / "ca.crt").load()


@pytest.mark.parametrize("content", ["", "{}", '{"version": 2}', '{"version": 1}', "[]", "nonsense"])
def test_rotate_with_a_damaged_record(out: Path, content: str) -> None:
    (out / "issued.json").write_text(content)
    assert "issued.json" in run("rotate", out, code=2).stderr


def test_rotate_what_was_never_issued(tmp_path: Path) -> None:
    assert "not there" in run("rotate", tmp_path, code=2).stderr


def test_sockets_need_somebody_who_can_ask(out: Path, pki: Path) -> None:
    assert "tlsidecar" in run("rotate", out, "--socket", "/a.sock", code=2).stderr
    assert "tlsidecar" in run("rollover", pki, "switch", "--socket", "/a.sock", code=2).stderr


def test_rollover_with_a_sidecar(out: Path, pki: Path, sidecar: Sidecar) -> None:
    socket_option = ["--socket", "/a.sock"]
    assert "next step is start" in run("rollover", pki, "switch", code=2).stderr
    assert run_json("rollover", pki, "start")["phase"] == "started"
    refused = run("rollover", pki, "switch", *socket_option, probe=sidecar, code=4)
    assert "/a.sock does not trust the new CA yet" in refused.stderr
    run("rotate", out, *socket_option, probe=sidecar)
    assert run_json("rollover", pki, "switch", *socket_option, probe=sidecar)["active"] == "ca-2"
    refused = run("rollover", pki, "finish", *socket_option, probe=sidecar, code=4)
    assert "/a.sock itself serves a certificate of the old CA" in refused.stderr
    run("rotate", out, *socket_option, probe=sidecar)
    sidecar.live_peers = (LivePeer(7, "web", "old\x1b[31m friend", (ChainLink("00", "CN=Dev CA Root 1"),)),)
    refused = run("rollover", pki, "finish", *socket_option, probe=sidecar, code=4)
    assert "old\\x1b[31m friend is connected to /a.sock (web)" in refused.stderr
    sidecar.live_peers = ()
    assert list(run_json("rollover", pki, "finish", *socket_option, probe=sidecar)["trusted"]) == ["ca-2"]
    run("rollover", pki, "start")
    assert "was not checked" in run("rollover", pki, "switch").stderr


def test_revoke_and_crl(out: Path, pki: Path) -> None:
    serial = run_json("show", out / "tls.crt")["items"][0]["serial"]
    assert run_json("crl", pki)["lists"][0]["revoked"] == 0
    revoked = run_json("revoke", pki, serial, "--reason", "stolen")
    assert revoked["names"] == ["web.internal", "127.0.0.1"]
    assert "revoked before" in run("revoke", pki, serial).stdout
    shown = run_json("show", pki / "ca.crl")["items"]
    assert [item["serials"] for item in shown] == [[serial], []]
    refused = run("verify", out / "tls.crt", "--trust", out / "ca.crt", "--crl", pki / "ca.crl", code=2)
    assert "has been revoked" in refused.stdout
    assert "not issued by this CA" in run("revoke", pki, "ab", code=2).stderr


def test_what_was_issued_is_listed_with_what_became_of_it(out: Path, pki: Path, tmp_path: Path) -> None:
    run("issue", pki, "--out", tmp_path / "two", "--dns", "two.internal", "--client", "--ttl", "1h")
    listed = run_json("list", pki)["issued"]
    assert [each["names"] for each in listed] == [["web.internal", "127.0.0.1"], ["two.internal"]]
    assert {each["state"] for each in listed} == {"valid"}
    assert listed[1]["roles"] == ["client"]
    assert listed[1]["lifetime_s"] == pytest.approx(3600, abs=1)
    run("revoke", pki, "two.internal", "--reason", "lost")
    (gone,) = run_json("list", pki, "--state", "revoked")["issued"]
    assert (gone["serial"], gone["reason"], gone["state"]) == (listed[1]["serial"], "lost", "revoked")
    assert gone["revoked_at"] is not None
    text = run("list", pki, "--name", "WEB.internal").stdout.splitlines()
    assert [line.split()[:2] for line in text] == [["SERIAL", "STATE"], [listed[0]["serial"], "valid"]]


def test_revoke_by_name_by_file_and_by_directory(out: Path, pki: Path, tmp_path: Path) -> None:
    first = run_json("show", out / "tls.crt")["items"][0]["serial"]
    run("rotate", out)
    several = run("revoke", pki, "web.internal", code=2)
    assert first in several.stderr
    assert "2 certificates for 'web.internal' are valid" in several.stderr
    assert "--all" in several.stderr
    assert run_json("list", pki, "--state", "revoked")["issued"] == []
    newest = run_json("revoke", pki, out)
    assert newest["serial"] == run_json("show", out / "tls.crt")["items"][0]["serial"] != first
    assert run_json("revoke", pki, "web.internal")["serial"] == first
    gone = run("revoke", pki, "web.internal", code=2)
    assert "valid any more" in gone.stderr
    run("rotate", out)
    run("rotate", out)
    assert len(run_json("revoke", pki, "web.internal", "--all")["revoked"]) == 2
    assert "was revoked before" not in run("revoke", pki, out / "tls.crt").stderr
    for nothing in ("nobody.internal", tmp_path / "absent.crt"):
        assert "no serial, no file, and no name" in run("revoke", pki, nothing, code=2).stderr
    stray = forge.write(tmp_path / "stray.crt", forge.leaf().pem)
    assert "not issued by this CA" in run("revoke", pki, stray, code=2).stderr


def test_a_name_that_is_a_file_too_is_not_guessed_at(
    pki: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run("issue", pki, "--out", tmp_path / "web", "--dns", "web")
    assert "write ./web for the file" in run("revoke", pki, "web", code=2).stderr
    assert run_json("revoke", pki, "./web")["names"] == ["web"]


def test_show_tells_everything_but_the_key(out: Path, tmp_path: Path) -> None:
    combined = forge.write(tmp_path / "all.pem", (out / "tls.crt").read_bytes() + (out / "tls.key").read_bytes(), 0o600)
    result = run("show", combined)
    body = (out / "tls.key").read_text().splitlines()[1]
    assert body not in result.output
    assert "private key (not shown)" in result.stdout
    assert "EC P-256" in result.stdout
    assert "valid; ends in 23h 5" in result.stdout
    items = run_json("show", combined, out / "ca.crt")["items"]
    assert [item["kind"] for item in items] == ["certificate", "certificate", "private key", "certificate"]
    material = FileSource(combined, None, out / "ca.crt").load()
    described = describe_certificate(material.leaf)
    assert {key: items[0][key] for key in described} == described


def test_show_reads_der(out: Path, pki: Path, tmp_path: Path) -> None:
    run("crl", pki)
    for source, kind in ((out / "tls.crt", "certificate"), (pki / "ca.crl", "crl")):
        der = tmp_path / "der"
        command = ["openssl", "x509" if kind == "certificate" else "crl", "-in", source, "-outform", "DER", "-out", der]
        subprocess.run(list(map(str, command)), check=True, capture_output=True)
        assert run_json("show", der)["items"][0]["kind"] == kind


def test_show_goes_on_after_what_it_cannot_read(out: Path, tmp_path: Path) -> None:
    garbage = forge.write(tmp_path / "garbage", b"\x00\x01")
    damaged = forge.write(tmp_path / "damaged", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    answer = run_json("show", tmp_path / "none", garbage, damaged, out / "ca.crt", code=2)
    assert ["error" in item for item in answer["items"]] == [True, True, True, False]


HOSTILE = "x\x1b[2J\x07\n  serial       0000\r\u202e<b>\x9b31m\u0301\u200d\u3164"


def test_show_is_not_commanded_by_a_certificate(tmp_path: Path) -> None:
    names = [(NameOID.ORGANIZATIONAL_UNIT_NAME, HOSTILE[:60]), (NameOID.COMMON_NAME, HOSTILE[:60])]
    made = forge.leaf(
        forge.authority(), subject=names, dns=["\x1b]0;title\x07.example"], uris=["x:\x1b[31m\n  forged row"]
    )
    path = forge.write(tmp_path / "hostile.pem", made.pem)
    trust = forge.write(tmp_path / "trust.pem", forge.authority().pem)
    clock = forge.ManualClock()
    for result in (run("show", path, clock=clock), run("verify", path, "--trust", trust, clock=clock, code=2)):
        for line in result.output.split("\n"):
            assert line == safe_text(line)
            assert not line.startswith(("  serial       0000", "  forged"))
    answer = run_json("show", path, clock=clock)
    assert answer["items"][0]["dns"] == ["\x1b]0;title\x07.example"]  # JSON escapes by itself


def test_verify_in_every_way(out: Path, pki: Path, tmp_path: Path) -> None:
    leaf, trust, key = out / "tls.crt", out / "ca.crt", out / "tls.key"
    assert run("verify", leaf, "--trust", trust).stdout.startswith("ok: web.internal, valid until ")
    assert run_json("verify", leaf, "--trust", trust, "--key", key, "--host", "web.internal")["ok"]
    assert run_json("verify", leaf, "--trust", trust, "--host", "127.0.0.1")["roles"] == ["server", "client"]
    run("issue", pki, "--out", tmp_path / "client", "--dns", "a", "--client")
    run("init", tmp_path / "other")
    for arguments, reason in (
        ([leaf, "--trust", trust, "--host", "other.internal"], "name_mismatch"),
        ([leaf, "--trust", tmp_path / "other" / "ca.crt"], "chain_incomplete"),
        ([tmp_path / "client" / "tls.crt", "--trust", trust, "--role", "server"], "wrong_purpose"),
        ([tmp_path / "client" / "tls.crt", "--trust", trust, "--role", "both"], "wrong_purpose"),
        ([trust, "--trust", trust], "is_ca"),
    ):
        answer = run_json("verify", *arguments, code=2)
        assert reason in [problem["reason"] for problem in answer["problems"]]
        assert not answer["ok"]
    late = forge.ManualClock(starts_at(leaf) + timedelta(days=2))
    assert run_json("verify", leaf, "--trust", trust, clock=late, code=2)["problems"][0]["reason"] == "expired"
    mismatch = run("verify", leaf, "--trust", trust, "--key", tmp_path / "client" / "tls.key", code=2)
    assert "does not belong" in mismatch.stderr
    assert "not there" in run("verify", leaf, "--trust", tmp_path / "none", code=2).stderr


def starts_at(leaf: Path) -> datetime:
    return certificates_in(read_blocks(leaf.read_bytes()))[0].not_valid_before_utc


def test_alone_as_a_module(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "certs", "init", str(tmp_path / "pki"), "--json"]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout)["directory"] == str(tmp_path / "pki")


def test_it_stands_alone() -> None:
    """Importing every module brings in neither the daemon nor the terminal UI."""
    script = (
        "import certs, pkgutil, sys\n"
        "for module in pkgutil.walk_packages(certs.__path__, 'certs.'):\n"
        "    if module.name != 'certs.__main__': __import__(module.name)\n"
        "found = {name.partition('.')[0] for name in sys.modules}\n"
        "sys.exit(bool(found & {'tlsidecar', 'tui', 'textual', 'pydantic', 'prometheus_client'}))"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("5m", 300), ("24h", 86400), ("7d", 604800), ("1h30m", 5400), (" 1d12h ", 129600), ("1.5h", 5400)],
)
def test_durations(text: str, seconds: int) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", " ", "5", "h", "5x", "-5m", "0s", "5 m", "\u0665m", "9999999999d", "999999999d"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match=r"duration|too long|no unit|longer than zero"):
        parse_duration(text)


def test_durations_for_people() -> None:
    shown = [duration_text(timedelta(seconds=seconds)) for seconds in (0, 59, 3600, 90061, -65)]
    assert shown == ["0s", "59s", "1h", "1d 1h", "-1m 5s"]
