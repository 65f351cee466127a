"""Who may import whom, proved by importing: each package alone, in a fresh interpreter, every module of it.

The static contract (``lint-imports``, in ``make check``) reads the source; this sees what really gets loaded, through
third parties, too.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Imports every module below the packages named, with the modules named as absent made impossible to import, and prints
# the top-level names and our own packages that are loaded then.
_PROBE = """
import importlib, json, pkgutil, sys
request = json.load(sys.stdin)
for name in request["absent"]:
    sys.modules[name] = None
imported = []
for name in request["packages"]:
    package = importlib.import_module(name)
    imported.append(name)
    for module in pkgutil.walk_packages(getattr(package, "__path__", []), name + "."):
        if not module.name.endswith(".__main__"):
            importlib.import_module(module.name)
            imported.append(module.name)
loaded = {name for name, module in sys.modules.items() if module is not None}
json.dump({"imported": imported, "loaded": sorted(loaded)}, sys.stdout)
"""


def import_all(*packages: str, absent: tuple[str, ...] = ()) -> tuple[list[str], set[str]]:
    """What was imported on purpose, and everything that is loaded then."""
    request = json.dumps({"packages": packages, "absent": absent})
    run = subprocess.run(
        [sys.executable, "-c", _PROBE], input=request, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False
    )
    assert run.returncode == 0, run.stderr
    answer = json.loads(run.stdout)
    return answer["imported"], set(answer["loaded"])


@pytest.mark.parametrize(
    ("packages", "forbidden"),
    [
        (["certs"], {"tlsidecar", "tui", "textual", "pydantic", "prometheus_client", "h11"}),
        (
            ["tui"],
            {
                "tlsidecar.admin",
                "tlsidecar.control",
                "tlsidecar.dataplane",
                "tlsidecar.observe",
                "tlsidecar.cli",
                "certs",
            }
            | {"cryptography", "OpenSSL", "pydantic", "prometheus_client"},
        ),
        (["tlsidecar.api"], {"certs", "tui", "click", "cryptography", "OpenSSL", "asyncio", "tlsidecar.outcomes"}),
        (
            ["tlsidecar.dataplane"],
            {
                "tlsidecar.admin",
                "tlsidecar.cli",
                "tlsidecar.config",
                "tlsidecar.control",
                "tlsidecar.demo",
                "tlsidecar.observe",
                "tui",
                "click",
                "prometheus_client",
                "pydantic",
                "textual",
            },
        ),
        (["tlsidecar.config"], {"tlsidecar.admin", "tlsidecar.dataplane", "tlsidecar.cli", "tui", "click", "pydantic"}),
        (["tlsidecar.config.places", "tlsidecar.settings"], {"certs", "cryptography", "tomllib", "asyncio"}),
        (["tlsidecar.outcomes", "tlsidecar.settings"], {"certs", "asyncio", "ssl"}),
    ],
    ids=["certs", "tui", "api", "dataplane", "config", "places", "settings"],
)
def test_a_package_loads_nothing_above_it(packages: list[str], forbidden: set[str]) -> None:
    imported, loaded = import_all(*packages)
    assert len(imported) > 0
    assert {name for name in loaded for bad in forbidden if name == bad or name.startswith(f"{bad}.")} == set()


def test_the_daemon_and_its_commands_need_no_extra() -> None:
    imported, loaded = import_all("tlsidecar", "certs", absent=("textual", "uvloop", "tui", "opentelemetry"))
    assert {"tlsidecar.config.loader", "certs.rules", "tlsidecar.cli"} <= set(imported)
    assert not any(name.split(".")[0] in {"textual", "rich", "uvloop", "opentelemetry"} for name in loaded)


def test_the_static_contract_holds() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    run = subprocess.run(
        [lint, "--no-cache", "--no-logo"], capture_output=True, text=True, cwd=ROOT, timeout=60, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_a_sidecar_loads_nothing_that_only_others_need() -> None:
    """What is loaded at the start stays in memory for good."""
    modules = "tlsidecar.cli.run, tlsidecar.config.loader, tlsidecar.daemon, tlsidecar.control.sources"
    script = f"import json, sys, {modules}; print(json.dumps(sorted(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    others = {
        "importlib.metadata",
        "importlib.resources",
        "zipfile",
        "csv",
        "tempfile",
        "email.message",
        "certs.sources.acme",
        "certs.sources.command",
        "certs.sources.local_authority",
        "tlsidecar.control.workload_api",
        "tlsidecar.dataplane.http2",
        "tlsidecar.workers.supervisor",
    }
    assert sorted(others.intersection(json.loads(run.stdout))) == []
