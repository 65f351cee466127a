"""``tlsidecar kill | deny | undeny | denials``."""

from __future__ import annotations

import json

import pytest
from unit.admin.fake_control import HOSTILE, made_connection
from unit.cli.conftest import Served

from tlsidecar.control.interface import State

WEB = "spiffe://prod.example/ns/shop/sa/web"


def test_all_of_an_identity_or_a_filter_are_closed(served: Served) -> None:
    served.control.records = [made_connection(number, identity=WEB if number % 2 else "b") for number in range(1, 8)]
    assert served.run("kill", "--identity", WEB, "--dry-run").out == "4 would be closed\n"
    assert served.control.calls == []
    done = served.run("kill", "--identity", WEB, "--expect", "9", "--json")
    assert (done.code, json.loads(done.out)["error"]["code"]) == (4, "refused")
    done = served.run("kill", "--identity", WEB)
    assert (done.code, done.out) == (0, "closed 4\n")
    done = served.run("kill", "--filter", "b", "--json")
    assert (done.code, json.loads(done.out)["ended"]) == (0, 3)


def test_a_denial_comes_and_goes(served: Served) -> None:
    served.control.records = [made_connection(1, identity=WEB)]
    assert served.run("denials").out == "Nobody is kept out by hand.\n"
    done = served.run("deny", WEB, "--for", "10m")
    assert done.code == 0
    assert done.out.startswith(f"{WEB} is kept out until ")
    assert done.out.endswith(", 1 closed\n")
    assert WEB in served.run("denials").out
    (denial,) = json.loads(served.run("denials", "--json").out)["denials"]
    assert (served.run("undeny", "x").code, served.run("undeny", str(denial["id"])).code) == (4, 0)
    assert served.run("deny", HOSTILE.replace("\udcff", ""), "--for", "1s").code == 0
    done = served.run("undeny", "--all")
    assert done.code == 0
    assert all(character.isprintable() or character == "\n" for character in done.out)
    assert served.run("undeny", "--all", "--json").out == '{\n  "ended": []\n}\n'


def test_a_drain_is_taken_back(served: Served) -> None:
    done = served.run("undrain")
    assert (done.code, done.out) == (4, "")
    assert "nothing has been drained" in done.err
    served.control.state = State.DRAINING
    done = served.run("undrain", "--json")
    assert (done.code, json.loads(done.out)["outcome"]) == (0, "undrained")


def test_connections_of_older_generations_end(served: Served) -> None:
    served.control.records = [made_connection(number, generation=number) for number in (2, 2, 3)]
    done = served.run("drain", "--old-generations", "--expect", "2")
    assert (done.code, done.out) == (0, "2 connections of older generations told to end\n")
    assert served.run("drain", "--old-generations", "--expect", "2").code == 4
    assert served.run("drain", "--expect", "100").code == 4
    assert "drain None" not in served.control.calls


@pytest.mark.parametrize(
    "arguments",
    [
        ("kill",),
        ("kill", "1", "--identity", WEB),
        ("kill", "1", "--dry-run"),
        ("kill", "--filter", "nosuch:1"),
        ("deny", WEB),
        ("deny", WEB, "--for", "0s"),
        ("deny", WEB, "--for", "200h"),
        ("undeny",),
        ("undeny", WEB, "--all"),
    ],
)
def test_a_wrong_question_is_a_usage_error(served: Served, arguments: tuple[str, ...]) -> None:
    assert served.run(*arguments).code == 2
    assert served.control.calls == []
