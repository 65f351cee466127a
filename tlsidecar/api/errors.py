"""What can go wrong between the UI and a sidecar, grouped by who has to act. Messages are safe to show."""

from __future__ import annotations

from tlsidecar.api.text import SafeText


class AdminError(Exception):
    """Any failure of an admin call."""

    def __init__(self, message: SafeText) -> None:
        super().__init__(message)
        self.message = message


class Unreachable(AdminError):
    """Nobody answered: no socket, no permission, no answer in time, or the connection was cut."""


class BadReply(AdminError):
    """Something answered that does not speak the admin API."""


class Refused(AdminError):
    """The sidecar answered, and would not."""

    def __init__(self, message: SafeText, status: int, code: str, body: object) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.body = body
