"""A CycloneDX bill of materials of what the image and the single file contain, made from the lock they are made from.

    python tools/sbom.py locks/image.txt VERSION > tlsidecar.cdx.json

The same lock gives the same document, byte for byte: no time and no serial number of its own is in it.
"""

from __future__ import annotations

import json
import re
import sys
from importlib import metadata
from pathlib import Path

_PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;\\]+)(?P<marker> ;[^\\\n]*)?", re.MULTILINE)
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


def document(lock: str, version: str) -> dict[str, object]:
    """CycloneDX 1.5. The hashes are of every file the lock allows for a package: pip takes one of them."""
    components = []
    pins = list(_PIN.finditer(lock))
    for pin, following in zip(pins, [*pins[1:], None], strict=True):
        block = lock[pin.start() : following.start() if following is not None else len(lock)]
        name = pin["name"].lower().replace("_", "-")
        components.append(
            {
                "type": "library",
                "bom-ref": f"pkg:pypi/{name}@{pin['version']}",
                "name": name,
                "version": pin["version"],
                "purl": f"pkg:pypi/{name}@{pin['version']}",
                "properties": [{"name": "pip:sha256", "value": digest} for digest in _HASH.findall(block)],
                **_licence(name),
            }
        )
    subject = f"pkg:pypi/tlsidecar@{version}"
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": subject,
                "name": "tlsidecar",
                "version": version,
                "purl": subject,
                "licenses": [{"license": {"id": "Apache-2.0"}}],
            }
        },
        "components": components,
        "dependencies": [{"ref": subject, "dependsOn": [each["bom-ref"] for each in components]}],
    }


def _licence(name: str) -> dict[str, object]:
    """As the package that is installed here says it, where one is."""
    try:
        said = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return {}
    expression = said.get("License-Expression")
    return {"licenses": [{"expression": expression}]} if expression else {}


if __name__ == "__main__":
    json.dump(document(Path(sys.argv[1]).read_text(), sys.argv[2]), sys.stdout, indent=2)
    sys.stdout.write("\n")
