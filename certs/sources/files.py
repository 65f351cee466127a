"""Material from files that somebody else renews: cert-manager, certbot, a Kubernetes Secret, ``certs rotate``."""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509

from certs.certificate import Certificate
from certs.chain import arrange, leaf_of
from certs.clock import SYSTEM_CLOCK, Clock
from certs.errors import MaterialError, MaterialReason
from certs.material import Material, PrivateKey
from certs.pem import certificates_in, crls_in, key_in, read_blocks
from certs.safe_files import Directory, Secrecy
from certs.sources import Candidate, Event, Failed
from certs.sources.attempts import DEADLINE_S, Attempts

POLL_S = 1.0
READ_ATTEMPTS = 3
# A file caught while it is being written is read again, so often and after so long, before it is called bad.
TORN_READ_ATTEMPTS = 4
TORN_READ_WAIT_S = 0.15
RECENT_S = 3.0  # a file changed this recently is read again: its timestamps may be too coarse to show a second change

# What a set looks like while it is being replaced: halves of two sets, or a generation removed while it was read.
_CHANGING = (MaterialReason.KEY_MISMATCH, MaterialReason.MISSING_FILE)


class FileSource:
    """A leaf with its chain, a key, a trust bundle and optionally CRLs, each in a file; cert and key may share one."""

    def __init__(
        self,
        cert: Path,
        key: Path | None,
        trust: Path,
        crl: Path | None = None,
        passphrase_file: Path | None = None,
        key_group_readable: bool = False,
        federated: Mapping[str, Path] | None = None,
        clock: Clock = SYSTEM_CLOCK,
        poll_s: float = POLL_S,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        """``key=None``: the certificate's file holds the key, too. ``federated``: SPIFFE trust domain to bundle.
        ``poll_s`` is how often :meth:`follow` looks, ``deadline_s`` how long one look or reading may take."""
        self._cert = cert
        self._key = key or cert
        self._trust = trust
        self._crl = crl
        self._passphrase_file = passphrase_file
        self._federated = dict(federated or {})
        self._secret = Secrecy.SECRET_GROUP_READABLE if key_group_readable else Secrecy.SECRET
        self._watch = _Watch([path for path in self._paths() if path is not None], clock)
        self._poll_s = poll_s
        self._attempts = Attempts(clock, deadline_s)
        self._seen = ""  # the fingerprint of what was read last

    async def read(self) -> Material:
        """Reads again, a few times, what looks as if it was being written."""
        for remaining in range(TORN_READ_ATTEMPTS - 1, -1, -1):
            try:
                return await self._attempts.make("reading the files", self._look_and_load)
            except MaterialError as error:
                if not error.retry or not remaining:
                    raise
                await asyncio.sleep(TORN_READ_WAIT_S)
        raise AssertionError("unreachable")

    async def renew(self) -> Material:
        """Somebody else renews files: what they hold now."""
        return await self.read()

    async def follow(self) -> AsyncIterator[Event]:
        """Looks at the files, and reads them when they have changed, also while they are bad and may get better."""
        hangs = False
        while True:
            await asyncio.sleep(self._poll_s)
            try:
                fingerprint = await self._attempts.make("looking at the files", self._watch.fingerprint)
            except MaterialError as error:
                if not hangs:
                    hangs = True
                    yield Failed(error)
                continue
            if fingerprint == self._seen and not hangs:
                continue
            hangs = False
            try:
                yield Candidate(await self.read())
            except MaterialError as error:
                yield Failed(error)

    def _look_and_load(self) -> Material:
        self._seen = self._watch.fingerprint()
        return self.load()

    def load(self) -> Material:
        """Reads each file once; where key and leaf do not fit, as in the middle of a change, reads again, three times
        in all. Raises :class:`MaterialError`."""
        for attempt in range(1, READ_ATTEMPTS + 1):
            try:
                return self._load_once()
            except MaterialError as error:
                if error.reason not in _CHANGING or attempt == READ_ATTEMPTS:
                    raise
        raise AssertionError("unreachable")

    def fingerprint(self) -> str:
        """Notices an in-place rewrite, a rename over a file, a swap of ``..data``, and a change of owner or mode."""
        return self._watch.fingerprint()

    def describe(self) -> str:
        pair = f"{self._cert}" if self._key == self._cert else f"{self._cert}, {self._key}"
        crl = f"; CRL {self._crl}" if self._crl is not None else ""
        return f"files: {pair}; trust {self._trust}{crl}"

    @property
    def renews(self) -> bool:
        return False

    def __repr__(self) -> str:
        return f"FileSource({self.describe()})"

    def _paths(self) -> tuple[Path | None, ...]:
        return (self._cert, self._key, self._trust, self._crl, self._passphrase_file, *self._federated.values())

    def _load_once(self) -> Material:
        content = self._read_files()
        passphrase = None
        if self._passphrase_file is not None:
            passphrase = content[self._passphrase_file].removesuffix(b"\n").removesuffix(b"\r")
        cert_blocks = read_blocks(content[self._cert], self._cert)
        key_blocks = cert_blocks if self._key == self._cert else read_blocks(content[self._key], self._key)
        key = PrivateKey(key_in(key_blocks, passphrase, self._key))
        certificates = certificates_in(cert_blocks, self._cert)
        if not certificates:
            raise MaterialError(MaterialReason.PEM_INVALID, "no certificate in the file", self._cert, retry=True)
        leaf = leaf_of(certificates, key.spki)
        if leaf is None:
            raise MaterialError(MaterialReason.KEY_MISMATCH, f"{self._key} does not fit {self._cert}")
        chain, notes = arrange(leaf, certificates)
        crls: list[x509.CertificateRevocationList] = []
        if self._crl is not None:
            crls = crls_in(read_blocks(content[self._crl], self._crl), self._crl)
            if not crls:
                raise MaterialError(MaterialReason.CRL_INVALID, "no X509 CRL block in the file", self._crl)
        return Material(
            leaf=leaf,
            chain=chain,
            key=key,
            trust=self._bundle(self._trust, content),
            crls=tuple(crls),
            source=self.describe(),
            notes=notes,
            federated={domain: self._bundle(path, content) for domain, path in self._federated.items()},
        )

    def _read_files(self) -> dict[Path, bytes]:
        """Every file once, files of one directory from one generation of it."""
        wanted: dict[Path, Secrecy] = {}
        for bundle in (self._trust, self._crl, *self._federated.values()):
            if bundle is not None:
                wanted[bundle] = Secrecy.TRUSTED
        wanted.setdefault(self._cert, Secrecy.PUBLIC)
        for secret in (self._key, self._passphrase_file):
            if secret is not None:
                wanted[secret] = self._secret
        directories: dict[Path, Directory] = {}
        with ExitStack() as stack:
            for path in wanted:
                if path.parent not in directories:
                    directories[path.parent] = stack.enter_context(Directory(path.parent))
            return {path: directories[path.parent].read(path.name, secrecy) for path, secrecy in wanted.items()}

    def _bundle(self, path: Path, content: Mapping[Path, bytes]) -> tuple[Certificate, ...]:
        certificates = certificates_in(read_blocks(content[path], path), path)
        if not certificates:
            raise MaterialError(MaterialReason.TRUST_EMPTY, "no certificate in the file", path)
        return tuple(dict.fromkeys(certificates))


@dataclass(slots=True)
class _Seen:
    status: tuple[int, ...]
    content: str


@dataclass(slots=True)
class _Watch:
    """Whether any of some files changed: by their status first, by content where the status cannot tell."""

    paths: list[Path]
    clock: Clock
    salt: bytes = field(default_factory=lambda: secrets.token_bytes(16), repr=False)  # hides digests of passphrases
    seen: dict[Path, _Seen] = field(default_factory=dict)

    def fingerprint(self) -> str:
        digest = hashlib.blake2b(digest_size=16, key=self.salt)
        now_s = self.clock.now().timestamp()
        for path in self.paths:
            digest.update(self._state(path, now_s).encode())
            digest.update(b"\n")
        return digest.hexdigest()

    def _state(self, path: Path, now_s: float) -> str:
        try:
            status = os.stat(path)
        except OSError as error:
            self.seen.pop(path, None)
            return f"error {error.errno}"
        key = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        access = f"{status.st_mode:o} {status.st_uid}"
        seen = self.seen.get(path)
        # A timestamp in the future, as after the wall clock was set back, counts as recent: it says nothing.
        is_recent = now_s - max(status.st_ctime, status.st_mtime) < RECENT_S
        if seen is None or seen.status != key or is_recent:
            seen = _Seen(key, self._content(path))
            self.seen[path] = seen
        return f"{access} {seen.content}"

    def _content(self, path: Path) -> str:
        try:
            with Directory(path.parent) as directory:
                data = directory.read(path.name, Secrecy.PUBLIC)
        except MaterialError as error:
            return f"error {error.reason.value}"
        return hashlib.blake2b(data, digest_size=16, key=self.salt).hexdigest()
