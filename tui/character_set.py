"""Which signs a terminal can show, as far as its environment tells."""

from __future__ import annotations

import re
from collections.abc import Mapping

_UTF_8 = re.compile(r"utf-?8", re.IGNORECASE)


def is_ascii_only(environment: Mapping[str, str]) -> bool:
    """Whether the locale names another character set than UTF-8 (``C``, ``de_DE``, ``ja_JP.eucJP``). Where none is
    named (POSIX, Base Definitions 8.2: the first of these that is set), the terminal is taken for one of today.

    Python itself takes ``LC_ALL=C`` for UTF-8 (PEP 540), so that no encoding tells of it.
    """
    locale = next((found for name in ("LC_ALL", "LC_CTYPE", "LANG") if (found := environment.get(name))), None)
    return locale is not None and _UTF_8.search(locale) is None
