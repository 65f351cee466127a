"""Carrying out an ACME walk: HTTPS with the standard library, one request after the other, each bounded in time and
size. Blocks: it runs on a thread of its own."""

from __future__ import annotations

import http.client
import re
import ssl
import time
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from certs.acme.challenges import Challenge
from certs.acme.messages import AcmeError, AcmeRequest, AcmeResponse, Pause, Present, Result, Walk
from certs.clock import Clock
from certs.timed_http import HttpsConnection

REQUEST_TIMEOUT_S = 20.0
MAX_ANSWER_BYTES = 1 << 20
USER_AGENT = "tlsidecar-acme/1"

_SOURCE_LINE = re.compile(r"\(?_ssl\.c:[0-9]+[):]+")


class Responder(Protocol):
    """Answers the CA's validations."""

    def present(self, challenge: Challenge) -> None:
        """Returns once whoever asks would be answered. Raises :class:`AcmeError`."""
        ...

    def withdraw(self, challenge: Challenge) -> None: ...


class Https:
    """Requests over TLS that is verified, against ``trust`` where it is given (a private CA's own server), else
    against the system's CAs. Redirects are not followed: ACME has none."""

    def __init__(self, trust: Path | None = None) -> None:
        """Raises :class:`AcmeError` when the trust file cannot be used."""
        try:
            self._context = ssl.create_default_context(cafile=str(trust) if trust is not None else None)
        except (OSError, ssl.SSLError) as error:
            raise AcmeError(f"{trust}: cannot be used to verify the ACME server: {error}") from None

    def send(self, request: AcmeRequest, timeout_s: float) -> AcmeResponse:
        """Raises :class:`AcmeError` when there is no whole answer in time."""
        try:
            parts = urlsplit(request.url)
            host, port = parts.hostname, parts.port
        except ValueError:
            host = None
        if not host or parts.scheme != "https" or not request.url.isascii():
            raise AcmeError(f"{request.url} is not an https address")
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        headers = {"User-Agent": USER_AGENT}
        if request.method == "POST":
            headers["Content-Type"] = "application/jose+json"
        connection = HttpsConnection(host, port, context=self._context, timeout=timeout_s)
        try:
            connection.request(request.method, target, request.body or None, headers)
            answer = connection.getresponse()
            body = _body(answer, request.url)
        except (OSError, http.client.HTTPException, UnicodeError) as error:  # of a name that cannot be looked up
            raise AcmeError(f"{host}:{port or 443} cannot be asked: {reason_of(error)}") from None
        finally:
            connection.close()
        return AcmeResponse(answer.status, {name.lower(): value for name, value in answer.getheaders()}, body)


def carry_out(walk: Walk[Result], https: Https, responder: Responder | None, clock: Clock, timeout_s: float) -> Result:
    """Run a walk to its end. Raises :class:`AcmeError`, also when ``timeout_s`` is over.

    Challenges that the walk leaves presented are withdrawn.
    """
    ends_at = clock.monotonic() + timeout_s
    presented: list[Challenge] = []
    answer: AcmeResponse | None = None
    try:
        while True:
            try:
                command = walk.send(answer)
            except StopIteration as end:
                result: Result = end.value
                return result
            answer = None
            left_s = ends_at - clock.monotonic()
            if left_s <= 0:
                raise AcmeError(f"not done within {timeout_s:g} s")
            match command:
                case AcmeRequest():
                    answer = https.send(command, min(REQUEST_TIMEOUT_S, left_s))
                case Pause(seconds):
                    time.sleep(min(seconds, left_s))
                case Present(challenge):
                    if responder is None:
                        raise AcmeError("there is nothing to answer the CA's challenges with")
                    presented.append(challenge)
                    responder.present(challenge)
                case _:
                    assert responder is not None
                    presented.remove(command.challenge)
                    responder.withdraw(command.challenge)
    finally:
        walk.close()
        for challenge in presented:
            assert responder is not None
            responder.withdraw(challenge)


def _body(answer: http.client.HTTPResponse, url: str) -> bytes:
    body = answer.read(MAX_ANSWER_BYTES + 1)
    if len(body) > MAX_ANSWER_BYTES:
        raise AcmeError(f"{url} answered more than {MAX_ANSWER_BYTES} bytes")
    return body


def reason_of(error: Exception) -> str:
    """As a person says it: without the errno and the line of Python's own source, and never nothing."""
    said = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
    return _SOURCE_LINE.sub("", said).strip()
