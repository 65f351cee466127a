"""What a run of header lines means, remembered while that pays: most clients send the same lines with every request,
and most services the same ones in the answers of one second.

What is remembered is a pure function of the bytes and the listener's rules: a look-up says what judging would say, and
nothing hangs on who sent them before.
"""

from __future__ import annotations

import re
from typing import Generic, TypeVar

MOST_KEPT = 256
MOST_BYTES = 1024
# After so many that were not looked up it is tried again.
RESTS_FOR = 20_000

# Likely secrets are not kept longer than their message.
_MAY_BE_SECRET = re.compile(rb"(?i)auth|cookie|token|secret|session|key:|pass").search

Meaning = TypeVar("Meaning")


class Repeats(Generic[Meaning]):
    """``known`` is what to look up, empty and not ``is_open`` while too little comes again to be worth it; whoever
    finds what it looks for counts it in ``hits``, and leaves it as ``last`` for the next: what comes twice running need
    not be looked up, for it begins with the same bytes."""

    __slots__ = ("_misses", "_rests", "hits", "is_open", "known", "last", "last_meaning")

    def __init__(self) -> None:
        self.known: dict[bytes, Meaning] = {}
        self.last: bytes | None = None
        self.last_meaning: Meaning | None = None
        self.is_open = True
        self.hits = 0
        self._misses = 0
        self._rests = 0

    def __repr__(self) -> str:
        return f"<Repeats {'open' if self.is_open else 'closed'} {len(self.known)}>"

    def missed(self, lines: bytes, meaning: Meaning | None) -> None:
        """``lines`` were looked up in vain, and mean this; None for what is not to be remembered."""
        self._misses += 1
        if self._misses > MOST_KEPT:
            # A look-up in vain costs a tenth of what one saves that finds something.
            self.is_open = self.hits * 8 >= self._misses
            self._rests = 0 if self.is_open else RESTS_FOR
            self.hits = self._misses = 0
            self.known.clear()
            self.last = self.last_meaning = None
        elif meaning is not None and len(lines) <= MOST_BYTES and not _MAY_BE_SECRET(lines):
            self.known[lines] = meaning

    def rest(self) -> None:
        """One was not looked up, as it is not open."""
        self._rests -= 1
        self.is_open = self._rests <= 0
