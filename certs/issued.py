"""A leaf as a published set: ``tls.crt``, ``tls.key``, ``ca.crt``, and ``issued.json``, which remembers for whom and by
which CA it was issued, so that it can be renewed without saying it again. Nothing secret is in it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from certs.durable import PRIVATE_FILE_MODE, PUBLIC_FILE_MODE
from certs.errors import AuthorityError
from certs.hostile import plain
from certs.identity import Role
from certs.material import Material
from certs.profiles import LeafRequest
from certs.publish import Failpoint, PublishedFile, publish
from certs.safe_files import Directory, Secrecy
from certs.text import certificate_pem

CERTIFICATE_FILE = "tls.crt"
KEY_FILE = "tls.key"
TRUST_FILE = "ca.crt"
RECORD_FILE = "issued.json"

RECORD_VERSION = 1


@dataclass(frozen=True, slots=True)
class Record:
    """How a set came to be."""

    request: LeafRequest
    authority: Path
    serial: str
    unsafe_ttl: bool = False

    def to_json(self) -> bytes:
        request = self.request
        content = {
            "version": RECORD_VERSION,
            "authority": str(self.authority),
            "serial": self.serial,
            "dns": request.dns,
            "ip": request.ip,
            "spiffe": request.spiffe,
            "common_name": request.common_name,
            "organizational_units": request.organizational_units,
            "ttl_s": request.ttl.total_seconds(),
            "roles": [role.value for role in request.roles],
            "unsafe_ttl": self.unsafe_ttl,
        }
        return json.dumps(content, indent=2).encode() + b"\n"

    @classmethod
    def from_json(cls, data: bytes) -> Record:
        """Raises :class:`AuthorityError` for anything :meth:`to_json` does not write."""
        try:
            content = json.loads(data)
            if content["version"] != RECORD_VERSION:
                raise AuthorityError(f"{RECORD_FILE} is of another version ({content['version']!r}) of this program")
            return cls(
                request=LeafRequest(
                    dns=tuple(map(str, content["dns"])),
                    ip=tuple(map(str, content["ip"])),
                    spiffe=str(content["spiffe"]),
                    common_name=str(content["common_name"]),
                    organizational_units=tuple(map(str, content["organizational_units"])),
                    ttl=timedelta(seconds=content["ttl_s"]),
                    roles=tuple(Role(role) for role in content["roles"]),
                ),
                authority=Path(content["authority"]),
                serial=str(content["serial"]),
                unsafe_ttl=bool(content["unsafe_ttl"]),
            )
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            raise AuthorityError(f"{RECORD_FILE} is damaged: {plain(error)}") from None


def publish_issued(
    out: Path, material: Material, record: Record, now: datetime, failpoint: Failpoint = lambda step: None
) -> Path:
    """Publishes a set into ``out``; returns the new generation's directory. Raises :class:`PublishError`."""
    chain = b"".join(certificate_pem(certificate) for certificate in (material.leaf, *material.chain))
    files = {
        CERTIFICATE_FILE: PublishedFile(chain, PUBLIC_FILE_MODE),
        KEY_FILE: PublishedFile(material.key.to_pem(), PRIVATE_FILE_MODE),
        TRUST_FILE: PublishedFile(b"".join(map(certificate_pem, material.trust)), PUBLIC_FILE_MODE),
        RECORD_FILE: PublishedFile(record.to_json(), PUBLIC_FILE_MODE),
    }
    return publish(out, files, now, failpoint)


def read_record(out: Path) -> Record:
    """How the set in ``out`` came to be. Raises :class:`MaterialError`, or :class:`AuthorityError` if damaged."""
    with Directory(out) as directory:
        content = directory.read(RECORD_FILE, Secrecy.TRUSTED)
    try:
        return Record.from_json(content)
    except AuthorityError as error:
        raise AuthorityError(f"{out}: {error}") from None
