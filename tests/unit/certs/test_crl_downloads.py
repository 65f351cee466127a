"""Revocation lists from the web: when they are fetched, what is kept, and what a server cannot do to us."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from unit.certs import forge

from certs.sources.crl_downloads import CrlDownloads, kept_at

URL = "http://crl.internal/ca.crl"
ROOT = forge.authority("Root")
HOUR = timedelta(hours=1)


def a_list(starts: timedelta = timedelta(0), lasts: timedelta = 24 * HOUR, *serials: int) -> bytes:
    begins = forge.NOW + starts
    return forge.revocations(ROOT, *serials, this_update=begins, next_update=begins + lasts).public_bytes(Encoding.DER)


class Web:
    """A server, and a sidecar that keeps its lists; ``answer`` is what it has, or raises."""

    def __init__(self, directory: Path) -> None:
        self.clock = forge.ManualClock()
        self.directory = directory / "crls"
        self.answer: bytes | Exception = a_list()
        self.asked = 0
        self.downloads = self.restarted()

    def restarted(self) -> CrlDownloads:
        self.downloads = CrlDownloads([URL], self.directory, self.clock, self.fetch)
        return self.downloads

    def fetch(self, url: str) -> bytes:
        assert url == URL
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    @property
    def kept(self) -> bytes:
        return x509.load_pem_x509_crl(kept_at(self.directory, URL).read_bytes()).public_bytes(Encoding.DER)

    async def after(self, duration: timedelta) -> int:
        """How often the server was asked meanwhile."""
        before = self.asked
        self.clock.advance(duration)
        await self.downloads.refresh()
        return self.asked - before


@pytest.fixture
def web(tmp_path: Path) -> Web:
    return Web(tmp_path)


async def test_it_is_fetched_at_once_and_again_at_half_of_its_life(web: Web) -> None:
    await web.downloads.refresh()
    assert web.kept == web.answer
    assert [await web.after(11 * HOUR), await web.after(HOUR)] == [0, 1]
    web.answer = a_list(12 * HOUR, 24 * HOUR, 7)
    assert await web.after(timedelta(minutes=1)) == 1
    assert web.kept == web.answer
    assert await web.after(11 * HOUR) == 0


async def test_what_is_kept_serves_a_start_without_the_server(web: Web) -> None:
    await web.downloads.refresh()
    web.answer = OSError("no route")
    web.restarted()
    assert await web.after(HOUR) == 0
    assert web.downloads.failing == {}


async def test_a_server_that_is_away_is_said_and_tried_again_every_minute(web: Web) -> None:
    await web.downloads.refresh()
    kept, web.answer = web.kept, OSError("Connection refused")
    await web.after(13 * HOUR)
    failing = web.downloads.failing[URL]
    assert (failing.detail, failing.since, web.kept) == ("Connection refused", web.clock.now(), kept)
    assert [await web.after(timedelta(seconds=30)), await web.after(timedelta(seconds=30))] == [0, 1]
    assert web.downloads.failing[URL].since == failing.since
    web.answer = a_list(12 * HOUR)
    await web.after(timedelta(minutes=1))
    assert web.downloads.failing == {}


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (b"<html>not here</html>", "cannot be read"),
        (b"", "cannot be read"),
        (a_list(-48 * HOUR, 72 * HOUR), "older than the one that is kept"),
        (a_list(timedelta(0), HOUR), "has expired"),
        (forge.revocations(ROOT).public_bytes(Encoding.PEM) * 2, "2 revocation lists"),
    ],
)
async def test_what_is_no_newer_list_replaces_nothing(web: Web, answer: bytes, word: str) -> None:
    await web.downloads.refresh()
    kept, web.answer = web.kept, answer
    await web.after(13 * HOUR)
    assert word in web.downloads.failing[URL].detail
    assert web.kept == kept


async def test_pem_is_taken_too(web: Web) -> None:
    web.answer = forge.revocations(ROOT).public_bytes(Encoding.PEM)
    await web.downloads.refresh()
    assert web.downloads.failing == {}
