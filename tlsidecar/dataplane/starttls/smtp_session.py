"""The start of an SMTP session inside TLS: no server offers STARTTLS there (RFC 3207 section 4.2), though a service
that speaks in the clear behind us may."""

from __future__ import annotations

import re

from tlsidecar.dataplane.starttls.translation import Unfit

_MOST_HELD_BYTES = 2048  # RFC 5321 has 512 for a line, some extensions have more
_OFFER = re.compile(rb"250[ -]STARTTLS[ \t]*\r?\n", re.IGNORECASE)
_MAIL = b"MAIL "


class SmtpSession:
    """Takes STARTTLS out of the server's replies until the client's first MAIL."""

    def __init__(self) -> None:
        self.over = False
        self._command = b""  # the beginning of the client's line, as much of it as tells the command
        self._line = b""  # the beginning of the server's
        self._before = b""  # a whole line of the server's, which the next one may make the last of its reply

    def from_client(self, data: bytes) -> bytes:
        *whole, begun = (self._command + data).split(b"\n")
        self._command = begun[: len(_MAIL)]
        if any(line[: len(_MAIL)].upper() == _MAIL for line in (*whole, begun)):
            self.over = True
        return data

    def from_server(self, data: bytes) -> bytes:
        *whole, self._line = (self._line + data).split(b"\n")
        if len(self._line) > _MOST_HELD_BYTES:
            raise Unfit(f"a line of more than {_MOST_HELD_BYTES} bytes")
        return b"".join([self._next_line(line + b"\n") for line in whole])

    def _next_line(self, line: bytes) -> bytes:
        before, more = self._before, line[3:4] == b"-"
        if before and _OFFER.fullmatch(line):
            if more:
                return b""
            self._before = b""
            return before[:3] + b" " + before[4:]
        self._before = line if more else b""
        return before if more else before + line

    def rest(self) -> tuple[bytes, bytes]:
        held, self._before, self._line = self._before + self._line, b"", b""
        return b"", held
