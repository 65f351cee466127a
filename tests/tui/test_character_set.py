"""Which locales get ASCII signs."""

from __future__ import annotations

import pytest

from tui.character_set import is_ascii_only


@pytest.mark.parametrize("locale", ["C", "POSIX", "de_DE", "de_DE@euro", "en_US.ISO-8859-1", "ja_JP.eucJP"])
def test_a_locale_of_another_character_set_gets_ascii(locale: str) -> None:
    assert is_ascii_only({"LC_ALL": locale, "LANG": "C.UTF-8"})


@pytest.mark.parametrize("locale", ["C.UTF-8", "en_US.utf8", "de_DE.UTF-8@euro", "UTF-8"])
def test_a_locale_of_utf_8_does_not(locale: str) -> None:
    assert not is_ascii_only({"LC_CTYPE": locale, "LANG": "C"})


def test_the_first_that_is_set_decides_and_an_empty_one_is_not_set() -> None:
    assert is_ascii_only({"LC_ALL": "", "LC_CTYPE": "", "LANG": "C"})
    assert not is_ascii_only({"LC_ALL": "C.UTF-8", "LC_CTYPE": "C", "LANG": "C"})


def test_nothing_that_is_set_decides_nothing() -> None:
    assert not is_ascii_only({})
    assert not is_ascii_only({"LANG": ""})
