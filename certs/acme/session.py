"""Talking to one ACME server: its directory, its nonces, and requests signed, repeated and read.

Everything here is a :data:`~certs.acme.messages.Walk`: a generator of commands.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from certs.acme.account import AccountKey, ExternalAccount
from certs.acme.messages import AcmeError, AcmeRequest, AcmeResponse, Pause, Walk
from certs.clock import Clock

# Busy servers lose nonces (Let's Encrypt, when a request lands in another data centre): RFC 8555 section 6.5.
MAX_BAD_NONCES = 12

# A 5xx or an answer that never came may be the server's bad moment.
MAX_SERVER_FAILURES = 3
SERVER_FAILURE_PAUSE_S = 2.0

MAX_RETRY_AFTER_S = 7 * 86400.0
_ERROR_PREFIX = "urn:ietf:params:acme:error:"
_MAX_TEXT_CHARACTERS = 500
_MAX_NONCES = 8

Json = dict[str, Any]


class Session:
    """One account's conversation with one server. ``account_url`` is known once :meth:`begin` has run."""

    def __init__(self, directory_url: str, key: AccountKey, clock: Clock) -> None:
        self._directory_url = directory_url
        self._key = key
        self._clock = clock
        self._directory: Json = {}
        self._nonces: list[str] = []
        self.account_url = ""

    @property
    def key(self) -> AccountKey:
        return self._key

    def resource(self, name: str) -> str:
        """A URL of the directory (RFC 8555 section 7.1.1); empty where the server has none."""
        url = self._directory.get(name)
        return url if isinstance(url, str) else ""

    @property
    def terms_of_service(self) -> str:
        """Where the server's terms are to be read; empty where it has none."""
        meta = self._directory.get("meta")
        terms = meta.get("termsOfService") if isinstance(meta, dict) else None
        return terms if isinstance(terms, str) else ""

    def open(self) -> Walk[None]:
        """Fetch the directory. Raises :class:`AcmeError`."""
        answer = yield from self.get(self._directory_url)
        self._directory = _object(answer, self._directory_url)
        for name in ("newNonce", "newAccount", "newOrder"):
            if not self.resource(name):
                raise AcmeError(f"{self._directory_url} is no ACME directory: it has no {name}")

    def begin(
        self, contact: tuple[str, ...], *, terms_agreed: bool, external: ExternalAccount | None = None
    ) -> Walk[None]:
        """Fetch the directory, and find or make our account (RFC 8555 section 7.3). Raises :class:`AcmeError`."""
        yield from self.open()
        terms = self.terms_of_service
        if terms and not terms_agreed:
            raise AcmeError(f"the CA's terms of service are to be agreed to first: read {terms}, then set terms_agreed")
        url = self.resource("newAccount")
        payload: Json = {"termsOfServiceAgreed": terms_agreed}
        if contact:
            payload["contact"] = list(contact)
        if external is not None:
            payload["externalAccountBinding"] = external.binding(self._key, url)
        answer, _ = yield from self.post(url, payload)
        self.account_url = answer.headers.get("location", "")
        if not self.account_url:
            raise AcmeError("the CA gave our account no address (Location)")

    def get(self, url: str) -> Walk[AcmeResponse]:
        """An unsigned GET: of the directory and of renewal information only."""
        for attempt in range(MAX_SERVER_FAILURES + 1):
            answer = yield from _send(AcmeRequest("GET", url))
            self._keep_nonce(answer)
            if answer.status < 500 or attempt == MAX_SERVER_FAILURES:
                break
            yield Pause(SERVER_FAILURE_PAUSE_S * 2**attempt)
        if answer.status >= 400:
            raise self.error_of(answer, url)
        return answer

    def post(self, url: str, payload: object) -> Walk[tuple[AcmeResponse, Json]]:
        """A signed POST, and its JSON answer ({} where it is none); ``payload`` None asks for what is at ``url``."""
        answer = yield from self.post_raw(url, payload)
        if "json" not in answer.headers.get("content-type", ""):
            return answer, {}
        return answer, _object(answer, url)

    def post_raw(self, url: str, payload: object) -> Walk[AcmeResponse]:
        """A signed POST. Raises :class:`AcmeError` for an answer of 400 or more, after what may help was tried."""
        bad_nonces = failures = 0
        while True:
            nonce = yield from self._nonce()
            account = {"kid": self.account_url} if self.account_url else {"jwk": self._key.jwk}
            protected = {"nonce": nonce, "url": url, **account}
            answer = yield from _send(AcmeRequest("POST", url, self._key.sign(protected, payload)))
            self._keep_nonce(answer)
            if answer.status < 400:
                return answer
            error = self.error_of(answer, url)
            if error.kind == "badNonce" and bad_nonces < MAX_BAD_NONCES:
                bad_nonces += 1
            elif answer.status >= 500 and error.retry_after_s is None and failures < MAX_SERVER_FAILURES:
                yield Pause(SERVER_FAILURE_PAUSE_S * 2**failures)
                failures += 1
            else:
                raise error

    def retry_after_s(self, answer: AcmeResponse) -> float | None:
        """How long the server wants to be left alone (RFC 9110 section 10.2.3): seconds or a date."""
        text = answer.headers.get("retry-after", "").strip()
        if not text:
            return None
        if text.isascii() and text.isdigit():
            return min(float(text[:9]), MAX_RETRY_AFTER_S)
        try:
            wait_s = (parsedate_to_datetime(text) - self._clock.now()).total_seconds()
        except (TypeError, ValueError):
            return None
        return min(max(wait_s, 0.0), MAX_RETRY_AFTER_S)

    def error_of(self, answer: AcmeResponse, url: str) -> AcmeError:
        """What went wrong, in the server's own words where it gave some (RFC 7807)."""
        try:
            problem = json_object(answer.body)
        except ValueError:
            problem = {}
        return problem_error(problem, f"{url} answered {answer.status}", self.retry_after_s(answer))

    def _nonce(self) -> Walk[str]:
        if self._nonces:
            return self._nonces.pop()
        url = self.resource("newNonce")
        answer = yield from _send(AcmeRequest("HEAD", url))
        nonce = answer.headers.get("replay-nonce", "")
        if answer.status >= 400 or not nonce:
            raise self.error_of(answer, url)
        return nonce

    def _keep_nonce(self, answer: AcmeResponse) -> None:
        nonce = answer.headers.get("replay-nonce", "")
        if nonce and len(self._nonces) < _MAX_NONCES:
            self._nonces.append(nonce)


def problem_error(problem: Mapping[str, Any], fallback: str, retry_after_s: float | None = None) -> AcmeError:
    """A problem document as an error, with its subproblems (RFC 8555 section 6.7.1)."""
    kind = str(problem.get("type", "")).removeprefix(_ERROR_PREFIX)[:_MAX_TEXT_CHARACTERS]
    texts = [_text_of(problem)]
    subproblems = problem.get("subproblems")
    if isinstance(subproblems, list):
        for each in subproblems[:5]:
            if isinstance(each, dict):
                identifier = each.get("identifier")
                name = identifier.get("value", "") if isinstance(identifier, dict) else ""
                texts.append(f"{name}: {_text_of(each)}" if name else _text_of(each))
    told = "; ".join(filter(None, texts))[:_MAX_TEXT_CHARACTERS] or fallback
    return AcmeError(f"{told} ({kind})" if kind else told, kind, retry_after_s)


def json_object(text: bytes) -> Json:
    """What a server wrote. Raises ValueError for anything but one object, and for one too deep to be read."""
    try:
        parsed = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(parsed, dict):
        raise ValueError("not an object")
    return parsed


def _text_of(problem: Mapping[str, Any]) -> str:
    detail = problem.get("detail")
    return detail if isinstance(detail, str) else ""


def _send(request: AcmeRequest) -> Walk[AcmeResponse]:
    answer = yield request
    assert isinstance(answer, AcmeResponse)
    return answer


def _object(answer: AcmeResponse, url: str) -> Json:
    try:
        return json_object(answer.body)
    except ValueError:
        raise AcmeError(f"what {url} answered is not a JSON object") from None
