"""What the file says of an identity of ours: the source of its certificate, and whom it trusts."""

from __future__ import annotations

from collections.abc import Mapping

from tlsidecar import settings
from tlsidecar.config.forms import (
    DNS_NAME,
    DURATION,
    DURATION_OR_ZERO,
    FLAG,
    HTTP_URL,
    HTTPS_URL,
    IP_ADDRESS,
    LISTEN_ADDRESS,
    NAME,
    PATH,
    SPIFFE_ENDPOINT,
    SPIFFE_ID,
    TEXT,
    TRUST,
    Many,
    one_of,
)
from tlsidecar.config.tables import Entry, Table, defaults_of

ACME = Table(
    "Acme",
    "An ACME server (RFC 8555) that issues our certificate: ordered when it is due, kept in `state` between runs.",
    defaults_of(settings.Acme),
    (
        Entry("directory", HTTPS_URL, "The server's directory.", required=True),
        Entry("state", PATH, "A directory of our own for the account's key and what was issued.", required=True),
        Entry("contact", Many(TEXT), 'How the CA reaches you, as `"mailto:ops@example.com"`.'),
        Entry("terms_agreed", FLAG, "Whether you agree to the CA's terms of service."),
        Entry(
            "challenge",
            one_of("tls-alpn-01", "http-01"),
            "How the CA is shown that the names are ours: by a TLS handshake on our `terminate` listeners, which it "
            "begins at port 443 of the names, or over HTTP, which it asks for at port 80.",
        ),
        Entry("http", LISTEN_ADDRESS, "http-01: where to answer; open only while the CA may ask."),
        Entry(
            "key_type", one_of("ecdsa-p256", "ecdsa-p384", "rsa-2048", "rsa-3072"), "The kind of key, new each time."
        ),
        Entry("profile", TEXT, "The profile to ask for, where the CA has several."),
        Entry("eab_key_id", TEXT, "External account binding: the key's name, as the CA gave it."),
        Entry("eab_key_file", PATH, "External account binding: a file with the MAC key, in base64url."),
        Entry(
            "server_trust",
            PATH,
            "PEM: the CAs that may vouch for the ACME server itself.",
            worked_out="the system's",
        ),
    ),
)

IDENTITY = Table(
    "Identity",
    "Where our own certificate comes from: files (`cert`), a program (`command`), a local CA (`authority`), a SPIFFE "
    "agent (`spiffe_socket`) or an ACME server (`acme`).",
    defaults_of(settings.IdentitySettings),
    (
        Entry(
            "name",
            NAME,
            "Of several, `[[identity]]`: what listeners, commands and metrics call it.",
            worked_out="`default`, where there is one `[identity]`",
        ),
        Entry("cert", PATH, "PEM: the leaf, then intermediates; may hold the key, too. Or PKCS #12."),
        Entry("key", PATH, "PEM: the private key.", worked_out="the key in `cert`"),
        Entry(
            "trust",
            TRUST,
            "The CAs that may vouch for peers: PEM files and directories of them (`*.pem`, `*.crt`, `*.cer`). "
            '`{ path = "…", trust_domain = "…" }` are good for SPIFFE IDs of that domain only. '
            "Our own chain need not lead there.",
        ),
        Entry("crl", PATH, "Revocation lists."),
        Entry(
            "crl_urls",
            Many(HTTP_URL, at_least=1),
            "Revocation lists on the web, fetched again at half of their life and kept in `crl_cache`.",
        ),
        Entry("crl_cache", PATH, "A directory of our own for what is fetched from `crl_urls`."),
        Entry("passphrase_file", PATH, "A file with the key's passphrase, which is never asked for."),
        Entry("key_group_readable", FLAG, "Accept a key that its group may read, as Kubernetes `fsGroup` needs."),
        Entry(
            "crl_policy",
            one_of("strict", "soft"),
            "Whether a missing or expired revocation list refuses the peer (`strict`) or raises an alarm (`soft`).",
        ),
        Entry(
            "command",
            Many(TEXT, at_least=1),
            "A program that prints one combined PEM: leaf, intermediates, key, and who is trusted where `trust` does "
            "not say. No shell; run again at about two thirds of the certificate's life.",
        ),
        Entry("command_env", Many(TEXT), "Command: the environment variables that it gets, besides PATH."),
        Entry("authority", PATH, "The directory of a local CA, which issues and renews for us."),
        Entry(
            "spiffe_socket",
            SPIFFE_ENDPOINT,
            "The SPIFFE Workload API, whose agent renews for us: `unix:///path` or `tcp://IP:PORT`.",
            worked_out="`$SPIFFE_ENDPOINT_SOCKET`, where no other source is given",
        ),
        Entry("spiffe_hint", TEXT, "SPIFFE: the hint of the identity to take, where the agent has several."),
        Entry("dns", Many(DNS_NAME), "Authority, ACME: DNS names to ask for."),
        Entry("ip", Many(IP_ADDRESS), "Authority, ACME: IP addresses to ask for."),
        Entry(
            "spiffe", SPIFFE_ID, "The SPIFFE ID: authority: to ask for; spiffe_socket: to take of those the agent has."
        ),
        Entry("cn", TEXT, "Authority: the common name to ask for.", "common_name"),
        Entry("ttl", DURATION, "Authority: the lifetime to ask for; renewed at about two thirds of it.", "ttl_s"),
        Entry("poll_interval", DURATION, "How often files, or the authority, are looked at.", "poll_interval_s"),
        Entry(
            "source_timeout",
            DURATION,
            "How long one attempt may take to read material, or to have it issued.",
            "source_timeout_s",
        ),
        Entry(
            "clock_skew", DURATION_OR_ZERO, "How far another machine's clock may be ahead or behind.", "clock_skew_s"
        ),
    ),
    {"acme": ACME},
)

# Each source of an identity with the keys that say something to it.
IDENTITY_SOURCES: Mapping[str, frozenset[str]] = {
    "cert": frozenset({"cert", "key", "passphrase_file", "key_group_readable", "trust", "crl"}),
    "command": frozenset({"command", "command_env", "trust", "crl"}),
    "authority": frozenset({"authority", "dns", "ip", "spiffe", "cn", "ttl", "trust", "crl"}),
    "spiffe_socket": frozenset({"spiffe_socket", "spiffe", "spiffe_hint"}),
    "acme": frozenset({"acme", "dns", "ip", "trust", "crl"}),
}
# Those that bring a certificate and nobody who may vouch for peers.
SOURCES_WITHOUT_TRUST = frozenset({"cert", "acme"})
