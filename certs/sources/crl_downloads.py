"""Revocation lists from the web: fetched from addresses that are configured, never from one that a certificate names,
refreshed at half of their life, and kept on disk, so that a start does not depend on a server.

What is kept is a file like any other: whoever reads material reads it there, and judges it as it judges every list.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from certs.clock import Clock
from certs.durable import PUBLIC_FILE_MODE, replace_file
from certs.errors import MaterialError
from certs.pem import crls_in, parse_crl, read_blocks
from certs.revocation_list import RevocationList
from certs.safe_files import Secrecy, read_file
from certs.sources.attempts import Attempts

MAX_BYTES = 32 * 1024 * 1024
TIMEOUT_S = 20.0
# A list without a next update is fetched so often; one that could not be fetched is tried again so soon.
EVERY = timedelta(hours=1)
RETRY = timedelta(minutes=1)

Fetch = Callable[[str], bytes]

_log = logging.getLogger("tlsidecar.source")


@dataclass(slots=True)
class Failing:
    """Why a list cannot be had, and since when."""

    detail: str
    since: datetime


def kept_at(directory: Path, url: str) -> Path:
    """Where the list of an address is kept."""
    return directory / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}.crl"


class CrlDownloads:
    """The lists of some addresses. Lives on one event loop; fetches on a thread of its own, one after the other."""

    def __init__(self, urls: Sequence[str], directory: Path, clock: Clock, fetch: Fetch | None = None) -> None:
        self.failing: dict[str, Failing] = {}  # by address
        self._urls = tuple(urls)
        self._directory = directory
        self._clock = clock
        self._fetch = fetch or _fetch
        self._attempts = Attempts(clock, TIMEOUT_S + 5.0)
        self._due: dict[str, datetime] = {}

    def __repr__(self) -> str:
        return f"<CrlDownloads {len(self._urls)} lists, {len(self.failing)} failing>"

    async def refresh(self) -> None:
        """Fetch what is due: what is not there yet, and what is past half of its life. Never raises
        :class:`MaterialError`: what was kept is kept, and why there is no newer stands in :attr:`failing`."""
        for url in self._urls:
            due = self._due.get(url)
            if due is not None and self._clock.now() < due:
                continue
            try:
                self._due[url] = await self._attempts.make("fetching a revocation list", partial(self._renew, url))
            except (MaterialError, OSError, ValueError) as error:
                now = self._clock.now()
                detail = str(error)
                known = self.failing.get(url)
                if known is None or known.detail != detail:
                    _log.warning("the revocation list at %s cannot be had: %s", url, detail)
                self.failing[url] = Failing(detail, known.since if known is not None else now)
                self._due[url] = now + RETRY
            else:
                self.failing.pop(url, None)

    # On a thread of their own.

    def _renew(self, url: str) -> datetime:
        """When it is due again. Raises :class:`MaterialError`, OSError, ValueError."""
        path = kept_at(self._directory, url)
        kept = _read(path)
        if kept is not None and (due := _half_life(kept)) is not None and due > self._clock.now():
            return due
        found = _parse(self._fetch(url))
        if kept is not None and kept.issuer == found.issuer and found.last_update_utc < kept.last_update_utc:
            raise ValueError("the list there is older than the one that is kept")
        if found.next_update_utc is not None and found.next_update_utc <= self._clock.now():
            raise ValueError("the list there has expired")
        os.makedirs(self._directory, mode=0o700, exist_ok=True)
        replace_file(path, found.public_bytes(Encoding.PEM), PUBLIC_FILE_MODE)
        return max(_half_life(found) or self._clock.now() + EVERY, self._clock.now() + RETRY)


def _half_life(crl: RevocationList) -> datetime | None:
    if crl.next_update_utc is None:
        return None
    return crl.last_update_utc + (crl.next_update_utc - crl.last_update_utc) / 2


def _read(path: Path) -> RevocationList | None:
    try:
        return crls_in(read_blocks(read_file(path, Secrecy.TRUSTED), path), path)[0]
    except (MaterialError, IndexError):
        return None


def _parse(data: bytes) -> RevocationList:
    """DER, as RFC 5280 section 4.2.1.13 wants it, or PEM."""
    if b"-----BEGIN" not in data:
        return parse_crl(data)
    found = crls_in(read_blocks(data))
    if len(found) != 1:
        raise ValueError(f"{len(found)} revocation lists where one should be")
    return found[0]


def _fetch(url: str) -> bytes:
    from certs.timed_http import fetched  # for those who have such a list

    return fetched(url, TIMEOUT_S, MAX_BYTES)
