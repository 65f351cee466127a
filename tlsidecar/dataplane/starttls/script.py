"""What one side of a negotiation says, as bytes shown and a step taken: no socket, no clock, no loop."""

from __future__ import annotations

from enum import Enum, auto
from typing import NamedTuple, Protocol

TLS_HANDSHAKE = 22  # the first byte of a record that begins a handshake (RFC 8446 section 5.1)

# So much is shown at once, so nothing that a script waits for may be longer: a line of SMTP (RFC 5321 section
# 4.5.3.1.4 and .5), the fixed part of a message of the databases.
MOST_SHOWN_BYTES = 512


class Next(Enum):
    """What follows what has been said."""

    MORE = auto()  # wait for more bytes
    TLS = auto()  # the handshake
    PLAIN = auto()  # the protocol itself, in the clear
    CANCEL = auto()  # one message for the service, and nothing after it
    LEFT = auto()  # it took its leave in order, having asked for nothing
    REFUSED = auto()  # the other side will not


class Step(NamedTuple):
    """``take`` bytes of what was shown are done with; ``detail`` says why it was refused."""

    next: Next
    take: int = 0
    answer: bytes = b""
    detail: str = ""


WAIT = Step(Next.MORE)


class Script(Protocol):
    """One side of one negotiation. It is shown what has come and was not taken yet, and never takes a byte that
    belongs to TLS: what was sent in the clear must not be read as if it had come encrypted (CVE-2011-0411,
    CVE-2021-23222 and their kind)."""

    @property
    def opening(self) -> bytes:
        """What is said first; empty where the other side begins."""
        ...

    def look(self, shown: bytes) -> Step: ...
