"""``certs issue | rotate``."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest
from unit.certs import forge
from unit.certs.cli.commands import Scripted, Sidecar, among, run, run_json, serving

from certs.cli.issuing import POLL_INTERVAL_S
from certs.clock import SYSTEM_CLOCK
from certs.identity import serial_text
from certs.pem import certificates_in, read_blocks
from certs.probe import Reloaded, Served, SidecarRefused, SidecarUnreachable
from certs.sources.files import FileSource


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
    assert f"serves {old} from files:" in timed_out(out, sidecar)

    class Lying(Sidecar):
        """Says the new serial, while its listener shows the old."""

        def served(self) -> Served:
            fresh = self.source.load().identity.serial
            return replace(super().served(), serial=fresh)

    liar = Lying(out)
    liar.stuck = True
    try:
        shown = liar.material.identity.serial
        assert f"still shows {shown}" in timed_out(out, liar)
    finally:
        liar.close()


def timed_out(out: Path, sidecar: Sidecar) -> str:
    """What is said of one that does not take it up within a second, which passes at once."""
    clock = forge.ManualClock(SYSTEM_CLOCK.now())
    arguments = ["rotate", out, "--socket", "/a.sock", "--timeout", "1s"]
    return run(*arguments, probe=sidecar, clock=clock, sleep=passing(clock), code=1).stderr


def passing(clock: forge.ManualClock) -> Callable[[float], None]:
    """Sleep, by this clock."""
    return lambda seconds: clock.advance(timedelta(seconds=seconds))


def test_rotate_believes_a_sidecar_elsewhere_and_says_so(out: Path, sidecar: Sidecar) -> None:
    """Its listeners' addresses are another machine's."""
    sidecar.is_here = False
    (proof,) = run_json("rotate", out, "--socket", "ssh://web-1", probe=sidecar)["sidecars"]
    assert (proof["socket"], proof["listeners"], proof["generation"]) == ("ssh://web-1", [], 2)
    assert "generation 3, served, as it says itself," in run("rotate", out, "--socket", "a", probe=sidecar).stdout
    sidecar.stuck = True
    assert "published, but not served" in timed_out(out, sidecar)


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
    assert f"error: {out}: issued.json is " in run("rotate", out, code=2).stderr


def test_rotate_what_was_never_issued(tmp_path: Path) -> None:
    assert "not there" in run("rotate", tmp_path, code=2).stderr


def test_a_name_that_is_only_the_subjects_is_said_to_be_a_dns_name(pki: Path, tmp_path: Path) -> None:
    result = run("issue", pki, "--out", tmp_path / "out", "--cn", "Web.internal")
    assert result.stderr == (
        "note: the CN is its DNS name, too (web.internal): a certificate needs a subject alternative name\n"
    )
    assert "note" not in run("issue", pki, "--out", tmp_path / "ip", "--cn", "Web", "--ip", "127.0.0.1").stderr


def test_what_lives_shorter_than_asked_is_said(tmp_path: Path) -> None:
    run("init", tmp_path / "pki", "--intermediate-lifetime", "2d", "--root-lifetime", "3d")
    (tmp_path / "pki" / "ca-1" / "root.key").rename(tmp_path / "offline.key")
    result = run("issue", tmp_path / "pki", "--out", tmp_path / "out", "--dns", "a", "--ttl", "30d")
    assert "note: shorter than asked: its issuer expires at " in result.stderr


def test_long_lived_servers_need_the_switch_and_rotating_remembers_it(pki: Path, tmp_path: Path) -> None:
    asked = ["issue", pki, "--out", tmp_path / "out", "--dns", "a", "--ttl", "400d"]
    assert "398 days" in run(*asked, "--server", code=2).stderr
    run(*asked, "--server", "--unsafe-ttl")
    run("rotate", tmp_path / "out")
    run("issue", pki, "--out", tmp_path / "client", "--dns", "a", "--ttl", "400d", "--client")


def serial_in(out: Path) -> str:
    return serial_text(certificates_in(read_blocks((out / "tls.crt").read_bytes()))[0].serial_number)


def test_rotate_asks_again_and_again_until_it_is_served(out: Path) -> None:
    clock = forge.ManualClock(SYSTEM_CLOCK.now())
    old = serving(serial_in(out))
    late = Scripted("a", [old, old, old, lambda: serving(serial_in(out), 2)])
    (proof,) = run_json("rotate", out, "--socket", "a", reach=among(late), clock=clock, sleep=passing(clock))[
        "sidecars"
    ]
    assert late.calls == ["served", "reload", "served", "served", "served"]
    assert proof == {"socket": "a", "generation": 2, "listeners": [], "after_s": round(2 * POLL_INTERVAL_S, 4)}


def test_rotate_waits_no_longer_than_it_is_told_and_what_is_published_stays(out: Path) -> None:
    clock = forge.ManualClock(SYSTEM_CLOCK.now())
    old = serial_in(out)
    began = clock.monotonic()
    result = run(
        *("rotate", out, "--socket", "a", "--timeout", "3s"),
        reach=among(Scripted("a", [serving(old)])), clock=clock, sleep=passing(clock), code=1,
    )  # fmt: skip
    assert result.stderr == (
        f"error: a: published, but not served after 3 s: the sidecar serves {old} from files: tls.crt\n"
    )
    assert 3 < clock.monotonic() - began <= 3 + 2 * POLL_INTERVAL_S
    assert serial_in(out) != old


def test_rotate_of_one_of_several_identities(out: Path) -> None:
    """What the others serve is not what is asked about, and one of them may be refused."""
    old = serving(serial_in(out), 4, identity="public", listeners=("192.0.2.1:443",))
    other = serving("0a", 9, identity="mesh")
    now = Scripted("a", [replace(other, others=(old,))])
    planned = run_json("rotate", out, "--dry-run", "--socket", "a", reach=among(now))
    assert planned["sidecars"] == [{"socket": "a", "generation": 4, "serial": old.serial}]
    text = run("rotate", out, "--dry-run", "--socket", "a", reach=among(now)).stdout
    assert f"  a: generation 4, serves {old.serial} on 192.0.2.1:443\n" in text
    now.reloaded = Reloaded("refused", "expired", "of mesh")
    refused = run("rotate", out, "--socket", "a", reach=among(now), code=4)
    assert "the sidecar refused the new certificate (expired: of mesh)" in refused.stderr
    taken = TakesUp("a", [replace(other, others=(serving(serial_in(out), 4, identity="public"),))], out=out)
    (proof,) = run_json("rotate", out, "--socket", "a", reach=among(taken))["sidecars"]
    assert proof["generation"] == 5


@dataclass
class TakesUp(Scripted):
    """Of its identities one is refused, and the one of ours is good."""

    out: Path = Path()

    def reload(self) -> Reloaded:
        serial = serial_in(self.out)
        self.answers = [serving("0a", 9, others=(serving(serial, 5),))]
        return Reloaded("refused", "expired", "of another", serials=(serial,))


def test_one_that_serves_nothing_of_ours_is_told_of_as_it_is(out: Path) -> None:
    other = Scripted("a", [serving("0a", 9)])
    text = run("rotate", out, "--dry-run", "--socket", "a", reach=among(other)).stdout
    assert "  a: generation 9, serves 0a on no terminate listener\n" in text


@pytest.mark.parametrize(
    ("error", "code"), [(SidecarUnreachable("a: it ended"), 3), (SidecarRefused("a: not allowed"), 4)]
)
def test_a_sidecar_that_is_lost_meanwhile_is_told_of_with_its_code(
    out: Path, error: SidecarUnreachable | SidecarRefused, code: int
) -> None:
    lost = Scripted("a", [serving(serial_in(out)), error])
    assert run("rotate", out, "--socket", "a", reach=among(lost), code=code).stderr == f"error: {error}\n"
    lost = Scripted("a", [serving(serial_in(out))], reloaded=error)
    assert run("rotate", out, "--socket", "a", reach=among(lost), code=code).stderr == f"error: {error}\n"
