"""The fields by which gateways tell who a client is, or what it asked for: a client must not say them itself."""

from __future__ import annotations

import pytest

from tlsidecar.dataplane.http.grammar import fold
from tlsidecar.dataplane.http.names import RemovedNames
from tlsidecar.dataplane.http.rules import RequestRules
from tlsidecar.settings import Http, Limits

CERTIFICATE = [
    "X-SSL-Cert",
    "X-Client-DN",
    "X-Client-Subject-DN",
    "X-Client-S-DN",
    "X-Subject-DN",
    "X-Cert-DN",
    "X-Cert-Verified",
    "X-Verified-Client",
    "SSL-Verified",
    "X-Peer-Certificate",
    "X-Certificate-Subject",
    "X_Client_Subject_DN",
]
USER = ["X-Vouch-User", "GAP-Auth", "Dapr-Caller-App-Id", "Remote_User"]
PATHS = [
    "SCRIPT_NAME",
    "PATH_INFO",
    "Script-Name",
    "Path-Info",
    "X-Rewrite-URI",
    "X-Request-Path",
    "X-Forwarded-Request-URI",
    "X-Original-URL",
    "X-Envoy-Original-Dst-Host",
]


CAME_BY = [
    "X-Forwarded-Port",
    "X-Forwarded-Scheme",
    "X_Forwarded_SSL",
    "X-Forwarded-Server",
    "Front-End-Https",
    "X-Url-Scheme",
]


@pytest.mark.parametrize("name", [*CERTIFICATE, *USER, *PATHS, *CAME_BY])
def test_a_client_does_not_say_it_itself(name: str) -> None:
    assert fold(name.encode().lower()) in RemovedNames.of([], terminates=True, routed=False)


@pytest.mark.parametrize("name", ["X-Customer", "Path", "Script", "X-Subject", "X-Cert-Info"])
def test_what_only_looks_like_it_passes(name: str) -> None:
    assert fold(name.encode().lower()) not in RemovedNames.of([], terminates=True, routed=True)


@pytest.mark.parametrize("name", ["X-Forwarded-Port", "Front-End-Https"])
def test_how_it_came_is_the_client_s_word_only_where_that_is_trusted(name: str) -> None:
    def rules(http: Http) -> RequestRules:
        return RequestRules.of("web", Limits(), http, authenticated=True, routed=False)

    folded = fold(name.encode().lower())
    assert folded in rules(Http()).removed
    assert folded not in rules(Http()).kept
    assert folded in rules(Http(trust_forwarded=True)).kept
