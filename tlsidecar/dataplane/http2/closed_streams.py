"""What is remembered of the streams that were: what becomes of frames that still come for them.

What comes for a stream that one side has reset, before that side knows of it, is legal (RFC 9113 section 5.1). It is
remembered of the last hundred or so: such frames go on to where it was reset, whose end keeps the account of the
connection's window, or are swallowed and their window given back where we ourselves are that end. What comes after an
END_STREAM is an error.
"""

from __future__ import annotations

from itertools import islice
from typing import Final, TypeAlias

from tlsidecar.dataplane.http2.errors import broken

CLOSED_REMEMBERED: Final = 128

# What becomes of frames for a stream that is closed.
FORBIDDEN: Final = 0
PASSES: Final = 1
SWALLOWED: Final = 2

Rules: TypeAlias = tuple[int, int]  # of one stream: for the client's frames, and for the upstream's

NEITHER: Final[Rules] = (FORBIDDEN, FORBIDDEN)
BOTH_SWALLOWED: Final[Rules] = (SWALLOWED, SWALLOWED)


class ClosedStreams:
    """Those of one session, by their ids."""

    __slots__ = ("_forgotten", "_rules")

    def __init__(self) -> None:
        self._rules: dict[int, Rules] = {}
        self._forgotten = 0  # up to this id it is not known any more

    def __len__(self) -> int:
        return len(self._rules)

    def __repr__(self) -> str:
        return f"<ClosedStreams {len(self._rules)} forgotten up to {self._forgotten}>"

    def add(self, number: int, rules: Rules) -> None:
        """The stream ``number`` has ended."""
        known = self._rules
        if len(known) >= CLOSED_REMEMBERED:
            # Many at once: the first of a dictionary is the slower to find, the more before it are gone.
            oldest = list(islice(known, CLOSED_REMEMBERED // 2))
            for each in oldest:
                del known[each]
            self._forgotten = max(self._forgotten, *oldest)
        known[number] = rules

    def forbid_client(self, number: int) -> None:
        """The client has ended or reset it, too: nothing more of its may come."""
        rules = self._rules.get(number)
        if rules is not None:
            self._rules[number] = (FORBIDDEN, rules[1])

    def rules_of(self, number: int) -> Rules:
        """Those of a stream that is not open, though a newer one was. Raises :class:`.ConnectionFault` for one that was
        passed over, which closed it unused (RFC 9113 section 5.1.1)."""
        rules = self._rules.get(number)
        if rules is not None:
            return rules
        if number > self._forgotten:
            raise broken("a stream id that was passed over")
        return BOTH_SWALLOWED
