"""What loads is right in an editor, too, and what an editor can see to be wrong does not load."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from unit.config.schema_judge import faults
from unit.config.test_loader import EVERYTHING, MINIMAL

from tlsidecar.config import ConfigError, load
from tlsidecar.config.identity_tables import IDENTITY_SOURCES
from tlsidecar.config.schema_document import json_schema

DOCS = Path(__file__).parents[3] / "docs"
SCHEMA = json_schema()
FILES = 'cert = "tls.crt"\ntrust = "ca.crt"'
SOURCES = {
    "cert": FILES,
    "command": 'command = ["issue", "--ttl", "1h"]',
    "authority": 'authority = "pki"\ndns = ["web.internal"]',
    "spiffe_socket": 'spiffe_socket = "unix:///run/spire/agent.sock"',
    "acme": (
        'trust = "ca.crt"\ndns = ["web.internal"]\n'
        'acme = { directory = "https://ca.internal/directory", contact = ["mailto:a@b.c"], state = "acme" }'
    ),
}
EXAMPLES = [
    example
    for page in ("config.md", "certificates.md")
    for example in re.findall(r"```toml\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)
    if "[[listener]]" in example
]


def judged(document: str) -> list[str]:
    return [*faults(tomllib.loads(document), SCHEMA, SCHEMA)]


def loads(document: str, tmp_path: Path) -> bool:
    (tmp_path / "tlsidecar.toml").write_text(document)
    try:
        load(tmp_path / "tlsidecar.toml", {}, {})
    except ConfigError:
        return False
    return True


@pytest.mark.parametrize("source", IDENTITY_SOURCES)
def test_each_source_of_an_identity_is_one(source: str, tmp_path: Path) -> None:
    document = MINIMAL.replace(FILES, SOURCES[source])
    assert loads(document, tmp_path)
    assert judged(document) == []


def test_two_sources_and_none_are_seen(tmp_path: Path) -> None:
    for identity in ("", 'cert = "tls.crt"', f"{FILES}\n{SOURCES['command']}"):
        document = MINIMAL.replace(FILES, identity)
        assert not loads(document, tmp_path)
        assert judged(document)


@pytest.mark.parametrize("document", [MINIMAL, EVERYTHING, *EXAMPLES], ids=range(2 + len(EXAMPLES)))
def test_what_loads_is_right(document: str, tmp_path: Path) -> None:
    assert loads(document, tmp_path)
    assert judged(document) == []


@pytest.mark.parametrize(
    "slip",
    [
        ('name = "web"', 'name = "we b"'),
        ('allow = ["any"]', ""),
        ('allow = ["any"]', 'mode = "originat"'),
        ('allow = ["any"]', 'allow = "any"'),
        ('allow = ["any"]', 'allow = ["any"]\nlimits = { idle_timeout = "10 seconds" }'),
        ('allow = ["any"]', 'allow = ["any"]\nlimits = { max_connections = 0 }'),
        ('allow = ["any"]', 'allow = ["any"]\nmaxconnections = 3'),
        ("[identity]", "workers = 0\n[identity]"),
        ('trust = "ca.crt"', "trust = []"),
    ],
    ids=lambda slip: slip[1],
)
def test_what_an_editor_sees_to_be_wrong_does_not_load(slip: tuple[str, str], tmp_path: Path) -> None:
    document = MINIMAL.replace(*slip)
    assert judged(document)
    assert not loads(document, tmp_path)
