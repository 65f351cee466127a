"""Which field names mean something to us: framing, this hop only, or identity that only we may state.

All names here are folded (:func:`~tlsidecar.dataplane.http.grammar.fold`): lowercase, with ``-`` for every byte that
is neither letter nor digit.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from tlsidecar.dataplane.http.grammar import fold
from tlsidecar.lazy_dataclass import dataclass

# Fields that say where a message ends or whom it is for. Nothing may name them in Connection, and no other spelling
# of them is let through.
FRAMING = frozenset({b"content-length", b"transfer-encoding", b"host"})

# Fields for this hop only (RFC 9110 section 7.6.1, RFC 9113 section 3.1); "proxy" is the request field that CGI turns
# into the HTTP_PROXY variable (CVE-2016-5385).
REQUEST_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authorization",
        b"proxy",
        b"te",
        b"trailer",
        b"upgrade",
        b"expect",
        b"http2-settings",
    }
)
RESPONSE_HOP_BY_HOP = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"proxy-authenticate", b"te", b"trailer", b"upgrade"}
)

CLIENT_CERTIFICATE = b"x-forwarded-client-cert"
# What a proxy says of how the client came: ours to say, and a client's own only where it is trusted. Rack, Spring,
# Tornado and ASP.NET take the scheme and the port of a request from any of these.
FORWARDED = frozenset(
    {
        b"x-forwarded-for",
        b"x-forwarded-proto",
        b"x-forwarded-host",
        b"forwarded",
        b"x-forwarded-port",
        b"x-forwarded-protocol",
        b"x-forwarded-scheme",
        b"x-forwarded-ssl",
        b"x-forwarded-server",
        b"x-forwarded-by",
        b"front-end-https",
        b"x-url-scheme",
        b"x-scheme",  # Tornado, ingress-nginx
        b"x-arr-ssl",  # IIS
        b"wl-proxy-ssl",  # WebLogic
        b"x-original-host",  # Azure Application Gateway
        b"x-original-proto",
    }
)

# What other proxies state of a client's certificate. Removed in both modes: on the next hop the certificate is ours.
# RFC 9440 section 2.4 wants Client-Cert and Client-Cert-Chain removed whatever else is configured.
CERTIFICATE = frozenset(
    {
        b"client-cert",
        b"client-cert-chain",
        b"x-client-dn",  # nginx and Apache by custom, as most of those with "ssl" and "client" in them
        b"x-client-verify",
        b"x-client-verified",
        b"x-client-cn",
        b"x-client-subject",
        b"x-client-issuer",
        b"x-client-serial",
        b"x-client-fingerprint",
        b"x-spiffe-id",
        b"l5d-client-id",  # linkerd
        b"x-envoy-peer-metadata",  # Istio
        b"x-envoy-peer-metadata-id",
        b"ssl-cipher",  # Tomcat's SSLValve
        b"ssl-session-id",
        b"ssl-verified",
        b"x-client-subject-dn",
        b"x-client-s-dn",
        b"x-subject-dn",
        b"x-cert-dn",
        b"x-cert-verified",
        b"x-verified-client",
        b"x-peer-certificate",
        b"x-certificate-subject",
        b"x-wso2-client-certificate",
        b"spiffe-id",
        b"x-istio-attributes",
        b"x-envoy-downstream-service-cluster",
        b"x-envoy-downstream-service-node",
    }
)
CERTIFICATE_PREFIXES = (
    CLIENT_CERTIFICATE,
    b"x-forwarded-tls-client-cert",  # Traefik
    b"x-forwarded-mtls-client-cert",  # Airlock
    b"x-forwarded-ssl-client",
    b"x-client-cert",  # Google Cloud's examples
    b"x-client-certificate",
    b"x-client-ssl",
    b"x-client-tls",
    b"x-tls-client",
    b"x-mtls-",
    b"x-ssl-",  # HAProxy's and nginx's examples: X-SSL-Cert, X-SSL-Client-DN, …
    b"ssl-client",  # Apache, ingress-nginx
    b"sslclient",  # BIG-IP
    b"tls-client",
    b"x-arr-clientcert",  # Azure App Service, IIS
    b"x-amzn-mtls-clientcert",  # AWS Application Load Balancer
    b"cloudfront-viewer-cert",  # AWS CloudFront
    b"cf-client-cert",  # Cloudflare
    b"client-to-edge",  # Akamai
    b"wl-proxy-client-",  # WebLogic
    b"-ws",  # WebSphere: $WSCC, $WSRU, …
)

# Who the user is, or where it comes from, as gateways tell their services. An ambassador's own application may say so.
USER = frozenset(
    {
        b"x-real-ip",
        b"x-client-ip",
        b"x-cluster-client-ip",
        b"x-original-forwarded-for",
        b"x-envoy-external-address",
        b"x-envoy-internal",
        b"true-client-ip",  # Akamai, Cloudflare
        b"cf-connecting-ip",
        b"cf-connecting-ipv6",
        b"cf-pseudo-ipv4",
        b"fastly-client-ip",
        b"fly-client-ip",
        b"x-azure-clientip",
        b"x-azure-socketip",
        b"l5d-remote-ip",
        b"client-ip",  # PHP's HTTP_CLIENT_IP
        b"proxy-client-ip",
        b"x-forwarded",  # npm's request-ip believes these two, and App Engine's
        b"forwarded-for",
        b"appengine-user-ip",
        b"x-originating-ip",
        b"sec-istio-auth-userinfo",
        b"x-anonymous-consumer",  # Kong
        b"x-credential-identifier",
        b"proxy-remote-user",
        b"logon-user",  # IIS
        b"smuser",  # SiteMinder
        b"iv-groups",  # WebSEAL
        b"iv-creds",
        b"x-webobjects-remote-user",
        b"x-userinfo",  # Kong's plugins for OpenID Connect
        b"x-endpoint-api-userinfo",  # Google Cloud's Endpoints and API Gateway
        b"x-apigateway-api-userinfo",
        b"x-msisdn",  # mobile networks
        b"eppn",  # Shibboleth
        b"x-vouch-user",  # Vouch Proxy
        b"gap-auth",  # oauth2-proxy
        b"dapr-caller-app-id",
    }
)
USER_PREFIXES = (
    b"remote-",  # Remote-User and what Authelia sends beside it
    b"x-remote-",  # X-Remote-User, X-Remote-Group and X-Remote-Extra-… of Kubernetes' front proxy
    b"x-webauth-",  # Grafana
    b"x-forwarded-",  # whatever else a proxy may say: -User and -Groups of oauth2-proxy and Traefik, -Roles, …
    b"x-authenticated-",
    b"x-auth-request-",
    b"x-consumer-",
    b"x-ms-client-principal",  # Azure App Service
    b"x-ms-token-",
    b"x-amzn-oidc-",  # AWS Application Load Balancer
    b"x-goog-authenticated-user-",  # Google Cloud's IAP
    b"x-goog-iap-",
    b"x-appengine-",
    b"cf-access-authenticated-user-",
    b"x-authentik-",
    b"x-pomerium-",
    b"tailscale-user-",
    b"oidc-",  # Apache's mod_auth_openidc
    b"mellon-",  # Apache's mod_auth_mellon
    b"shib-",  # Shibboleth
    b"sm-user",  # SiteMinder
    b"sm-universalid",
    b"sm-authdir",
    b"iv-user",  # WebSEAL
    b"oam-",  # Oracle
    b"osso-",
    b"x-sandstorm-",
    b"x-replit-user-",
)

# Fields by which a service reads another path than the request line has, as gateways tell it.
PATHS = frozenset(
    {
        b"x-original-url",  # IIS, Symfony
        b"x-original-uri",  # ingress-nginx
        b"x-original-path",
        b"x-original-request-uri",
        b"x-rewrite-url",
        b"x-override-url",
        b"x-forwarded-uri",  # Traefik
        b"x-forwarded-path",
        b"x-forwarded-url",
        b"x-forwarded-prefix",
        b"x-forwarded-pathbase",
        b"x-envoy-original-path",
        b"x-waws-unencoded-url",  # Azure App Service
        b"unencoded-url",
        b"x-script-name",
        b"script-name",  # gunicorn believes SCRIPT_NAME and PATH_INFO from a proxy on the loopback
        b"path-info",
        b"x-rewrite-uri",
        b"x-request-path",
        b"x-forwarded-request-uri",
        b"x-envoy-original-dst-host",
        b"x-request-uri",
        b"x-auth-request-redirect",
    }
)
# The same of the method. Clients say this themselves, so it is removed only where route rules judged the method.
METHOD_OVERRIDES = frozenset(
    {
        b"x-http-method-override",
        b"x-http-method",
        b"x-method-override",
        b"x-original-method",
        b"x-forwarded-method",
    }
)

# WebDAV: the path that the request is for, too (RFC 4918 section 10.3). Judged as one where there are route rules.
DESTINATION = b"destination"

REQUEST_ID = b"x-request-id"

TRACEPARENT = b"traceparent"
TRACESTATE = b"tracestate"
TRACE_CONTEXT = frozenset({TRACEPARENT, TRACESTATE})

_Trie: TypeAlias = "dict[int, _Trie]"
_END = -1
_ANY_REST = ord("*")


@dataclass(frozen=True, slots=True)
class RemovedNames:
    """The request fields that never reach the service as the client sent them, besides those for this hop only."""

    exact: frozenset[bytes]
    prefixes: tuple[bytes, ...]
    kept: frozenset[bytes] = frozenset()  # although a prefix says otherwise

    @classmethod
    def of(
        cls, configured: Iterable[str], *, terminates: bool, routed: bool, unsafely_kept: Iterable[str] = ()
    ) -> RemovedNames:
        """``configured`` are names, or prefixes when they end in ``*``; ``unsafely_kept`` names stay all the same.

        Where we do not terminate, the client is an application that we speak for: what it says of users and addresses
        is its own word.
        """
        exact = set(CERTIFICATE)
        prefixes = list(CERTIFICATE_PREFIXES)
        if terminates:
            exact |= USER | FORWARDED | PATHS
            prefixes += USER_PREFIXES
        if routed:
            exact |= METHOD_OVERRIDES
        for name in configured:
            raw = name.encode("ascii")
            if raw.endswith(b"*"):
                prefixes.append(fold(raw[:-1]))
            else:
                exact.add(fold(raw))
        kept = frozenset(name.encode("ascii").lower() for name in unsafely_kept)
        kept -= FRAMING | REQUEST_HOP_BY_HOP | {CLIENT_CERTIFICATE}
        return cls(frozenset(exact - FRAMING - kept), tuple(prefixes), kept)

    def __contains__(self, folded: bytes) -> bool:
        return folded in self.exact or (folded.startswith(self.prefixes) and folded not in self.kept)


def any_case(names: Iterable[bytes]) -> bytes:
    """A regex that matches each of ``names`` in any case, up to the end of the name; one ending in ``*`` is a prefix.

    It is a trie, so that the engine looks at each byte of a field name at most once, after one look ahead at the first
    letter, which is all it costs to pass by most other names.
    """
    names = list(names)
    initials = b"".join(sorted({name[:1].lower() + name[:1].upper() for name in names}))
    return b"(?=[" + initials + b"])" + _trie(names)


def _trie(names: Iterable[bytes]) -> bytes:
    trie: _Trie = {}
    for name in names:
        node = trie
        for byte in name:
            node = node.setdefault(byte, {})
            if byte == _ANY_REST:
                break
        else:
            node[_END] = {}
    return _trie_pattern(trie)


def _trie_pattern(node: _Trie) -> bytes:
    if _ANY_REST in node:  # whatever else starts the same way is covered
        return rb"[A-Za-z0-9-]*"
    branches = []
    for byte, rest in sorted(node.items()):
        if byte == _END:
            branches.append(b"")
            continue
        letter = bytes([byte])
        head = b"[" + letter.upper() + letter + b"]" if letter.isalpha() else letter
        branches.append(head + _trie_pattern(rest))
    # The empty branch goes last: an alternation takes the first branch that fits.
    branches.sort(key=lambda branch: branch == b"")
    return branches[0] if len(branches) == 1 else b"(?:" + b"|".join(branches) + b")"
