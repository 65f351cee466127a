"""What the service is told about the client, and that nobody else can tell it."""

from __future__ import annotations

import re

import pytest
from unit.dataplane.http1.conversation import (
    CLIENT_ADDRESS,
    ELEMENT,
    Conversation,
    Message,
    identity_headers,
    listener,
    rules_of,
)

from tlsidecar.dataplane.http.identity_headers import ClientIdentity, RequestIds
from tlsidecar.outcomes import Reason
from tlsidecar.settings import ClientCertificateHeader, Http, Mode

SPOOFS = [
    b"X-Forwarded-Client-Cert", b"x-FORWARDED-client-CERT", b"x_forwarded_client_cert", b"X-Forwarded_Client-Cert",
    b"X.Forwarded.Client.Cert", b"X-Forwarded-Client-Cert-Extra", b"X-Client-Cert", b"X-Client-Cert-Chain",
    b"X-SSL-Client-Verify", b"x_ssl_client_dn", b"SSL-Client-Cert", b"Ssl_Client_S_Dn", b"Client-Cert", b"client_cert",
    b"Client-Cert-Chain", b"X-Forwarded-For", b"X_Forwarded_For", b"X-Forwarded-Proto", b"X-Forwarded-Host",
    b"Forwarded", b"X-Real-IP", b"x_real_ip",
    # Of other proxies: what they say of a certificate, of a user, of a path.
    b"X-Forwarded-Tls-Client-Cert", b"X-Forwarded-Tls-Client-Cert-Info", b"x_forwarded_tls_client_cert_info",
    b"X-ARR-ClientCert", b"X-Amzn-Mtls-Clientcert", b"X-Amzn-Mtls-Clientcert-Subject", b"L5d-Client-Id",
    b"X-SSL-Cert", b"X-Client-DN", b"X-Client-Verify", b"X-SSL-Issuer", b"SSLClientCertSubject",
    b"Cf-Client-Cert-Sha256", b"CloudFront-Viewer-Cert-Subject", b"WL-Proxy-Client-Cert", b"$WSCC", b"$WSRU",
    b"X-SPIFFE-ID", b"X-MTLS-Subject",
    b"X-Envoy-Peer-Metadata", b"X-TLS-Client-CN", b"Remote-User", b"REMOTE_USER", b"Remote-Groups", b"X-Remote-User",
    b"X-Remote-Extra-Scopes", b"X-WEBAUTH-USER", b"X-Forwarded-User", b"X-Forwarded-Groups", b"X-Auth-Request-Email",
    b"X-MS-CLIENT-PRINCIPAL-NAME", b"X-Amzn-Oidc-Identity", b"X-Goog-Authenticated-User-Email", b"X-Consumer-Username",
    b"X-Authenticated-Userid", b"Tailscale-User-Login", b"X-Pomerium-Claim-Email", b"X-authentik-username", b"SM_USER",
    b"iv-user", b"True-Client-IP", b"CF-Connecting-IP", b"X-Cluster-Client-Ip", b"X-Original-Forwarded-For",
    b"X-Original-URI", b"X-Original-URL", b"X-Rewrite-URL", b"X-Forwarded-Uri", b"X-Forwarded-Prefix",
    b"x_original_uri", b"X-Envoy-Original-Path",
    b"X-WSO2-CLIENT-CERTIFICATE", b"Spiffe-Id", b"X-Envoy-Downstream-Service-Cluster", b"OIDC_CLAIM_sub",
    b"OIDC-access-token", b"MELLON_NAME_ID", b"Shib-Session-ID", b"eppn", b"SM_USERDN", b"SM_UNIVERSALID",
    b"OAM_IDENTITY_DOMAIN", b"Osso-User-Guid", b"iv-user-l", b"X-Authenticated-Email", b"X-Forwarded-Roles",
    b"X-Forwarded-Original-Uri", b"X-Userinfo", b"X-Endpoint-API-UserInfo", b"X-Apigateway-Api-Userinfo",
    b"X-Sandstorm-User-Id", b"X-Replit-User-Name", b"X-WebObjects-Remote-User", b"Client-IP", b"Forwarded-For",
    b"X-Forwarded", b"Appengine-User-Ip",
]  # fmt: skip
HOW_IT_CAME = [b"X-Scheme", b"X-ARR-SSL", b"WL-Proxy-SSL", b"X-Original-Host", b"X-Url-Scheme", b"X-Forwarded-Port"]
CERTIFICATE_SPOOFS = [name for name in SPOOFS if re.search(rb"(?i)cert|ssl|wscc|l5d|spiffe|-dn$", name)]
MODES = list(ClientCertificateHeader)


def told(*lines: bytes, http: Http | None = None, force_h11: bool = False, mode: Mode = Mode.TERMINATE) -> Message:
    head = b"GET / HTTP/1.1\r\nHost: a.example\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n"
    talk = Conversation(listener(http=http or Http(underscores="allow"), mode=mode), force_h11=force_h11).client(head)
    (message,) = talk.requests()
    return message


@pytest.mark.parametrize("force_h11", [False, True])
@pytest.mark.parametrize("name", SPOOFS + HOW_IT_CAME)
def test_a_spoofed_field_never_arrives(name: bytes, force_h11: bool) -> None:
    for lines in (
        [name + b": spoof"],
        [name + b": spoof", name + b": spoof"],
        [name + b": spoof", b"Connection: " + name.replace(b"_", b"-")],
        [name + b": spoof", b"Connection: x-forwarded-client-cert, x-forwarded-for, forwarded"],
    ):
        message = told(*lines, force_h11=force_h11)
        assert not any(b"spoof" in value for _, value in message.headers), message
        assert message.values("x-forwarded-client-cert") == [ELEMENT]
        assert message.values("x-forwarded-for") == [CLIENT_ADDRESS.encode()]
        assert message.values("x-forwarded-proto") == [b"https"]
        assert message.values("x-forwarded-host") == [b"a.example"]
        assert message.values("forwarded") == [b'for=192.0.2.7;host="a.example";proto=https']


@pytest.mark.parametrize("name", SPOOFS)
def test_trusting_what_is_forwarded_brings_none_of_the_others_back(name: bytes) -> None:
    message = told(name + b": spoof", http=Http(underscores="allow", trust_forwarded=True))
    spoofed = {said for said, value in message.headers if b"spoof" in value}
    assert spoofed <= {b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"forwarded"}


@pytest.mark.parametrize("name", HOW_IT_CAME)
def test_how_a_client_came_is_a_trusted_ones_word(name: bytes) -> None:
    message = told(name + b": theirs", http=Http(trust_forwarded=True))
    assert message.values(name.decode().lower()) == [b"theirs"]


@pytest.mark.parametrize("name", CERTIFICATE_SPOOFS)
def test_no_application_of_ours_speaks_of_certificates(name: bytes) -> None:
    message = told(name + b": spoof", mode=Mode.ORIGINATE)
    assert not any(b"spoof" in value for _, value in message.headers)


@pytest.mark.parametrize("force_h11", [False, True])
@pytest.mark.parametrize(
    "name",
    [b"X-Forwarded-For", b"X-Forwarded-Proto", b"Forwarded", b"X-Forwarded-Prefix", b"Remote-User", b"X-Real-IP"],
)
def test_an_application_of_ours_says_for_itself_whom_it_serves(name: bytes, force_h11: bool) -> None:
    message = told(name + b": its own", mode=Mode.ORIGINATE, force_h11=force_h11)
    assert message.values(name.decode().lower()) == [b"its own"]


@pytest.mark.parametrize("force_h11", [False, True])
def test_what_a_front_door_of_ours_writes_can_be_kept(force_h11: bool) -> None:
    http = Http(unsafe_keep_headers=("cf-connecting-ip", "cf-client-cert-sha256", "x-forwarded-client-cert"))
    lines = [b"CF-Connecting-IP: 1", b"Cf-Client-Cert-Sha256: 2", b"Cf-Client-Cert-Der: 3", b"True-Client-IP: 4"]
    message = told(*lines, b"X-Forwarded-Client-Cert: 5", http=http, force_h11=force_h11)
    assert message.values("cf-connecting-ip") == [b"1"]
    assert message.values("cf-client-cert-sha256") == [b"2"]
    assert not [value for _, value in message.headers if value in (b"3", b"4", b"5")]


@pytest.mark.parametrize("force_h11", [False, True])
def test_configured_names_are_removed_too(force_h11: bool) -> None:
    http = Http(underscores="allow", remove_headers=("x-tenant", "x-tenant-*"))
    message = told(b"X-Tenant: 1", b"x_tenant: 2", b"X-Tenant-Id: 3", b"X-Tenants: 4", http=http, force_h11=force_h11)
    assert message.values("x-tenants") == [b"4"]
    assert not [value for _, value in message.headers if value in (b"1", b"2", b"3")]


@pytest.mark.parametrize("force_h11", [False, True])
@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (ClientCertificateHeader.SANITIZE_SET, [ELEMENT]),
        (ClientCertificateHeader.APPEND_FORWARD, [b"By=them;Hash=01," + ELEMENT]),
        (ClientCertificateHeader.SANITIZE, []),
        (ClientCertificateHeader.FORWARD_ONLY, [b"By=them;Hash=01"]),
    ],
)
def test_modes(mode: ClientCertificateHeader, expected: list[bytes], force_h11: bool) -> None:
    http = Http(client_certificate_header=mode)
    message = told(b"X-Forwarded-Client-Cert: By=them;Hash=01", http=http, force_h11=force_h11)
    assert message.values("x-forwarded-client-cert") == expected


def test_a_value_that_would_swallow_ours_is_refused() -> None:
    settings = listener(http=Http(client_certificate_header=ClientCertificateHeader.APPEND_FORWARD))
    for value in (b'By="open', b"By=a\\", b"nonsense"):
        talk = Conversation(settings).client(
            b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Client-Cert: " + value + b"\r\n\r\n"
        )
        assert (talk.statuses, talk.reason, talk.upstreams) == ([400], Reason.BAD_HEADER, [])


@pytest.mark.parametrize("mode", MODES)
def test_without_mutual_tls_nothing_is_stated_and_nothing_kept(mode: ClientCertificateHeader) -> None:
    message = told(b"X-Forwarded-Client-Cert: By=them", http=Http(client_certificate_header=mode), mode=Mode.ORIGINATE)
    names = {name for name, _ in message.headers}
    assert names == {b"host", b"x-request-id"}


@pytest.mark.parametrize("force_h11", [False, True])
def test_trusted_words_come_before_ours(force_h11: bool) -> None:
    http = Http(trust_forwarded=True)
    message = told(
        b"X-Forwarded-For: 198.51.100.1", b"x-forwarded-for: 198.51.100.2", b"X-Forwarded-Proto: http",
        b"Forwarded: for=198.51.100.1", b"X-Real-IP: 6.6.6.6", http=http, force_h11=force_h11,
    )  # fmt: skip
    assert message.values("x-forwarded-for") == [b"198.51.100.1, 198.51.100.2, 192.0.2.7"]
    assert message.values("x-forwarded-proto") == [b"http"]
    assert message.values("forwarded") == [b'for=198.51.100.1, for=192.0.2.7;host="a.example";proto=https']
    assert not message.values("x-real-ip")


@pytest.mark.parametrize(
    ("address", "forwarded_for", "node"),
    [
        ("192.0.2.7", [b"192.0.2.7"], b"for=192.0.2.7"),
        ("2001:db8::1", [b"2001:db8::1"], b'for="[2001:db8::1]"'),
        ("fe80::1%eth0", [b"fe80::1"], b'for="[fe80::1]"'),
        ("", [], b"for=unknown"),
    ],
)
def test_addresses(address: str, forwarded_for: list[bytes], node: bytes) -> None:
    rules = rules_of(listener())
    headers = identity_headers(listener(), ClientIdentity(address, b""))
    head = rules.requests.scan(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 0, 27)
    assert head is not None
    fields = dict(headers.fields(head))
    assert [value for name, value in fields.items() if name == b"X-Forwarded-For"] == forwarded_for
    assert fields[b"Forwarded"].startswith(node + b";")
    assert b"X-Forwarded-Client-Cert" not in fields


def test_a_request_id_is_made_where_there_is_none() -> None:
    assert told(b"X-Request-Id: mine").values("x-request-id") == [b"mine"]
    (made,) = told(b"X-Request-Id:").values("x-request-id")
    assert len(made) == 32
    assert made == told().values("x-request-id")[0], "the same generator says the same"


def test_request_ids_do_not_repeat() -> None:
    ids = RequestIds(b"12345678")
    made = [ids.next() for _ in range(10_000)]
    assert len(set(made)) == 10_000
    assert {len(value) for value in made} == {32}
    with pytest.raises(ValueError, match="is 8 bytes"):
        RequestIds(b"short")
