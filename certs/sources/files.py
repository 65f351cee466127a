"""Material from files that somebody else renews: cert-manager, certbot, a Kubernetes Secret, ``certs rotate``. PEM, or
the pair as PKCS #12."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from certs.certificate import Certificate
from certs.chain import arrange, leaf_of
from certs.clock import SYSTEM_CLOCK, Clock
from certs.errors import MaterialError, MaterialReason
from certs.material import Material, PrivateKey
from certs.pem import certificates_in, key_in, missing, read_blocks, stray_key
from certs.pkcs12 import is_pkcs12, read_pkcs12
from certs.safe_files import Directory, Secrecy
from certs.sources import Candidate, Event, Failed
from certs.sources.attempts import DEADLINE_S, Attempts
from certs.sources.bundles import Bundles, TrustFile
from certs.sources.watch import Watch
from certs.text import mismatch_text

POLL_S = 1.0
READ_ATTEMPTS = 3
# A file caught while it is being written is read again, so often and after so long, before it is called bad.
TORN_READ_ATTEMPTS = 4
TORN_READ_WAIT_S = 0.15

# What a set looks like while it is being replaced: halves of two sets, or a generation removed while it was read.
_CHANGING = (MaterialReason.KEY_MISMATCH, MaterialReason.MISSING_FILE)


class FileSource:
    """A leaf with its chain, a key, a trust bundle and optionally CRLs, each in a file; cert and key may share one."""

    def __init__(
        self,
        cert: Path,
        key: Path | None,
        trust: Path | Sequence[TrustFile] | Bundles,
        crl: Path | None = None,
        passphrase_file: Path | None = None,
        key_group_readable: bool = False,
        clock: Clock = SYSTEM_CLOCK,
        poll_s: float = POLL_S,
        deadline_s: float = DEADLINE_S,
        rest: Callable[[], None] = lambda: None,
    ) -> None:
        """``key=None``: the certificate's file holds the key, too. ``poll_s`` is how often :meth:`follow` looks,
        ``deadline_s`` how long one look or reading may take. ``rest`` is called between the steps of a reading, each of
        some 0.3 ms, and may wait: a thread that computes holds the interpreter, and with it whoever serves."""
        self._cert = cert
        self._key = key or cert
        if isinstance(trust, Path):
            trust = [TrustFile(trust)]
        self._bundles = trust if isinstance(trust, Bundles) else Bundles(trust, crl)
        self._passphrase_file = passphrase_file
        self._secret = Secrecy.SECRET_GROUP_READABLE if key_group_readable else Secrecy.SECRET
        self._watch = Watch(self._paths, clock)
        self._poll_s = poll_s
        self._attempts = Attempts(clock, deadline_s)
        self._rest = rest
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
        self._rest()
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
        return f"files: {pair}; {self._bundles}"

    @property
    def renews(self) -> bool:
        return False

    def __repr__(self) -> str:
        return f"FileSource({self.describe()})"

    def _paths(self) -> list[Path]:
        own = [self._cert, self._key, *([self._passphrase_file] if self._passphrase_file is not None else [])]
        return [*own, *self._bundles.paths()]

    def _load_once(self) -> Material:
        content = self._read_files()
        passphrase = None
        if self._passphrase_file is not None:
            passphrase = content[self._passphrase_file].removesuffix(b"\n").removesuffix(b"\r")
        stray: tuple[str, ...] = ()
        if is_pkcs12(content[self._cert]):
            key, certificates = self._from_pkcs12(content[self._cert], passphrase)
        else:
            key, certificates, stray = self._from_pem(content, passphrase)
        self._rest()
        leaf = leaf_of(certificates, key.spki)
        if leaf is None:
            detail = mismatch_text(str(self._key), key.reveal().public_key(), certificates, str(self._cert))
            raise MaterialError(MaterialReason.KEY_MISMATCH, detail)
        chain, notes = arrange(leaf, certificates)
        bundle = self._bundles.parse(content)
        return Material(
            leaf=leaf,
            chain=chain,
            key=key,
            trust=bundle.trust,
            crls=bundle.crls,
            source=self.describe(),
            notes=(*notes, *stray, *bundle.notes),
            federated=bundle.federated,
        )

    def _from_pem(
        self, content: Mapping[Path, bytes], passphrase: bytes | None
    ) -> tuple[PrivateKey, list[Certificate], tuple[str, ...]]:
        """With what is to be said of a key that is not where it belongs."""
        cert_blocks = read_blocks(content[self._cert], self._cert)
        key_blocks = cert_blocks if self._key == self._cert else read_blocks(content[self._key], self._key)
        key = PrivateKey(key_in(key_blocks, passphrase, self._key))
        self._rest()
        certificates = certificates_in(cert_blocks, self._cert)
        if not certificates:
            detail = missing("certificate", cert_blocks)
            raise MaterialError(MaterialReason.PEM_INVALID, detail, self._cert, retry=True)
        return key, certificates, stray_key(cert_blocks, self._cert) if self._key != self._cert else ()

    def _from_pkcs12(self, data: bytes, passphrase: bytes | None) -> tuple[PrivateKey, list[Certificate]]:
        if self._key != self._cert:
            detail = "a PKCS #12 file holds its key: name it as cert alone, without key"
            raise MaterialError(MaterialReason.PEM_INVALID, detail, self._cert)
        return read_pkcs12(data, passphrase, self._cert)

    def _read_files(self) -> dict[Path, bytes]:
        """Every file once, files of one directory from one generation of it."""
        wanted = dict.fromkeys(self._bundles.paths(), Secrecy.TRUSTED)
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
