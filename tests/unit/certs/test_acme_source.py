"""The ACME source against a real server: orders once, keeps what it got, says why it got nothing."""

from __future__ import annotations

import re
import resource
import ssl
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography import x509
from support.pebble import EAB_KEY_ID, EAB_MAC_KEY, Pebble
from support.pki import Pki
from unit.certs import forge
from unit.certs.acme.test_walk import DIRECTORY, Server, answer, payload_of
from unit.certs.acme.test_with_pebble import HttpResponder

from certs.acme.account import unbase64url
from certs.acme.challenges import ChallengeType
from certs.acme.messages import AcmeRequest, AcmeResponse
from certs.acme.transport import reason_of
from certs.clock import SYSTEM_CLOCK
from certs.errors import MaterialError, MaterialReason
from certs.sources import Source
from certs.sources.acme import ACCOUNT_FILE, AcmeAccount, AcmeSource
from certs.sources.bundles import TrustFile

NAMES = ("web.example.test",)
needs_pebble = pytest.mark.needs("pebble", "pebble-challtestsrv")


@pytest.fixture
def responder() -> Iterator[HttpResponder]:
    made = HttpResponder()
    yield made
    made.close()


def source(
    url: str, tmp_path: Path, responder: HttpResponder | None, names: tuple[str, ...] = NAMES, **changes: object
) -> AcmeSource:
    settings: dict[str, object] = {
        "directory": url,
        "state": tmp_path / "acme",
        "terms_agreed": True,
        "challenge": ChallengeType.HTTP_01,
    }
    account = AcmeAccount(**(settings | changes))  # type: ignore[arg-type]
    return AcmeSource(account, names, [TrustFile(tmp_path / "pki/ca.crt")], responder, clock=SYSTEM_CLOCK)


@needs_pebble
async def test_it_orders_once_and_keeps_what_it_got(tmp_path: Path, pki: Pki, responder: HttpResponder) -> None:
    with Pebble(tmp_path / "pebble", http_port=responder.port, bad_nonces=30) as pebble:
        first = source(pebble.url, tmp_path, responder, server_trust=pebble.trust)
        assert isinstance(first, Source)
        assert await first.read() is None
        assert not (tmp_path / "acme").exists()
        material = await first.renew()
        assert material.identity.dns == NAMES
        assert len(material.trust) == 1
        account = (tmp_path / "acme" / ACCOUNT_FILE).read_bytes()
        again = source(pebble.url, tmp_path, None, server_trust=pebble.trust)
        found = await again.read()
        assert found is not None
        assert found.leaf == material.leaf
        renewed = await first.renew()
        assert renewed.leaf != material.leaf
        assert renewed.key.spki != material.key.spki
    assert (tmp_path / "acme" / ACCOUNT_FILE).read_bytes() == account
    for name in (ACCOUNT_FILE, "tls.key"):
        assert stat.S_IMODE((tmp_path / "acme" / name).stat().st_mode) == 0o600


@needs_pebble
async def test_other_names_and_an_expired_certificate_are_ordered_anew(
    tmp_path: Path, pki: Pki, responder: HttpResponder
) -> None:
    with Pebble(tmp_path / "pebble", http_port=responder.port) as pebble:
        await source(pebble.url, tmp_path, responder, server_trust=pebble.trust).renew()
        other = source(pebble.url, tmp_path, responder, ("other.example.test",), server_trust=pebble.trust)
        assert await other.read() is None
    later = source(pebble.url, tmp_path, responder)
    later._clock = forge.ManualClock(SYSTEM_CLOCK.now() + timedelta(days=10_000))
    assert await later.read() is None


@needs_pebble
async def test_an_external_account_has_its_key_in_a_file(tmp_path: Path, pki: Pki, responder: HttpResponder) -> None:
    mac = tmp_path / "eab.key"
    mac.write_text(f"{EAB_MAC_KEY}\n")
    mac.chmod(0o600)
    with Pebble(tmp_path / "pebble", http_port=responder.port, external_account=True) as pebble:
        bound = source(
            pebble.url, tmp_path, responder, server_trust=pebble.trust, external_key_id=EAB_KEY_ID, mac_key_file=mac
        )
        assert (await bound.renew()).identity.dns == NAMES
    mac.write_text("not base64url!")
    assert "not a key in base64url" in await refused(
        source(pebble.url, tmp_path, responder, external_key_id=EAB_KEY_ID, mac_key_file=mac)
    )


async def refused(made: AcmeSource) -> str:
    with pytest.raises(MaterialError) as failure:
        await made.renew()
    assert failure.value.reason is MaterialReason.ACME_FAILED
    return failure.value.detail


@contextmanager
def full_disk() -> Iterator[None]:
    """The kernel lets this process write no file beyond 64 bytes: no key and no certificate."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, hard))  # Python ignores SIGXFSZ
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@needs_pebble
async def test_a_full_disk_loses_no_account_and_no_certificate(
    tmp_path: Path, pki: Pki, responder: HttpResponder
) -> None:
    with Pebble(tmp_path / "pebble", http_port=responder.port) as pebble:
        made = source(pebble.url, tmp_path, responder, server_trust=pebble.trust)
        state = tmp_path / "acme"
        with full_disk():
            for _ in range(2):
                assert "the account's key cannot be kept" in await refused(made)
                assert list(state.iterdir()) == []
        first = await made.renew()
        kept = {path.name for path in state.iterdir()}
        with full_disk():
            for _ in range(2):
                told = await refused(made)
                assert "what was issued cannot be kept" in told
                assert "File too large" in told
                found = await made.read()
                assert found is not None
                assert found.leaf == first.leaf
                assert {path.name for path in state.iterdir()} == kept
        second = await made.renew()
        assert second.leaf != first.leaf
        assert second.key.spki != first.key.spki
        assert pebble.log().count("Issued certificate serial") == 2  # what could not be kept was not ordered again


async def test_a_server_that_is_not_there_is_told(tmp_path: Path, pki: Pki, responder: HttpResponder) -> None:
    assert "127.0.0.1:1 cannot be asked: Connection refused" in await refused(
        source("https://127.0.0.1:1/dir", tmp_path, responder)
    )
    assert "not an https address" in await refused(source("http://127.0.0.1:1/dir", tmp_path, responder))
    bad_trust = source("https://127.0.0.1:1/dir", tmp_path, responder, server_trust=tmp_path / "none.pem")
    assert "none.pem: cannot be used" in await refused(bad_trust)


@pytest.mark.parametrize(
    "url",
    [
        "https://[::1/dir",
        "https://ca.test:99999/dir",
        "https://ca.test/ü",
        "https://a..b/dir",
        "https:///dir",
    ],
)
async def test_an_address_that_is_none_is_told(url: str, tmp_path: Path, pki: Pki) -> None:
    """The configuration's is judged before; a server may name any in its directory."""
    assert re.search("not an https address|cannot be asked", await refused(source(url, tmp_path, None)))


async def test_a_certificate_for_other_names_is_not_kept(
    tmp_path: Path, pki: Pki, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be ordered anew with each reading."""

    def sign(request: AcmeRequest) -> AcmeResponse:
        payload = payload_of(request)
        assert isinstance(payload, dict)
        asked = x509.load_der_x509_csr(unbase64url(payload["csr"]))
        leaf = forge.leaf(forge.authority(), dns=("another.test",), key=asked)
        server.answers["cert"] = AcmeResponse(200, {"replay-nonce": "n"}, leaf.pem)
        return finalized

    server = Server(authz=answer(body={"status": "valid", "identifier": {"type": "dns", "value": NAMES[0]}}))
    finalized, server.answers["finalize"] = server.answers["finalize"], sign  # type: ignore[assignment]
    made = source(DIRECTORY, tmp_path, None)
    monkeypatch.setattr(made, "_https", lambda: SimpleNamespace(send=lambda request, _timeout_s: server(request)))
    assert await refused(made) == "the CA's certificate is not for web.example.test"
    assert await made.read() is None
    assert [path.name for path in (tmp_path / "acme").iterdir()] == [ACCOUNT_FILE]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (TimeoutError("_ssl.c:989: The handshake operation timed out"), "The handshake operation timed out"),
        (ssl.SSLEOFError(8, "[SSL: X] EOF occurred (_ssl.c:1002)"), "[SSL: X] EOF occurred"),
        (ConnectionRefusedError(111, "Connection refused"), "Connection refused"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_what_keeps_a_server_from_answering_is_told_in_words(error: OSError, said: str) -> None:
    assert reason_of(error) == said


async def test_an_account_that_is_closed_can_be_replaced(
    tmp_path: Path, pki: Pki, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = {"type": "urn:ietf:params:acme:error:unauthorized", "detail": "the account is deactivated"}
    server = Server(newAccount=answer(403, closed))
    made = source(DIRECTORY, tmp_path, None)
    monkeypatch.setattr(made, "_https", lambda: SimpleNamespace(send=lambda request, _timeout_s: server(request)))
    assert (
        await refused(made) == "the account is deactivated (unauthorized); where "
        f"{tmp_path / 'acme' / ACCOUNT_FILE} is taken away, another account is made"
    )


async def test_a_directory_that_cannot_be_looked_at_is_no_empty_one(tmp_path: Path, pki: Pki) -> None:
    """An account would be made anew, and a certificate ordered."""
    made = source("https://127.0.0.1:1/dir", tmp_path, None, state=tmp_path / ("x" * 300))
    with pytest.raises(MaterialError, match="File name too long") as failure:
        await made.read()
    assert failure.value.reason is MaterialReason.UNREADABLE


async def test_a_damaged_account_key_is_named(tmp_path: Path, pki: Pki, responder: HttpResponder) -> None:
    (tmp_path / "acme").mkdir()
    file = tmp_path / "acme" / ACCOUNT_FILE
    file.write_text("no key")
    file.chmod(0o600)
    made = source("https://127.0.0.1:1/dir", tmp_path, responder)
    assert str(file) in await refused(made)
    with pytest.raises(MaterialError, match=r"account\.key"):
        await made.read()
    file.chmod(0o644)
    with pytest.raises(MaterialError) as failure:
        await made.read()
    assert failure.value.reason is MaterialReason.KEY_PERMISSIONS
