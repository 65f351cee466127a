"""Hostile text in a log: one line of printable ASCII, from which JSON readers get the text back."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlsidecar.observe.text import Timestamps, escaped, json_string, word


@pytest.mark.parametrize(
    ("text", "as_json", "in_a_sentence", "as_a_word"),
    [
        ("", '""', "", "-"),
        ("plain-1.2:3", '"plain-1.2:3"', "plain-1.2:3", "plain-1.2:3"),
        ("two words", '"two words"', "two words", '"two words"'),
        ('a "quote"', '"a \\"quote\\""', 'a "quote"', '"a \\"quote\\""'),
        ("back\\slash", '"back\\\\slash"', "back\\\\slash", '"back\\\\slash"'),
        ("line\nend", '"line\\nend"', "line\\nend", '"line\\nend"'),
        ("\x1b[31m", '"\\u001b[31m"', "\\u001b[31m", '"\\u001b[31m"'),
        ("é", '"\\u00e9"', "\\u00e9", '"\\u00e9"'),
        ("a\x7fb", '"a\\\\x7fb"', "a\\\\x7fb", '"a\\\\x7fb"'),
        ("\x7f\U0001f600", '"\\\\x7f\\ud83d\\ude00"', "\\\\x7f\\ud83d\\ude00", '"\\\\x7f\\ud83d\\ude00"'),
        ("a\udcffb", '"a\\\\xffb"', "a\\\\xffb", '"a\\\\xffb"'),  # a byte that was not UTF-8 (PEP 383)
        ("a\ud800b", '"a\\\\ud800b"', "a\\\\ud800b", '"a\\\\ud800b"'),
        ("\U0001f600", '"\\ud83d\\ude00"', "\\ud83d\\ude00", '"\\ud83d\\ude00"'),  # a pair, which JSON may have
    ],
)
def test_it_is_written_so(text: str, as_json: str, in_a_sentence: str, as_a_word: str) -> None:
    assert (json_string(text), escaped(text), word(text)) == (as_json, in_a_sentence, as_a_word)


@given(st.text())
def test_any_text_is_one_line_of_printable_ascii(text: str) -> None:
    for written in (json_string(text), escaped(text), word(text)):
        assert written.isascii()
        assert written.isprintable()
    assert " " not in word(text) or word(text)[0] == '"'


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x7f")))
def test_what_is_text_is_read_back(text: str) -> None:
    assert json.loads(json_string(text)) == text


def test_times_are_of_utc_with_milliseconds_in_whatever_order_they_come() -> None:
    told = Timestamps()
    assert told(0.0) == "1970-01-01T00:00:00.000Z"
    assert told(0.9994) == "1970-01-01T00:00:00.999Z"
    assert told(1.0) == "1970-01-01T00:00:01.000Z"
    assert told(1795994115.25) == "2026-11-29T23:15:15.250Z"
    assert told(1795994114.5) == "2026-11-29T23:15:14.500Z"  # before the second that is remembered
