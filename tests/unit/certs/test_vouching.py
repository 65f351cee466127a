"""When the issuer of our own leaf may stand beside the trust bundle, and when it may not."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography import x509
from unit.certs import forge
from unit.certs.forge import DAY, NOW, Made

from certs.material import Material
from certs.vouching import vouched_issuer

SECOND = timedelta(seconds=1)
ONLY_SERVERS = (x509.ExtendedKeyUsage([forge.SERVER]), False)
ONLY_SHOP = (x509.NameConstraints([x509.DNSName("shop.internal")], None), True)
NO_POLICIES = (x509.PolicyConstraints(0, None), True)


def issued_by(issuer: Made, root: Made, **more: object) -> Material:
    return forge.material(forge.leaf(issuer), issuer, trust=[root], **more)


def test_the_usual_issuer_is_vouched_for() -> None:
    root = forge.authority()
    issuer = forge.authority("Issuing", root, path_length=0)
    assert vouched_issuer(issued_by(issuer, root)) == issuer.read
    bounded = forge.authority(path_length=1)
    issuer = forge.authority("Issuing", bounded, path_length=0)
    assert vouched_issuer(issued_by(issuer, bounded)) == issuer.read


def test_one_that_may_have_authorities_under_it_is_not() -> None:
    root = forge.authority()
    assert vouched_issuer(issued_by(forge.authority("Issuing", root), root)) is None
    assert vouched_issuer(issued_by(forge.authority("Issuing", root, path_length=1), root)) is None


@pytest.mark.parametrize("extension", [ONLY_SERVERS, ONLY_SHOP, NO_POLICIES])
def test_what_its_own_authority_says_of_those_under_it_is_not_lost(extension: tuple[x509.ExtensionType, bool]) -> None:
    root = forge.authority(extra=[extension])
    assert vouched_issuer(issued_by(forge.authority("Issuing", root, path_length=0), root)) is None


def test_what_it_says_itself_of_policies_is_not_lost() -> None:
    root = forge.authority()
    assert vouched_issuer(issued_by(forge.authority("Issuing", root, path_length=0, extra=[NO_POLICIES]), root)) is None


def test_it_is_not_valid_for_longer_than_what_vouches_for_it() -> None:
    root = forge.authority(starts=NOW - DAY, ends=NOW + DAY)
    for starts, ends in ((NOW - DAY - SECOND, NOW + DAY), (NOW - DAY, NOW + DAY + SECOND)):
        outlasting = forge.authority("Issuing", root, path_length=0, starts=starts, ends=ends)
        assert vouched_issuer(issued_by(outlasting, root)) is None
    within = forge.authority("Issuing", root, path_length=0, starts=NOW - DAY, ends=NOW + DAY)
    assert vouched_issuer(issued_by(within, root)) == within.read


def test_with_revocation_lists_it_stays_to_be_looked_up() -> None:
    root = forge.authority()
    issuer = forge.authority("Issuing", root, path_length=0)
    assert vouched_issuer(issued_by(issuer, root, crls=(forge.revocations(issuer),))) is None


def test_nobody_else_s_issuer_is() -> None:
    root, elsewhere = forge.authority(), forge.authority("Elsewhere")
    namesake = forge.authority("Issuing", elsewhere, path_length=0)
    assert vouched_issuer(issued_by(namesake, root)) is None
    issuer = forge.authority("Issuing", root, path_length=0)
    of_another = forge.material(forge.leaf(issuer), namesake, issuer, trust=[root])
    assert vouched_issuer(of_another) is None


def test_one_in_the_bundle_is_an_anchor_already() -> None:
    root = forge.authority()
    issuer = forge.authority("Issuing", root, path_length=0)
    assert vouched_issuer(forge.material(forge.leaf(issuer), issuer, trust=[root, issuer])) is None
    assert vouched_issuer(forge.material(forge.leaf(root), trust=[root])) is None


def test_strict_verification_is_asked_of_what_vouches_for_it() -> None:
    # Authority information access must not be critical (RFC 5280 section 4.2.2.1).
    root = forge.authority(extra=[(x509.AuthorityInformationAccess([_OCSP]), True)])
    assert vouched_issuer(issued_by(forge.authority("Issuing", root, path_length=0), root)) is None


_OCSP = x509.AccessDescription(
    x509.AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier("http://ocsp.internal")
)
