"""Whom to trust: the CAs in some files and directories, each for everybody or for one SPIFFE trust domain, and CRLs.

Apart from where our own leaf comes from: a program or a CA may issue that, while who may vouch for peers stands in
files; and our own chain need not lead there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from certs.certificate import Certificate
from certs.errors import MaterialError, MaterialReason
from certs.material import Material
from certs.pem import certificates_in, crls_in, missing, read_blocks, stray_key
from certs.revocation_list import RevocationList
from certs.safe_files import Secrecy, list_directory, read_file

# What is read in a directory. Others (a README, a key, Kubernetes' ``..data``) are left alone.
SUFFIXES = (".pem", ".crt", ".cer")


@dataclass(frozen=True, slots=True)
class TrustFile:
    """A PEM file with CAs, or a directory of such files. With a ``trust_domain`` they vouch for SPIFFE IDs of that
    domain and for nobody else."""

    path: Path
    trust_domain: str = ""

    def __str__(self) -> str:
        return f"{self.path} for {self.trust_domain}" if self.trust_domain else str(self.path)


@dataclass(frozen=True, slots=True)
class Bundle:
    """What was read; ``federated`` are the CAs by the trust domain that they are good for, ``notes`` what is to be
    warned of."""

    trust: tuple[Certificate, ...] = ()
    crls: tuple[RevocationList, ...] = ()
    federated: Mapping[str, tuple[Certificate, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def applied_to(self, material: Material) -> Material:
        """The same material, trusting these."""
        notes = (*material.notes, *self.notes)
        return replace(material, trust=self.trust, crls=self.crls, federated=self.federated, notes=notes)


class Bundles:
    """The trust of one identity, and its revocation lists."""

    def __init__(self, trust: Sequence[TrustFile], crl: Path | None = None, kept_crls: Sequence[Path] = ()) -> None:
        """``kept_crls`` are lists that :mod:`.crl_downloads` keeps."""
        self.trust = tuple(trust)
        self.crls = (*([crl] if crl is not None else []), *kept_crls)

    def __str__(self) -> str:
        crls = f"; CRL {', '.join(map(str, self.crls))}" if self.crls else ""
        return f"trust {', '.join(map(str, self.trust))}{crls}"

    def paths(self) -> list[Path]:
        """Every file that counts now. What is in a directory may change: asked each time. Never raises."""
        found = [path for trusted in self.trust for path in _files_of(trusted.path)]
        return [*found, *self.crls]

    def read(self) -> Bundle:
        """Raises :class:`MaterialError`."""
        return self.parse({path: read_file(path, Secrecy.TRUSTED) for path in self.paths()})

    def parse(self, content: Mapping[Path, bytes]) -> Bundle:
        """From the content of all :meth:`paths`. Raises :class:`MaterialError`."""
        trust: list[Certificate] = []
        federated: dict[str, list[Certificate]] = {}
        notes: list[str] = []
        for trusted in self.trust:
            into = federated.setdefault(trusted.trust_domain, []) if trusted.trust_domain else trust
            files = [path for path in content if path == trusted.path or path.parent == trusted.path]
            if not files:
                names = ", ".join(f"*{suffix}" for suffix in SUFFIXES)
                raise MaterialError(MaterialReason.TRUST_EMPTY, f"no file in the directory ({names})", trusted.path)
            for path in files:
                blocks = read_blocks(content[path], path)
                certificates = certificates_in(blocks, path)
                if not certificates:
                    raise MaterialError(MaterialReason.TRUST_EMPTY, missing("certificate", blocks), path)
                into += certificates
                notes += stray_key(blocks, path)
        crls: list[RevocationList] = []
        for path in self.crls:
            blocks = read_blocks(content[path], path)
            found = crls_in(blocks, path)
            if not found:
                raise MaterialError(MaterialReason.CRL_INVALID, missing("revocation list", blocks), path)
            crls += found
        return Bundle(
            tuple(dict.fromkeys(trust)),
            tuple(crls),
            {domain: tuple(dict.fromkeys(certificates)) for domain, certificates in federated.items()},
            tuple(notes),
        )


def _files_of(path: Path) -> list[Path]:
    try:
        names = list_directory(path)
    except OSError:
        return [path]  # a file, or something whose reading says what is wrong with it
    return [path / name for name in names if name.endswith(SUFFIXES) and not name.startswith(".")]
