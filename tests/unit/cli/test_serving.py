"""``tlsidecar run`` without click: the same flags, of every command line that is plainly right, with click as
the judge; and nothing of any other."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given as example
from hypothesis import settings
from hypothesis import strategies as st

from tlsidecar.cli.run import run
from tlsidecar.cli.serving import RunOptions, plainly_asked
from tlsidecar.cli.settings_options import given
from tlsidecar.config.overrides import OVERRIDES, FlagKind

# What stands behind a flag in earnest, and what looks like something else.
_VALUES = st.text(min_size=1, max_size=12).filter(lambda text: not text.startswith("-") and "\0" not in text)


@st.composite
def _flags(draw: st.DrawFn) -> list[str]:
    name = draw(st.sampled_from([*OVERRIDES, "config"]))
    flag = f"--{name.replace('_', '-')}"
    if name in OVERRIDES and OVERRIDES[name].kind is FlagKind.FLAG:
        return [flag]
    value = draw(_VALUES)
    return draw(st.sampled_from([[flag, value], [f"{flag}={value}"]]))


def by_click(*arguments: str) -> RunOptions:
    """Raises click's errors."""
    flags = dict(run.make_context("run", list(arguments)).params)
    config_file, take_over = flags.pop("config_file"), flags.pop("take_over")
    return RunOptions(config_file, given(flags), take_over)


@settings(max_examples=25)  # click takes a while to begin
@example(st.lists(st.one_of(_flags(), st.just(["--take-over"])), max_size=8))
def test_what_is_plain_means_to_us_what_it_means_to_click(flags: list[list[str]]) -> None:
    arguments = [part for flag in flags for part in flag]
    asked = plainly_asked(arguments)
    assert asked == by_click(*arguments)


def test_every_flag_is_one_here_and_there() -> None:
    arguments = []
    for name, override in OVERRIDES.items():
        flag = f"--{name.replace('_', '-')}"
        arguments += [flag] if override.kind is FlagKind.FLAG else [f"{flag}=1", flag, "2"]
    asked = plainly_asked(arguments)
    assert asked == by_click(*arguments)
    assert asked is not None
    assert asked.flags.keys() == OVERRIDES.keys()


def test_a_whole_command_line() -> None:
    arguments = [
        "--listen",
        "127.0.0.1:0",
        "--upstream=a:1",
        "--upstream",
        "b:2",
        "--unsafe-upstream",
        "--config=x.toml",
    ]
    flags = {"listen": "127.0.0.1:0", "upstream": ["a:1", "b:2"], "unsafe_upstream": True}
    assert plainly_asked(arguments) == RunOptions(Path("x.toml"), flags, take_over=False)
    assert plainly_asked([]) == RunOptions(None, {}, take_over=False)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["-h"],
        ["--"],
        ["sidecar.toml"],
        ["--confg", "sidecar.toml"],
        ["--config"],
        ["--config", ""],
        ["--config="],
        ["--config", "--take-over"],
        ["--take-over=yes"],
        ["--unsafe-upstream=yes"],
        ["--unsafe_upstream"],
        ["--admin_socket", "x"],
        ["--listen", "127.0.0.1:0", "more"],
    ],
    ids=" ".join,
)
def test_everything_else_is_left_to_click(arguments: list[str]) -> None:
    assert plainly_asked(arguments) is None


def test_a_directory_is_left_to_click(tmp_path: Path) -> None:
    assert plainly_asked(["--config", str(tmp_path)]) is None
