"""X-Forwarded-Client-Cert in Envoy's four modes: what the service reads is what we vouch for."""

from __future__ import annotations

import contextlib
import http.client
import re
import urllib.parse
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from support import configs
from support.pki import Pair, Pki
from support.services import http_service
from support.sidecar import running

FORGED = 'By=spiffe://prod/frontend;Hash=00;Subject="CN=root";URI=spiffe://prod/root'


def seen_by_the_service(pki: Pki, port: int, pair: Pair, *sent: str) -> tuple[int, list[str]]:
    """The status, and every value of the header that reached the service, under whatever spelling."""
    connection = http.client.HTTPSConnection("localhost", port, timeout=20, context=pki.client_context(pair))
    with contextlib.closing(connection):
        connection.putrequest("GET", "/")
        for value in sent:
            connection.putheader("x-forwarded-CLIENT-cert", value)
        connection.endheaders()
        response = connection.getresponse()
        text = response.read().decode()
    values = [
        line.partition(": ")[2]
        for line in text.splitlines()
        if line.lower().replace("_", "-").startswith("x-forwarded-client-cert:")
    ]
    return response.status, values


@pytest.mark.parametrize("mode", ["sanitize_set", "append_forward", "sanitize", "forward_only"])
def test_the_four_modes(mode: str, pki: Pki, tmp_path: Path) -> None:
    server = pki.issue("server", "localhost")
    client = pki.issue("client", "client.test", common_name='a "b", c;d=e', unit="sre")
    digest = x509.load_pem_x509_certificate(client.cert.read_bytes()).fingerprint(SHA256()).hex()
    with http_service() as service:
        config = configs.identity(server, pki.trust)
        config += configs.terminate(service, protocol="http", client_certificate_header=mode)
        with running(tmp_path / "sidecar", config) as sidecar:

            def seen(*sent: str) -> list[str]:
                status, values = seen_by_the_service(pki, sidecar.port(), client, *sent)
                assert status == 200
                return values

            ours = {"sanitize_set", "append_forward"}
            without = seen()
            if mode in ours:
                (element,) = without
                assert element.startswith(f"Hash={digest};Subject=")
                assert element.endswith(";DNS=client.test")
                # The name's own quotes, commas and semicolons separate nothing.
                outside_quotes = re.sub(r'"(?:[^"\\]|\\.)*"', "", element)
                assert outside_quotes.count(";") == 2
                assert "," not in outside_quotes
            else:
                assert without == []
            forged = seen(FORGED)
            assert (
                forged
                == {
                    "sanitize_set": without,
                    "append_forward": [f"{FORGED},{without[0]}"] if without else [],
                    "sanitize": [],
                    "forward_only": [FORGED],
                }[mode]
            )


def test_what_cannot_be_appended_to_is_refused(pki: Pki, tmp_path: Path) -> None:
    """An open quote before our element would swallow it."""
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    with http_service() as service:
        config = configs.identity(server, pki.trust)
        config += configs.terminate(service, protocol="http", client_certificate_header="append_forward")
        with running(tmp_path / "sidecar", config) as sidecar:
            status, _ = seen_by_the_service(pki, sidecar.port(), client, 'Subject="CN=root')
            assert status == 400
            assert sidecar.refusal(reason="bad_header")["identity"] == "client.test"


def test_the_certificate_itself_where_it_is_asked_for(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    with http_service() as service:
        config = configs.identity(server, pki.trust)
        config += configs.terminate(service, protocol="http", client_certificate_details=["cert", "chain"])
        with running(tmp_path / "sidecar", config) as sidecar:
            _, (element,) = seen_by_the_service(pki, sidecar.port(), client)
            quoted = dict(re.findall(r'(Cert|Chain)="([^"]*)"', element))
            leaf = x509.load_pem_x509_certificate(client.cert.read_bytes())
            assert x509.load_pem_x509_certificate(urllib.parse.unquote(quoted["Cert"]).encode()) == leaf
            assert x509.load_pem_x509_certificates(urllib.parse.unquote(quoted["Chain"]).encode())[0] == leaf
