"""The sidecar as Kubernetes is to run it: equal to ``deploy/kubernetes/component``, which says why of each line."""

from __future__ import annotations

from typing import Any

from tlsidecar.inject.plan import Plan

NAME = "tlsidecar"
GROUP = 65532  # and the user, as the image has them
GRACE_PERIOD_S = 75

_CONFIGURATION = "/etc/tlsidecar"
_IDENTITY = "/var/lib/tlsidecar"

VOLUMES = ("tlsidecar-config", "tlsidecar-identity", "tlsidecar-run")


def container(plan: Plan, upstream_port: int) -> dict[str, Any]:
    """The native sidecar (Kubernetes 1.29 and newer): an init container that stays."""

    def probe(which: str, **often: int) -> dict[str, Any]:
        return {"exec": {"command": ["tlsidecar", "health", which]}, **often, "timeoutSeconds": 3}

    mounts: list[dict[str, Any]] = [
        {"name": "tlsidecar-identity", "mountPath": _IDENTITY, "readOnly": True},
        {"name": "tlsidecar-run", "mountPath": "/run"},
    ]
    made: dict[str, Any] = {"name": NAME, "image": plan.image, "restartPolicy": "Always"}
    if plan.config_map:
        mounts.insert(0, {"name": "tlsidecar-config", "mountPath": _CONFIGURATION, "readOnly": True})
    else:
        made["args"] = _flags(plan, upstream_port)
    return made | {
        "ports": [{"name": "mtls", "containerPort": plan.port}],
        "startupProbe": probe("--ready", periodSeconds=1, failureThreshold=60),
        "readinessProbe": probe("--ready", periodSeconds=5),
        "livenessProbe": probe("--live", periodSeconds=10, failureThreshold=3),
        "resources": {"requests": {"cpu": "20m", "memory": "128Mi"}, "limits": {"memory": "128Mi"}},
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": GROUP,
            "runAsGroup": GROUP,
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": mounts,
    }


def volumes(plan: Plan, workload: str) -> list[dict[str, Any]]:
    """Those that the container mounts."""
    found: list[dict[str, Any]] = []
    if plan.config_map:
        found.append({"name": "tlsidecar-config", "configMap": {"name": plan.config_map}})
    secret = {"secretName": plan.secret_of(workload), "defaultMode": 0o440}
    found.append({"name": "tlsidecar-identity", "secret": secret})
    found.append({"name": "tlsidecar-run", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}})
    return found


def _flags(plan: Plan, upstream_port: int) -> list[str]:
    flags = ["run", f"--listen=0.0.0.0:{plan.port}", f"--upstream=127.0.0.1:{upstream_port}"]
    flags += [f"--protocol={plan.protocol}", "--key-group-readable"]
    flags += [f"--cert={_IDENTITY}/tls.crt", f"--key={_IDENTITY}/tls.key", f"--trust={_IDENTITY}/ca.crt"]
    return flags + [f"--allow={rule}" for rule in plan.allow]
