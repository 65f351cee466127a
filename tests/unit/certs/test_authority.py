"""The local CA: what other people's tools say of it, what it refuses, and what is on the disk when."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from unit.certs import forge

from certs import authority as authority_module
from certs.authority import Authority
from certs.authority_state import Plan
from certs.certificate import Certificate
from certs.clock import SYSTEM_CLOCK
from certs.errors import AuthorityError
from certs.identity import Role
from certs.issued import Record, publish_issued
from certs.material import Material
from certs.preflight import preflight
from certs.profiles import BACKDATE, MAX_SERVER_LIFETIME, Constraints, LeafRequest

HOUR = timedelta(hours=1)
REQUEST = LeafRequest(dns=("web.internal",), ip=("127.0.0.1",), spiffe="spiffe://prod.example/web")


@pytest.fixture
def clock() -> forge.ManualClock:
    return forge.ManualClock()


@pytest.fixture
def authority(tmp_path: Path, clock: forge.ManualClock) -> Authority:
    return Authority.create(tmp_path / "pki", Plan("Dev CA"), clock)


@pytest.fixture
def real(tmp_path: Path) -> Authority:
    """On the real clock, for programs that look at it."""
    return Authority.create(tmp_path / "real", Plan("Dev CA"))


def publish(authority: Authority, out: Path, request: LeafRequest) -> Material:
    material = authority.issue(request, "test")
    publish_issued(out, material, Record(request, authority.directory, ""), SYSTEM_CLOCK.now())
    return material


def openssl(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, timeout=30)


REQUESTS = {
    "server": LeafRequest(dns=("web.internal", "*.web.internal"), roles=(Role.SERVER,)),
    "client": LeafRequest(common_name="backup", organizational_units=("sre",), roles=(Role.CLIENT,)),
    "spiffe only": LeafRequest(spiffe="spiffe://prod.example/ns/shop/sa/web"),
    "addresses": LeafRequest(ip=("127.0.0.1", "::1")),
    "everything": replace(REQUEST, common_name="web", organizational_units=("a", "b"), ttl=timedelta(days=30)),
}


@pytest.mark.needs("openssl")
@pytest.mark.parametrize("which", REQUESTS)
def test_openssl_accepts_it_strictly(real: Authority, tmp_path: Path, which: str) -> None:
    out = tmp_path / "out"
    publish(real, out, REQUESTS[which])
    for role in Role:
        purpose = "sslserver" if role is Role.SERVER else "sslclient"
        shown = openssl(
            "verify", "-x509_strict", "-purpose", purpose, "-policy_check", "-auth_level", 2,
            "-CAfile", out / "ca.crt", "-untrusted", out / "tls.crt", out / "tls.crt",
        )  # fmt: skip
        assert (shown.returncode == 0) == (role in REQUESTS[which].roles), shown.stderr
    lint = openssl("x509", "-in", out / "tls.crt", "-noout", "-checkend", 0)
    assert lint.returncode == 0


@contextmanager
def s_server(out: Path, *arguments: object) -> Iterator[int]:
    command = ["openssl", "s_server", "-cert", out / "tls.crt", "-cert_chain", out / "tls.crt", "-key", out / "tls.key"]
    command += ["-CAfile", out / "ca.crt", "-accept", "127.0.0.1:0", "-www", *arguments]
    with subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as server:
        try:
            assert server.stdout is not None
            for line in server.stdout:
                if line.startswith("ACCEPT"):
                    yield int(line.strip().rpartition(":")[2])
                    return
            raise AssertionError("openssl s_server did not start")
        finally:
            server.terminate()


@pytest.mark.needs("openssl", "curl")
def test_curl_and_openssl_talk_mutual_tls_with_it(real: Authority, tmp_path: Path) -> None:
    server, client = tmp_path / "server", tmp_path / "client"
    publish(real, server, LeafRequest(dns=("localhost",), ip=("127.0.0.1",), roles=(Role.SERVER,)))
    publish(real, client, LeafRequest(common_name="backup", roles=(Role.CLIENT,)))
    with s_server(server, "-Verify", 3, "-verify_return_error") as port:

        def curl(*more: str) -> subprocess.CompletedProcess[str]:
            command = ["curl", "-sS", "--cacert", f"{server}/ca.crt", "--max-time", "10", *more]
            return subprocess.run(command, capture_output=True, text=True, timeout=20)

        shown = curl("--cert", f"{client}/tls.crt", "--key", f"{client}/tls.key", f"https://127.0.0.1:{port}/")
        assert shown.returncode == 0, shown.stderr
        assert "s_server" in shown.stdout
        assert curl(f"https://127.0.0.1:{port}/").returncode != 0
        named = curl(
            "--cert", f"{client}/tls.crt", "--key", f"{client}/tls.key",
            "--resolve", f"other.internal:{port}:127.0.0.1", f"https://other.internal:{port}/",
        )  # fmt: skip
        assert named.returncode == 60  # CURLE_PEER_FAILED_VERIFICATION: the name


@pytest.mark.needs("node")
def test_node_accepts_it_as_browsers_rules_want(real: Authority, tmp_path: Path) -> None:
    """Another X.509 implementation's eyes on the names and the purpose."""
    out = tmp_path / "out"
    publish(real, out, REQUEST)
    script = """
    const {X509Certificate} = require('crypto'), fs = require('fs');
    const text = fs.readFileSync(process.argv[1] + '/tls.crt', 'utf8');
    const pems = text.match(/-----BEGIN[^]+?-----END CERTIFICATE-----/g);
    const [leaf, middle] = pems.map(p => new X509Certificate(p));
    const root = new X509Certificate(fs.readFileSync(process.argv[1] + '/ca.crt'));
    console.log(JSON.stringify([
      leaf.checkHost('web.internal'), leaf.checkIP('127.0.0.1'),
      leaf.checkIssued(middle), leaf.verify(middle.publicKey),
      middle.checkIssued(root), middle.verify(root.publicKey), leaf.ca, middle.ca, root.ca, leaf.keyUsage]));
    """
    shown = subprocess.run(["node", "-e", script, str(out)], capture_output=True, text=True, timeout=30, check=True)
    assert json.loads(shown.stdout) == [
        "web.internal", "127.0.0.1", True, True, True, True, False, True, True,
        ["1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"],
    ]  # fmt: skip


def _extension(certificate: Certificate, kind: type[x509.ExtensionType]) -> x509.Extension[x509.ExtensionType]:
    return next(each for each in certificate.extensions if isinstance(each.value, kind))


def test_the_leaf_follows_the_rules(authority: Authority, clock: forge.ManualClock) -> None:
    material = authority.issue(replace(REQUEST, common_name="web"), "test")
    leaf = material.leaf
    critical = {extension.oid: extension.critical for extension in leaf.extensions}
    assert critical[x509.BasicConstraints.oid]
    assert critical[x509.KeyUsage.oid]
    assert not critical[x509.ExtendedKeyUsage.oid]
    assert not critical[x509.SubjectAlternativeName.oid]
    assert not critical[x509.SubjectKeyIdentifier.oid]
    assert not critical[x509.AuthorityKeyIdentifier.oid]
    assert leaf.not_valid_before_utc == clock.now() - BACKDATE
    assert leaf.not_valid_after_utc == clock.now() + timedelta(hours=24)
    assert leaf.serial_number.bit_length() == 128
    assert leaf.issuer == material.chain[0].subject
    nameless = authority.issue(REQUEST, "test").leaf
    assert _extension(nameless, x509.SubjectAlternativeName).critical  # RFC 5280, 4.1.2.6


def test_the_authorities_follow_the_rules(authority: Authority) -> None:
    root, middle = authority.root("ca-1"), authority.intermediate("ca-1")
    for certificate, path_length in ((root, None), (middle, 0)):
        constraints = _extension(certificate, x509.BasicConstraints)
        usage = _extension(certificate, x509.KeyUsage)
        assert constraints.critical
        assert (constraints.value.ca, constraints.value.path_length) == (True, path_length)
        assert usage.critical
        assert usage.value.key_cert_sign
        assert usage.value.crl_sign
        assert not usage.value.digital_signature
        assert certificate.extension(x509.SubjectKeyIdentifier)
    assert middle.not_valid_after_utc < root.not_valid_after_utc
    assert root.subject != middle.subject


def test_serials_are_random_and_keys_are_new(authority: Authority) -> None:
    issued = [authority.issue(REQUEST, "test") for _ in range(20)]
    assert len({material.leaf.serial_number for material in issued}) == 20
    assert len({material.key.spki for material in issued}) == 20


def test_modes_are_right_from_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file and directory is created with its final mode; nothing is ever changed afterwards."""
    for name in ("chmod", "fchmod"):
        monkeypatch.setattr(os, name, lambda *_: pytest.fail("a mode was changed after creation"))
    old = os.umask(0)
    try:
        authority = Authority.create(tmp_path / "pki", Plan("Dev CA"))
        authority.issue(REQUEST, "test")
    finally:
        os.umask(old)
    for path in [authority.directory, *authority.directory.rglob("*")]:
        mode = stat.S_IMODE(path.stat().st_mode)
        expected = 0o700 if path.is_dir() else 0o644 if path.suffix == ".crt" else 0o600
        assert mode == expected, path


def test_the_journal_line_is_on_the_disk_before_the_leaf_is_given_out(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[bytes] = []
    real_fsync = os.fsync

    def fsync(fd: int) -> None:
        real_fsync(fd)
        path = Path(os.readlink(f"/proc/self/fd/{fd}"))
        if path == authority.journal.path:
            synced.append(path.read_bytes())

    monkeypatch.setattr(os, "fsync", fsync)
    material = authority.issue(REQUEST, "somebody")
    entry = json.loads(synced[-1].splitlines()[-1])
    assert entry["event"] == "issue"
    assert entry["serial"] == material.identity.serial
    assert entry["spki_sha256"] == material.identity.spki_sha256
    assert entry["names"] == ["spiffe://prod.example/web", "web.internal", "127.0.0.1"]
    assert entry["requester"] == "somebody"
    assert entry["not_after"] == "2026-11-24T12:00:00.000Z"

    def broken(fd: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(AuthorityError, match="journal"):
        authority.issue(REQUEST, "somebody")


def test_a_journal_line_torn_by_a_crash_spoils_nothing(authority: Authority) -> None:
    with authority.journal.path.open("ab") as file:
        file.write(b'{"at":"2026-11-23T12:')
    material = authority.issue(REQUEST, "test")
    events = [entry["event"] for entry in authority.journal.entries()]
    assert events == ["certify", "certify", "issue"]
    assert material.identity.serial in authority.journal.path.read_text()


def test_it_does_not_issue_while_the_clock_is_behind_its_journal(
    authority: Authority, clock: forge.ManualClock
) -> None:
    clock.advance(HOUR)
    authority.issue(REQUEST, "test")
    clock.jump(-timedelta(seconds=1))
    with pytest.raises(AuthorityError, match="clock"):
        authority.issue(REQUEST, "test")
    clock.jump(timedelta(seconds=1))
    authority.issue(REQUEST, "test")


def test_a_leaf_does_not_outlive_its_issuer(authority: Authority) -> None:
    material = authority.issue(replace(REQUEST, ttl=timedelta(days=365)), "test")
    assert material.leaf.not_valid_after_utc == material.chain[0].not_valid_after_utc
    assert "shorter than asked" in material.notes[0]


def test_the_intermediate_is_certified_again_in_time(authority: Authority, clock: forge.ManualClock) -> None:
    first = authority.issue(REQUEST, "test")
    for _ in range(30):  # ten days at a time: most of a year
        clock.advance(timedelta(days=10))
        material = authority.issue(REQUEST, "test")
        assert preflight(material, list(Role), clock.now()) == ()
        assert material.leaf.not_valid_after_utc == clock.now() + timedelta(hours=24)
    assert material.chain[0].serial_number != first.chain[0].serial_number
    assert material.chain[0].key == first.chain[0].key


def test_with_the_root_offline_it_issues_until_the_intermediate_ends(
    authority: Authority, clock: forge.ManualClock, tmp_path: Path
) -> None:
    root_key = authority.directory / "ca-1" / "root.key"
    root_key.rename(tmp_path / "safe")
    clock.advance(timedelta(days=89, hours=12))
    assert "shorter" in authority.issue(REQUEST, "test").notes[0]
    clock.advance(timedelta(days=1))
    with pytest.raises(AuthorityError, match=r"root\.key"):
        authority.issue(REQUEST, "test")
    (tmp_path / "safe").rename(root_key)
    authority.issue(REQUEST, "test")


def test_browsers_limit_on_server_certificates(tmp_path: Path, clock: forge.ManualClock) -> None:
    plan = Plan("Long", intermediate_lifetime=timedelta(days=3000))
    authority = Authority.create(tmp_path / "long", plan, clock)
    too_long = replace(REQUEST, ttl=MAX_SERVER_LIFETIME + HOUR)
    with pytest.raises(AuthorityError, match="398"):
        authority.issue(too_long, "test")
    longest = authority.issue(replace(REQUEST, ttl=MAX_SERVER_LIFETIME), "test").leaf
    total = longest.not_valid_after_utc - longest.not_valid_before_utc
    assert total + timedelta(seconds=1) <= timedelta(days=398)  # both ends count
    authority.issue(too_long, "test", unsafe_ttl=True)
    authority.issue(replace(too_long, roles=(Role.CLIENT,)), "test")


@pytest.mark.parametrize(
    "request_",
    [
        LeafRequest(),
        LeafRequest(organizational_units=("sre",)),
        LeafRequest(common_name="not a name"),
        LeafRequest(dns=("a b",)),
        LeafRequest(dns=("ä.example",)),
        LeafRequest(dns=("10.0.0.1",)),
        LeafRequest(dns=("a" * 64 + ".example",)),
        LeafRequest(dns=(".".join(["abcdefgh"] * 40),)),
        LeafRequest(dns=("a.*.b",)),
        LeafRequest(dns=("",)),
        LeafRequest(ip=("10.0.0.0/8",)),
        LeafRequest(spiffe="spiffe://a"),
        LeafRequest(spiffe="https://a/b"),
        LeafRequest(dns=("a",), common_name="x" * 65),
        LeafRequest(dns=("a",), common_name="a\nb"),
        LeafRequest(dns=("a",), organizational_units=(" sre",)),
        LeafRequest(dns=("a",), ttl=timedelta(seconds=59)),
        LeafRequest(dns=("a",), roles=()),
        LeafRequest(dns=tuple(f"a{number}" for number in range(101))),
    ],
)
def test_requests_that_are_refused(authority: Authority, request_: LeafRequest) -> None:
    before = authority.journal.path.read_bytes()
    with pytest.raises(AuthorityError):
        authority.issue(request_, "test")
    assert authority.journal.path.read_bytes() == before


def test_a_common_name_alone_is_its_dns_name_too(authority: Authority) -> None:
    identity = authority.issue(LeafRequest(common_name="Backup"), "test").identity
    assert (identity.common_name, identity.dns) == ("Backup", ("backup",))


CONSTRAINTS = Constraints(dns=("internal",), ip=("10.0.0.0/8",), trust_domains=("prod.example",))


@pytest.mark.parametrize(
    ("request_", "allowed"),
    [
        (LeafRequest(dns=("web.internal",)), True),
        (LeafRequest(dns=("internal",), ip=("10.1.2.3",), spiffe="spiffe://prod.example/web"), True),
        (LeafRequest(dns=("web.example.org",)), False),
        (LeafRequest(dns=("web.internal", "web.example.org")), False),
        (LeafRequest(ip=("192.168.0.1",)), False),
        (LeafRequest(spiffe="spiffe://other.example/web"), False),
    ],
)
def test_name_constraints_bind(tmp_path: Path, clock: forge.ManualClock, request_: LeafRequest, allowed: bool) -> None:
    authority = Authority.create(tmp_path / "bound", Plan("Bound", constraints=CONSTRAINTS), clock)
    for which in (authority.root("ca-1"), authority.intermediate("ca-1")):
        assert _extension(which, x509.NameConstraints).critical
    if allowed:
        authority.issue(request_, "test")
        return
    with pytest.raises(AuthorityError, match="permitted subtree violation"):
        authority.issue(request_, "test")
    assert all(entry["event"] != "issue" for entry in authority.journal.entries())


@pytest.mark.parametrize(
    "plan",
    [
        Plan(""),
        Plan("x" * 41),
        Plan(" a"),
        Plan("a\x1b"),
        Plan("a", root_lifetime=HOUR, intermediate_lifetime=2 * HOUR),
        Plan("a", root_lifetime=timedelta(days=40000)),
        Plan("a", intermediate_lifetime=timedelta(minutes=1)),
        Plan("a", constraints=Constraints(dns=("a b",))),
        Plan("a", constraints=Constraints(ip=("10.0.0.1/8",))),
        Plan("a", constraints=Constraints(trust_domains=("A",))),
    ],
)
def test_plans_that_are_refused(tmp_path: Path, plan: Plan) -> None:
    with pytest.raises(AuthorityError):
        Authority.create(tmp_path / "pki", plan)
    assert list(tmp_path.iterdir()) == []


def test_a_directory_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "pki").mkdir()
    (tmp_path / "pki" / "precious").touch()
    with pytest.raises(AuthorityError, match="not empty"):
        Authority.create(tmp_path / "pki", Plan("Dev CA"))
    (tmp_path / "empty").mkdir()
    Authority.create(tmp_path / "empty", Plan("Dev CA"))
    with pytest.raises(AuthorityError, match="not empty"):
        Authority.create(tmp_path / "empty", Plan("Dev CA"))


def test_a_ca_is_there_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    countdown = 0
    real_create = authority_module.create_file

    def failing(path: Path, content: bytes, mode: int) -> None:
        nonlocal countdown
        countdown -= 1
        if countdown == 0:
            raise OSError(28, "No space left on device")
        real_create(path, content, mode)

    monkeypatch.setattr(authority_module, "create_file", failing)
    for files_before in range(6):
        countdown = files_before + 1
        with pytest.raises(AuthorityError, match="No space left"):
            Authority.create(tmp_path / "pki", Plan("Dev CA"))
        assert list(tmp_path.iterdir()) == []
    countdown = 7
    Authority.create(tmp_path / "pki", Plan("Dev CA"))


@pytest.mark.parametrize("which", ["root", "intermediate"])
def test_a_key_of_another_ca_is_named_before_anything_is_issued(authority: Authority, which: str) -> None:
    """A directory that was put together from two: whoever asks whether it is in order is told."""
    path = authority.directory / "ca-1" / f"{which}.key"
    forge.write(path, forge.Made(None, forge.new_key()).key_pem(), 0o600)  # type: ignore[arg-type]
    said = rf"ca-1/{which}\.key is not the key of .*ca-1/{which}\.crt"
    with pytest.raises(AuthorityError, match=said):
        authority.root_issuer("ca-1") if which == "root" else authority.examine(REQUEST)
    if which == "intermediate":
        with pytest.raises(AuthorityError, match=said):
            authority.issue(REQUEST, "test")


def test_an_intermediate_of_another_root_is_named(authority: Authority, tmp_path: Path) -> None:
    other = Authority.create(tmp_path / "other", Plan("Dev CA"), authority.clock)
    for name in ("root.crt", "root.key"):
        forge.write(authority.directory / "ca-1" / name, (other.directory / "ca-1" / name).read_bytes(), 0o600)
    with pytest.raises(AuthorityError, match=r"ca-1/intermediate\.crt was not issued by .*ca-1/root\.crt"):
        authority.examine(REQUEST)


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o720])
def test_a_directory_that_others_may_write_is_refused(authority: Authority, mode: int) -> None:
    authority.directory.chmod(mode)
    with pytest.raises(AuthorityError, match="others"):
        Authority(authority.directory)


def test_keys_that_others_may_read_are_refused(authority: Authority) -> None:
    (authority.directory / "ca-1" / "intermediate.key").chmod(0o644)
    with pytest.raises(AuthorityError, match="others have access"):
        authority.issue(REQUEST, "test")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b'{"version": 99}',
        b'{"version": 1, "name": "a"}',
        b"\xff",
    ],
)
def test_a_damaged_state_is_refused(authority: Authority, content: bytes) -> None:
    file = authority.directory / "authority.json"
    file.write_bytes(content)
    with pytest.raises(AuthorityError) as refused:
        Authority(authority.directory)
    assert str(refused.value).startswith(f"{file}: ")
    assert "Error" not in str(refused.value)


def test_a_state_that_points_outside_is_refused(authority: Authority) -> None:
    path = authority.directory / "authority.json"
    path.write_text(path.read_text().replace("ca-1", "../x"))
    with pytest.raises(AuthorityError, match="damaged"):
        Authority(authority.directory)


def test_not_a_ca(tmp_path: Path) -> None:
    with pytest.raises(AuthorityError, match="certs init"):
        Authority(tmp_path)
    with pytest.raises(AuthorityError, match="certs init"):
        Authority(tmp_path / "nothing")


def test_several_processes_issue_at_once(tmp_path: Path) -> None:
    authority = Authority.create(tmp_path / "pki", Plan("Dev CA"))
    script = (
        "import sys; from pathlib import Path; from certs.authority import Authority; "
        "from certs.profiles import LeafRequest; a = Authority(Path(sys.argv[1]))\n"
        "for _ in range(10): a.issue(LeafRequest(dns=('a',)), 'test')"
    )
    processes = [subprocess.Popen([sys.executable, "-c", script, str(authority.directory)]) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    lines = authority.journal.path.read_bytes().splitlines()
    assert sum(json.loads(line)["event"] == "issue" for line in lines) == 30


def test_nothing_secret_is_in_the_journal_or_the_state(authority: Authority) -> None:
    authority.issue(REQUEST, "test")
    body = (authority.directory / "ca-1" / "root.key").read_text().splitlines()[1]
    for name in ("journal.jsonl", "authority.json", "ca.crt"):
        content = (authority.directory / name).read_text()
        assert "PRIVATE" not in content
        assert body[:20] not in content


def test_the_subject_is_what_was_asked_for(authority: Authority) -> None:
    request = replace(REQUEST, common_name="Web, Inc.", organizational_units=("sre", "web"))
    subject = authority.issue(request, "test").leaf.subject
    assert subject.text == "CN=Web\\, Inc.,OU=web,OU=sre"
