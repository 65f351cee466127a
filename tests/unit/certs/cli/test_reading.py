"""``certs show | verify``."""

from __future__ import annotations

import json
import subprocess
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, pkcs12
from cryptography.x509.oid import NameOID
from unit.certs import forge
from unit.certs.cli.commands import run, run_json

from certs.cli.context import CertsContext
from certs.cli.reading import show, verify
from certs.pem import certificates_in, read_blocks
from certs.sources.files import FileSource
from certs.text import describe_certificate, safe_text


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


ROOT = forge.authority("Root")
MIDDLE = forge.authority("Middle", ROOT)
LEAF = forge.leaf(MIDDLE, dns=["web.internal"], ips=["127.0.0.1"])


def shown(*files: Path, now: datetime = forge.NOW, code: int = 0) -> list[dict[str, object]]:
    result = CliRunner().invoke(
        show, [*map(str, files), "--json"], obj=CertsContext(clock=forge.ManualClock(now)), catch_exceptions=False
    )
    assert result.exit_code == code, result.output
    items = json.loads(result.stdout)["items"]
    assert isinstance(items, list)
    return items


def verified(*arguments: object, now: datetime = forge.NOW) -> tuple[int, list[str], list[str]]:
    """The exit code, the reasons of the problems, and for which roles it was judged."""
    context = CertsContext(clock=forge.ManualClock(now))
    result = CliRunner().invoke(verify, [*map(str, arguments), "--json"], obj=context, catch_exceptions=False)
    if not result.stdout:
        assert result.stderr.startswith("error: "), result.stderr
        return result.exit_code, [result.stderr.strip()], []
    answer = json.loads(result.stdout)
    assert answer["ok"] is (result.exit_code == 0)
    return result.exit_code, [problem["reason"] for problem in answer["problems"]], answer["roles"]


@pytest.mark.parametrize(
    ("at", "state", "ends"),
    [
        (forge.NOW - 2 * forge.DAY, "not yet valid", "in 3d"),
        (forge.NOW - forge.DAY, "valid", "in 2d"),
        (forge.NOW + forge.DAY - timedelta(seconds=1), "valid", "in 1s"),
        (forge.NOW + forge.DAY, "expired", "0s ago"),
        (forge.NOW + 3 * forge.DAY, "expired", "2d ago"),
    ],
)
def test_the_state_of_a_certificate_turns_on_the_second(tmp_path: Path, at: datetime, state: str, ends: str) -> None:
    path = forge.write(tmp_path / "tls.crt", LEAF.pem)
    (item,) = shown(path, now=at)
    assert item["state"] == state
    assert f"({state}; ends {ends})" in run("show", path, clock=forge.ManualClock(at)).stdout


def test_a_name_of_a_file_adds_no_line(tmp_path: Path) -> None:
    """A directory that is not ours may be shown as a whole."""
    good = forge.write(tmp_path / "a.crt\n  serial       00\x1b[2J", LEAF.pem)
    bad = forge.write(tmp_path / "b.crt\nkey: private key (not shown)", b"\x00")
    result = run("show", good, bad, clock=forge.ManualClock(), code=2)
    assert result.stdout.startswith(f"{tmp_path}/a.crt\\x0a  serial       00\\x1b[2J: certificate web.internal\n")
    assert result.stdout.count("  serial   ") == 2
    assert not any(line.startswith(("  serial       00", "key:")) for line in result.stdout.splitlines())


def test_what_is_neither_is_told_with_its_name_and_fails(tmp_path: Path) -> None:
    bundle = pkcs12.serialize_key_and_certificates(None, LEAF.key, LEAF.certificate, None, NoEncryption())  # type: ignore[arg-type] - a key that can sign
    for content, wanted in (
        (bundle, "neither PEM nor a DER certificate or CRL"),
        (b"", "neither PEM nor"),
        (LEAF.pem[:-20], "cut short"),
        (LEAF.der[:-1], "neither PEM nor"),
    ):
        path = forge.write(tmp_path / "odd", content)
        (item,) = shown(path, code=2)
        assert str(item["error"]).startswith(f"{path}: ")
        assert wanted in str(item["error"])
    with pytest.raises(SystemExit):
        show.main([str(tmp_path)], obj=CertsContext())


def test_keys_and_unknown_blocks_are_named_and_no_more(tmp_path: Path) -> None:
    request = b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"
    path = forge.write(tmp_path / "all", request + LEAF.key_pem(b"secret"), 0o600)
    assert shown(path) == [
        {"file": str(path), "kind": "certificate request"},
        {"file": str(path), "kind": "private key"},
    ]


def test_a_list_is_shown_with_every_serial(tmp_path: Path) -> None:
    crl = forge.revocations(MIDDLE, 0x0A, 1 << 127)
    path = forge.write(tmp_path / "ca.crl", crl.public_bytes(Encoding.PEM))
    (item,) = shown(path)
    assert (item["kind"], item["issuer"], item["revoked"]) == ("crl", "CN=Middle", 2)
    assert item["serials"] == ["0a", f"{1 << 127:x}"]


@pytest.mark.parametrize(
    ("host", "reasons"),
    [
        ("web.internal", []),
        ("WEB.INTERNAL", []),
        ("127.0.0.1", []),
        ("127.0.0.2", ["name_mismatch"]),
        ("other.internal", ["name_mismatch"]),
    ],
)
def test_for_whom_it_has_to_be(tmp_path: Path, host: str, reasons: list[str]) -> None:
    files = forge.write_set(tmp_path, LEAF, MIDDLE, trust=[ROOT])
    for more in ([], ["--key", files.key]):
        code, found, roles = verified(files.cert, "--trust", files.trust, "--host", host, *more)
        assert (code, found, roles) == (2 if reasons else 0, reasons, ["server", "client"])


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    stale = forge.leaf(MIDDLE, dns=["web.internal"], usages=[forge.CLIENT], ends=forge.NOW)
    files = forge.write_set(tmp_path, stale, MIDDLE, trust=[ROOT])
    asked = [files.cert, "--trust", files.trust, "--role", "server", "--host", "other"]
    assert verified(*asked) == (2, ["wrong_purpose", "expired", "name_mismatch"], ["server"])


def test_the_leaf_is_found_wherever_it_stands(tmp_path: Path) -> None:
    files = forge.write_set(tmp_path, LEAF, trust=[ROOT])
    forge.write(files.cert, MIDDLE.pem + LEAF.pem)
    assert verified(files.cert, "--trust", files.trust) == (0, [], ["server", "client"])


def test_revoked_or_a_list_too_old(tmp_path: Path) -> None:
    files = forge.write_set(tmp_path, LEAF, MIDDLE, trust=[ROOT])
    serial = LEAF.certificate.serial_number
    for crl, reason in (
        (forge.revocations(MIDDLE, serial), "revoked"),
        (forge.revocations(MIDDLE, next_update=forge.NOW - timedelta(minutes=1)), "crl_expired"),
    ):
        path = forge.write(tmp_path / "ca.crl", crl.public_bytes(Encoding.PEM))
        code, reasons, _ = verified(files.cert, "--trust", files.trust, "--crl", path)
        assert (code, reasons) == (2, [reason])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (LEAF.key_pem(), "no certificate in the file"),
        (b"", "the file is empty"),
        (LEAF.pem[:100], "cut short"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "no X.509 certificate"),
    ],
)
def test_a_file_without_a_certificate_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    trust = forge.write(tmp_path / "ca.crt", ROOT.pem)
    path = forge.write(tmp_path / "tls.crt", content)
    code, (said,), _ = verified(path, "--trust", trust)
    assert (code, str(path) in said, message in said) == (2, True, True), said
    leaf = forge.write(tmp_path / "leaf.crt", LEAF.pem)
    assert verified(leaf, "--trust", path)[0] == 2
