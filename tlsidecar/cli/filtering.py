"""``--filter``: read before anything is asked for, so that a mistake is shown where it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tlsidecar.api.filter import Filter, FilterError, Vocabulary, parse
from tlsidecar.cli.text import safe_text

if TYPE_CHECKING:
    _ParamType = click.ParamType[Filter]
else:
    _ParamType = click.ParamType  # generic only since click 8.4

Command = TypeVar("Command", bound=Callable[..., Any])


class FilterText(_ParamType):
    """A filter over rows of one vocabulary."""

    name = "filter"

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Filter:
        if isinstance(value, Filter):
            return value
        try:
            return parse(str(value), self._vocabulary)
        except FilterError as error:
            self.fail(f"{safe_text(error)}\n{pointed_at(str(value), error)}", param, ctx)


def filter_option(vocabulary: Vocabulary) -> Callable[[Command], Command]:
    """``--filter FILTER``, handed to the command as ``wanted``."""
    names = ", ".join(field.name for field in vocabulary)
    return click.option(
        "--filter",
        "wanted",
        type=FilterText(vocabulary),
        default="",
        metavar="FILTER",
        help=f"Only those: words that have to occur, and field:value, :=, :<, :>, ! in front for not. Fields: {names}.",
    )


def pointed_at(text: str, error: FilterError) -> str:
    """The filter with a caret under what is wrong with it."""
    before = safe_text(text[: error.position])
    wrong = safe_text(text[error.position : error.position + error.length])
    after = safe_text(text[error.position + error.length :])
    return f"\n  {before}{wrong}{after}\n  {' ' * len(before)}{'^' * max(1, len(wrong))}"
