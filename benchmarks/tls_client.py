"""The clients of ours that speak mutual TLS themselves, as OpenSSL has it."""

from __future__ import annotations

from pathlib import Path

from OpenSSL import SSL


def client_context(certificate: Path, key: Path, trust: Path, suite: str) -> SSL.Context:
    """For TLS 1.3 with one suite."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    context.use_certificate_chain_file(str(certificate))
    context.use_privatekey_file(str(key))
    context.load_verify_locations(str(trust))
    context.set_verify(SSL.VERIFY_PEER)
    context.set_tls13_ciphersuites(suite.encode())
    return context
