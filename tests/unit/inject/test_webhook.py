"""AdmissionReview in, patch out; and what is no AdmissionReview."""

from __future__ import annotations

import base64
import copy
import http.client
import json
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from support.waiting import eventually

from tlsidecar.inject.plan import Plan
from tlsidecar.inject.pod import inject
from tlsidecar.inject.webhook import MAX_REVIEW_BYTES, ReviewError, WebhookServer, review

PLAN = Plan("tlsidecar:0.1.0", allow=("any",), upstream_port=8080)


def pod(**metadata: Any) -> dict[str, Any]:
    return {"metadata": metadata or {"name": "web"}, "spec": {"containers": [{"name": "app", "image": "app:1"}]}}


def asked(thing: object, kind: str = "Pod", operation: str = "CREATE") -> dict[str, Any]:
    request = {"uid": "u-1", "kind": {"group": "", "version": "v1", "kind": kind}, "operation": operation}
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request | {"object": thing}}


def patched(thing: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
    """As an API server applies it: these patches only add members of the object itself."""
    response = answer["response"]
    assert response["patchType"] == "JSONPatch"
    result = copy.deepcopy(thing)
    for step in json.loads(base64.b64decode(response["patch"])):
        assert step["op"] == "add"
        result[step["path"].removeprefix("/")] = step["value"]
    return result


def test_a_pod_gets_the_sidecar() -> None:
    before = pod()
    answer = review(asked(before), PLAN)
    assert answer["response"] | {"patch": ""} == {"uid": "u-1", "allowed": True, "patchType": "JSONPatch", "patch": ""}
    wanted = copy.deepcopy(before)
    inject(wanted, PLAN, "web")
    assert patched(before, answer) == wanted
    assert before == pod()


@pytest.mark.parametrize(
    ("metadata", "workload"),
    [
        ({"name": "single"}, "single"),
        ({"generateName": "web-7d4b9c-", "labels": {"pod-template-hash": "7d4b9c"}}, "web"),
        (
            {
                "generateName": "web-7d4b9c-",
                "labels": {"pod-template-hash": "7d4b9c"},
                "ownerReferences": [{"kind": "ReplicaSet", "name": "web-7d4b9c", "controller": True}],
            },
            "web",
        ),
        ({"name": "db-0", "ownerReferences": [{"kind": "StatefulSet", "name": "db", "controller": True}]}, "db"),
    ],
)
def test_the_identity_is_that_of_the_workload(metadata: dict[str, Any], workload: str) -> None:
    thing = pod(**metadata)
    volumes = patched(thing, review(asked(thing), PLAN))["spec"]["volumes"]
    assert [each["secret"]["secretName"] for each in volumes if "secret" in each] == [f"{workload}-tlsidecar"]


def test_what_has_it_or_is_no_new_pod_passes_unchanged() -> None:
    done = pod()
    inject(done, PLAN, "web")
    for document in (asked(done), asked(pod(), kind="Service"), asked(pod(), operation="UPDATE"), asked(None)):
        assert review(document, PLAN)["response"] == {"uid": "u-1", "allowed": True}


def test_a_pod_that_cannot_have_it_is_turned_away_with_the_reason() -> None:
    answer = review(asked(pod() | {"spec": {"containers": [], "os": {"name": "windows"}}}), PLAN)["response"]
    assert answer["allowed"] is False
    assert "Windows" in answer["status"]["message"]


@pytest.mark.parametrize("document", [None, [], {}, {"request": None}, {"request": {"uid": 7}}, "x"])
def test_what_is_no_review_is_said(document: object) -> None:
    with pytest.raises(ReviewError):
        review(document, PLAN)


@pytest.fixture
def port() -> Iterator[int]:
    with WebhookServer(PLAN, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join(20)


def post(port: int, body: bytes, **headers: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", "/mutate?timeout=10s", body, headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def test_over_http(port: int) -> None:
    status, answer = post(port, json.dumps(asked(pod())).encode())
    assert (status, answer["response"]["allowed"]) == (200, True)
    assert post(port, b"{")[0] == 400
    assert post(port, b"[" * 100_000)[0] == 400
    assert post(port, b"{}")[0] == 400
    assert post(port, b"", **{"Content-Length": str(MAX_REVIEW_BYTES + 1)})[0] == 413
    assert post(port, b"", **{"Content-Length": "-1"})[0] == 411


def test_what_is_logged_of_a_request_acts_on_no_terminal(port: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "tlsidecar.inject")
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(b"GET /\x1b]0;owned\x07 HTTP/1.0\r\n\r\n")
        while client.recv(4096):
            pass
    said = eventually(lambda: [record.getMessage() for record in caplog.records])
    assert said == ['"GET /\\x1b]0;owned\\x07 HTTP/1.0" 404 -']


def test_a_client_that_leaves_in_the_middle_is_one_line_and_the_next_is_served(
    port: int, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("INFO", "tlsidecar.inject")
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(b"POST / HTTP/1.1\r\nContent-Length: 100\r\n\r\n{")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
    (said,) = eventually(lambda: [record.getMessage() for record in caplog.records])
    assert said == "a client left in the middle: Connection reset by peer"
    assert post(port, json.dumps(asked(pod())).encode())[0] == 200
    assert capfd.readouterr().err == ""
