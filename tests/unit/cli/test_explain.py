"""``tlsidecar explain``: what it says, in words and as JSON, and what it says to a question that makes no sense."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from unit.admin.fake_control import HOSTILE, made_refusal
from unit.certs import forge
from unit.certs.forge import DAY
from unit.cli.conftest import Served, tlsidecar

from tlsidecar.outcomes import Reason, Side, Stage

NOW = datetime.now(UTC).replace(microsecond=0)
ROOT = forge.authority(starts=NOW - 10 * DAY, ends=NOW + 10 * DAY)
SHOP = forge.leaf(ROOT, starts=NOW - DAY, ends=NOW + DAY, dns=("shop.test",))

CONFIG = """
[identity]
cert = "tls.crt"
key = "tls.key"
trust = "ca.crt"

[[listener]]
name = "web"
mode = "terminate"
listen = "127.0.0.1:8443"
upstream = "127.0.0.1:8080"
protocol = "http"
allow = ["dns:*.prod.test", "any"]

[[listener.route]]
path = "/admin/*"
allow = ["ou:sre"]

[[listener]]
name = "pay"
mode = "originate"
listen = "127.0.0.1:9001"
upstream = "pay.test:8443"
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    forge.write_set(tmp_path, forge.leaf(ROOT, starts=NOW - DAY, ends=NOW + DAY), trust=[ROOT])
    (tmp_path / "shop.crt").write_bytes(SHOP.pem)
    (tmp_path / "tlsidecar.toml").write_text(CONFIG)
    return tmp_path / "tlsidecar.toml"


def test_it_needs_no_sidecar(config: Path) -> None:
    done = tlsidecar("explain", "--cert", config.parent / "shop.crt", "--config", config, "--path", "/admin/x")
    assert (done.code, done.err) == (4, "")
    lines = done.out.splitlines()
    assert lines[0] == "would be refused"
    assert "refused: the route's rules do not allow this identity (authorize, route_denied, status 403)" in lines[2]
    assert "  decided by the route any method /admin/*" in lines
    assert "  ou:sre (route[any method /admin/*].allow): the certificate has no OU" in lines
    assert '    allow = ["ou:sre", "dns:shop.test"]' in lines
    done = tlsidecar("explain", "--cert", config.parent / "shop.crt", "--config", config, "--json")
    (judged,) = json.loads(done.out)["explanation"]["judgements"]
    assert (done.code, judged["listener"], judged["rule"]) == (0, "web", "any")


def test_der_is_read_and_a_key_is_passed_over(config: Path) -> None:
    der = config.parent / "shop.der"
    der.write_bytes(SHOP.der)
    combined = config.parent / "combined.pem"
    combined.write_bytes(SHOP.key_pem() + ROOT.pem + SHOP.pem)
    for file in (der, combined):
        done = tlsidecar("explain", "--cert", file, "--config", config, "--json")
        assert done.code == 0, done
        assert json.loads(done.out)["explanation"]["chain"][0]["dns"] == ["shop.test"]
        assert "PRIVATE" not in done.out


def test_a_ca_in_a_directory_vouches_before_it_has_issued_to_us(tmp_path: Path) -> None:
    assert tlsidecar("certs", "init", tmp_path / "pki", "--name", "Dev CA").code == 0
    client = tmp_path / "client"
    assert tlsidecar("certs", "issue", tmp_path / "pki", "--out", client, "--dns", "shop.test").code == 0
    source = '[identity]\nauthority = "pki"\ndns = ["web.test"]\n'
    (tmp_path / "tlsidecar.toml").write_text(source + CONFIG[CONFIG.index("[[listener]]") :])
    done = tlsidecar("explain", "--cert", client / "tls.crt", "--config", tmp_path / "tlsidecar.toml")
    assert done.code == 0, done
    assert "the chain verifies" in done.out


def test_hostile_text_is_inert(served: Served) -> None:
    served.soon(served.control.refusals.record, made_refusal(identity=HOSTILE, detail=HOSTILE, target=HOSTILE))
    done = served.run("explain", "r1")
    assert done.code == 4
    assert "no certificate was shown that could be read" in done.out
    assert all(character.isprintable() or character == "\n" for character in done.out)


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"leaf": "00" * 32}, "its certificates are not kept"),
        ({"leaf": "00" * 32, "side": Side.PEER}, "the other end turned us away"),
        ({"leaf": "00" * 32, "chain": (SHOP.der,), "listener": "gone"}, "no listener is called 'gone'"),
        (
            {"leaf": "00" * 32, "chain": (SHOP.der,), "stage": Stage.REQUEST, "reason": Reason.BAD_HEADER},
            "it was turned away for something else, which is not judged again: a header line is malformed",
        ),
    ],
)
def test_what_cannot_be_said_is_said(served: Served, changes: dict[str, object], note: str) -> None:
    served.soon(served.control.refusals.record, made_refusal(**changes))
    done = served.run("explain", "r1", "--json")
    assert (done.code, json.loads(done.out)["explanation"]["allowed"]) == (4, False)
    assert note in json.loads(done.out)["explanation"]["note"]


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ((), "give the id"),
        (("r1", "--cert", "shop.crt"), "give the id"),
        (("r1", "--path", "/"), "are for --cert"),
        (("r7",), "no refusal is kept with the id r7"),
        (("c7",), "no connection is open"),
        (("7",), "no connection is open"),
        (("seven",), "is no id"),
        (("r-1",), "is no id"),
        (("--cert", "nobody.crt"), "nobody.crt"),
        (("--cert", "tls.key"), "no certificate"),
        (("--cert", "shop.crt", "--listener", "out"), "no listener is called 'out'; known: web"),
        (("--cert", "shop.crt", "--method", "GET"), "together with a path"),
        (("--cert", "shop.crt", "--path", "admin"), "a path starts with '/'"),
        (("--cert", "shop.crt", "--config", "nobody.toml"), "nobody.toml"),
        (
            ("--cert", "shop.crt", "--config", "tlsidecar.toml", "--listener", "pay", "--path", "/"),
            "judges no requests",
        ),
    ],
)
def test_a_wrong_question_is_a_usage_error(
    served: Served, config: Path, question: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(config.parent)
    done = served.run("explain", *question)
    assert (done.code, done.out) == (2, ""), done
    assert said in done.err


def test_nobody_answers(tmp_path: Path) -> None:
    assert tlsidecar("explain", "r1", "--socket", tmp_path / "nobody.sock").code == 3


@pytest.mark.parametrize(
    ("identity", "begins"),
    [("shop.test", "r1: shop.test from 10.0.0.9:40000 was refused on web"), ("", "r1: 10.0.0.9:40000 was refused on")],
)
def test_a_refusal_names_who_it_was_once(served: Served, identity: str, begins: str) -> None:
    served.control.refusals.record(made_refusal(identity=identity, subject=""))
    assert served.run("explain", "r1").out.startswith(begins)
