"""``certs list | revoke``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from unit.certs import forge
from unit.certs.cli.commands import Scripted, among, run, run_json, serving

from certs.authority import Authority
from certs.cli.revoking import list_issued, revoke
from certs.journal import time_text
from certs.probe import ListInUse, Reloaded, Served, SidecarRefused, SidecarUnreachable


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


def reading(pki: Path, **more: object) -> Callable[[], Served]:
    """What a sidecar of this CA says that reads the list as it is on the disk by then."""

    def served() -> Served:
        lists = [ListInUse(crl.issuer.text, time_text(crl.last_update_utc), len(crl)) for crl in Authority(pki).crls()]
        return serving("01", trust=(root(pki),), lists=tuple(lists), **more)

    return served


def root(pki: Path) -> str:
    return Authority(pki).root("ca-1").sha256


def revoked(pki: Path, *sidecars: Scripted, code: int = 0, more: tuple[str, ...] = ()) -> tuple[list[object], str]:
    """What each sidecar named is said to do with the list, and the notes on standard error."""
    names = [sidecar.name for sidecar in sidecars] + list(more)
    sockets = [argument for name in names for argument in ("--socket", name)]
    result = run("revoke", pki, "web.internal", *sockets, "--json", reach=among(*sidecars), code=code)
    (gone,) = run_json("list", pki, "--state", "revoked")["issued"]
    assert gone["names"] == ["web.internal", "127.0.0.1"], "whatever becomes of the sidecars"
    return json.loads(result.stdout)["sidecars"], result.stderr


@pytest.mark.usefixtures("out")
def test_a_sidecar_that_reads_the_new_list(pki: Path) -> None:
    sidecar = Scripted("a", [reading(pki)])
    assert revoked(pki, sidecar) == ([{"socket": "a", "reads_list": True, "detail": ""}], "")
    assert sidecar.calls == ["reload", "served"], "it is told first, and asked then"


@pytest.mark.usefixtures("out")
def test_a_list_of_before_and_none_at_all_are_told_apart(pki: Path) -> None:
    run("crl", pki)
    before = reading(pki)()
    old, blind = Scripted("old", [before]), Scripted("blind", [serving("01", trust=(root(pki),))])
    old.reloaded = Reloaded("refused", "crl_invalid", "ca.crl: not signed")
    answers, notes = revoked(pki, old, blind, code=1)
    assert answers == [
        {
            "socket": "old",
            "reads_list": False,
            "detail": "what it reads is an older list (crl_invalid: ca.crl: not signed)",
        },
        {"socket": "blind", "reads_list": False, "detail": "no list of this CA is read: set crl"},
    ]
    assert "note: blind: no list of this CA is read: set crl; revoked peers are let in there\n" in notes


@pytest.mark.usefixtures("out")
def test_of_several_identities_those_are_named_that_let_the_revoked_in(pki: Path) -> None:
    blind = serving("02", identity="public", trust=(root(pki),))
    stranger = serving("03", identity="other", trust=("ff",))
    sidecar = Scripted("a", [reading(pki, identity="mesh", others=(blind, stranger))])
    ((answer), *_), _ = revoked(pki, sidecar, code=1)
    assert answer["detail"] == "no list of this CA is read of the identity public: set crl"  # type: ignore[index]


@pytest.mark.usefixtures("out")
@pytest.mark.parametrize(
    ("error", "code"), [(SidecarUnreachable("b: nobody answers"), 3), (SidecarRefused("b: not allowed"), 4)]
)
def test_the_gravest_is_the_exit_code_and_the_others_are_told_all_the_same(
    pki: Path, error: SidecarUnreachable | SidecarRefused, code: int
) -> None:
    good, blind, bad = Scripted("a", [reading(pki)]), Scripted("c", [serving("01")]), Scripted("b", [error])
    answers, notes = revoked(pki, blind, bad, good, code=code)
    assert [answer["detail"] for answer in answers][1:] == [str(error), ""]  # type: ignore[index]
    assert good.calls == ["reload", "served"]
    assert f"note: b: {error}; revoked peers are let in there\n" in notes


@pytest.mark.usefixtures("out")
def test_a_target_that_leads_nowhere_keeps_nothing_from_being_revoked(pki: Path) -> None:
    """As an empty directory of sockets, or pods that cannot be listed: there is no time to find out why."""
    good = Scripted("a", [reading(pki)])
    answers, notes = revoked(pki, good, more=("kube://shop/?app=web", "a"), code=3)
    assert answers == [
        {"socket": "a", "reads_list": True, "detail": ""},
        {
            "socket": "kube://shop/?app=web",
            "reads_list": False,
            "detail": "kube://shop/?app=web: leads nowhere",
        },
    ]
    assert notes.startswith("note: kube://shop/?app=web: kube://shop/?app=web: leads nowhere; revoked peers")
    assert good.calls == ["reload", "served"], "each once"


def test_nothing_was_issued_yet(pki: Path) -> None:
    assert run("list", pki).stdout == "nothing\n"
    assert run_json("list", pki) == {"directory": str(pki), "issued": []}
    assert "is no serial, no file, and no name" in run("revoke", pki, "web.internal", code=2).stderr
    assert not (pki / "ca.crl").exists()


@pytest.mark.usefixtures("out")
def test_a_journal_of_before_lacks_what_it_lacks(pki: Path) -> None:
    """What an earlier version, or somebody with an editor, left out is shown as not known."""
    journal = pki / "journal.jsonl"
    entries = [json.loads(line) for line in journal.read_text().splitlines()]
    for entry in entries:
        if entry["event"] == "issue":
            entry["not_after"] = "soon"
            del entry["roles"]
    journal.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    (issued,) = run_json("list", pki)["issued"]
    assert (issued["not_after"], issued["lifetime_s"], issued["roles"], issued["state"]) == (None, None, [], "valid")
    assert run("list", pki).stdout.splitlines()[1].split()[3] == "-"


@pytest.mark.usefixtures("out")
def test_each_command_works_without_anybody_around_it(pki: Path) -> None:
    result = CliRunner().invoke(revoke, [str(pki), "web.internal", "--json"], catch_exceptions=False)
    assert json.loads(result.stdout)["sidecars"] == []
    result = CliRunner().invoke(list_issued, [str(pki), "--state", "valid"], catch_exceptions=False)
    assert (result.exit_code, result.stdout) == (0, "nothing\n")
    result = CliRunner().invoke(revoke, [str(pki), "web.internal", "--socket", "/a.sock"])
    assert (result.exit_code, "knows no sidecars" in result.stderr) == (2, True)
