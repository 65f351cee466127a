"""Every command that a document, a manifest, a unit or a message of ours names exists, with the options it is given."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tlsidecar.cli.root import root

ROOT = Path(__file__).parents[3]
DOCUMENTS = sorted(
    [ROOT / name for name in ("README.md", "SECURITY.md", "CONTRIBUTING.md", "Dockerfile")]
    + list((ROOT / "docs").glob("*.md"))
    + [path for path in (ROOT / "deploy").rglob("*") if path.suffix in (".md", ".yaml", ".service", ".socket", ".toml")]
)
_IN_A_SENTENCE = re.compile(r"`(?:/opt/tlsidecar/bin/)?tlsidecar ([a-z][^`\n]*)`")
_ON_A_LINE = re.compile(r"^(?:[$#] |ExecStart=|ExecReload=)?(?:/opt/tlsidecar/bin/)?tlsidecar ([a-z].*)$", re.MULTILINE)
# What stands for something else: a choice, an ellipsis, a word in capitals.
_PLACEHOLDER = re.compile(r"…|\.\.\.|^\[|\||^[A-Z]{2,}$")


def named() -> Iterator[tuple[str, str]]:
    for document in DOCUMENTS:
        text = document.read_text()
        blocks = re.findall(r"```(?:sh)?\n(.*?)```", text, re.DOTALL) if document.suffix == ".md" else [text]
        lines = [line for block in blocks for line in _ON_A_LINE.findall(block.replace("\\\n", " "))]
        for command in dict.fromkeys([*_IN_A_SENTENCE.findall(text), *lines]):
            ours = re.split(r" \\?\| ", command)[0]  # a table escapes the bar
            yield f"{document.relative_to(ROOT)}", ours.partition(" #")[0].strip()


NAMED = sorted(set(named()))


def resolved(command: str) -> tuple[click.Command, list[str]]:
    """The innermost command that the words name, and the words after it. AssertionError where there is none."""
    words = shlex.split(command.removesuffix("&").strip(), comments=False)
    found: click.Command = root
    context = click.Context(root)
    while isinstance(found, click.Group) and words and not words[0].startswith("-"):
        if _PLACEHOLDER.search(words[0]):
            return found, []
        following = found.get_command(context, words[0])
        assert following is not None, f"there is no `{words[0]}`"
        found, words = following, words[1:]
    return found, words


@pytest.mark.parametrize(("document", "command"), NAMED)
def test_what_is_written_exists(document: str, command: str) -> None:
    found, words = resolved(command)
    if found.context_settings.get("ignore_unknown_options"):
        return  # health, which reads its own: tests/unit/cli/test_reading.py
    known = {option for parameter in found.params for option in parameter.opts} | {"--help", "-h", "--version"}
    for word in words:
        if word == "--":
            break
        if word.startswith("-") and not _PLACEHOLDER.search(word):
            assert word.partition("=")[0] in known, f"{document}: tlsidecar {command}: no {word}"


def test_there_is_something_to_look_at() -> None:
    assert len(NAMED) > 40
    assert {"exec", "run", "certs", "ui", "wait"} <= {command.split()[0] for _, command in NAMED}
