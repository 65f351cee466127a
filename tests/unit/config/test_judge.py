"""One table after the other: what is right is read, what is wrong is found, and one slip hides no other."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from tlsidecar.config.judge import Part, judge
from tlsidecar.config.problems import Key
from tlsidecar.settings import Address, TrustFile


def judged(tree: Mapping[str, object]) -> tuple[Part, list[tuple[Key, str, str]]]:
    root, findings = judge(tree, lambda key: Path("/etc") if key[0] == "listener" else Path("/home"))
    return root, [(each.key, each.message, each.suggestion) for each in findings]


def test_a_key_that_is_left_out_has_its_default_and_one_that_is_wrong_says_nothing() -> None:
    root, found = judged({"log": {"level": "loud"}, "limits": {"max_connections": 3}})
    assert [key for key, *_ in found] == [("log", "level")]
    log, limits = root.tables["log"], root.tables["limits"]
    assert (log.read("level", "info"), "level" in log) == (None, True)
    assert (log.read("access", "json"), "access" in log) == ("json", False)
    assert limits.fields == {"max_connections": 3}


def test_paths_are_absolute_from_where_they_were_written() -> None:
    listener = {"listen": "unix:in.sock", "upstream": ["unix:/run/app.sock", "127.0.0.1:80"]}
    root, found = judged({"identity": {"cert": "tls.crt", "trust": "ca.crt"}, "listener": [listener]})
    assert found == []
    (identity,) = root.arrays["identity"]
    assert identity.fields["cert"] == Path("/home/tls.crt")
    assert identity.fields["trust"] == (TrustFile(Path("/home/ca.crt")),)
    (web,) = root.arrays["listener"]
    assert web.fields["listen"] == Address(path="/etc/in.sock")
    assert web.fields["upstreams"] == (Address(path="/run/app.sock"), Address("127.0.0.1", 80))


def test_every_slip_is_found_and_none_twice() -> None:
    listener = {"name": "we b", "allow": ["any", 3, "everyone"], "limits": {"idle_timeout": 5}}
    _, found = judged({"workers": 0, "listener": [listener, 7], "nonsense": 1})
    assert sorted(map(str, (key for key, *_ in found))) == sorted(
        map(
            str,
            [
                ("nonsense",),
                ("workers",),
                ("listener", 0, "name"),
                ("listener", 0, "allow", 1),
                ("listener", 0, "allow", 2),
                ("listener", 0, "limits", "idle_timeout"),
                ("listener", 1),
            ],
        )
    )


@pytest.mark.parametrize(
    ("tree", "suggestion"),
    [
        ({"admin": {"sokcet": "/x"}}, 'did you mean "socket"?'),
        ({"log-level": "info"}, ""),
        ({"max_connections": 3}, 'did you mean "limits.max_connections"?'),
        ({"listener": [{"idle-timeout": "1m"}]}, 'did you mean "limits.idle_timeout"?'),
        ({"listener": [{"methods": ["GET"]}]}, 'did you mean "listener.route.methods"?'),
        ({"log": {"workers": 2}}, 'did you mean "workers" at the top of the file?'),
        ({"xyzzy": 1}, ""),
    ],
)
def test_an_unknown_key_is_answered_with_the_one_that_was_meant(tree: Mapping[str, object], suggestion: str) -> None:
    _, found = judged(tree)
    ((_, message, suggested),) = found
    assert (message, suggested) == ("unknown key", suggestion)


def test_what_should_be_an_array_of_tables_says_how_one_is_written() -> None:
    _, found = judged({"listener": {"name": "web"}})
    assert found == [(("listener",), "is not an array of tables", "write [[listener]], with two brackets")]


def test_an_item_that_is_no_table_is_one_problem_and_the_others_keep_their_places() -> None:
    root, found = judged({"listener": ["web", {"name": "two", "listen": 3}]})
    assert [key for key, *_ in found] == [("listener", 0), ("listener", 1, "listen")]
    assert [each.key for each in root.arrays["listener"]] == [("listener", 1)]
