"""Manual pages, one for each command, made from the commands' own help.

python tools/man_pages.py DIRECTORY
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from tlsidecar import __version__
from tlsidecar.cli.root import root
from tui.keys import key_table


def pages() -> Iterator[tuple[str, str]]:
    """The name and the text of each, in roff's man macros (man(7))."""
    yield from _pages(root, None, "tlsidecar")


def _pages(command: click.Command, parent: click.Context | None, name: str) -> Iterator[tuple[str, str]]:
    context = click.Context(command, parent, name)
    children = []
    if isinstance(command, click.Group):
        for child_name in command.list_commands(context):
            child = command.get_command(context, child_name)
            assert child is not None
            children.append((child_name, child))
    path = context.command_path.replace(" ", "-")
    yield f"{path}.1", _page(command, context, path, [child_name for child_name, _ in children])
    for child_name, child in children:
        yield from _pages(child, context, child_name)


def _page(command: click.Command, context: click.Context, path: str, children: list[str]) -> str:
    help_text = (command.help or command.short_help or "").strip()
    first = " ".join(help_text.split("\n\n")[0].split()).rstrip(".")
    lines = [
        f'.TH "{_escaped(path.upper())}" 1 "" "tlsidecar {__version__}"',
        ".SH NAME",
        f"{_escaped(path)} \\- {_escaped(first)}",
        ".SH SYNOPSIS",
        f".B {_escaped(context.command_path)}",
        _escaped(" ".join(command.collect_usage_pieces(context))),
        ".SH DESCRIPTION",
    ]
    for paragraph in help_text.split("\n\n"):
        lines += [".PP", *_paragraph(paragraph)]
    options = [record for each in command.get_params(context) if (record := each.get_help_record(context))]
    if options:
        lines.append(".SH OPTIONS")
        for flags, meaning in options:
            lines += [".TP", f"\\fB{_escaped(flags)}\\fP", _escaped(meaning)]
    if children:
        lines.append(".SH COMMANDS")
        for child in children:
            lines += [".PP", f"\\fB{_escaped(f'{path}-{child}')}\\fP(1)"]
    if path == "tlsidecar-ui":
        lines += _keys()
    paragraphs = [" ".join(each.split()) for each in (command.epilog or "").split("\n\n") if each.strip()]
    examples = [each.removeprefix("Example: ") for each in paragraphs if each.startswith("Example: ")]
    told = [each for each in paragraphs if not each.startswith("Example: ")]
    for example in examples:
        lines += [".SH EXAMPLES", ".nf", _escaped(example), ".fi"]
    lines += [".SH EXIT STATUS", _escaped(" ".join(told or (root.epilog or "").split()))]
    return "\n".join(lines) + "\n"


def _paragraph(text: str) -> list[str]:
    """Filled, but for one that begins with click's sign for lines that stay as they are."""
    first, _, rest = text.strip().partition("\n")
    if first.strip() == "\b":
        return [".nf", *(_escaped(line.strip()) for line in rest.splitlines()), ".fi"]
    return [_escaped(" ".join(text.split()))]


def _keys() -> list[str]:
    """The same table as the console's own help."""
    lines = [".SH KEYS"]
    for title, entries in key_table(read_only=False, replay=True):
        lines += [f".SS {_escaped(title)}"]
        for key, words in entries:
            lines += [".TP", f"\\fB{_escaped(key)}\\fP", _escaped(words)]
    return lines


def _escaped(text: str) -> str:
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if text[:1] in (".", "'") else text


if __name__ == "__main__":
    directory = Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    for file_name, page in pages():
        (directory / file_name).write_text(page)
