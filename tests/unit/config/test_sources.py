"""File, environment and flags laid over one another, each value with the place it was written in."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tlsidecar.config.sources import MAX_DEPTH, MAX_FILE_BYTES, Layers, Origin, read_layers

FILE = """\
[identity]
cert = "tls.crt"

[[listener]]
name = "web"
listen = "0.0.0.0:8443"
"""


def layers(
    tmp_path: Path, text: str | bytes | None = FILE, flags: dict[str, object] | None = None, **environ: str
) -> Layers:
    (tmp_path / "etc").mkdir(exist_ok=True)
    file = tmp_path / "etc" / "tlsidecar.toml"
    if text is not None:
        file.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_layers(file, flags or {}, environ, tmp_path)


def said(read: Layers) -> list[str]:
    return [str(problem) for problem in read.problems]


def test_each_value_keeps_the_place_it_was_written_in(tmp_path: Path) -> None:
    read = layers(tmp_path, flags={"upstream": ["127.0.0.1:1"]}, TLSIDECAR_TRUST="ca.crt")
    assert str(read.origin(("identity", "cert"))) == "file etc/tlsidecar.toml:2"
    assert str(read.origin(("identity", "trust"))) == "environment TLSIDECAR_TRUST"
    assert str(read.origin(("listener", 0, "upstream"))) == "flag --upstream"
    assert str(read.origin(("listener", 0, "allow"))) == "file etc/tlsidecar.toml:4", "of what is missing, its table"
    assert str(read.origin(("log", "level"))) == "file etc/tlsidecar.toml"
    assert str(Layers(tmp_path).origin(("log", "level"))) == "default"
    assert read.origins()[("listener", 0, "name")] == Origin("file", "etc/tlsidecar.toml:5")


def test_a_relative_path_starts_where_it_was_written(tmp_path: Path) -> None:
    read = layers(tmp_path, TLSIDECAR_TRUST="ca.crt")
    assert read.base(("identity", "cert")) == tmp_path / "etc"
    assert read.base(("identity", "trust")) == tmp_path
    assert read.base(("identity", "trust", 0)) == tmp_path


def test_a_flag_over_several_listeners_does_not_say_which_it_means(tmp_path: Path) -> None:
    two = FILE + '[[listener]]\nname = "api"\n'
    read = layers(tmp_path, two, flags={"allow": ["any"]}, TLSIDECAR_LOG_LEVEL="debug")
    assert said(read) == [
        "--allow: listener.allow: there are 2 listeners in the file, and this does not say which it means; "
        "set it in the file"
    ]
    assert "allow" not in read.tree["listener"][0]
    assert read.tree["log"] == {"level": "debug"}, "what is of no listener is laid over all the same"


def test_over_one_of_several_identities_neither(tmp_path: Path) -> None:
    one = FILE.replace("[identity]", '[[identity]]\nname = "a"')
    assert layers(tmp_path, one, TLSIDECAR_KEY="k").tree["identity"] == [{"name": "a", "cert": "tls.crt", "key": "k"}]
    two = layers(tmp_path, one + '[[identity]]\nname = "b"\n', TLSIDECAR_KEY="k")
    assert [problem.key for problem in two.problems] == ["identity.key"]


def test_what_is_no_table_is_left_for_whoever_judges_tables(tmp_path: Path) -> None:
    for text in ('identity = "files"\n', 'listener = "web"\n', "identity = []\n"):
        read = layers(tmp_path, text, flags={"allow": ["any"]} if "listener" in text else None, TLSIDECAR_CERT="c")
        assert said(read) == []


def test_a_mistyped_variable_is_told_and_one_of_somebody_elses_is_not(tmp_path: Path) -> None:
    read = layers(
        tmp_path,
        TLSIDECAR_LOG_LEVL="debug",
        TLSIDECAR_PORT_8443_TCP="tcp://10.0.0.1:8443",
        TLSIDECAR_TRUST="",
        OTHER_LOG_LEVEL="x",
    )
    assert said(read) == ['TLSIDECAR_LOG_LEVL: unknown variable; did you mean "TLSIDECAR_LOG_LEVEL"?']
    assert "trust" not in read.tree["identity"]


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("TLSIDECAR_ALLOW", " ou:a, ,ou:b,", ["ou:a", "ou:b"]),
        ("TLSIDECAR_WORKERS", "3", 3),
        ("TLSIDECAR_WORKERS", "-3", -3),
        ("TLSIDECAR_WORKERS", "auto", "auto"),
        ("TLSIDECAR_WORKERS", "9" * 19, "9" * 19),
        ("TLSIDECAR_KEY_GROUP_READABLE", "ON", True),
        ("TLSIDECAR_KEY_GROUP_READABLE", "0", False),
        ("TLSIDECAR_KEY_GROUP_READABLE", "maybe", "maybe"),
    ],
)
def test_text_becomes_the_value_it_stands_for_or_stays_text(
    name: str, text: str, value: object, tmp_path: Path
) -> None:
    read = layers(tmp_path, **{name: text})
    tree = read.tree
    assert value in (tree.get("workers"), tree["identity"].get("key_group_readable"), tree["listener"][0].get("allow"))


def test_the_agent_that_the_environment_names_is_for_who_has_no_other_source(tmp_path: Path) -> None:
    agent = {"SPIFFE_ENDPOINT_SOCKET": "unix:///run/agent.sock"}
    assert "spiffe_socket" not in layers(tmp_path, **agent).tree["identity"]
    read = layers(tmp_path, FILE.partition("[[")[2].join(["[[", ""]), **agent)
    assert read.tree["identity"] == {"spiffe_socket": "unix:///run/agent.sock"}
    assert str(read.origin(("identity", "spiffe_socket"))) == "environment SPIFFE_ENDPOINT_SOCKET"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"x = \xff", "etc/tlsidecar.toml:1: is not UTF-8"),
        (b"a = 1\nb = = 2\n", "etc/tlsidecar.toml:2: not TOML: Invalid value"),
        (b"a = [1,\n", "etc/tlsidecar.toml:2: not TOML: "),
        (b"a = 1979-13-27\n", "not TOML: "),
        (b"a = " + b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "nests too deeply"),
        (b"a = " + b"[" * 5000 + b"]" * 5000, "nests too deeply"),
        (b"#" * (MAX_FILE_BYTES + 1), "is larger than 1 MiB"),
    ],
    ids=["bytes", "syntax", "no end", "no date", "deep", "very deep", "large"],
)
def test_a_file_that_cannot_be_read_says_where_and_why(text: bytes, why: str, tmp_path: Path) -> None:
    read = layers(tmp_path, text)
    assert read.file_unreadable
    (problem,) = said(read)
    assert why in problem


def test_what_is_no_file_holds_nobody_up(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    place = tmp_path / "etc" / "tlsidecar.toml"
    assert said(layers(tmp_path, None)) == ["etc/tlsidecar.toml: cannot be read: No such file or directory"]
    os.mkfifo(place)
    assert said(layers(tmp_path, None)) == ["etc/tlsidecar.toml: is not a regular file"]
    place.unlink()
    place.mkdir()
    (problem,) = said(layers(tmp_path, None))
    assert problem in (
        "etc/tlsidecar.toml: cannot be read: Is a directory",
        "etc/tlsidecar.toml: is not a regular file",
    )
