"""What certificates bring, on its way to a terminal."""

from __future__ import annotations

import sys

import pytest

from certs.text import safe_text
from tlsidecar.api import text as api_text


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("plain é 漢 €", "plain é 漢 €"),
        ("\x1b[2J\r\n\t\x7f\x9b", r"\x1b[2J\x0d\x0a\x09\x7f\x9b"),
        ("web\u202eten.example\u2066", r"web\u202eten.example\u2066"),
        ("e\u0301 \u0903\u20dd", r"e\u0301 \u0903\u20dd"),
        ("a\u200bb\u200dc\ufeff\xad", r"a\u200bb\u200dc\ufeff\xad"),
        ("a\xa0b\u3000c\u2028\u2029", r"a\xa0b\u3000c\u2028\u2029"),
        ("\ue000\U000f0000\u0378\udc80", r"\ue000\U000f0000\u0378\udc80"),
        ("a\ufe0f\U000e0001\U000e0100", r"a\ufe0f\U000e0001\U000e0100"),
        ("\u3164\u1160\uffa0", r"\u3164\u1160\uffa0"),
        ("\U0001f1e9\U0001f1ea \U0001f44d\U0001f3ff", "\\U0001f1e9\\U0001f1ea \U0001f44d\\U0001f3ff"),
    ],
)
def test_what_is_not_plainly_visible_is_spelled_out(hostile: str, shown: str) -> None:
    assert safe_text(hostile) == shown
    assert safe_text(shown) == shown


def test_the_rule_is_the_one_of_the_admin_api() -> None:
    """All that scripts use and the tags; beyond lie ideographs, private use and nothing, in long runs."""
    codes = [*range(0x20000), *range(0xE0000, 0xE0200), *range(0x20000, sys.maxunicode + 1, 251)]
    assert [code for code in codes if safe_text(chr(code)) != api_text.safe_text(chr(code))] == []


def test_it_is_shown_whole() -> None:
    assert safe_text("é" * 100_000) == "é" * 100_000
