"""Certificates as records: what can be read of one, and a broken one all the same."""

from __future__ import annotations

from unit.certs import forge

from tlsidecar.admin.certificate_views import certificate_record, certificate_records, crl_records

ROOT = forge.authority()
LEAF = forge.leaf(ROOT, dns=("web.internal",), uris=("spiffe://a.example/web",), ips=("10.0.0.7", "::1"))


def test_the_names_and_the_times_have_their_types() -> None:
    record = certificate_record(LEAF.der)
    assert record.identity == "spiffe://a.example/web"
    assert (record.dns, record.uris, record.ips) == (
        ("web.internal",),
        ("spiffe://a.example/web",),
        ("10.0.0.7", "::1"),
    )
    assert (record.not_before, record.not_after) == (forge.NOW - forge.DAY, forge.NOW + forge.DAY)
    assert record.issuer == certificate_record(ROOT.der).subject


def test_what_cannot_be_read_is_shown_empty() -> None:
    record = certificate_record(b"\x30\x03\x02\x01\x01")
    assert (record.subject, record.dns, record.not_after) == ("", (), None)
    assert record.identity == f"sha256:{record.sha256}", "which one it is can be told all the same"


def test_order_is_that_of_the_chain_and_no_list_means_none() -> None:
    material = forge.material(LEAF, trust=[ROOT])
    assert [each.subject for each in certificate_records([LEAF.read, ROOT.read])] == [
        certificate_record(LEAF.der).subject,
        certificate_record(ROOT.der).subject,
    ]
    assert crl_records(material) == ()
