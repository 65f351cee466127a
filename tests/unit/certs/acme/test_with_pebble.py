"""The whole walk against a real ACME server, both challenges, with nonces that it refuses."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL
from support.pebble import EAB_KEY_ID, EAB_MAC_KEY, Pebble

from certs.acme.account import AccountKey, ExternalAccount, unbase64url
from certs.acme.challenges import ALPN_PROTOCOL, Challenge, ChallengeType, alpn_certificate
from certs.acme.issuance import CertificateOrder, issue
from certs.acme.messages import AcmeError
from certs.acme.renewal_info import certificate_identifier, renewal_info
from certs.acme.session import Session
from certs.acme.transport import Https, carry_out
from certs.certificate import Certificate
from certs.clock import SYSTEM_CLOCK

pytestmark = pytest.mark.needs("pebble", "pebble-challtestsrv")

NAMES = ("web.example.test", "www.example.test")


class HttpResponder:
    """Answers http-01, on a port of its own."""

    def __init__(self) -> None:
        shown = self.shown = dict[str, str]()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                text = shown.get(self.path)
                self.send_response(404 if text is None else 200)
                self.end_headers()
                self.wfile.write((text or "").encode())

            def log_message(self, format: str, *args: object) -> None: ...

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port: int = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def present(self, challenge: Challenge) -> None:
        self.shown[challenge.path] = challenge.key_authorization

    def withdraw(self, challenge: Challenge) -> None:
        del self.shown[challenge.path]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class TlsResponder:
    """Answers tls-alpn-01, on a port of its own."""

    def __init__(self) -> None:
        self.shown: dict[str, Challenge] = {}
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def present(self, challenge: Challenge) -> None:
        self.shown[challenge.server_name] = challenge

    def withdraw(self, challenge: Challenge) -> None:
        del self.shown[challenge.server_name]

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(20)

    def _serve(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with sock:
                connection = SSL.Connection(self._context(), sock)
                connection.set_accept_state()
                try:
                    connection.do_handshake()
                except SSL.Error:
                    continue

    def _context(self) -> SSL.Context:
        (challenge,) = self.shown.values()  # one at a time
        certificate, key = alpn_certificate(challenge, SYSTEM_CLOCK.now())
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.use_certificate(certificate)
        context.use_privatekey(key)
        context.set_alpn_select_callback(lambda _, offered: ALPN_PROTOCOL if ALPN_PROTOCOL in offered else b"")
        return context


@pytest.fixture
def http_responder() -> Iterator[HttpResponder]:
    responder = HttpResponder()
    yield responder
    responder.close()


@pytest.fixture
def tls_responder() -> Iterator[TlsResponder]:
    responder = TlsResponder()
    yield responder
    responder.close()


def leaf_of(pem: bytes) -> x509.Certificate:
    return x509.load_pem_x509_certificates(pem)[0]


def names_of(certificate: x509.Certificate) -> set[str]:
    san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {*san.get_values_for_type(x509.DNSName), *map(str, san.get_values_for_type(x509.IPAddress))}


def order_over(
    pebble: Pebble,
    responder: HttpResponder | TlsResponder,
    challenge: ChallengeType,
    names: tuple[str, ...] = NAMES,
    external: ExternalAccount | None = None,
    account: AccountKey | None = None,
    replaces: str = "",
) -> tuple[bytes, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    session = Session(pebble.url, account or AccountKey.generate(), SYSTEM_CLOCK)
    wanted = CertificateOrder(
        names,
        ("mailto:ops@example.test",),
        terms_agreed=True,
        external=external,
        challenge=challenge,
        replaces=replaces,
    )
    https = Https(pebble.trust)
    pem = carry_out(issue(session, wanted, key), https, responder, SYSTEM_CLOCK, 60.0)
    return pem, key


def test_tls_alpn_01_with_a_third_of_the_nonces_refused(tmp_path: Path, tls_responder: TlsResponder) -> None:
    with Pebble(tmp_path, tls_port=tls_responder.port, bad_nonces=30) as pebble:
        pem, key = order_over(pebble, tls_responder, ChallengeType.TLS_ALPN_01)
    leaf = leaf_of(pem)
    assert names_of(leaf) == set(NAMES)
    assert leaf.public_key() == key.public_key()
    assert tls_responder.shown == {}


def test_http_01_then_a_replacement_and_renewal_information(tmp_path: Path, http_responder: HttpResponder) -> None:
    account = AccountKey.generate()
    with Pebble(tmp_path, http_port=http_responder.port) as pebble:
        pem, _ = order_over(pebble, http_responder, ChallengeType.HTTP_01, account=account)
        first = leaf_of(pem)
        info = carry_out(
            renewal_info(Session(pebble.url, account, SYSTEM_CLOCK), certificate_identifier(Certificate.of(first))),
            Https(pebble.trust),
            None,
            SYSTEM_CLOCK,
            20.0,
        )
        if info is not None:  # an older Pebble has none
            assert first.not_valid_before_utc < info.start < info.end < first.not_valid_after_utc
        again, _ = order_over(pebble, http_responder, ChallengeType.HTTP_01, account=account, replaces="AAAA.BBBB")
    assert leaf_of(again).serial_number != first.serial_number
    assert http_responder.shown == {}


def test_an_address_is_proved_by_its_reverse_name(tmp_path: Path, tls_responder: TlsResponder) -> None:
    with Pebble(tmp_path, tls_port=tls_responder.port) as pebble:
        pem, _ = order_over(pebble, tls_responder, ChallengeType.TLS_ALPN_01, names=("127.0.0.1",))
    assert names_of(leaf_of(pem)) == {"127.0.0.1"}


def test_an_external_account_is_bound(tmp_path: Path, http_responder: HttpResponder) -> None:
    known = ExternalAccount(EAB_KEY_ID, unbase64url(EAB_MAC_KEY))
    with Pebble(tmp_path, http_port=http_responder.port, external_account=True) as pebble:
        pem, _ = order_over(pebble, http_responder, ChallengeType.HTTP_01, external=known)
        with pytest.raises(AcmeError, match="xternal"):
            order_over(pebble, http_responder, ChallengeType.HTTP_01)
    assert names_of(leaf_of(pem)) == set(NAMES)


def test_a_name_that_is_not_ours_is_told_with_the_reason(tmp_path: Path, http_responder: HttpResponder) -> None:
    http_responder.present = lambda challenge: http_responder.shown.update({challenge.path: "something else"})  # type: ignore[method-assign]
    with Pebble(tmp_path, http_port=http_responder.port) as pebble, pytest.raises(AcmeError) as failure:
        order_over(pebble, http_responder, ChallengeType.HTTP_01)
    assert "example.test" in str(failure.value)
    assert "the CA says invalid" in str(failure.value)
    assert http_responder.shown == {}


def test_a_server_that_is_not_trusted_is_not_asked(tmp_path: Path, http_responder: HttpResponder, pki: object) -> None:
    with Pebble(tmp_path, http_port=http_responder.port) as pebble:
        pebble.trust = Path(str(tmp_path / "pki" / "ca.crt"))
        with pytest.raises(AcmeError, match="cannot be asked"):
            order_over(pebble, http_responder, ChallengeType.HTTP_01)
