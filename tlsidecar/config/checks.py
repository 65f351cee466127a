"""What the values of a configuration must satisfy together.

Each check looks only at what could be read: a key that is itself wrong has been reported, and says nothing here.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

from tlsidecar.config.addresses import UNIX_PATH_MAX_BYTES, collide, is_loopback, name_of, too_long_for_a_socket
from tlsidecar.config.bindings import bindings
from tlsidecar.config.document import Document
from tlsidecar.config.identity_tables import ACME, IDENTITY_SOURCES, SOURCES_WITHOUT_TRUST
from tlsidecar.config.judge import Finding, Part
from tlsidecar.config.places import FILE_NAME, SYSTEM_FILE
from tlsidecar.config.problems import did_you_mean, quoted
from tlsidecar.config.values import show_duration
from tlsidecar.extras import install_line
from tlsidecar.settings import DEFAULT_IDENTITY, METRICS_LISTENER, Address, Limits

_HTTP_KEYS = (
    "http2",
    "client_certificate_header",
    "client_certificate_details",
    "remove_headers",
    "unsafe_keep_headers",
    "underscores",
    "http10_without_host",
    "trust_forwarded",
    "host_rewrite",
    "upgrades",
    "trailers",
)
_TOO_LONG = f"the path of a Unix socket has at most {UNIX_PATH_MAX_BYTES} bytes, made absolute"
_TERMINATE_KEYS = ("proxy_protocol", "client_certificate_header", "client_certificate_details", "route")


def check(document: Document) -> Iterator[Finding]:
    """Everything that is wrong between keys, in no particular order."""
    limits = document.root.tables["limits"]
    yield from _root(document)
    for identity in document.identities:
        yield from _identity(identity)
    yield from _validated_by_tls(document)
    yield from _identity_names(document)
    yield from _admin(document)
    yield from _metrics(document)
    yield from _shutdown(document)
    yield from _names(document)
    yield from bindings(document)
    yield from _limits(limits, below=[listener.tables["limits"] for listener in document.listeners])
    for listener in document.listeners:
        yield from _listener(listener)
        yield from _limits(listener.tables["limits"], inherited=limits)


def _root(document: Document) -> Iterator[Finding]:
    if not document.listeners and not document.root.written.get("listener"):
        suggestion = "add a [[listener]] table, or give --listen and --upstream"
        if document.file is None:
            suggestion = (
                f"no {FILE_NAME} is here or in {SYSTEM_FILE.parent}: name one with --config, or give --listen and "
                "--upstream"
            )
        yield document.root.finding("listener", "there is nothing to listen on", suggestion)
    if document.root.read("event_loop") == "uvloop" and importlib.util.find_spec("uvloop") is None:
        yield document.root.finding("event_loop", "uvloop is not installed", f"{install_line('fast')}, or leave it out")


def _shutdown(document: Document) -> Iterator[Finding]:
    """The delay is a part of the drain, which takes as long as that of the listener with the longest."""
    delay_s = document.root.read("shutdown_delay") or 0.0
    inherited = document.root.tables["limits"].read("drain_timeout", Limits().drain_timeout_s)
    drains = [listener.tables["limits"].read("drain_timeout", inherited) for listener in document.listeners]
    if not drains or "allow" in document.root.tables["metrics"]:  # whose port is a listener, too
        drains.append(inherited)
    if None not in drains and delay_s >= max(drains):
        yield document.root.finding(
            "shutdown_delay", f"leaves nothing of drain_timeout ({show_duration(max(drains))})", "write a shorter one"
        )


def _identity(identity: Part) -> Iterator[Finding]:
    sources = [name for name in IDENTITY_SOURCES if name in identity]
    if len(sources) > 1:
        message = f"there is {sources[0]}, too; exactly one source is needed"
        yield identity.finding(sources[-1], message, "keep one of them")
        return
    if not sources:
        suggestion = (
            "set cert, key and trust, or command, authority, spiffe_socket or acme (flags: --cert, --key, --trust)"
        )
        yield identity.finding("cert", "there is no certificate to show to peers", suggestion)
        return
    source = sources[0]
    if source in SOURCES_WITHOUT_TRUST and "trust" not in identity:
        yield identity.finding("trust", "nothing says who may vouch for peers", 'add for example trust = "ca.crt"')
    elif source in ("authority", "acme") and not any(name in identity for name in ("dns", "ip", "spiffe")):
        yield identity.finding(source, "there is no name to ask for", 'add for example dns = ["web.internal"]')
    for key in sorted({each for keys in IDENTITY_SOURCES.values() for each in keys} - IDENTITY_SOURCES[source]):
        if key in identity:
            owners = " or ".join(name for name, keys in IDENTITY_SOURCES.items() if key in keys)
            yield identity.finding(key, f"belongs to {owners}, and the source here is {source}", "leave it out")
    if ("crl_urls" in identity) != ("crl_cache" in identity):
        missing, there = ("crl_cache", "crl_urls") if "crl_urls" in identity else ("crl_urls", "crl_cache")
        yield identity.finding(there, f"goes with {missing}, and there is none", f"add {missing}, or leave it out")
    if "crl_urls" in identity and (source in ("acme", "spiffe_socket") or "trust" not in identity):
        message = "belongs to a trust, of a cert, a command or an authority"
        yield identity.finding("crl_urls", message, "leave it out")
    if source == "authority" and "crl" in identity and "trust" not in identity:
        yield identity.finding("crl", "belongs to a trust; a local CA brings its own", "add trust, or leave it out")
    if source == "acme":
        yield from _acme(identity.tables["acme"])


def _identity_names(document: Document) -> Iterator[Finding]:
    """Each of several identities has a name of its own, and listeners name identities that there are."""
    names: list[str] = []
    for identity in document.identities:
        name = identity.read("name")
        if "name" not in identity and len(identity.key) > 1:
            yield identity.finding("name", "is missing", 'add for example name = "public"')
        elif "name" in identity and len(identity.key) == 1:
            message = f"is for [[identity]]; a single [identity] is called {quoted(DEFAULT_IDENTITY)}"
            yield identity.finding("name", message, "write [[identity]], or leave it out")
        elif name in names:
            yield identity.finding("name", f"{quoted(name)} is the name of another identity", "give it another name")
        names += [] if name is None else [name]
    known = names or [DEFAULT_IDENTITY]
    unreadable = any("name" in identity and identity.read("name") is None for identity in document.identities)
    metrics = document.root.tables["metrics"]
    scraped = metrics.read("identity")
    if scraped is not None and scraped not in known and not unreadable:
        yield metrics.finding("identity", f"no identity is called {quoted(scraped)}", _meant(scraped, known))
    for listener in document.listeners:
        wanted: tuple[str, ...] = listener.read("identity") or ()
        for at, name in enumerate(wanted):
            key = (*listener.key, "identity", *((at,) if isinstance(listener.written["identity"], list) else ()))
            if name not in known and not unreadable:
                yield Finding(key, f"no identity is called {quoted(name)}", _meant(name, known))
            elif name in wanted[:at]:
                yield Finding(key, f"{quoted(name)} is there twice", "keep one of them")
        if len(wanted) > 1 and listener.read("mode", "terminate") == "originate":
            message = "several are for terminate, where the client's SNI chooses: here we are the client"
            yield listener.finding("identity", message, "name one")


def _meant(name: str, known: Sequence[str]) -> str:
    return did_you_mean(name, known) or f"there is {', '.join(map(quoted, known))}"


def _acme(acme: Part) -> Iterator[Finding]:
    for entry in ACME:
        if entry.required and entry.key not in acme:
            yield acme.finding(entry.key, "is missing")
    if acme.read("challenge") == "http-01":
        if "http" not in acme:
            yield acme.finding("http", "http-01 needs an address to answer at", 'add for example http = "0.0.0.0:80"')
    elif "http" in acme:
        yield acme.finding("http", "is for http-01, and the challenge is tls-alpn-01", "leave it out, or set challenge")
    http = acme.read("http")
    if http is not None and http.is_unix:
        yield acme.finding("http", "a CA cannot reach a Unix socket", 'write for example "0.0.0.0:80"')
    for one, other in (("eab_key_id", "eab_key_file"), ("eab_key_file", "eab_key_id")):
        if one in acme and other not in acme:
            yield acme.finding(other, f"{one} needs it", "the CA gives both")


def _validated_by_tls(document: Document) -> Iterator[Finding]:
    """tls-alpn-01 is answered where TLS comes in (RFC 8737), and so by a listener."""
    modes = [listener.read("mode", "terminate") for listener in document.listeners]
    if not modes or any(mode != "originate" for mode in modes) or "allow" in document.root.tables["metrics"]:
        return
    for identity in document.identities:
        acme = identity.tables["acme"]
        if "acme" in identity and acme.read("challenge", "tls-alpn-01") == "tls-alpn-01":
            message = "tls-alpn-01 is answered by a listener that terminates TLS, and there is none"
            yield acme.finding("challenge", message, 'write challenge = "http-01", with http = "0.0.0.0:80"')


def _admin(document: Document) -> Iterator[Finding]:
    admin = document.admin
    view_socket = admin.read("view_socket")
    if "view_group" in admin and "view_socket" not in admin:
        yield admin.finding("view_group", "there is no view_socket", "add view_socket, or leave it out")
    if view_socket is not None and view_socket.parent == document.admin_socket.parent:
        yield admin.finding("view_socket", "must not share a directory with socket", "give it a directory of its own")
    for name, path in (("socket", document.admin_socket), ("view_socket", view_socket)):
        if path is not None and too_long_for_a_socket(path):
            yield admin.finding(name, _TOO_LONG)
    http = admin.read("http")
    if http is not None and (http.is_unix or not is_loopback(http)):
        yield admin.finding(
            "http", f"{quoted(str(http))} is not a loopback address", 'write for example "127.0.0.1:9901"'
        )


def _metrics(document: Document) -> Iterator[Finding]:
    metrics = document.root.tables["metrics"]
    listen = metrics.read("listen")
    if listen is not None and listen.is_unix:
        yield metrics.finding(
            "listen", "is a Unix socket", 'write "host:port"; a socket to look at is admin.view_socket'
        )
    if "allow" not in metrics:
        if "identity" in metrics:
            yield metrics.finding("identity", "is for mutual TLS, and there is no allow", "add allow, or leave it out")
        return
    if "listen" not in metrics:
        yield metrics.finding("allow", "there is no listen", "add listen, or leave it out")
    if not metrics.read("allow", ("any",)):
        yield metrics.finding("allow", "lets nobody in", 'leave it out for plain HTTP, or write a rule ("any")')
    for listener in document.listeners:
        if listener.read("name") == METRICS_LISTENER:
            yield listener.finding("name", "is that of the [metrics] port", "give it another name")


def _names(document: Document) -> Iterator[Finding]:
    for one, other in combinations(document.listeners, 2):
        name = one.read("name")
        if name is not None and name == other.read("name"):
            yield other.finding("name", f"{quoted(name)} is the name of another listener", "give it another name")


def _listener(listener: Part) -> Iterator[Finding]:
    yield from _missing(listener)
    mode = listener.read("mode", "terminate")
    protocol = listener.read("protocol", "tcp")
    if mode == "terminate":
        yield from _terminate(listener)
    elif mode == "originate":
        yield from _originate(listener)
    if protocol == "tcp":
        for name in (*_HTTP_KEYS, "route"):
            if name in listener:
                yield listener.finding(name, "is for HTTP, and this listener carries tcp", 'set protocol = "http"')
    elif "proxy_protocol" in listener:
        yield listener.finding(
            "proxy_protocol", "is for TCP; HTTP services read X-Forwarded-Client-Cert", "leave it out"
        )
    if "starttls" in listener and listener.read("protocol", "tcp") != "tcp":
        yield listener.finding("starttls", "is for TCP", "leave it out")
    if listener.read("starttls") == "mysql" and "proxy_protocol" in listener:
        problem = 'cannot go with starttls = "mysql": the service is reached before the peer is known'
        yield listener.finding("proxy_protocol", problem, "leave it out")
    if protocol != "tcp" and "alpn" in listener:
        yield listener.finding("alpn", "is for TCP; HTTP agrees on what http2 says", "leave it out")
    if protocol == "grpc" and listener.read("http2", "only") != "only":
        yield listener.finding("http2", "gRPC is HTTP/2 only", 'leave it out, or set protocol = "http"')
    yield from _health_check(listener, protocol)
    yield from _routes(listener)
    yield from _own_addresses(listener)
    if "max_connection_age" in listener and "max_connection_age" in listener.tables["limits"]:
        yield listener.finding("max_connection_age", "is set twice, here and in limits", "keep one of them")


def _routes(listener: Part) -> Iterator[Finding]:
    examples = {"path": '"/admin/**"', "allow": '["ou:sre"]'}
    for route in listener.arrays["route"]:
        for name, example in examples.items():
            if name not in route:
                yield route.finding(name, "is missing", f"add for example {name} = {example}")


def _own_addresses(listener: Part) -> Iterator[Finding]:
    listen = listener.read("listen")
    upstreams = listener.read("upstream") or ()
    if listen is not None and too_long_for_a_socket(listen.path):
        yield listener.finding("listen", _TOO_LONG)
    for upstream in upstreams:
        if too_long_for_a_socket(upstream.path):
            yield listener.finding("upstream", _TOO_LONG)
        if listen is not None and is_loopback(upstream) and collide(listen, upstream):
            yield listener.finding("upstream", f"{quoted(str(upstream))} is this listener itself")


def _missing(listener: Part) -> Iterator[Finding]:
    examples = {"name": "web", "listen": "0.0.0.0:8443", "upstream": "127.0.0.1:8080"}
    for name, example in examples.items():
        if name not in listener:
            yield listener.finding(name, "is missing", f'add for example {name} = "{example}"')


def _terminate(listener: Part) -> Iterator[Finding]:
    if "allow" not in listener:
        suggestion = 'add allow = ["…"]; ["any"] lets in everyone that the trust bundle vouches for'
        yield listener.finding("allow", "nothing says who may connect", suggestion)
    if "expect" in listener:
        yield listener.finding("expect", "is for originate", 'write allow, or set mode = "originate"')
    if "server_name" in listener:
        yield listener.finding("server_name", "is for originate: nobody is called by name here", "leave it out")
    if "require_client_certificate_request" in listener:
        message = "is for originate: here it is we who ask"
        yield listener.finding("require_client_certificate_request", message, "leave it out")
    if "unsafe_listen" in listener:
        yield listener.finding("unsafe_listen", "is for originate: what comes in here is TLS", "leave it out")
    if listener.read("unsafe_upstream", False) is not False:
        return
    for upstream in listener.read("upstream") or ():
        if not is_loopback(upstream):
            message = f"{quoted(str(upstream))} is not on this machine, and what is sent there is in the clear"
            yield listener.finding("upstream", message, "use loopback or unix:, or set unsafe_upstream = true")


def _originate(listener: Part) -> Iterator[Finding]:
    if "allow" in listener:
        yield listener.finding("allow", "is for terminate: the local application shows no certificate", "write expect")
    if "unsafe_upstream" in listener:
        yield listener.finding("unsafe_upstream", "is for terminate: what goes out here is TLS", "leave it out")
    for name in _TERMINATE_KEYS:
        if name in listener:
            yield listener.finding(name, "is for terminate: the local application shows no certificate", "leave it out")
    listen = listener.read("listen")
    if listen is not None and not is_loopback(listen) and listener.read("unsafe_listen", False) is False:
        message = f"{quoted(str(listen))} accepts plaintext from other machines, and speaks for them with our identity"
        yield listener.finding("listen", message, "use loopback or unix:, or set unsafe_listen = true")
    upstreams = listener.read("upstream")
    if "expect" not in listener and "server_name" not in listener and upstreams:
        yield from _nobody_expected(listener, upstreams)


def _nobody_expected(listener: Part, upstreams: tuple[Address, ...]) -> Iterator[Finding]:
    suggestion = 'add for example expect = ["dns:api.internal"]'
    if any(upstream.is_unix for upstream in upstreams):
        yield listener.finding("expect", "a Unix socket has no name to expect", suggestion)
    elif len(set(map(name_of, upstreams))) > 1:
        yield listener.finding("expect", "the upstreams have different names; say who is expected", suggestion)


def _health_check(listener: Part, protocol: str | None) -> Iterator[Finding]:
    health_check = listener.tables["health_check"]
    if protocol == "tcp" and "path" in health_check:
        message = "is for HTTP, and this listener carries tcp"
        yield health_check.finding("path", message, 'leave it out, or set protocol = "http"')
    if health_check.read("grpc", False) is True:
        if protocol != "grpc" and listener.read("http2", "off") == "off":
            suggestion = 'set protocol = "grpc" or http2 = "only", or leave it out'
            yield health_check.finding("grpc", "is for HTTP/2, and this listener does not carry it", suggestion)
        if "path" in health_check:
            yield health_check.finding("path", "is for HTTP, and the check is gRPC's", "keep one of them")


def _limits(limits: Part, inherited: Part | None = None, below: Sequence[Part] = ()) -> Iterator[Finding]:
    """``below`` are those of the listeners that inherit them."""

    def effective(name: str) -> Any:
        return limits.read(name, inherited.read(name) if inherited else None)

    connections, handshakes = effective("max_connections"), effective("max_handshakes")
    if {"max_connections", "max_handshakes"}.isdisjoint(limits.written):
        pass  # said where it was written
    elif connections is not None and handshakes is not None and handshakes > connections:
        yield limits.finding("max_handshakes", f"is over max_connections ({connections})", "lower it")
    rated = (limits, *([inherited] if inherited is not None else []), *below)
    if "request_burst" in limits and not any("request_rate" in each for each in rated):
        yield limits.finding("request_burst", "there is no request_rate", 'add for example request_rate = "100/s"')
