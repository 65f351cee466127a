"""What can go wrong between a caller and a sidecar, grouped by who has to act. Messages are safe to show."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

from tlsidecar.api.text import SafeText, safe_text


class AdminError(Exception):
    """Any failure of an admin call."""

    def __init__(self, message: SafeText) -> None:
        super().__init__(message)
        self.message = message


class Unreachable(AdminError):
    """Nobody answered: no socket, no permission, no answer in time, or the connection was cut."""


class Cut(Unreachable):
    """The connection ended before the whole reply was there."""


class BadReply(AdminError):
    """Something answered that does not speak the admin API."""


class Refused(AdminError):
    """The sidecar answered, and would not."""

    def __init__(self, message: SafeText, status: int, code: str, body: dict[str, Any]) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.body = body


def connect_failure(path: Path, error: OSError) -> Unreachable:
    """Why nobody could be reached at a socket."""
    shown = safe_text(str(path))
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR:
            words = f"no socket at {shown}: is tlsidecar running?"
        case errno.EACCES | errno.EPERM:
            words = f"no permission for {shown}: only the sidecar's own user and root may connect"
        case errno.ECONNREFUSED:
            # Linux says so of a file or a directory, too (connect(2) on a Unix socket).
            ended = path.is_socket()
            words = f"nobody listens on {shown}: the sidecar has ended" if ended else f"{shown} is not a socket"
        case errno.ENOTSOCK:
            words = f"{shown} is not a socket"
        case _:
            words = f"cannot connect to {shown}: {os_error(error)}"
    return Unreachable(SafeText(words))


def os_error(error: OSError) -> SafeText:
    """In the system's words, or where it has none as the end of a stream."""
    return safe_text(error.strerror or "the sidecar closed it", 80)
