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
from support import configs
from support.pki import Pki
from support.sidecar import running

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


# What a sidecar with a certificate from files and a listener that relays TCP has no use for, and why it might be there.
UNUSED = {
    "click and what it needs": ("click", "gettext", "uuid", "platform", "tlsidecar.cli.root"),
    "a suggestion for a slip of the pen": ("difflib",),
    "a name in Unicode": ("stringprep", "encodings.idna"),
    "the system's OpenSSL": ("_ssl",),
    "a client of the web": ("http.client", "urllib.request", "email.message", "tempfile"),
    "the version's metadata": ("importlib.metadata", "importlib.resources", "zipfile", "csv"),
    "another source of material": (
        "certs.acme",
        "certs.authority",
        "certs.program",
        "certs.sources.acme",
        "certs.sources.command",
        "certs.sources.crl_downloads",
        "certs.sources.local_authority",
        "certs.workload_api",
        "tlsidecar.control.alpn_challenges",
        "tlsidecar.control.http_challenges",
        "tlsidecar.control.workload_api",
        "tlsidecar.dataplane.challenges",
    ),
    "another protocol": (
        "tlsidecar.dataplane.http1",
        "tlsidecar.dataplane.http2",
        "tlsidecar.dataplane.http.exchange",
        "tlsidecar.dataplane.starttls.words",
        "tlsidecar.dataplane.starttls_connection",
        "tlsidecar.dataplane.outbound.starttls_attempt",
        "tlsidecar.dataplane.outbound.pool",
    ),
    "checks that nobody asked for": ("tlsidecar.dataplane.outbound.health",),
    "workers in processes of their own": ("tlsidecar.workers.supervisor", "tlsidecar.workers.fork_server"),
    "a question that nobody has asked": (
        "tlsidecar.explain",
        "tlsidecar.admin.explanations",
        "tlsidecar.admin.openapi",
    ),
    "what only a client needs": ("tlsidecar.admin.client", "tlsidecar.api.client", "tlsidecar.api.sse"),
}


# Of that, what a listener that relays HTTP/1.1 does need.
OF_HTTP = (
    "tlsidecar.dataplane.http1",
    "tlsidecar.dataplane.http.exchange",
    "tlsidecar.dataplane.outbound.pool",
)


@pytest.mark.parametrize(("protocol", "needed"), [("tcp", ()), ("http", OF_HTTP)], ids=["tcp", "http"])
def test_a_sidecar_loads_nothing_that_only_others_need(
    protocol: str, needed: tuple[str, ...], pki: Pki, tmp_path: Path
) -> None:
    """What is loaded at the start stays in memory for good. Of a sidecar that is ready, as it says itself."""
    leaf = pki.issue("leaf", "localhost")
    config = configs.identity(leaf, pki.trust) + configs.terminate("127.0.0.1:9", protocol=protocol)
    one = {"PYTHONPROFILEIMPORTTIME": "1", "TLSIDECAR_WORKERS": "1"}
    with running(tmp_path / "plain", config, env=one) as plain:
        loaded = {line.rpartition("|")[2].strip() for line in plain.log_text.splitlines() if "import time:" in line}
    assert {"tlsidecar.daemon", "certs.sources.files", "tlsidecar.dataplane.relay", *needed} <= loaded
    unused = [name for names in UNUSED.values() for name in names if name not in needed]
    assert sorted(name for name in loaded for one in unused if name == one or name.startswith(f"{one}.")) == []
