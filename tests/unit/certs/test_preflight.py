"""What may be served, what may not and why, and what is only warned of."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, mldsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import NameOID
from OpenSSL import crypto
from support import odd
from unit.certs import forge

from certs.certificate import Certificate
from certs.chain import rejection
from certs.errors import MaterialError, MaterialReason
from certs.handshake import prove_handshake
from certs.identity import Role
from certs.material import Material, PrivateKey
from certs.pem import certificates_in, key_in, parse_certificate, read_blocks
from certs.preflight import Inspection, inspect, preflight
from certs.revocation_list import RevocationList
from certs.sources.files import FileSource

ROOT = forge.authority()
MIDDLE = forge.authority("Middle", ROOT, path_length=0)
MINUTE = timedelta(minutes=1)
BOTH = forge.BOTH_ROLES


def good(**changes: object) -> Material:
    return forge.material(forge.leaf(MIDDLE, **changes), MIDDLE, trust=[ROOT])


def reasons(material: Material, roles: tuple[Role, ...] = BOTH, **more: object) -> list[MaterialReason]:
    return [error.reason for error in inspect(material, roles, forge.NOW, **more).problems]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "material",
    [
        good(),
        good(uris=["spiffe://td/web"], dns=[]),
        good(key=forge.rsa_key(2048)),
        good(key=forge.ed25519_key()),
        good(subject=[(NameOID.COMMON_NAME, "web")]),
        forge.material(forge.leaf(ROOT), trust=[forge.authority("Another"), ROOT]),
        forge.material(forge.leaf(MIDDLE), trust=[MIDDLE]),  # an intermediate alone as the anchor
    ],
    ids=["dns", "spiffe only", "rsa", "ed25519", "subject", "no intermediate", "partial chain"],
)
@pytest.mark.parametrize("role", Role)
def test_good_material_passes_and_shakes_hands(material: Material, role: Role) -> None:
    assert preflight(material, [role], forge.NOW) == ()
    prove_handshake(material, role, forge.NOW)


def test_a_good_chain_is_built_once(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[int] = []

    def counted(*arguments: Any) -> tuple[int, int, str] | None:
        built.append(arguments[-1])
        return rejection(*arguments)

    monkeypatch.setattr("certs.preflight.rejection", counted)
    assert preflight(good(), BOTH, forge.NOW) == ()
    assert built == [crypto.X509StoreFlags.X509_STRICT | crypto.X509StoreFlags.PARTIAL_CHAIN]


@pytest.mark.parametrize("role", Role)
def test_what_trustme_makes_passes(tmp_path: Path, role: Role) -> None:
    root = trustme.CA()
    issued = root.create_child_ca().issue_cert("web.internal")
    key = forge.write(tmp_path / "key", issued.private_key_pem.bytes(), 0o600)
    cert = forge.write(tmp_path / "cert", b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    trust = forge.write(tmp_path / "trust", root.cert_pem.bytes())
    material = FileSource(cert, key, trust).load()
    assert preflight(material, [role], forge.NOW) == ()
    prove_handshake(material, role, forge.NOW)


def _with_key_of_another() -> Material:
    return forge.material(forge.Made(forge.leaf(ROOT).certificate, forge.new_key()), trust=[ROOT])


REFUSED: dict[str, tuple[Callable[[], Material], MaterialReason]] = {
    "another's key": (_with_key_of_another, MaterialReason.KEY_MISMATCH),
    "expired": (lambda: good(ends=forge.NOW - MINUTE), MaterialReason.EXPIRED),
    "expires now": (lambda: good(ends=forge.NOW), MaterialReason.EXPIRED),
    "from tomorrow": (
        lambda: good(starts=forge.NOW + forge.DAY / 2),
        MaterialReason.NOT_YET_VALID,
    ),
    "no SAN": (
        lambda: good(dns=[], subject=[(NameOID.COMMON_NAME, "web")]),
        MaterialReason.NO_SUBJECT_ALTERNATIVE_NAME,
    ),
    "for code signing": (
        lambda: good(usages=[x509.ExtendedKeyUsageOID.CODE_SIGNING]),
        MaterialReason.WRONG_PURPOSE,
    ),
    "for anything": (
        lambda: good(usages=[x509.ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]),
        MaterialReason.WRONG_PURPOSE,
    ),
    "key encipherment only": (lambda: good(digital_signature=False), MaterialReason.WRONG_PURPOSE),
    "a CA": (lambda: good(is_ca=True), MaterialReason.IS_CA),
    "two SPIFFE IDs": (lambda: good(uris=["spiffe://a/b", "spiffe://a/c"]), MaterialReason.INVALID_SVID),
    "RSA 1024": (lambda: good(key=forge.rsa_key(1024)), MaterialReason.WEAK_KEY),
    "no trust": (lambda: forge.material(forge.leaf(ROOT), trust=[]), MaterialReason.TRUST_EMPTY),
    "intermediate missing": (
        lambda: forge.material(forge.leaf(MIDDLE), trust=[ROOT]),
        MaterialReason.CHAIN_INCOMPLETE,
    ),
    "another's trust": (
        lambda: forge.material(forge.leaf(MIDDLE), trust=[forge.authority("Other")]),
        MaterialReason.CHAIN_INCOMPLETE,
    ),
    "self-signed": (lambda: forge.material(forge.leaf(), trust=[ROOT]), MaterialReason.CHAIN_INCOMPLETE),
    "a namesake's trust": (
        lambda: forge.material(forge.leaf(ROOT), trust=[forge.authority()]),
        MaterialReason.CHAIN_INCOMPLETE,
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_bad_material_is_refused_with_its_reason(what: str) -> None:
    make, reason = REFUSED[what]
    material = make()
    with pytest.raises(MaterialError) as raised:
        preflight(material, BOTH, forge.NOW)
    assert raised.value.reason is reason
    assert set(reasons(material)) == {reason}
    assert raised.value.reason.sentence in str(raised.value)


def test_our_own_chain_need_not_lead_to_whom_we_trust() -> None:
    """A public server certificate, and a private CA for the clients."""
    other = forge.authority("Other")
    for material in (
        forge.material(forge.leaf(MIDDLE), MIDDLE, trust=[other]),
        forge.material(forge.leaf(MIDDLE), MIDDLE, ROOT, trust=[other]),
        forge.material(forge.leaf(ROOT), ROOT, trust=[other]),
    ):
        (warning,) = preflight(material, BOTH, forge.NOW)
        assert "not in the trust bundle: peers must trust it" in warning


def test_but_it_must_be_whole_and_valid() -> None:
    other = forge.authority("Other")
    expired = forge.authority("Middle", ROOT, ends=forge.NOW - timedelta(hours=1))
    assert reasons(forge.material(forge.leaf(expired), expired, trust=[other])) == [MaterialReason.EXPIRED]
    with pytest.raises(MaterialError, match="put the certificate of its issuer behind it"):
        preflight(forge.material(forge.leaf(MIDDLE), trust=[other]), BOTH, forge.NOW)


@pytest.mark.parametrize(
    ("usages", "roles", "fits"),
    [
        ([forge.SERVER], [Role.SERVER], True),
        ([forge.SERVER], [Role.CLIENT], False),
        ([forge.CLIENT], [Role.SERVER], False),
        ([forge.CLIENT], [Role.CLIENT], True),
        ([forge.SERVER], [Role.SERVER, Role.CLIENT], False),
        ([forge.SERVER, forge.CLIENT], [Role.SERVER, Role.CLIENT], True),
        ([forge.CLIENT], [], True),
    ],
)
def test_the_purpose_fits_the_roles(usages: list[x509.ObjectIdentifier], roles: list[Role], fits: bool) -> None:
    assert reasons(good(usages=usages), tuple(roles)) == ([] if fits else [MaterialReason.WRONG_PURPOSE])


def test_no_extended_key_usage_is_only_warned_of() -> None:
    (warning,) = preflight(good(usages=None), BOTH, forge.NOW)
    assert "extended key usage" in warning


@pytest.mark.parametrize(
    ("ahead", "verdict"),
    [(timedelta(0), "fine"), (MINUTE, "warned"), (5 * MINUTE, "warned"), (5 * MINUTE + timedelta(seconds=1), "waits")],
)
def test_a_not_before_ahead_of_our_clock(ahead: timedelta, verdict: str) -> None:
    material = good(starts=forge.NOW + ahead)
    if verdict == "waits":
        (problem,) = inspect(material, BOTH, forge.NOW).problems
        assert problem.reason is MaterialReason.NOT_YET_VALID
        assert problem.retry_at == forge.NOW + timedelta(seconds=1)
        assert preflight(material, BOTH, problem.retry_at)
        return
    assert len(preflight(material, BOTH, forge.NOW)) == (1 if verdict == "warned" else 0)


def test_an_expired_issuer_is_a_problem() -> None:
    old_middle = forge.authority("Old middle", ROOT, ends=forge.NOW - MINUTE)
    material = forge.material(forge.leaf(old_middle), old_middle, trust=[ROOT])
    assert reasons(material) == [MaterialReason.EXPIRED]
    old_root = forge.authority("Old root", ends=forge.NOW - MINUTE)
    assert reasons(forge.material(forge.leaf(old_root), trust=[old_root])) == [MaterialReason.EXPIRED]


def test_an_expired_certificate_outside_the_chain_is_not() -> None:
    stray = forge.authority("Stray", ROOT, ends=forge.NOW - MINUTE)
    material = forge.material(forge.leaf(MIDDLE), MIDDLE, stray, trust=[ROOT, forge.authority("Old", ends=forge.NOW)])
    warnings = preflight(material, BOTH, forge.NOW)
    assert len(warnings) == 2
    assert all("expired" in warning for warning in warnings)


def test_a_path_too_long_is_a_problem() -> None:
    below = forge.authority("Below", MIDDLE)
    assert reasons(forge.material(forge.leaf(below), below, MIDDLE, trust=[ROOT])) == [MaterialReason.CHAIN_INVALID]


@pytest.mark.needs("openssl")
def test_a_sha1_signature_is_weak(tmp_path: Path) -> None:
    """By openssl, since cryptography does not sign with SHA-1 any more."""
    root = forge.write(tmp_path / "root.pem", ROOT.pem)
    root_key = forge.write(tmp_path / "root.key", ROOT.key_pem(), 0o600)
    key = forge.write(tmp_path / "key", forge.leaf(ROOT).key_pem(), 0o600)
    out = tmp_path / "leaf.pem"
    extensions = ["-addext", "subjectAltName=DNS:a", "-addext", "extendedKeyUsage=serverAuth"]
    extensions += ["-addext", "basicConstraints=critical,CA:false"]
    command = ["openssl", "req", "-new", "-x509", "-sha1", "-key", str(key), "-subj", "/CN=a", "-out", str(out)]
    subprocess.run([*command, "-CA", str(root), "-CAkey", str(root_key), *extensions], check=True, capture_output=True)
    material = FileSource(out, key, root).load()
    now = material.identity.not_before
    found = [problem.reason for problem in inspect(material, [Role.SERVER], now).problems]
    assert found == [MaterialReason.WEAK_SIGNATURE]


def crl_material(*crls: RevocationList, made: forge.Made | None = None) -> Material:
    return forge.material(made or forge.leaf(MIDDLE), MIDDLE, trust=[ROOT], crls=crls)


def test_good_lists_pass() -> None:
    assert preflight(crl_material(forge.revocations(MIDDLE, 1, 2), forge.revocations(ROOT)), BOTH, forge.NOW) == ()


def test_bad_lists_are_refused() -> None:
    stranger = forge.authority("Stranger")
    namesake = forge.authority("Middle")
    past = forge.NOW - MINUTE
    made = forge.leaf(MIDDLE)
    for crl, reason in (
        (forge.revocations(stranger), MaterialReason.CRL_INVALID),
        (forge.revocations(namesake), MaterialReason.CRL_INVALID),
        (forge.revocations(MIDDLE, next_update=past), MaterialReason.CRL_EXPIRED),
        (forge.revocations(MIDDLE, next_update=forge.NOW), MaterialReason.CRL_EXPIRED),
        (forge.revocations(MIDDLE, this_update=forge.NOW + forge.DAY / 2), MaterialReason.CRL_INVALID),
        (forge.revocations(MIDDLE, made.certificate.serial_number), MaterialReason.REVOKED),
        (forge.revocations(ROOT, MIDDLE.certificate.serial_number), MaterialReason.REVOKED),
    ):
        assert reasons(crl_material(crl, made=made)) == [reason], crl
    # A serial is revoked by its own issuer only.
    assert reasons(crl_material(forge.revocations(ROOT, made.certificate.serial_number), made=made)) == []


def _points(**only: object) -> x509.IssuingDistributionPoint:
    said: dict[str, object] = {"full_name": None, "relative_name": None, "only_some_reasons": None}
    said |= dict.fromkeys(("only_contains_user_certs", "only_contains_ca_certs", "indirect_crl"), False)
    return x509.IssuingDistributionPoint(**{**said, "only_contains_attribute_certs": False, **only})  # type: ignore[arg-type]


UNREAD = {
    "delta": x509.DeltaCRLIndicator(1),
    "indirect": _points(indirect_crl=True),
    "some reasons": _points(only_some_reasons=frozenset([x509.ReasonFlags.key_compromise])),
    "attribute certificates": _points(only_contains_attribute_certs=True),
    "critical extension 1.2.3.4": x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\5\0"),
}


@pytest.mark.parametrize("what", UNREAD)
def test_a_list_that_openssl_passes_over_is_refused(what: str) -> None:
    """Beside a complete one it would revoke nobody, and nobody would know; alone it would turn everybody away."""
    whole, part = forge.revocations(MIDDLE), forge.revocations(MIDDLE, 7, extensions=[UNREAD[what]])
    (problem,) = inspect(crl_material(whole, part), BOTH, forge.NOW).problems
    assert problem.reason is MaterialReason.CRL_INVALID
    assert what in str(problem)
    (warning,) = preflight(crl_material(whole, part), BOTH, forge.NOW, soft_crl=True)
    assert what in warning
    for kind in (_points(only_contains_user_certs=True), _points(only_contains_ca_certs=True)):
        assert reasons(crl_material(whole, forge.revocations(MIDDLE, extensions=[kind]))) == []


def _named(authority: forge.Made) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.certificate.public_key())  # type: ignore[arg-type]


def test_of_two_cas_of_one_name_each_list_names_its_key() -> None:
    """A CA with a new key: OpenSSL would take the newer list for that of both, and shut out the peers of one."""
    old, new = forge.authority("Root"), forge.authority("Root")
    made = forge.leaf(new, serial=7)

    def inspected(*crls: RevocationList, soft: bool = False) -> Inspection:
        material = forge.material(made, trust=[old, new], crls=crls)
        return inspect(material, BOTH, forge.NOW, soft_crl=soft)

    named = [forge.revocations(old, 7, extensions=[_named(old)]), forge.revocations(new, 8, extensions=[_named(new)])]
    assert inspected(*named).problems == []  # 7 is revoked by the other one
    assert [each.reason for each in inspected(forge.revocations(new, 7)).problems] == [MaterialReason.REVOKED]
    for lists in (
        (forge.revocations(old), forge.revocations(new)),
        (forge.revocations(old), named[1]),
        (named[0], forge.revocations(new, extensions=[x509.AuthorityKeyIdentifier(None, None, None)])),
    ):
        problems = inspected(*lists).problems
        assert {each.reason for each in problems} == {MaterialReason.CRL_INVALID}
        assert all("does not name its key" in each.detail for each in problems)
        assert any("does not name its key" in each for each in inspected(*lists, soft=True).warnings)
    assert inspected(forge.revocations(new), forge.revocations(new, 9)).problems == []  # of one key


def test_an_old_list_beside_a_newer_one_is_only_warned_of() -> None:
    past = forge.NOW - MINUTE
    old = forge.revocations(MIDDLE, this_update=forge.NOW - forge.DAY, next_update=past)
    (warning,) = preflight(crl_material(old, forge.revocations(MIDDLE, 7)), BOTH, forge.NOW)
    assert "replaced" in warning
    users = forge.revocations(MIDDLE, extensions=[_points(only_contains_user_certs=True)])
    for other in (forge.revocations(ROOT), forge.revocations(MIDDLE, next_update=past), users):
        assert MaterialReason.CRL_EXPIRED in reasons(crl_material(old, other))


def test_a_list_of_a_peers_intermediate_is_only_warned_of() -> None:
    peers_middle = forge.authority("Peers' middle", ROOT)
    (warning,) = preflight(crl_material(forge.revocations(peers_middle), forge.revocations(ROOT)), BOTH, forge.NOW)
    assert "Peers' middle" in warning
    late = forge.revocations(peers_middle, next_update=forge.NOW)
    assert reasons(crl_material(late, forge.revocations(ROOT))) == [MaterialReason.CRL_EXPIRED]


def test_a_list_past_its_next_update_may_be_let_through_with_a_warning() -> None:
    material = crl_material(forge.revocations(MIDDLE, next_update=forge.NOW - MINUTE))
    (warning,) = preflight(material, BOTH, forge.NOW, soft_crl=True)
    assert "replaced" in warning


def test_every_problem_is_told_at_once() -> None:
    made = forge.leaf(
        MIDDLE, is_ca=True, dns=[], usages=[forge.CLIENT], key=forge.rsa_key(1024), ends=forge.NOW - MINUTE
    )
    material = forge.material(made, MIDDLE, trust=[ROOT], crls=(forge.revocations(ROOT, next_update=forge.NOW),))
    found = reasons(material)
    assert set(found) >= {
        MaterialReason.IS_CA,
        MaterialReason.NO_SUBJECT_ALTERNATIVE_NAME,
        MaterialReason.WRONG_PURPOSE,
        MaterialReason.EXPIRED,
        MaterialReason.WEAK_KEY,
        MaterialReason.CRL_EXPIRED,
    }


def test_warnings_of_the_source_come_along() -> None:
    material = forge.material(forge.leaf(ROOT), trust=[ROOT], notes=("the chain was not in order",))
    assert preflight(material, BOTH, forge.NOW) == ("the chain was not in order",)


def _lax_authority() -> forge.Made:
    """A CA without key usage and subject key identifier: X509_V_FLAG_X509_STRICT minds, the default does not."""
    key = forge.new_key()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Lax")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(forge.NOW - forge.DAY).not_valid_after(forge.NOW + forge.DAY)
    builder = builder.add_extension(x509.BasicConstraints(True, None), critical=True)
    return forge.Made(builder.sign(key, forge.Wish().hash_algorithm), key)


def test_a_chain_that_only_strict_peers_refuse_is_warned_of() -> None:
    lax = _lax_authority()
    vouching, chain = preflight(forge.material(forge.leaf(lax), trust=[lax, ROOT]), BOTH, forge.NOW)
    assert "CN=Lax, in the trust bundle, can vouch for nobody: it has no key usage" in vouching
    assert "strict" in chain


@pytest.mark.parametrize("what", ["a leaf", "a self-signed leaf", "a lax CA", "a leaf and a lax CA", "a CA for mail"])
def test_a_bundle_that_vouches_for_nobody_is_as_good_as_none(what: str) -> None:
    for_mail = x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.EMAIL_PROTECTION])
    mail = forge.authority("Mail", extra=[(for_mail, False)])
    bundles = {
        "a leaf": [forge.leaf(MIDDLE)],
        "a self-signed leaf": [forge.leaf()],
        "a lax CA": [_lax_authority()],
        "a leaf and a lax CA": [forge.leaf(MIDDLE), _lax_authority()],
        "a CA for mail": [mail],
    }
    material = forge.material(forge.leaf(MIDDLE), MIDDLE, trust=bundles[what])
    found = inspect(material, BOTH, forge.NOW)
    assert [problem.reason for problem in found.problems] == [MaterialReason.TRUST_UNUSABLE]
    assert "can vouch for nobody: " in found.problems[0].detail
    # Whoever only asks whether a file leads to it is told as much, and no more.
    for_files = inspect(material, BOTH, forge.NOW, own_chain_suffices=False)
    assert MaterialReason.TRUST_UNUSABLE not in [problem.reason for problem in for_files.problems]
    beside_a_good_one = forge.material(forge.leaf(MIDDLE), MIDDLE, trust=[*bundles[what], ROOT])
    assert inspect(beside_a_good_one, BOTH, forge.NOW).problems == []


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        (ec.generate_private_key(ec.BrainpoolP256R1()), "a key on the curve brainpoolP256r1"),
        (ec.generate_private_key(ec.SECP256K1()), "a key on the curve secp256k1"),
        (mldsa.MLDSA65PrivateKey.generate(), "an ML-DSA-65 key"),
        (dsa.generate_private_key(1024), "a DSA key"),
    ],
)
def test_keys_that_are_not_taken_are_called_what_they_are(key: PrivateKeyTypes, kind: str) -> None:
    with pytest.raises(MaterialError) as raised:
        preflight(forge.material(forge.leaf(ROOT, key=key), trust=[ROOT]), BOTH, forge.NOW)
    assert raised.value.reason is MaterialReason.UNSUPPORTED_KEY
    assert kind in raised.value.detail


@pytest.mark.needs("openssl")
def test_a_key_for_rsa_pss_alone_is_refused_in_a_sentence(tmp_path: Path) -> None:
    command = "openssl req -x509 -newkey rsa-pss -pkeyopt rsa_keygen_bits:2048 -nodes -keyout k -out c -subj /CN=x"
    subprocess.run([*command.split(), "-addext", "subjectAltName=DNS:x"], cwd=tmp_path, check=True, capture_output=True)
    key = PrivateKey(key_in(read_blocks((tmp_path / "k").read_bytes()), None))
    (leaf,) = certificates_in(read_blocks((tmp_path / "c").read_bytes()))
    (problem,) = [
        each
        for each in inspect(Material(leaf, (), key, (leaf,)), BOTH, datetime.now(UTC)).problems
        if each.reason is MaterialReason.UNSUPPORTED_KEY
    ]
    assert "a plain RSA key signs by RSA-PSS in TLS as well" in problem.detail


def test_a_path_length_in_a_leaf_is_told_in_our_words() -> None:
    pathlen = odd.extension("2.5.29.19", bytes.fromhex("3003020100"), critical=True)
    ca = odd.authority()
    made = odd.leaf(ca, extensions=(pathlen,), without=(x509.OID_BASIC_CONSTRAINTS,))
    material = Material(Certificate(made.der), (), PrivateKey(made.key), (Certificate(ca.der),))
    (problem,) = inspect(material, BOTH, datetime.now(UTC)).problems
    assert problem.reason is MaterialReason.CERTIFICATE_UNPARSABLE
    assert "it is no CA, and yet has a path length (pathlen)" in problem.detail


@pytest.mark.parametrize("role", Role)
def test_a_trial_handshake_fails_where_it_should(role: Role) -> None:
    other = forge.authority("Other")
    wrong_end = [forge.CLIENT] if role is Role.SERVER else [forge.SERVER]
    for material in (
        forge.material(forge.leaf(MIDDLE), MIDDLE, trust=[other]),
        forge.material(forge.leaf(MIDDLE), trust=[ROOT]),
        good(ends=forge.NOW - MINUTE),
        good(usages=wrong_end),
        _with_key_of_another(),
    ):
        with pytest.raises(MaterialError) as raised:
            prove_handshake(material, role, forge.NOW)
        assert raised.value.reason is MaterialReason.HANDSHAKE_FAILED


def test_hostile_leaves_are_problems_never_exceptions() -> None:
    made = forge.leaf(MIDDLE, dns=["aaaa"])
    der = made.der
    for position in range(0, len(der), 3):
        damaged = bytearray(der)
        damaged[position] ^= 0x55
        try:
            certificate = parse_certificate(bytes(damaged))
        except MaterialError:
            continue
        material = forge.material(forge.Made(certificate, made.key), MIDDLE, trust=[ROOT])
        assert inspect(material, BOTH, forge.NOW).problems
