"""``certs init | rollover | crl``."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from unit.certs import forge
from unit.certs.cli.commands import Scripted, Sidecar, among, run, run_json, serving

from certs.authority import Authority
from certs.cli.authority import crl, init, rollover
from certs.clock import SYSTEM_CLOCK
from certs.journal import time_text
from certs.probe import ChainLink, LivePeer, SidecarUnreachable
from certs.profiles import BACKDATE
from certs.rollover import MAX_NAMED


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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--permit-ip", "10.0.0.1/8"], "10.0.0.1/8 has host bits set"),
        (["--permit-dns", "a b"], "not a DNS name"),
        (["--permit-trust-domain", "spiffe://td"], "spiffe://td"),
        (["--root-lifetime", "5"], "has no unit"),
        (["--intermediate-lifetime", "20000d"], "root"),
        (["--name", ""], "name"),
    ],
)
def test_init_leaves_nothing_where_it_says_what_is_wrong(tmp_path: Path, arguments: list[str], message: str) -> None:
    result = run("init", tmp_path / "pki", *arguments, code=2)
    assert message in result.stderr
    assert (result.stdout, list(tmp_path.iterdir())) == ("", [])


def test_lifetimes_begin_by_the_clock_it_is_given(tmp_path: Path) -> None:
    lifetimes = ["--root-lifetime", "30d", "--intermediate-lifetime", "7d"]
    answer = run_json("init", tmp_path / "pki", *lifetimes, clock=forge.ManualClock())
    assert answer["root"]["not_after"] == time_text(forge.NOW + timedelta(days=30))
    assert answer["intermediate"]["not_after"] == time_text(forge.NOW + timedelta(days=7))


@pytest.mark.parametrize("command", [["crl"], ["rollover", "start"]], ids="-".join)
def test_what_is_no_ca_is_named_and_left_alone(tmp_path: Path, command: list[str]) -> None:
    absent = tmp_path / "absent"
    name, *step = command
    assert f"{absent}: No such file or directory" in run(name, absent, *step, code=2).stderr
    (tmp_path / "other").mkdir(mode=0o700)
    assert f"is {tmp_path / 'other'} a CA's directory?" in run(name, tmp_path / "other", *step, code=2).stderr
    assert list(tmp_path.rglob("*")) == [tmp_path / "other"]


def test_a_list_says_who_signed_it_and_until_when(pki: Path) -> None:
    clock = forge.ManualClock(SYSTEM_CLOCK.now().replace(microsecond=0) + timedelta(minutes=1))
    answer = run_json("crl", pki, "--lifetime", "2d", clock=clock)
    assert answer["crl"] == str(pki / "ca.crl")
    issuing, root = answer["lists"]
    assert issuing == {
        "issuer": "CN=Dev CA Intermediate 1",
        "this_update": time_text(clock.now() - BACKDATE),
        "next_update": time_text(clock.now() + timedelta(days=2)),
        "revoked": 0,
    }
    assert root["issuer"] == "CN=Dev CA Root 1"
    lines = run("crl", pki, clock=clock).stdout.splitlines()
    assert lines[0] == f"wrote {pki}/ca.crl"
    assert lines[1].startswith("  CN=Dev CA Intermediate 1: 0 revoked, next by ")


def trusting(pki: Path, generation: str) -> tuple[str, ...]:
    """The digest of that generation's root, as sidecars say whom they trust."""
    return (Authority(pki).root(generation).sha256,)


def test_each_identity_that_the_ca_concerns_has_to_trust_the_new_one(pki: Path) -> None:
    """Of three identities one has nothing to do with this CA, and is no obstacle."""
    run("rollover", pki, "start")
    old, both = trusting(pki, "ca-1"), trusting(pki, "ca-1") + trusting(pki, "ca-2")
    behind = serving("02", identity="public", trust=old)
    stranger = serving("03", identity="other", trust=("ff",))
    mixed = Scripted("a", [serving("01", identity="mesh", trust=both, others=(behind, stranger))])
    refused = run("rollover", pki, "switch", "--socket", "a", reach=among(mixed), code=4)
    assert refused.stderr.splitlines() == [
        "error: switch is not safe yet:",
        "  a (identity public) does not trust the new CA yet: give it the new trust bundle and reload it",
    ]
    assert Authority(pki).state().active == "ca-1"
    good = Scripted("a", [serving("01", identity="mesh", trust=both, others=(stranger,))])
    assert run_json("rollover", pki, "switch", "--socket", "a", reach=among(good))["active"] == "ca-2"
    assert mixed.calls == good.calls == ["served"], "peers are asked for when the old CA is to go"


def test_each_peer_is_named_once_and_not_too_many(pki: Path) -> None:
    run("rollover", pki, "start")
    run("rollover", pki, "switch")
    both = trusting(pki, "ca-1") + trusting(pki, "ca-2")
    link = (ChainLink("00", "CN=Dev CA Root 1"),)
    peers = tuple(LivePeer(number, "web", f"peer-{number}", link) for number in range(MAX_NAMED + 3))
    sidecar = Scripted("a", [serving("01", trust=both, others=(serving("02", identity="b", trust=both),))])
    sidecar.live_peers = peers
    told = run("rollover", pki, "finish", "--socket", "a", reach=among(sidecar), code=4).stderr.splitlines()
    assert told[1] == "  peer-0 is connected to a (web) with a certificate of the old CA"
    assert (len(told), told[-1]) == (1 + MAX_NAMED + 1, "  and 3 more")


@pytest.mark.parametrize("step", ["start", "switch", "finish"])
def test_a_step_waits_for_every_sidecar_to_answer(pki: Path, step: str) -> None:
    for before in {"start": (), "switch": ("start",), "finish": ("start", "switch")}[step]:
        run("rollover", pki, before)
    state = Authority(pki).state()
    gone = Scripted("gone", [SidecarUnreachable("gone: nobody answers")])
    here = Scripted("here", [serving("01", trust=trusting(pki, "ca-1"))])
    sockets = ["--socket", "here", "--socket", "gone"]
    assert "gone: nobody answers" in run("rollover", pki, step, *sockets, reach=among(here, gone), code=3).stderr
    assert Authority(pki).state() == state


def test_what_comes_next_is_said_beside_the_result(pki: Path) -> None:
    for step, following in (("start", "rollover switch"), ("switch", "rollover finish"), ("finish", "keep or destroy")):
        result = run("rollover", pki, step, "--json")
        assert following in result.stderr
        assert following not in result.stdout


def test_each_command_works_without_anybody_around_it(tmp_path: Path) -> None:
    """With the system's clock, and without sidecars to ask: whoever embeds it may give nothing."""
    ca = str(tmp_path / "pki")
    for command, *arguments in ((init, ca), (crl, ca), (rollover, ca, "start"), (rollover, ca, "switch")):
        result = CliRunner().invoke(command, arguments, catch_exceptions=False)  # type: ignore[arg-type] - a command
        assert result.exit_code == 0, result.output
    assert "was not checked" in result.stderr
    assert Authority(Path(ca)).state().active == "ca-2"
