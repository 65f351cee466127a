"""Lines of keys: by hand for what TOML has, and against tomllib for what hypothesis makes of it."""

from __future__ import annotations

import json
import tomllib

from hypothesis import given
from hypothesis import strategies as st

from tlsidecar.config.positions import key_lines
from tlsidecar.config.problems import Key

DOCUMENT = '''\
# a comment with a = "b" in it
top = 1
"quoted \\u00e9" = 'x # y'
'literal.dot' = """
a = 1
[not.a.table]
"" two quotes, then three: """""
dotted . key = { inline = 1, "in line" . deep = [1, 2] } # comment
array = [
  "a]", # comment ]
  [1,
   2],
  { x = 1979-05-27 07:32:00, y = '}' },
]
[table . "sub table"]
key = 1979-05-27T07:32:00Z
[[list]]
a = \'\'\'
\'\'two\'\'\'
[list.nested]
b = 1
[[list.inner]]
c = 1
[[list.inner]]
c = 2
[[list]]
[[list.inner]]
c = 3
[last]
'''


def test_every_kind_of_key_is_on_its_line() -> None:
    lines = key_lines(DOCUMENT)

    assert lines == {
        ("top",): 2,
        ("quoted é",): 3,
        ("literal.dot",): 4,
        ("dotted",): 8,
        ("dotted", "key"): 8,
        ("dotted", "key", "inline"): 8,
        ("dotted", "key", "in line"): 8,
        ("dotted", "key", "in line", "deep"): 8,
        ("dotted", "key", "in line", "deep", 0): 8,
        ("dotted", "key", "in line", "deep", 1): 8,
        ("array",): 9,
        ("array", 0): 10,
        ("array", 1): 11,
        ("array", 1, 0): 11,
        ("array", 1, 1): 12,
        ("array", 2): 13,
        ("array", 2, "x"): 13,
        ("array", 2, "y"): 13,
        ("table",): 15,
        ("table", "sub table"): 15,
        ("table", "sub table", "key"): 16,
        ("list",): 17,
        ("list", 0): 17,
        ("list", 0, "a"): 18,
        ("list", 0, "nested"): 20,
        ("list", 0, "nested", "b"): 21,
        ("list", 0, "inner"): 22,
        ("list", 0, "inner", 0): 22,
        ("list", 0, "inner", 0, "c"): 23,
        ("list", 0, "inner", 1): 24,
        ("list", 0, "inner", 1, "c"): 25,
        ("list", 1): 26,
        ("list", 1, "inner"): 27,
        ("list", 1, "inner", 0): 27,
        ("list", 1, "inner", 0, "c"): 28,
        ("last",): 29,
    }
    assert set(lines) == set(_keys(tomllib.loads(DOCUMENT)))


def test_windows_line_ends_count_once() -> None:
    assert key_lines('a = 1\r\n[b]\r\nc = """x\r\ny"""\r\nd = 2\r\n') == {
        ("a",): 1,
        ("b",): 2,
        ("b", "c"): 3,
        ("b", "d"): 5,
    }


_NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\x7f", exclude_categories=["Cs"]), max_size=6)
_SCALARS = st.one_of(
    st.integers(-(2**63), 2**63 - 1).map(str),
    st.booleans().map(lambda value: str(value).lower()),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.datetimes().map(lambda value: value.isoformat(sep=" ")),
    st.dates().map(lambda value: value.isoformat()),
    _NAMES.map(json.dumps),
    st.sampled_from(['"""a\n"" b\n"""""', "'''\n'' [x]\n'''", "'#'", '"\\"]"', '""', "''", '""""""', "''''''"]),
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: "[\n # ]\n" + ",\n".join(items) + "\n]"),
        st.dictionaries(_NAMES, inner, max_size=3).map(
            lambda table: "{ " + ", ".join(f"{json.dumps(name)} = {value}" for name, value in table.items()) + " }"
        ),
    ),
    max_leaves=6,
)
_PAIRS = st.dictionaries(_NAMES, _VALUES, max_size=3).map(
    lambda table: "".join(f"{json.dumps(name)} = {value} # comment\n" for name, value in table.items())
)
_DOCUMENTS = st.lists(
    st.tuples(st.sampled_from(["[{}]\n", "[[{}]]\n"]), st.lists(_NAMES, min_size=1, max_size=3), _PAIRS), max_size=5
)


@given(_PAIRS, _DOCUMENTS)
def test_whatever_tomllib_finds_has_a_line(top: str, tables: list[tuple[str, list[str], str]]) -> None:
    document = top + "".join(
        header.format(" . ".join(json.dumps(name) for name in names)) + pairs for header, names, pairs in tables
    )
    try:
        parsed = tomllib.loads(document)
    except tomllib.TOMLDecodeError:
        return  # two tables that exclude each other
    lines = key_lines(document)
    assert set(lines) == set(_keys(parsed))
    for key, line in lines.items():
        if isinstance(key[-1], str):
            assert json.dumps(key[-1]) in document.split("\n")[line - 1]


def _keys(tree: object, key: Key = ()) -> list[Key]:
    if isinstance(tree, dict):
        inner = list(tree.items())
    elif isinstance(tree, list):
        inner = list(enumerate(tree))
    else:
        return []
    found: list[Key] = []
    for name, value in inner:
        found += [(*key, name), *_keys(value, (*key, name))]
    return found
