"""``--filter``: a mistake in it is shown where it is, whatever stands round it."""

from __future__ import annotations

import click
import pytest

from tlsidecar.api.filter import FilterError, parse
from tlsidecar.api.filter_fields import CONNECTION_FIELDS, VOCABULARIES
from tlsidecar.cli.filtering import FilterText, filter_option, pointed_at


def pointed(text: str) -> str:
    with pytest.raises(FilterError) as raised:
        parse(text, CONNECTION_FIELDS)
    return pointed_at(text, raised.value)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("web lisener:raw", "  web lisener:raw\n      ^^^^^^^"),
        ("idle:ten", "  idle:ten\n       ^^^"),
        ("listener:", "  listener:\n          ^"),
        ('web "open', '  web "open\n      ^^^^^'),
    ],
)
def test_the_caret_is_under_what_is_wrong(text: str, shown: str) -> None:
    assert pointed(text) == f"\n{shown}"


def test_what_a_terminal_would_obey_is_spelled_out_and_the_caret_moves_with_it() -> None:
    line, caret = pointed("\x1b[31m gen:\x9bx").splitlines()[1:]
    assert line == "  \\x1b[31m gen:\\x9bx"
    assert caret == "  " + " " * len("\\x1b[31m gen:") + "^" * len("\\x9bx")


def test_a_mistake_is_bad_usage() -> None:
    with pytest.raises(click.BadParameter, match="is no whole number") as raised:
        FilterText(CONNECTION_FIELDS).convert("gen:x", None, None)
    assert raised.value.exit_code == 2


def test_what_was_read_already_is_not_read_again() -> None:
    wanted = parse("listener:web", CONNECTION_FIELDS)
    assert FilterText(CONNECTION_FIELDS).convert(wanted, None, None) is wanted


@pytest.mark.parametrize("vocabulary", VOCABULARIES.values(), ids=VOCABULARIES)
def test_the_help_names_every_field(vocabulary: object) -> None:
    @click.command()
    @filter_option(vocabulary)  # type: ignore[arg-type] - the table's values are Vocabularies
    def command(wanted: object) -> None: ...

    (option,) = command.params
    assert isinstance(option, click.Option)
    for field in vocabulary:  # type: ignore[attr-defined] - the same
        assert field.name in str(option.help)
