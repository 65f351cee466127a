"""A mutating admission webhook (Kubernetes AdmissionReview v1), in the clear on loopback: a terminate listener of a
sidecar stands in front of it. Each request is bounded in size and time."""

from __future__ import annotations

import base64
import copy
import http.server
import json
import logging
import socket
import sys
from collections.abc import Mapping
from typing import Any

from tlsidecar.api.text import safe_text
from tlsidecar.inject.plan import InjectError, Plan
from tlsidecar.inject.pod import inject

MAX_REVIEW_BYTES = 8 << 20  # an API server sends objects of at most 3 MiB
REQUEST_TIMEOUT_S = 10.0

_log = logging.getLogger("tlsidecar.inject")


class ReviewError(Exception):
    """What was sent is no AdmissionReview; the text says why."""


def review(document: object, plan: Plan) -> dict[str, Any]:
    """The answer to one AdmissionReview: the pod is let in, changed by a JSON patch (RFC 6902) where the sidecar goes
    in, or turned away with the reason. Raises :class:`ReviewError`."""
    request = document.get("request") if isinstance(document, Mapping) else None
    if not isinstance(request, Mapping) or not isinstance(request.get("uid"), str):
        raise ReviewError("not an AdmissionReview: it has no request with a uid")
    answer: dict[str, Any] = {"uid": request["uid"], "allowed": True}
    kind = request.get("kind")
    pod = request.get("object")
    is_pod = isinstance(kind, Mapping) and kind.get("kind") == "Pod" and kind.get("group", "") == ""
    if is_pod and isinstance(pod, dict) and request.get("operation", "CREATE") == "CREATE":
        changed = copy.deepcopy(pod)
        try:
            if inject(changed, plan, _workload(pod)):
                patch = [
                    {"op": "add", "path": f"/{key}", "value": changed[key]}
                    for key in ("metadata", "spec")
                    if changed.get(key) != pod.get(key)
                ]
                answer |= {"patchType": "JSONPatch", "patch": base64.b64encode(json.dumps(patch).encode()).decode()}
        except InjectError as error:
            answer |= {"allowed": False, "status": {"code": 422, "reason": "Invalid", "message": str(error)}}
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": answer}


def _workload(pod: Mapping[str, Any]) -> str:
    """The name of what made the pod: a Deployment's pods come by way of a ReplicaSet, whose name ends in a hash."""
    metadata = pod.get("metadata")
    if not isinstance(metadata, Mapping):
        raise InjectError("the pod has no metadata")
    owners = metadata.get("ownerReferences")
    named: Mapping[str, Any] = metadata
    for owner in owners if isinstance(owners, list) else ():
        if isinstance(owner, Mapping) and owner.get("controller"):
            named = owner
    name = str(named.get("name") or named.get("generateName") or "").rstrip("-")
    labels = metadata.get("labels")
    hashed = labels.get("pod-template-hash") if isinstance(labels, Mapping) else None
    if hashed and name.endswith(f"-{hashed}"):
        name = name.removesuffix(f"-{hashed}")
    if not name:
        raise InjectError("the pod has neither a name nor an owner")
    return name


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = REQUEST_TIMEOUT_S
    server: WebhookServer

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()) or int(length[:18]) > MAX_REVIEW_BYTES:
            self.close_connection = True
            status = 413 if length.isdigit() else 411
            self._answer(status, {"message": f"at most {MAX_REVIEW_BYTES} bytes, with a Content-Length"})
            return
        body = self.rfile.read(int(length))
        try:
            answer = review(json.loads(body), self.server.plan)
        except (ValueError, RecursionError):
            self._answer(400, {"message": "not JSON"})
        except ReviewError as error:
            self._answer(400, {"message": str(error)})
        else:
            self._answer(200, answer)

    def do_GET(self) -> None:
        found = self.path == "/healthz"
        self._answer(200 if found else 404, {"status": "ok"} if found else {"message": "POST an AdmissionReview"})

    def _answer(self, status: int, document: object) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """On a terminal, often: whoever asks chooses some of the words."""
        _log.info("%s", safe_text(format % args))


class WebhookServer(http.server.ThreadingHTTPServer):
    """Bound and listening once it is made. Raises OSError."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, plan: Plan, host: str, port: int) -> None:
        self.plan = plan
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """One that left in the middle is nobody's trouble; what else goes wrong is a defect, and the next is served."""
        error = sys.exception()
        if isinstance(error, OSError):
            _log.info("a client left in the middle: %s", error.strerror or error)
        else:
            _log.error("a review failed", exc_info=error)
