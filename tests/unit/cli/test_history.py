"""``tlsidecar history``: a row for each step, a line for each mark, and names that are not kept."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from unit.cli.conftest import Served

from tlsidecar.api.history import Mark
from tlsidecar.api.text import SafeText
from tlsidecar.cli.history import mark_text

AT = datetime(2026, 11, 23, tzinfo=UTC)


def mark(kind: str, **more: object) -> Mark[SafeText]:
    fields = {"severity": "warning", "name": "upstream_down", "subject": "web", "message": "", "generation": 0} | more
    return Mark(at=AT, kind=SafeText(kind), **fields)  # type: ignore[arg-type]


def test_a_mark_is_one_line() -> None:
    reloaded = mark("reload", name="refused", subject="signal", generation=3, message="key_mismatch: tls.key")
    assert mark_text(reloaded) == "reload refused (signal), generation 3: key_mismatch: tls.key"
    assert mark_text(mark("problem", message="refused")) == "warning: upstream_down [web]: refused"
    assert mark_text(mark("problem_over", subject="")) == "warning is over: upstream_down"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--listener", "wbe"], "no listener is called 'wbe'; known: "),
        (["--upstream", "127.0.0.1:1"], "no upstream that is kept is called '127.0.0.1:1'; known: none"),
        (["--identity", "\x1b[31m"], "no identity that is kept is called '\\x1b[31m'; known: none"),
        (["--since", "tomorrow"], "since is a time (RFC 3339) or a duration"),
        (["--step", "0s"], "step is a duration from"),
        (["--listener", "web", "--identity", "a"], "exclude each other"),
    ],
)
def test_what_cannot_be_meant_is_bad_usage(served: Served, words: list[str], says: str) -> None:
    done = served.run("history", *words)
    assert (done.code, done.out) == (2, "")
    assert says in done.err


def test_before_anything_was_counted_there_is_a_heading(served: Served) -> None:
    done = served.run("history", "--since", "1m", "--identity", "others")
    assert (done.code, done.err) == (0, "")
    assert done.out.split()[:4] == ["FROM", "REQUESTS", "4XX", "5XX"]
