"""The filter language, which the sidecar, the command line and the console share.

::

    id:*/sa/web !listener:raw idle:>60s gen:<7 "two words"

Every term has to hold. A word has to occur in some text of the row, letter case aside. ``field:value`` asks for one
field; ``:=`` for exactly this value; ``:<``, ``:<=``, ``:>`` and ``:>=`` compare numbers, sizes and durations. ``!`` in
front turns a term round. In double quotes, with ``\\"`` and ``\\\\`` inside, anything can be written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from tlsidecar.api.filter_values import FilterField, Operator, Test
from tlsidecar.lazy_dataclass import dataclass

MOST_CHARACTERS = 4096
MOST_TERMS = 32

# What stands before a colon in names and addresses themselves.
_NAME_PREFIXES = frozenset(
    {"spiffe", "dns", "ip", "uri", "email", "cn", "ou", "sha256", "unix", "http", "https", "localhost"}
)
_FIELD = re.compile(r"([A-Za-z_]+):")
_BARE = re.compile(r"[^\s\"!<>=][^\s]*")

Row = TypeVar("Row")


class FilterError(ValueError):
    """A filter that cannot be read: what is wrong, and where. ``position`` counts characters from 0."""

    def __init__(self, message: str, position: int, length: int = 1) -> None:
        super().__init__(f"{message} (at character {position + 1})")
        self.message = message
        self.position = position
        self.length = max(1, length)


@dataclass(frozen=True, slots=True)
class Term:
    """One condition. Without a ``field`` (a name of the vocabulary) the value is a word."""

    value: str
    field: str = ""
    operator: Operator = Operator.MATCHES
    negated: bool = False

    def __str__(self) -> str:
        sign = "!" if self.negated else ""
        if not self.field:
            bare = _BARE.fullmatch(self.value) and not _FIELD.match(self.value)
            return sign + (self.value if bare else _quoted(self.value))
        value = self.value if _BARE.fullmatch(self.value) else _quoted(self.value)
        return f"{sign}{self.field}:{self.operator.value}{value}"


@dataclass(frozen=True, slots=True)
class Filter:
    """Terms, all of which have to hold; none is everything."""

    terms: tuple[Term, ...] = ()

    def __str__(self) -> str:
        return " ".join(map(str, self.terms))

    def __bool__(self) -> bool:
        return bool(self.terms)


EVERYTHING = Filter()


class Vocabulary:
    """The fields of one kind of row, by name and alias."""

    def __init__(self, *fields: FilterField) -> None:
        self.fields = fields
        self._by_name = {name: field for field in fields for name in (field.name, *field.aliases)}

    def __iter__(self) -> Iterator[FilterField]:
        return iter(self.fields)

    def get(self, name: str) -> FilterField | None:
        """The field of this name or alias."""
        return self._by_name.get(name)

    def like(self, name: str) -> str:
        """The name most like this one; empty for none."""
        from difflib import get_close_matches  # for slips of the pen: who filters in a sidecar was judged before

        return next(iter(get_close_matches(name[:64], self._by_name, n=1)), "")


def exactly(field: str, value: str) -> Term:
    """The term for rows in which a field has this value and no other."""
    return Term(value, field, Operator.EXACTLY)


def parse(text: str, vocabulary: Vocabulary) -> Filter:
    """The filter that ``text`` is. Raises FilterError and nothing else."""
    if len(text) > MOST_CHARACTERS:
        raise FilterError(f"longer than {MOST_CHARACTERS} characters", MOST_CHARACTERS)
    terms: list[Term] = []
    scanner = _Scanner(text)
    while scanner.skip_space():
        if len(terms) == MOST_TERMS:
            raise FilterError(f"more than {MOST_TERMS} terms", scanner.at)
        terms.append(_term(scanner, vocabulary))
    return Filter(tuple(terms))


class _Scanner:
    """A place in the text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def skip_space(self) -> bool:
        """Whether anything is left."""
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1
        return self.at < len(self.text)

    @property
    def is_at_end(self) -> bool:
        return self.at >= len(self.text) or self.text[self.at].isspace()

    def take(self, sign: str) -> bool:
        if not self.text.startswith(sign, self.at):
            return False
        self.at += len(sign)
        return True

    def bare(self) -> str:
        """To the next space."""
        start = self.at
        while not self.is_at_end:
            self.at += 1
        return self.text[start : self.at]

    def value(self) -> str:
        """In quotes, or to the next space."""
        start = self.at
        if not self.take('"'):
            return self.bare()
        characters: list[str] = []
        while self.at < len(self.text):
            character = self.text[self.at]
            self.at += 1
            if character == '"':
                if not self.is_at_end:
                    raise FilterError("a space is missing after the quote", self.at)
                return "".join(characters)
            if character == "\\" and self.text[self.at : self.at + 1] in ('"', "\\"):
                character = self.text[self.at]
                self.at += 1
            characters.append(character)
        raise FilterError("the quote is not closed", start, len(self.text) - start)


def _term(scanner: _Scanner, vocabulary: Vocabulary) -> Term:
    start = scanner.at
    negated = scanner.take("!")
    if negated and (scanner.is_at_end or scanner.text[scanner.at] == "!"):
        raise FilterError("one ! stands before what is not wanted", start)
    field = _field(scanner, vocabulary)
    if field is None:
        return Term(scanner.value(), negated=negated)
    how = next(each for each in Operator if scanner.take(each.value))
    if scanner.is_at_end:
        raise FilterError(f'a value is missing after {field.name}: ("" for none)', max(start, scanner.at - 1))
    value_at = scanner.at
    value = scanner.value()
    try:
        field.test(how, value)
    except ValueError as error:
        raise FilterError(str(error), value_at, scanner.at - value_at) from None
    return Term(value, field.name, how, negated)


def _field(scanner: _Scanner, vocabulary: Vocabulary) -> FilterField | None:
    """The field that begins here; None where a word does."""
    found = _FIELD.match(scanner.text, scanner.at)
    if found is None:
        return None
    name = found[1].lower()
    field = vocabulary.get(name)
    if field is None:
        if name in _NAME_PREFIXES or scanner.text.startswith("//", found.end()):
            return None
        like = vocabulary.like(name)
        advice = f"did you mean {like}?" if like else "in double quotes it is a text to look for"
        raise FilterError(f'there is no field "{found[1][:64]}": {advice}', scanner.at, len(found[1]))
    scanner.at = found.end()
    return field


def matcher(
    wanted: Filter,
    vocabulary: Vocabulary,
    readers: Mapping[str, Callable[[Row], Any]],
    texts: Callable[[Row], Iterable[str]],
) -> Callable[[Row], bool]:
    """Whether a row is meant. ``readers`` give a row's field by the field's name, ``texts`` what words are looked for
    in."""
    tests = [_test(term, vocabulary, readers) for term in wanted.terms if term.field]
    words = [(term.value.casefold(), term.negated) for term in wanted.terms if not term.field]

    def matches(row: Row) -> bool:
        for read, test, negated in tests:
            if test(read(row)) is negated:
                return False
        if not words:
            return True
        everything = "\n".join(texts(row)).casefold()
        return all((word in everything) is not negated for word, negated in words)

    return matches


def _test(
    term: Term, vocabulary: Vocabulary, readers: Mapping[str, Callable[[Row], Any]]
) -> tuple[Callable[[Row], Any], Test, bool]:
    field = vocabulary.get(term.field)
    assert field is not None  # as parsed
    return readers[field.name], field.test(term.operator, term.value), term.negated


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
