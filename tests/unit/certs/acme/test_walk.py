"""The walk without I/O: each test answers its requests itself."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import given
from hypothesis import strategies as st
from unit.certs import forge

from certs.acme.account import AccountKey, ExternalAccount, base64url, unbase64url
from certs.acme.challenges import Challenge, ChallengeType, alpn_certificate, is_token
from certs.acme.issuance import CertificateOrder, issue
from certs.acme.messages import AcmeError, AcmeRequest, AcmeResponse, Command, Pause, Present, Withdraw
from certs.acme.renewal_info import certificate_identifier
from certs.acme.session import MAX_BAD_NONCES, Session
from certs.certificate import Certificate

DIRECTORY = "https://ca.test/dir"
KEY = AccountKey.generate()
LEAF_KEY = ec.generate_private_key(ec.SECP256R1())


def answer(status: int = 200, body: object = None, **headers: str) -> AcmeResponse:
    told = {"replay-nonce": "n", "content-type": "application/json"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    return AcmeResponse(status, told, b"" if body is None else json.dumps(body).encode())


def payload_of(request: AcmeRequest) -> object:
    text = json.loads(request.body)["payload"]
    return json.loads(unbase64url(text)) if text else None


class Server:
    """A CA that says yes, unless a test replaces an answer: a Response for each URL, or what makes one."""

    def __init__(self, **changed: AcmeResponse | Callable[[AcmeRequest], AcmeResponse]) -> None:
        base = "https://ca.test/"
        directory = {name: f"{base}{name}" for name in ("newNonce", "newAccount", "newOrder")}
        order = {"authorizations": [f"{base}authz"], "finalize": f"{base}finalize", "certificate": f"{base}cert"}
        challenges = [{"type": kind.value, "url": f"{base}chall", "token": "tok_-1"} for kind in ChallengeType]
        authorization = {"identifier": {"type": "dns", "value": "a.test"}, "challenges": challenges}
        self._validated = False
        self.answers: dict[str, AcmeResponse | Callable[[AcmeRequest], AcmeResponse]] = {
            "dir": answer(body=directory),
            "newNonce": answer(),
            "newAccount": answer(201, {}, location=f"{base}account"),
            "newOrder": answer(201, order | {"status": "pending"}, location=f"{base}order"),
            "authz": lambda _: answer(body=authorization | {"status": "valid" if self._validated else "pending"}),
            "chall": self._validate,
            "order": answer(body=order | {"status": "ready"}),
            "finalize": answer(body=order | {"status": "valid"}),
            "cert": AcmeResponse(
                200, {"replay-nonce": "n", "content-type": "application/pem-certificate-chain"}, b"PEM"
            ),
        }
        self.answers.update(changed)

    def _validate(self, _request: AcmeRequest) -> AcmeResponse:
        self._validated = True
        return answer(body={})

    def __call__(self, request: AcmeRequest) -> AcmeResponse:
        found = self.answers.get(request.url.removeprefix("https://ca.test/"), answer(404, {"detail": "not found"}))
        return found(request) if callable(found) else found


def play(server: Server, order: CertificateOrder | None = None) -> tuple[bytes, list[Command]]:
    """What the walk came to, and every command on the way."""
    wanted = order or CertificateOrder(("a.test",), terms_agreed=True)
    walk = issue(Session(DIRECTORY, KEY, forge.ManualClock()), wanted, LEAF_KEY)
    commands: list[Command] = []
    reply: AcmeResponse | None = None
    try:
        while True:
            command = walk.send(reply)
            commands.append(command)
            assert len(commands) < 1000
            reply = server(command) if isinstance(command, AcmeRequest) else None
    except StopIteration as end:
        return end.value, commands
    except AcmeError as error:
        error.commands = commands  # type: ignore[attr-defined]
        raise


def test_the_walk_from_names_to_a_certificate() -> None:
    pem, commands = play(Server())
    assert pem == b"PEM"
    urls = [command.url.removeprefix("https://ca.test/") for command in commands if isinstance(command, AcmeRequest)]
    assert urls == ["dir", "newAccount", "newOrder", "authz", "chall", "authz", "order", "finalize", "cert"]
    challenge = Challenge(ChallengeType.TLS_ALPN_01, "a.test", "tok_-1", KEY.key_authorization("tok_-1"))
    assert [command for command in commands if isinstance(command, (Present, Withdraw))] == [
        Present(challenge),
        Withdraw(challenge),
    ]
    finalize = next(each for each in commands if isinstance(each, AcmeRequest) and each.url.endswith("finalize"))
    sent = payload_of(finalize)
    assert isinstance(sent, dict)
    request = x509.load_der_x509_csr(unbase64url(sent["csr"]))
    assert request.is_signature_valid
    assert request.public_key() == LEAF_KEY.public_key()


def test_each_request_is_signed_as_the_standard_says() -> None:
    _, commands = play(Server())
    posts = [command for command in commands if isinstance(command, AcmeRequest) and command.method == "POST"]
    numbers = ec.EllipticCurvePublicNumbers(
        int.from_bytes(unbase64url(KEY.jwk["x"]), "big"),
        int.from_bytes(unbase64url(KEY.jwk["y"]), "big"),
        ec.SECP256R1(),
    )
    for post in posts:
        jws = json.loads(post.body)
        head = json.loads(unbase64url(jws["protected"]))
        assert head["url"] == post.url
        assert ("jwk" in head) == post.url.endswith("newAccount")
        assert ("kid" in head) != ("jwk" in head)
        signature = unbase64url(jws["signature"])
        assert len(signature) == 64
        der = encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
        numbers.public_key().verify(der, f"{jws['protected']}.{jws['payload']}".encode(), ec.ECDSA(hashes.SHA256()))


def refused(times: int, then: AcmeResponse, **problem: object) -> Callable[[AcmeRequest], AcmeResponse]:
    left = [times]

    def reply(_request: AcmeRequest) -> AcmeResponse:
        left[0] -= 1
        return answer(400, problem) if left[0] >= 0 else then

    return reply


BAD_NONCE = {"type": "urn:ietf:params:acme:error:badNonce", "detail": "JWS has an invalid anti-replay nonce"}


def test_bad_nonces_are_repeated_and_not_for_ever() -> None:
    account = answer(201, {}, location="https://ca.test/account")
    pem, _ = play(Server(newAccount=refused(MAX_BAD_NONCES, account, **BAD_NONCE)))
    assert pem == b"PEM"
    with pytest.raises(AcmeError) as failure:
        play(Server(newAccount=refused(MAX_BAD_NONCES + 1, account, **BAD_NONCE)))
    assert failure.value.kind == "badNonce"


def test_a_rate_limit_says_until_when() -> None:
    limit = {"type": "urn:ietf:params:acme:error:rateLimited", "detail": "too many certificates"}
    with pytest.raises(AcmeError, match="too many certificates") as failure:
        play(Server(newOrder=answer(429, limit, retry_after="3600")))
    assert (failure.value.kind, failure.value.retry_after_s) == ("rateLimited", 3600.0)
    until = (forge.NOW + timedelta(minutes=10)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    with pytest.raises(AcmeError) as failure:
        play(Server(newOrder=answer(503, limit, retry_after=until)))
    assert failure.value.retry_after_s == pytest.approx(600, abs=1)


def test_a_server_s_bad_moment_is_waited_for() -> None:
    left = [2]
    order = Server().answers["order"]

    def moment(_request: AcmeRequest) -> AcmeResponse:
        left[0] -= 1
        assert isinstance(order, AcmeResponse)
        return answer(500, {"detail": "oops"}) if left[0] >= 0 else order

    pem, commands = play(Server(order=moment))
    assert pem == b"PEM"
    assert [each.seconds for each in commands if isinstance(each, Pause)] == [2.0, 4.0]
    with pytest.raises(AcmeError, match="oops"):
        play(Server(order=answer(500, {"detail": "oops"})))


def test_the_terms_have_to_be_agreed_to() -> None:
    base = Server().answers["dir"]
    assert isinstance(base, AcmeResponse)
    directory = json.loads(base.body) | {"meta": {"termsOfService": "https://ca.test/terms"}}
    order = CertificateOrder(("a.test",))
    with pytest.raises(AcmeError, match=r"read https://ca\.test/terms, then set terms_agreed"):
        play(Server(dir=answer(body=directory)), order=order)


def test_a_failed_challenge_is_withdrawn_and_its_reason_told() -> None:
    problem = {"type": "urn:ietf:params:acme:error:connection", "detail": "10.0.0.1: Connection refused"}
    judged = {
        "status": "invalid",
        "identifier": {"type": "dns", "value": "a.test"},
        "challenges": [{"type": "tls-alpn-01", "status": "invalid", "error": problem}],
    }
    server = Server()
    pending = server.answers["authz"]

    def authz(request: AcmeRequest) -> AcmeResponse:
        return answer(body=judged) if server._validated else pending(request)  # type: ignore[operator]

    server.answers["authz"] = authz
    with pytest.raises(AcmeError) as failure:
        play(server)
    assert str(failure.value) == "a.test: the CA says invalid: 10.0.0.1: Connection refused (connection)"
    commands = failure.value.commands  # type: ignore[attr-defined]
    assert isinstance(commands[-1], Withdraw)


def test_a_challenge_that_is_not_offered_is_named() -> None:
    only = {"type": "dns-01", "url": "https://ca.test/chall", "token": "x"}
    offered = {"status": "pending", "identifier": {"type": "dns", "value": "A.test"}, "challenges": [only]}
    with pytest.raises(AcmeError, match=r"a\.test: the CA does not offer tls-alpn-01, but dns-01"):
        play(Server(authz=answer(body=offered)))


def test_a_certificate_replaced_already_is_replaced_all_the_same() -> None:
    base = Server().answers["dir"]
    assert isinstance(base, AcmeResponse)
    directory = json.loads(base.body) | {"renewalInfo": "https://ca.test/ari"}
    placed = Server().answers["newOrder"]
    sent: list[object] = []

    def order(request: AcmeRequest) -> AcmeResponse:
        sent.append(payload_of(request))
        assert isinstance(placed, AcmeResponse)
        replaced = {"type": "urn:ietf:params:acme:error:alreadyReplaced", "detail": "done"}
        return answer(409, replaced) if len(sent) == 1 else placed

    wanted = CertificateOrder(("a.test", "192.0.2.1"), terms_agreed=True, replaces="x.y", profile="shortlived")
    pem, _ = play(Server(dir=answer(body=directory), newOrder=order), order=wanted)
    assert pem == b"PEM"
    identifiers = [{"type": "dns", "value": "a.test"}, {"type": "ip", "value": "192.0.2.1"}]
    assert sent == [
        {"identifiers": identifiers, "profile": "shortlived", "replaces": "x.y"},
        {"identifiers": identifiers, "profile": "shortlived"},
    ]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ["status", "challenges", "authorizations", "error", "finalize", "certificate", "identifier"]


def test_a_name_that_was_not_ordered_is_not_proved() -> None:
    """Whatever the CA's answer names would be put into a certificate of ours, and into the log."""
    for name in ("b.test", "ü.test", "", "a.test\n"):
        server = Server(authz=answer(body={"status": "pending", "identifier": {"type": "dns", "value": name}}))
        with pytest.raises(AcmeError, match="to be proved, which was not ordered") as failure:
            play(server)
        assert not any(isinstance(each, Present) for each in failure.value.commands)  # type: ignore[attr-defined]
        assert str(failure.value).isprintable()


def test_json_that_nobody_can_read_is_an_error() -> None:
    told = {"replay-nonce": "n", "content-type": "application/json"}
    for status in (200, 400):
        for body in (b"[" * 100_000, b'{"a":' * 100_000, b"1" * 100_000, b"\xff"):
            for where in ("dir", "newAccount", "order"):
                assert outcome_of(Server(**{where: AcmeResponse(status, told, body)}))


def outcome_of(server: Server) -> str:
    """The certificate, or the error's text."""
    try:
        return play(server)[0].decode() or "empty"
    except AcmeError as error:
        return str(error)


RESOURCES = sorted(Server().answers)


@given(where=st.sampled_from(RESOURCES), body=JSON, status=st.sampled_from([200, 201, 400, 404, 429, 503]))
def test_whatever_a_ca_answers_is_an_error_or_a_certificate(where: str, body: object, status: int) -> None:
    assert outcome_of(Server(**{where: answer(status, body)}))


@given(where=st.sampled_from(RESOURCES), field=st.sampled_from(FIELDS), value=JSON)
def test_any_field_may_hold_anything(where: str, field: str, value: object) -> None:
    server = Server()
    usual = server.answers[where]

    def changed(request: AcmeRequest) -> AcmeResponse:
        told = usual(request) if callable(usual) else usual
        if "json" not in told.headers.get("content-type", "") or not told.body:
            return told
        return AcmeResponse(told.status, told.headers, json.dumps(json.loads(told.body) | {field: value}).encode())

    server.answers[where] = changed
    assert outcome_of(server)


def test_an_external_account_is_bound_by_its_mac() -> None:
    external = ExternalAccount("kid-7", b"secret")
    bound = external.binding(KEY, "https://ca.test/newAccount")
    mac = hmac.digest(b"secret", f"{bound['protected']}.{bound['payload']}".encode(), "sha256")
    assert unbase64url(bound["signature"]) == mac
    assert json.loads(unbase64url(bound["payload"])) == KEY.jwk
    assert "secret" not in repr(external)


def test_the_account_key_survives_its_file_and_shows_itself_nowhere() -> None:
    again = AccountKey.from_pem(KEY.to_pem())
    assert again.jwk == KEY.jwk
    assert "PRIVATE" not in repr(KEY)
    assert "d" not in KEY.jwk
    rsa_pem = AccountKey(forge.rsa_key(2048)).to_pem()  # type: ignore[arg-type]
    for pem in (rsa_pem, b"", b"-----BEGIN PRIVATE KEY-----"):
        with pytest.raises(ValueError):  # noqa: PT011 - what it says is cryptography's
            AccountKey.from_pem(pem)


def test_the_thumbprint_of_rfc_7638() -> None:
    canonical = json.dumps(KEY.jwk, sort_keys=True, separators=(",", ":")).encode()
    expected = base64.urlsafe_b64encode(hashlib.sha256(canonical).digest()).rstrip(b"=").decode()
    assert KEY.key_authorization("t") == f"t.{expected}"


@pytest.mark.parametrize(
    ("token", "good"),
    [("abc-_9", True), ("", False), ("a/b", False), ("..", False), ("a b", False), (7, False), ("x" * 257, False)],
)
def test_tokens(token: object, good: bool) -> None:
    assert is_token(token) is good


def test_the_certificate_of_rfc_8737() -> None:
    challenge = Challenge(ChallengeType.TLS_ALPN_01, "a.test", "t", "t.thumb")
    certificate, key = alpn_certificate(challenge, datetime.now(UTC))
    assert certificate.public_key() == key.public_key()
    san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert san.get_values_for_type(x509.DNSName) == ["a.test"]
    identifier = next(each for each in certificate.extensions if each.oid.dotted_string == "1.3.6.1.5.5.7.1.31")
    assert identifier.critical
    assert isinstance(identifier.value, x509.UnrecognizedExtension)
    assert identifier.value.value == b"\x04\x20" + hashlib.sha256(b"t.thumb").digest()
    address = Challenge(ChallengeType.TLS_ALPN_01, "192.0.2.1", "t", "t.thumb")
    assert address.server_name == "1.2.0.192.in-addr.arpa"


def test_the_identifier_of_rfc_9773() -> None:
    """The example in its section 4.1."""
    authority = bytes.fromhex("69885b6b87464041e1b37b847be59a2a70 44ee81".replace(" ", ""))[:20]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(x509.Name([]))
        .public_key(LEAF_KEY.public_key())
        .serial_number(0x8765432100)
        .not_valid_before(forge.NOW)
        .not_valid_after(forge.NOW + timedelta(days=1))
        .add_extension(x509.AuthorityKeyIdentifier(authority, None, None), critical=False)
        .sign(LEAF_KEY, hashes.SHA256())
    )
    assert certificate_identifier(Certificate.of(certificate)) == f"{base64url(authority)}.AIdlQyEA"
