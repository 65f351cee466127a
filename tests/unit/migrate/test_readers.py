"""Each reader on what its users write, and on what they did not mean to write. What comes out is a configuration."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlsidecar.config import load
from tlsidecar.migrate import envoy, ghostunnel, hitch, stunnel
from tlsidecar.migrate.draft import Draft, MigrateError
from tlsidecar.settings import Mode, Protocol, Settings, TrustFile


def settings_of(draft: Draft, directory: Path) -> Settings:
    """The result as the sidecar reads it; its files are not looked at."""
    file = directory / "tlsidecar.toml"
    file.write_text(draft.text())
    return load(file, {}, {"XDG_RUNTIME_DIR": str(directory)})


def ghostunnel_of(line: str) -> Draft:
    return ghostunnel.read(line.split())


SERVER = "server --listen :8443 --target 127.0.0.1:8080 --cert s.crt --key s.key --cacert ca.crt"
CLIENT = "client --listen 127.0.0.1:9001 --target db.internal:8443 --keystore both.pem --cacert ca.crt"


def test_ghostunnel_as_a_server(tmp_path: Path) -> None:
    draft = ghostunnel_of(
        f"ghostunnel {SERVER} --allow-cn web --allow-ou=sre --allow-uri spiffe://td/ns/*/sa/x "
        "--allow-dns a.b --connect-timeout 3s --max-concurrent-conns 500 --proxy-protocol --quiet"
    )
    assert draft.lost == []
    assert len(draft.notes) == 1
    (listener,) = settings_of(draft, tmp_path).listeners
    assert listener.mode is Mode.TERMINATE
    assert set(listener.allow) == {"cn:web", "ou:sre", "spiffe://td/ns/*/sa/x", "dns:a.b"}
    assert str(listener.listen) == "0.0.0.0:8443"
    assert (listener.limits.upstream_connect_timeout_s, listener.limits.max_connections) == (3.0, 500)
    assert listener.proxy_protocol == "v2"


def test_ghostunnel_as_a_client(tmp_path: Path) -> None:
    draft = ghostunnel_of(f"{CLIENT} --verify-dns db.internal --override-server-name db --shutdown-timeout 5s")
    assert draft.lost == []
    settings = settings_of(draft, tmp_path)
    (listener,) = settings.listeners
    assert (listener.mode, listener.expect, listener.server_name) == (Mode.ORIGINATE, ("dns:db.internal",), "db")
    assert settings.identity.cert == tmp_path / "both.pem"


def test_ghostunnel_with_a_spiffe_agent(tmp_path: Path) -> None:
    flags = "--listen :8443 --target 127.0.0.1:8080 --use-workload-api-addr unix:///run/agent.sock --allow-cn a"
    draft = ghostunnel_of(f"server {flags}")
    settings = settings_of(draft, tmp_path)
    assert draft.lost == []
    assert settings.identity.spiffe_socket == "unix:///run/agent.sock"


def test_ghostunnel_with_acme(tmp_path: Path) -> None:
    flags = "--listen :443 --target 127.0.0.1:8080 --cacert ca.crt --allow-all --auto-acme-cert web.example"
    draft = ghostunnel_of(f"server {flags} --auto-acme-email ops@web.example --auto-acme-agree-to-tos")
    settings = settings_of(draft, tmp_path)
    assert draft.lost == []
    assert settings.identity.acme is not None
    assert (settings.identity.dns, settings.identity.acme.terms_agreed) == (("web.example",), True)
    assert settings.identity.acme.contact == ("mailto:ops@web.example",)


@pytest.mark.parametrize(
    ("line", "lost"),
    [
        (f"{SERVER} --allow-all --disable-authentication", "clients without a certificate are always refused"),
        (f"{SERVER} --allow-policy p.rego --allow-query data.x", "Rego"),
        (f"{SERVER} --allow-all --cipher-suites AES", "--cipher-suites AES: there is nothing like it"),
        (f"{SERVER} --allow-all --some-new-flag 1", "--some-new-flag 1"),
        (f"{SERVER} --allow-all --pkcs11-module m.so", "--pkcs11-module"),
        (
            "server --listen :1 --target 10.0.0.1:80 --unsafe-target --cert c --key k --cacert a --allow-all",
            "10.0.0.1:80",
        ),
        ("server --listen :1 --target unix:/s --keystore k.p12 --storepass x --allow-all", "passphrase_file"),
        ("server --listen :1 --target unix:/s --cert c --key k --allow-all", "--cacert is not given"),
        (SERVER, "names nobody who may connect"),
    ],
)
def test_what_guarded_ghostunnel_and_is_lost_is_told(line: str, lost: str) -> None:
    draft = ghostunnel_of(line)
    draft.text()
    assert any(lost in each for each in draft.lost), draft.lost
    assert "storepass" not in draft.text().replace("--storepass", "")


STUNNEL = """\
; global
setuid = nobody
pid =
sslVersionMin = TLSv1.3
[web]
accept  = 8443
connect = 8080
cert = /etc/stunnel/web.pem
CAfile = /etc/stunnel/ca.pem
verifyChain = yes
checkHost = shop.internal
checkHost = cart.internal
TIMEOUTidle = 43200
"""


def test_stunnel_as_a_server(tmp_path: Path) -> None:
    draft = stunnel.read(STUNNEL)
    assert draft.lost == []
    settings = settings_of(draft, tmp_path)
    (listener,) = settings.listeners
    assert listener.allow == ("dns:shop.internal", "dns:cart.internal")
    assert [str(each) for each in (listener.listen, *listener.upstreams)] == ["0.0.0.0:8443", "127.0.0.1:8080"]
    assert listener.limits.idle_timeout_s == 43200
    assert settings.tls.min_version == "1.3"


def test_stunnel_as_a_client_of_2005(tmp_path: Path) -> None:
    draft = stunnel.read(
        "client = yes\ncert = all.pem\nCAfile = ca.pem\nverify = 2\nchroot = /var/run\nsetgid = nogroup\n"
        "sslVersion = SSLv3\noptions = NO_SSLv2\nlocal = 127.0.0.1\nRNDfile = /dev/urandom\ndebug = 7\n"
        "[pop3s]\naccept = 127.0.0.1:110\nconnect = mail.internal:995\n"
        "[imaps]\naccept = localhost:143\nconnect = mail.internal:993\n"
    )
    assert draft.lost == []
    first, second = settings_of(draft, tmp_path).listeners
    assert (first.name, second.name, first.mode) == ("pop3s", "imaps", Mode.ORIGINATE)


def test_ports_by_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As /etc/services has them, which need not be on this machine."""
    monkeypatch.setattr("socket.getservbyname", lambda name, _protocol: {"https": 443, "pop3": 110}[name])
    (listener,) = settings_of(
        stunnel.read(STUNNEL.replace("8443", "https").replace("8080", "pop3")), tmp_path
    ).listeners
    assert [each.port for each in (listener.listen, *listener.upstreams)] == [443, 110]


def test_hitch_with_a_certificate_of_one_frontend(tmp_path: Path) -> None:
    draft = hitch.read('frontend = "[*]:8443+one.pem"\nfrontend = "[*]:9443+two.pem"\nbackend = "[127.0.0.1]:80"\n')
    assert [each.listen.port for each in settings_of(draft, tmp_path).listeners] == [8443, 9443]
    assert draft.identity["cert"] == "one.pem"
    assert any("two.pem" in each for each in draft.lost)


@pytest.mark.parametrize(("protocol", "starttls"), [("smtp", "smtp"), ("pgsql", "postgres")])
def test_stunnel_that_agrees_on_tls_in_the_protocol(tmp_path: Path, protocol: str, starttls: str) -> None:
    draft = stunnel.read(STUNNEL + f"protocol = {protocol}\n")
    assert draft.lost == []
    (listener,) = settings_of(draft, tmp_path).listeners
    assert listener.starttls == starttls


@pytest.mark.parametrize(
    ("text", "lost"),
    [
        (STUNNEL.replace("verifyChain = yes\n", ""), "clients needed no certificate"),
        (STUNNEL.replace("verifyChain = yes", "verifyPeer = yes"), "single certificates"),
        (STUNNEL + "PSKsecrets = psk.txt\n", "PSKsecrets".lower()),
        (STUNNEL + "protocol = imap\n", "protocol = imap"),
        (STUNNEL + "sni = web:a.b\n", "sni = web:a.b"),
        (STUNNEL + "[other]\naccept = 1\nconnect = 2\ncert = other.pem\n", "cert = other.pem"),
        (STUNNEL + "[shell]\naccept = 1\nexec = /bin/sh\n", "runs a program"),
        (STUNNEL.replace("connect = 8080", "connect = 10.1.2.3:80"), "10.1.2.3:80 is in the clear"),
    ],
)
def test_what_guarded_stunnel_and_is_lost_is_told(text: str, lost: str) -> None:
    draft = stunnel.read(text)
    draft.text()
    assert any(lost in each for each in draft.lost), draft.lost


HITCH = """\
frontend = {
    host = "*"
    port = "8443"
}
frontend = "[::1]:9443"
backend = "[127.0.0.1]:8080"   # the service
pem-file = { cert = "s.crt" private-key = "s.key" }
client-verify = required
client-verify-ca = "ca.crt"
tls-protos = TLSv1.2 TLSv1.3
workers = 4
write-proxy-v2 = on
ciphers = "HIGH"
"""


def test_hitch(tmp_path: Path) -> None:
    draft = hitch.read(HITCH)
    assert draft.lost == []
    settings = settings_of(draft, tmp_path)
    assert [str(each.listen) for each in settings.listeners] == ["0.0.0.0:8443", "[::1]:9443"]
    assert all(each.proxy_protocol == "v2" and each.allow == ("any",) for each in settings.listeners)
    assert settings.identity.cert == tmp_path / "s.crt"
    assert settings.identity.trust == (TrustFile(tmp_path / "ca.crt"),)


@pytest.mark.parametrize(
    ("text", "lost"),
    [
        (HITCH.replace("required", "optional"), "client-verify = optional"),
        (HITCH + 'pem-file = "second.pem"\n', "second.pem"),
        (HITCH + "proxy-proxy = on\n", "proxy-proxy"),
        (HITCH + "shared-cache = 1\n", "shared-cache"),
        (HITCH.replace("127.0.0.1]:8080", "10.0.0.1]:8080"), "10.0.0.1:8080 is in the clear"),
    ],
)
def test_what_guarded_hitch_and_is_lost_is_told(text: str, lost: str) -> None:
    draft = hitch.read(text)
    draft.text()
    assert any(lost in each for each in draft.lost), draft.lost


def bootstrap(**changes: Any) -> dict[str, Any]:
    tls = {
        "require_client_certificate": True,
        "common_tls_context": {
            "tls_certificates": [{"certificate_chain": {"filename": "s.crt"}, "private_key": {"filename": "s.key"}}],
            "validation_context": {
                "trusted_ca": {"filename": "ca.crt"},
                "match_typed_subject_alt_names": [
                    {"san_type": "URI", "matcher": {"exact": "spiffe://td/ns/a/sa/b"}},
                    {"san_type": "URI", "matcher": {"prefix": "spiffe://td/ns/c/"}},
                    {"san_type": "DNS", "matcher": {"exact": "a.b"}},
                ],
            },
        },
    }
    manager = {
        "forward_client_cert_details": "APPEND_FORWARD",
        "route_config": {"virtual_hosts": [{"routes": [{"match": {"prefix": "/"}, "route": {"cluster": "app"}}]}]},
        "http_filters": [{"name": "envoy.filters.http.router"}],
    }
    listener = {
        "name": "ingress",
        "address": {"socket_address": {"address": "0.0.0.0", "port_value": 8443}},
        "filter_chains": [
            {
                "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": tls},
                "filters": [
                    {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager},
                ],
            }
        ],
    }
    endpoint = {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 8080}}}}
    app = {"name": "app", "load_assignment": {"endpoints": [{"lb_endpoints": [endpoint]}]}}
    db = {
        "name": "db",
        "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": tls | {"sni": "db.internal"}},
        "load_assignment": {
            "endpoints": [
                {"lb_endpoints": [{"endpoint": {"address": {"socket_address": {"address": "db", "port_value": 5432}}}}]}
            ]
        },
    }
    egress = {
        "name": "db",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 5432}},
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.tcp_proxy", "typed_config": {"cluster": "db"}}]}
        ],
    }
    return {"static_resources": {"listeners": [listener, egress], "clusters": [app, db]}, "admin": {}} | changes


def envoy_of(tree: object) -> Draft:
    import json

    return envoy.read(json.dumps(tree))


def test_envoy_both_ways(tmp_path: Path) -> None:
    draft = envoy_of(bootstrap())
    assert draft.lost == []
    ingress, egress = settings_of(draft, tmp_path).listeners
    assert (ingress.mode, ingress.protocol) == (Mode.TERMINATE, Protocol.HTTP)
    assert ingress.allow == ("spiffe://td/ns/a/sa/b", "spiffe://td/ns/c/**", "dns:a.b")
    assert ingress.http.client_certificate_header == "append_forward"
    assert (egress.mode, egress.protocol, egress.server_name) == (Mode.ORIGINATE, Protocol.TCP, "db.internal")


def test_envoys_filters_that_guard_nothing_are_only_noted(tmp_path: Path) -> None:
    tree = bootstrap()
    chain_of(tree)["filters"].insert(0, {"name": "envoy.filters.network.sni_cluster"})
    chain_of(tree)["filters"][1]["typed_config"]["http_filters"].insert(0, {"name": "envoy.filters.http.compressor"})
    draft = envoy_of(tree)
    assert draft.lost == []
    told = [note.partition(": ")[2] for note in draft.notes]
    assert told[:2] == ["the HTTP filter compressor", "the filter sni_cluster"]


def test_envoy_in_yaml_with_anchors(tmp_path: Path) -> None:
    pytest.importorskip("ruamel.yaml")
    text = """
static_resources:
  listeners:
  - name: a
    address: &here {socket_address: {address: 127.0.0.1, port_value: 8443}}
    filter_chains:
    - transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          require_client_certificate: true
          common_tls_context:
            tls_certificates: [{certificate_chain: {filename: s.crt}, private_key: {filename: s.key}}]
            validation_context: {trusted_ca: {filename: ca.crt}}
      filters: [{name: envoy.filters.network.tcp_proxy, typed_config: {cluster: b}}]
  clusters:
  - name: b
    load_assignment: {endpoints: [{lb_endpoints: [{endpoint: {address: {pipe: {path: /run/b.sock}}}}]}]}
"""
    draft = envoy.read(text)
    assert draft.lost == []
    (listener,) = settings_of(draft, tmp_path).listeners
    assert str(listener.upstreams[0]) == "unix:/run/b.sock"


def chain_of(tree: dict[str, Any]) -> dict[str, Any]:
    chain = tree["static_resources"]["listeners"][0]["filter_chains"][0]
    assert isinstance(chain, dict)
    return chain


def tls_of(tree: dict[str, Any]) -> dict[str, Any]:
    tls = chain_of(tree)["transport_socket"]["typed_config"]
    assert isinstance(tls, dict)
    return tls


def regex(tree: dict[str, Any]) -> None:
    names = tls_of(tree)["common_tls_context"]["validation_context"]["match_typed_subject_alt_names"]
    names[0]["matcher"] = {"safe_regex": {"regex": ".*"}}


CHANGES: list[tuple[Callable[[dict[str, Any]], object], str]] = [
    (lambda tree: tls_of(tree).pop("require_client_certificate"), "require_client_certificate is not true"),
    (regex, "safe_regex"),
    (lambda tree: chain_of(tree)["filters"].insert(0, {"name": "envoy.filters.network.rbac"}), "RBAC"),
    (
        lambda tree: chain_of(tree)["filters"][0]["typed_config"]["http_filters"].insert(0, {"name": "x.jwt_authn"}),
        "jwt_authn",
    ),
    (lambda tree: chain_of(tree)["filters"].insert(0, {"name": "envoy.filters.network.ext_authz"}), "ext_authz"),
    (
        lambda tree: chain_of(tree)["filters"][0]["typed_config"]["http_filters"].insert(0, {"name": "x.basic_auth"}),
        "the HTTP filter basic_auth: there is nothing like it here",
    ),
    (lambda tree: chain_of(tree)["filters"].clear(), "neither tcp_proxy nor http_connection_manager"),
    (lambda tree: tree["static_resources"].pop("clusters"), "no endpoints with addresses"),
    (lambda tree: tree["static_resources"]["listeners"][0]["filter_chains"].append({}), "has 2 filter chains"),
    (
        lambda tree: tls_of(tree)["common_tls_context"]["validation_context"].update(
            trust_chain_verification="ACCEPT_UNTRUSTED"
        ),
        "accepts untrusted certificates",
    ),
    (
        lambda tree: tls_of(tree)["common_tls_context"]["validation_context"].update(verify_certificate_spki=["YQ=="]),
        "verify_certificate_spki",
    ),
    (lambda tree: tls_of(tree)["common_tls_context"].update(tls_certificates=[{}, {}]), "several certificates"),
    (lambda tree: tls_of(tree)["common_tls_context"].update(tls_certificates=[{}]), "is not in a file"),
    (
        lambda tree: chain_of(tree)["filters"][0]["typed_config"].update(
            forward_client_cert_details="ALWAYS_FORWARD_ONLY"
        ),
        "a forged header would pass",
    ),
    (lambda tree: chain_of(tree).pop("transport_socket"), "no TLS on either side"),
    (lambda tree: tree.update(dynamic_resources={}), "dynamic_resources"),
    (
        lambda tree: tls_of(tree)["common_tls_context"].update(tls_certificate_sds_secret_configs=[{"name": "x"}]),
        "SDS",
    ),
]


@pytest.mark.parametrize(("change", "lost"), CHANGES, ids=[lost for _, lost in CHANGES])
def test_what_guarded_envoy_and_is_lost_is_told(change: Callable[[dict[str, Any]], object], lost: str) -> None:
    import copy

    tree = copy.deepcopy(bootstrap())
    change(tree)
    draft = envoy_of(tree)
    draft.text()
    assert any(lost in each for each in draft.lost), draft.lost


@pytest.mark.parametrize(
    ("read", "text", "said"),
    [
        (ghostunnel_of, "serve --listen x", "neither server nor client"),
        (ghostunnel_of, "server --listen", "--listen needs a value"),
        (ghostunnel_of, "server --listen :1", "there is no --target"),
        (ghostunnel_of, "", "begin with server or client"),
        (stunnel.read, "", "no service"),
        (stunnel.read, "[a\n", "line 1"),
        (stunnel.read, "[a]\nwhat is this\n", "line 2: neither a service nor option"),
        (stunnel.read, "[a]\naccept = nobody\nconnect = 1\n", "'nobody' is not an address"),
        (stunnel.read, "[a]\naccept = 1\nconnect = 2\nTIMEOUTidle = soon\n", "'soon' is not a number of seconds"),
        (hitch.read, "", "no backend"),
        (hitch.read, "frontend {\n", "line 1: frontend is not followed by ="),
        (hitch.read, 'frontend = {\nhost = "a"\n', "a block has no end"),
        (hitch.read, "backend = nowhere\n", "'nowhere' is not an address"),
        (hitch.read, 'a = "b\n', "line 1: not understood"),
        (envoy.read, "{}", "no static_resources"),
        (envoy.read, "[]", "not a mapping"),
    ],
)
def test_what_is_no_such_configuration_is_said(read: Callable[[str], Draft], text: str, said: str) -> None:
    with pytest.raises(MigrateError) as failure:
        read(text)
    assert said in str(failure.value)


@given(st.text(max_size=60), st.sampled_from(["stunnel", "hitch", "ghostunnel"]))
def test_any_text_is_refused_or_becomes_toml(text: str, reader: str) -> None:
    read = {"stunnel": stunnel.read, "hitch": hitch.read, "ghostunnel": ghostunnel_of}[reader]
    whole = {
        "stunnel": f"[{text}]\naccept = 1\nconnect = 2\nx = {text}\ncert = {text}\n",
        "hitch": f'backend = "[::1]:1"\nfrontend = "[::1]:2"\nx = {text}\n',
        "ghostunnel": f"server --listen :1 --target :2 --cert {text or 'x'} --x={text}",
    }[reader]
    try:
        draft = read(whole)
    except MigrateError:
        return
    tomllib.loads(draft.text())


@pytest.mark.parametrize(
    ("line", "is_lost"),
    [
        ("libwrap = yes", True),
        ("libwrap = no", False),
        ("fips = yes", True),
        ("fips = no", False),
        ("engine = pkcs11", True),
        ("securityLevel = 4", True),
        ("securityLevel = 2", False),
        ("securityLevel = high", False),
    ],
)
def test_stunnels_options_are_lost_where_they_guarded(line: str, is_lost: bool, tmp_path: Path) -> None:
    draft = stunnel.read(STUNNEL + line + "\n")
    settings_of(draft, tmp_path)
    assert bool(draft.lost) is is_lost, (draft.lost, draft.notes)
    assert is_lost or any(line.partition(" ")[0].lower() in note for note in draft.notes)


@pytest.mark.parametrize(
    ("line", "is_lost"),
    [
        ("sni-nomatch-abort = on", True),
        ("sni-nomatch-abort = off", False),
        ('ssl-engine = "pkcs11"', True),
        ("backlog = 5", False),
    ],
)
def test_hitchs_options_are_lost_where_they_guarded(line: str, is_lost: bool) -> None:
    plain = 'frontend = "[*]:8443"\nbackend = "[127.0.0.1]:80"\npem-file = "all.pem"\nclient-verify = required\n'
    before = hitch.read(plain + 'client-verify-ca = "ca.pem"\n').lost
    after = hitch.read(plain + f'client-verify-ca = "ca.pem"\n{line}\n').lost
    assert (len(after) - len(before)) == is_lost, after
