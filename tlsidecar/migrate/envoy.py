"""Envoy's static listeners and clusters (envoy.config.bootstrap.v3), as far as they carry TCP or HTTP with TLS."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tlsidecar.migrate.draft import Draft, MigrateError, Value

Tree = Mapping[str, Any]

# Filters, of connections and of HTTP, without which nobody gets in who did not before.
_GUARD_NOTHING = frozenset(
    {
        *("buffer", "compressor", "decompressor", "fault", "file_system_buffer", "grpc_http1_bridge", "grpc_stats"),
        *("grpc_web", "gzip", "health_check", "header_to_metadata", "on_demand", "original_src", "set_metadata"),
        *("sni_cluster", "stateful_session", "tap"),
    }
)


def read(text: str) -> Draft:
    """YAML or JSON. Raises :class:`MigrateError`, and ImportError where YAML is needed and ruamel.yaml is missing."""
    tree = _parse(text)
    static = _mapping(tree.get("static_resources"))
    if not static:
        raise MigrateError("there are no static_resources in it")
    draft = Draft("an Envoy bootstrap")
    clusters = {str(each.get("name", "")): each for each in _mappings(static.get("clusters"))}
    for listener in _mappings(static.get("listeners")):
        chains = list(_mappings(listener.get("filter_chains")))
        name = str(listener.get("name") or "listener")
        if len(chains) > 1:
            draft.lost.append(f"{name}: it has {len(chains)} filter chains: the first alone is taken")
        if listener.get("listener_filters"):
            draft.notes.append(f"{name}: listener_filters: server names are not looked at to choose")
        if chains:
            _listener(draft, name, listener, chains[0], clusters)
    for key in tree:
        if key not in ("static_resources", "admin", "node", "layered_runtime", "overload_manager"):
            draft.lost.append(f"{key}: there is nothing like it here")
    if "admin" in tree:
        draft.notes.append("admin: the admin API is on a Unix socket; [admin] http has health and metrics on loopback")
    return draft


def _listener(draft: Draft, name: str, listener: Tree, chain: Tree, clusters: Mapping[str, Tree]) -> None:
    filters = list(_mappings(chain.get("filters")))
    kinds = [str(each.get("name", "")).rpartition(".")[2] for each in filters]
    proxy = next(
        (each for each, kind in zip(filters, kinds, strict=True) if kind in ("tcp_proxy", "http_connection_manager")),
        None,
    )
    if proxy is None:
        draft.lost.append(f"{name}: neither tcp_proxy nor http_connection_manager among its filters: left out")
        return
    settings = _mapping(proxy.get("typed_config"))
    is_http = str(proxy.get("name", "")).endswith("http_connection_manager")
    cluster = _cluster(draft, name, settings, clusters, is_http=is_http)
    inward, outward = _tls(chain), _tls(cluster)
    if (inward is None) == (outward is None):
        both = "TLS on both sides" if inward is not None else "no TLS on either side"
        draft.lost.append(f"{name}: {both}: a sidecar has it on one: left out")
        return
    upstreams = list(_endpoints(cluster))
    if not upstreams:
        draft.lost.append(f"{name}: its cluster has no endpoints with addresses: left out")
        return
    mode = "terminate" if inward is not None else "originate"
    listen = _address(_mapping(listener.get("address")))
    made = draft.listener(name, mode=mode, listen=listen, upstream=upstreams, protocol="http" if is_http else "tcp")
    _context(draft, name, made, inward if inward is not None else outward or {}, terminates=inward is not None)
    draft.in_the_clear(made, name, *(upstreams if inward is not None else [listen]))
    if is_http:
        _http(draft, name, made, settings)
    for kind in kinds:
        if kind not in ("tcp_proxy", "http_connection_manager"):
            _left_out(draft, f"{name}: the filter", kind)


def _context(draft: Draft, name: str, made: dict[str, Value], tls: Tree, *, terminates: bool) -> None:
    common = _mapping(tls.get("common_tls_context"))
    certificates = list(_mappings(common.get("tls_certificates")))
    if len(certificates) > 1:
        draft.lost.append(f"{name}: it has several certificates: the first alone is taken")
    for certificate in certificates[:1]:
        files = {"cert": _file(certificate.get("certificate_chain")), "key": _file(certificate.get("private_key"))}
        if not all(files.values()):
            draft.lost.append(f"{name}: its certificate or key is not in a file: write it into one")
        draft.use(name, **files)
    if common.get("tls_certificate_sds_secret_configs") or common.get("validation_context_sds_secret_config"):
        draft.lost.append(f"{name}: its certificates come by SDS: name files, or a SPIFFE agent's socket")
    validation = _mapping(common.get("validation_context")) or _mapping(
        _mapping(common.get("combined_validation_context")).get("default_validation_context")
    )
    draft.use(name, trust=_file(validation.get("trusted_ca")), crl=_file(validation.get("crl")))
    if validation.get("trust_chain_verification") == "ACCEPT_UNTRUSTED":
        draft.lost.append(f"{name}: it accepts untrusted certificates: here a chain is always verified")
    if terminates and tls.get("require_client_certificate") is not True:
        draft.lost.append(f"{name}: require_client_certificate is not true: here clients always need a certificate")
    if not terminates and tls.get("sni"):
        made["server_name"] = str(tls["sni"])
    rules = list(_rules(draft, name, validation))
    if rules:
        made["allow" if terminates else "expect"] = rules
    elif terminates:
        made["allow"] = ["any"]
    if str(_mapping(common.get("tls_params")).get("tls_minimum_protocol_version", "")).endswith("TLSv1_3"):
        draft.tables["tls"] = {"min_version": "1.3"}
    if "h2" in _texts(common.get("alpn_protocols")):
        draft.notes.append(f"{name}: it offers h2: see http2 in docs/config.md")


def _rules(draft: Draft, name: str, validation: Tree) -> Iterator[str]:
    kinds = {"URI": "uri", "DNS": "dns", "IP_ADDRESS": "ip"}
    for each in _mappings(validation.get("match_typed_subject_alt_names")):
        yield from _rule(draft, name, kinds.get(str(each.get("san_type")), ""), _mapping(each.get("matcher")))
    for matcher in _mappings(validation.get("match_subject_alt_names")):
        kind = "uri" if "://" in str(matcher.get("exact") or matcher.get("prefix") or "") else "dns"
        yield from _rule(draft, name, kind, matcher)
    for text in _texts(validation.get("verify_certificate_hash")):
        yield f"sha256:{text.replace(':', '').lower()}"
    for text in _texts(validation.get("verify_certificate_spki")):
        draft.lost.append(f"{name}: verify_certificate_spki {text}: write it in hex as a rule spki-sha256:")


def _rule(draft: Draft, name: str, kind: str, matcher: Tree) -> Iterator[str]:
    exact, prefix = matcher.get("exact"), matcher.get("prefix")
    if kind and isinstance(exact, str):
        yield exact if exact.startswith("spiffe://") else f"{kind}:{exact}"
    elif kind == "uri" and isinstance(prefix, str) and prefix.startswith("spiffe://") and prefix.endswith("/"):
        yield f"{prefix}**"
    else:
        draft.lost.append(f"{name}: a name is matched by {json.dumps(_plain(matcher))}: there is no such rule here")


def _http(draft: Draft, name: str, made: dict[str, Value], settings: Tree) -> None:
    details = str(settings.get("forward_client_cert_details", "SANITIZE")).lower()
    if details in ("sanitize_set", "append_forward", "sanitize", "forward_only"):
        made["client_certificate_header"] = details
    elif details == "always_forward_only":
        draft.lost.append(f"{name}: forward_client_cert_details = ALWAYS_FORWARD_ONLY: a forged header would pass")
    asked = _mapping(settings.get("set_current_client_cert_details"))
    more = [key for key in ("cert", "chain") if asked.get(key) is True]
    if more:
        made["client_certificate_details"] = more
    for each in _mappings(settings.get("http_filters")):
        kind = str(each.get("name", "")).rpartition(".")[2]
        if kind != "router":
            _left_out(draft, f"{name}: the HTTP filter", kind)


def _left_out(draft: Draft, what: str, kind: str) -> None:
    """A filter that is not known to guard nothing may have been what guarded."""
    if kind == "rbac":
        draft.lost.append(f"{what} {kind} (RBAC): say who may in allow and [[listener.route]]")
    elif kind in _GUARD_NOTHING:
        draft.notes.append(f"{what} {kind}")
    else:
        draft.lost.append(f"{what} {kind}: there is nothing like it here")


def _cluster(draft: Draft, name: str, settings: Tree, clusters: Mapping[str, Tree], *, is_http: bool) -> Tree:
    if not is_http:
        return clusters.get(str(settings.get("cluster", "")), {})
    found: list[str] = []
    for host in _mappings(_mapping(settings.get("route_config")).get("virtual_hosts")):
        for route in _mappings(host.get("routes")):
            wanted = str(_mapping(route.get("route")).get("cluster", ""))
            match = _mapping(route.get("match"))
            if match.get("prefix") != "/" or set(match) - {"prefix"}:
                draft.lost.append(f"{name}: a route that is not for all paths: all go to one upstream here")
            if wanted not in found:
                found.append(wanted)
    if len(found) > 1:
        draft.lost.append(f"{name}: its routes lead to several clusters: the first alone is taken")
    return clusters.get(found[0], {}) if found else {}


def _tls(holder: Tree) -> Tree | None:
    socket = _mapping(holder.get("transport_socket"))
    return _mapping(socket.get("typed_config")) if str(socket.get("name", "")).endswith(".tls") else None


def _endpoints(cluster: Tree) -> Iterator[str]:
    for group in _mappings(_mapping(cluster.get("load_assignment")).get("endpoints")):
        for each in _mappings(group.get("lb_endpoints")):
            address = _mapping(_mapping(each.get("endpoint")).get("address"))
            if address:
                yield _address(address)


def _address(address: Tree) -> str:
    path = _mapping(address.get("pipe")).get("path")
    if isinstance(path, str):
        return f"unix:{path}"
    socket = _mapping(address.get("socket_address"))
    host, port = socket.get("address"), socket.get("port_value")
    if not isinstance(host, str) or not isinstance(port, int):
        raise MigrateError(f"not an address: {json.dumps(_plain(address))}")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _file(source: object) -> str:
    found = _mapping(source).get("filename")
    return found if isinstance(found, str) else ""


def _parse(text: str) -> Tree:
    try:
        tree = json.loads(text)
    except ValueError:
        tree = _parse_yaml(text)
    except RecursionError:
        raise MigrateError("it is nested too deeply") from None
    if not isinstance(tree, Mapping):
        raise MigrateError("it is not a mapping")
    return tree


def _parse_yaml(text: str) -> object:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        return YAML(typ="safe", pure=True).load(text)
    except (YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark is not None else ""
        raise MigrateError(f"{where}neither JSON nor YAML: {getattr(error, 'problem', None) or error}") from None


def _mapping(value: object) -> Tree:
    return value if isinstance(value, Mapping) else {}


def _mappings(value: object) -> Iterator[Tree]:
    if isinstance(value, Sequence) and not isinstance(value, str):
        yield from (each for each in value if isinstance(each, Mapping))


def _texts(value: object) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in list(value.items())[:8]}
    return str(value)[:80]
