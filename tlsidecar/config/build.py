"""The frozen settings, made of a document in which nothing was found wrong."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tlsidecar import settings
from tlsidecar.config.addresses import ip_literal, name_of
from tlsidecar.config.document import Document
from tlsidecar.config.judge import Part
from tlsidecar.config.listener_tables import HTTP_FIELDS
from tlsidecar.config.places import metrics_socket


def build(document: Document) -> settings.Settings:
    """Every default that is not written here is the dataclass's own."""
    root = document.root
    limits = root.tables["limits"].fields
    metrics = settings.Metrics(**root.tables["metrics"].fields)
    identities = tuple(map(_identity, document.identities))
    first = (identities[0].name,)
    listeners = [_listener(part, limits, first) for part in root.arrays["listener"]]
    if metrics.listen is not None and metrics.allow:
        listeners.append(_metrics_listener(metrics, first, document.admin_socket, limits))
    return settings.Settings(
        admin=settings.Admin(**{**root.tables["admin"].fields, "socket": document.admin_socket}),
        identities=identities,
        listeners=tuple(listeners),
        metrics=metrics,
        tls=settings.Tls(**root.tables["tls"].fields),
        log=settings.Log(**root.tables["log"].fields),
        tracing=settings.Tracing(**root.tables["tracing"].fields),
        limits=settings.Limits(**limits),
        config_file=document.file,
        **root.fields,
    )


def _identity(part: Part) -> settings.IdentitySettings:
    acme = settings.Acme(**part.tables["acme"].fields) if "acme" in part else None
    return settings.IdentitySettings(**part.fields, acme=acme)


def _listener(
    part: Part, inherited_limits: Mapping[str, Any], identities: tuple[str, ...]
) -> settings.ListenerSettings:
    fields = {"identities": identities, **part.fields}
    fields["mode"] = settings.Mode(fields.get("mode", settings.Mode.TERMINATE))
    if fields.get("protocol") == "grpc":
        # gRPC's metadata may have underscores, and its services read names as they are.
        fields |= {"protocol": "http", "http2": "only", "underscores": fields.get("underscores", "allow")}
    fields["protocol"] = settings.Protocol(fields.get("protocol", settings.Protocol.TCP))
    limits = {**inherited_limits, **part.tables["limits"].fields}
    if "max_connection_age_s" in fields:
        limits["max_connection_age_s"] = fields.pop("max_connection_age_s")
    http = {name: fields.pop(name) for name in HTTP_FIELDS & fields.keys()}
    if "client_certificate_header" in http:
        http["client_certificate_header"] = settings.ClientCertificateHeader(http["client_certificate_header"])
    if fields["mode"] is settings.Mode.ORIGINATE:
        _name_the_remote(fields)
    return settings.ListenerSettings(
        **fields,
        limits=settings.Limits(**limits),
        http=settings.Http(**http),
        routes=tuple(settings.Route(**{"methods": (), **route.fields}) for route in part.arrays["route"]),
        health_check=settings.HealthCheck(**part.tables["health_check"].fields) if "health_check" in part else None,
    )


def _metrics_listener(
    metrics: settings.Metrics, identities: tuple[str, ...], admin_socket: Path, limits: Mapping[str, Any]
) -> settings.ListenerSettings:
    """What stands before the metrics when they are only for some: mutual TLS as everywhere, and a socket beside the
    admin socket behind it."""
    assert metrics.listen is not None
    return settings.ListenerSettings(
        name=settings.METRICS_LISTENER,
        mode=settings.Mode.TERMINATE,
        protocol=settings.Protocol.HTTP,
        listen=metrics.listen,
        upstreams=(settings.Address(path=str(metrics_socket(admin_socket))),),
        identities=(metrics.identity,) if metrics.identity else identities,
        allow=metrics.allow,
        limits=settings.Limits(**limits),
    )


def _name_the_remote(fields: dict[str, Any]) -> None:
    """Fill in the name sent as SNI (never an IP address: RFC 6066, section 3) and who is expected under it."""
    names = set(map(name_of, fields["upstreams"]))
    only = names.pop() if len(names) == 1 else ""
    if "server_name" not in fields and only and ip_literal(only) is None:
        fields["server_name"] = only
    if "expect" not in fields:
        name = fields.get("server_name") or only
        fields["expect"] = (f"dns:{name}",) if ip_literal(name) is None else (f"ip:{name}",)
