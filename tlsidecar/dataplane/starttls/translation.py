"""What has to be changed in the first bytes of a session that TLS was agreed on for, since each end has another view of
it. After that they are relayed as they are."""

from __future__ import annotations

from typing import Protocol


class Unfit(Exception):
    """What came is not the protocol's: the text says why."""


class Translation(Protocol):
    """The two directions of one session, each given what has come and giving what goes on. Once ``over``, what comes is
    passed on unchanged, and so is ``rest()``, which was held back."""

    over: bool

    def from_client(self, data: bytes) -> bytes:
        """Raises :class:`Unfit`."""
        ...

    def from_server(self, data: bytes) -> bytes:
        """Raises :class:`Unfit`."""
        ...

    def rest(self) -> tuple[bytes, bytes]:
        """What was held back of what the client and the server have said, once, and is passed on as it is."""
        ...
