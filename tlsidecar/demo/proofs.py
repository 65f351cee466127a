"""The demo's claims, each shown to be true by real clients."""

from __future__ import annotations

import http.client
import ssl
import time
from collections.abc import Callable
from typing import Any

from tlsidecar.demo.stage import SHOP, STRANGER, DemoSetup, rotate
from tlsidecar.demo.traffic import Traffic

REQUESTS_AROUND_A_ROTATION = 100
RECORD_WITHIN_S = 5.0


class Failed(Exception):
    """A claim did not hold; the text says what was seen instead."""


Proof = Callable[[DemoSetup], list[str]]


def a_request_goes_all_the_way(stage: DemoSetup) -> list[str]:
    """Through both sidecars to a service that is told who calls, whatever the caller says of itself."""
    connection = http.client.HTTPConnection("127.0.0.1", stage.shop.port, timeout=10)
    try:
        connection.request("GET", "/", headers={"X-Forwarded-Client-Cert": "URI=spiffe://demo.example/forged"})
        response = connection.getresponse()
        answer = response.read().decode()
    except (OSError, http.client.HTTPException) as error:
        raise Failed(f"no answer through the two sidecars: {error!r}") from None
    finally:
        connection.close()
    if response.status != 200 or f"URI={SHOP}" not in answer or "forged" in answer:
        raise Failed(f"the service answered {response.status}: {answer.strip()}")
    return [
        "plaintext caller -> originate -> mTLS -> terminate -> plaintext service",
        f"the service was told, and nothing the caller made up: URI={SHOP}",
    ]


def without_a_certificate_nobody_gets_in(stage: DemoSetup) -> list[str]:
    """Refused, and recorded as such."""
    error = _call_directly(stage, stage.client_context())
    refusal = _refusal(stage, "no_certificate")
    return [f"a client without a certificate is refused: {error}", f"recorded: {refusal['sentence']}"]


def the_wrong_identity_is_refused_and_named(stage: DemoSetup) -> list[str]:
    """Of the same CA, but allowed by no rule."""
    error = _call_directly(stage, stage.client_context("stranger"))
    refusal = _refusal(stage, "not_allowed")
    if refusal["identity"] != STRANGER:
        raise Failed(f"the refusal names {refusal['identity']!r}")
    return [
        f"a client of the wrong identity is refused: {error}",
        f"recorded: {refusal['sentence']}: {refusal['identity']}, serial {refusal['serial'][:16]}…",
    ]


def rotation_loses_no_request(stage: DemoSetup) -> list[str]:
    """New key and certificate on both sides, one after the other, under requests that must all be answered."""
    lines = []
    with Traffic(stage) as traffic:
        for sidecar in stage.sidecars:
            before = sidecar.ask("/v1/certificates")
            traffic.wait_for(REQUESTS_AROUND_A_ROTATION)
            rotate(stage, sidecar)
            traffic.wait_for(REQUESTS_AROUND_A_ROTATION)
            after = sidecar.ask("/v1/certificates")
            if after["leaf"]["serial"] == before["leaf"]["serial"]:
                raise Failed(f"{sidecar.name} still serves the old certificate")
            lines.append(
                f"{sidecar.name}: new key and certificate, {before['leaf']['serial'][:8]}… -> "
                f"{after['leaf']['serial'][:8]}…, generation {before['generation']} -> {after['generation']}"
            )
    if traffic.failures:
        raise Failed(f"{len(traffic.failures)} requests failed, the first: {traffic.failures[0]}")
    return [f"rotated while {traffic.answered} requests went through; failed requests: 0", *lines]


PROOFS: tuple[Proof, ...] = (
    a_request_goes_all_the_way,
    without_a_certificate_nobody_gets_in,
    the_wrong_identity_is_refused_and_named,
    rotation_loses_no_request,
)


def _call_directly(stage: DemoSetup, context: ssl.SSLContext) -> str:
    """Call the service's sidecar past the shop's; how it was refused."""
    connection = http.client.HTTPSConnection("127.0.0.1", stage.web.port, context=context, timeout=10)
    try:
        connection.request("GET", "/")
        status = connection.getresponse().status
    except ssl.SSLError as error:
        return (error.reason or str(error)).lower().replace("_", " ")
    except OSError as error:
        return str(error)
    finally:
        connection.close()
    raise Failed(f"it was let in, with status {status}")


def _refusal(stage: DemoSetup, reason: str) -> dict[str, Any]:
    deadline = time.monotonic() + RECORD_WITHIN_S
    while True:
        refusals: list[dict[str, Any]] = stage.web.ask("/v1/refusals")["refusals"]
        for refusal in refusals:
            if refusal["reason"] == reason:
                return refusal
        if time.monotonic() > deadline:
            raise Failed(f"no refusal with the reason {reason} was recorded")
        time.sleep(0.02)
