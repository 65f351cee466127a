"""Material that an ACME CA issues to us (RFC 8555): ordered when it is due, kept on disk between runs.

What was issued lies in a directory of our own, published as ``certs rotate`` does it, beside the account's key: a
restart orders nothing. Who may vouch for peers comes from elsewhere: a public CA vouches for anybody.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from random import random

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from certs.acme.account import AccountKey, ExternalAccount, unbase64url
from certs.acme.challenges import ChallengeType
from certs.acme.issuance import CertificateOrder, SigningKey, issue
from certs.acme.messages import AcmeError
from certs.acme.renewal_info import DEFAULT_ASK_AGAIN, RenewalInfo, certificate_identifier, renewal_info
from certs.acme.session import Session
from certs.acme.transport import Https, Responder, carry_out
from certs.certificate import Certificate
from certs.chain import leaf_of
from certs.clock import SYSTEM_CLOCK, Clock
from certs.durable import PRIVATE_DIRECTORY_MODE, PRIVATE_FILE_MODE, PUBLIC_FILE_MODE, locked, replace_file
from certs.errors import CertificateInvalid, MaterialError, MaterialReason, PublishError
from certs.identity import Identity
from certs.material import Material, PrivateKey
from certs.pem import certificates_in, read_blocks
from certs.publish import PublishedFile, publish
from certs.renewal import RandomUnit
from certs.safe_files import Secrecy, is_there, read_file
from certs.sources import Candidate, Event, Failed, RenewalWanted
from certs.sources.attempts import Attempts
from certs.sources.bundles import TrustFile
from certs.sources.files import POLL_S, FileSource

ORDER_TIMEOUT_S = 600.0  # a CA may take minutes to validate and to sign
ASK_TIMEOUT_S = 60.0

ACCOUNT_FILE = "account.key"
CERTIFICATE_FILE, KEY_FILE = "tls.crt", "tls.key"

# What nobody but a new order mends.
_DAMAGED = frozenset(
    {
        MaterialReason.KEY_MISMATCH,
        MaterialReason.KEY_MISSING,
        MaterialReason.KEY_UNPARSABLE,
        MaterialReason.MISSING_FILE,
        MaterialReason.PEM_INCOMPLETE,
        MaterialReason.PEM_INVALID,
        MaterialReason.CERTIFICATE_UNPARSABLE,
    }
)

_log = logging.getLogger("tlsidecar.source")

KEY_TYPES: dict[str, Callable[[], SigningKey]] = {
    "ecdsa-p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ecdsa-p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "rsa-2048": lambda: rsa.generate_private_key(65537, 2048),
    "rsa-3072": lambda: rsa.generate_private_key(65537, 3072),
}


@dataclass(frozen=True, slots=True)
class AcmeAccount:
    """Whom to order at, as whom and how. ``server_trust`` holds the CAs of the ACME server's own certificate where it
    is not a public one; ``mac_key_file`` the key of an external account, in base64url as CAs hand it out."""

    directory: str
    state: Path
    contact: tuple[str, ...] = ()
    terms_agreed: bool = False
    challenge: ChallengeType = ChallengeType.TLS_ALPN_01
    key_type: str = "ecdsa-p256"
    profile: str = ""
    external_key_id: str = ""
    mac_key_file: Path | None = None
    server_trust: Path | None = None


@dataclass(frozen=True, slots=True)
class _Unkept:
    """Issued, and not on the disk yet. Where that is full, the next attempt writes it: CAs issue the same names only a
    few times a week."""

    leaf: Certificate
    pem: bytes
    key: PrivateKey


class AcmeSource:
    """Implements :class:`certs.sources.Source`."""

    def __init__(
        self,
        account: AcmeAccount,
        names: tuple[str, ...],
        trust: Sequence[TrustFile],
        responder: Responder | None,
        crl: Path | None = None,
        clock: Clock = SYSTEM_CLOCK,
        random_unit: RandomUnit = random,
        poll_s: float = POLL_S,
    ) -> None:
        """``names`` are DNS names and addresses; ``responder`` answers the CA's challenges, where there is to be no
        ordering it may be None."""
        self._account = account
        self._names = names
        self._responder = responder
        self._clock = clock
        self._random_unit = random_unit
        self._poll_s = poll_s
        self._files = FileSource(
            account.state / CERTIFICATE_FILE, account.state / KEY_FILE, trust, crl=crl, clock=clock, poll_s=poll_s
        )
        self._orders = Attempts(clock, ORDER_TIMEOUT_S + ASK_TIMEOUT_S)
        self._questions = Attempts(clock, ASK_TIMEOUT_S)
        self._left_alone_until: datetime | None = None  # as the CA asked for
        self._unkept: _Unkept | None = None

    def __repr__(self) -> str:
        return f"AcmeSource({self.describe()})"

    def describe(self) -> str:
        return f"ACME {self._account.directory}, for {', '.join(self._names)}"

    @property
    def renews(self) -> bool:
        return True

    async def read(self) -> Material | None:
        """What was issued last; ``None`` where there is none, or none that is still of use."""
        if not is_there(self._account.state / CERTIFICATE_FILE):
            self._account_key(make=False)
            self._external()
            return None
        try:
            material = await self._files.read()
        except MaterialError as error:
            if error.reason not in _DAMAGED or (error.path is not None and error.path.parent != self._account.state):
                raise
            _log.warning("what was issued last is damaged, another one is to be ordered: %s", error)
            return None
        expired = material.leaf.not_valid_after_utc <= self._clock.now()
        if expired or self._names_missing_in(material.leaf):
            return None
        return replace(material, source=self.describe())

    async def renew(self) -> Material:
        """Order. Raises :class:`MaterialError` (``acme_failed``), at once while the CA wants to be left alone."""
        until = self._left_alone_until
        if until is not None and self._clock.now() < until:
            raise _refused(f"the CA wants to be left alone until {until:%Y-%m-%dT%H:%M:%SZ}")
        leaf = None
        with suppress(MaterialError):
            found = await self.read()
            leaf = found.leaf if found is not None else None
        replaces = certificate_identifier(leaf) if leaf is not None else ""
        await self._orders.make("ordering a certificate", lambda: self._order(replaces))
        return replace(await self._files.read(), source=self.describe())

    async def follow(self) -> AsyncIterator[Event]:
        """Changes of the files, and what the CA suggests (RFC 9773)."""
        ask_at = self._clock.now()
        seen = ""
        while True:
            await asyncio.sleep(self._poll_s)
            try:
                fingerprint = await self._questions.make("looking at the files", self._files.fingerprint)
                if seen and fingerprint != seen:
                    material = await self.read()
                    if material is not None:
                        yield Candidate(material)
                seen = fingerprint
            except MaterialError as error:
                yield Failed(error)
                continue
            if self._clock.now() < ask_at:
                continue
            info = await self._suggestion()
            ask_at = self._clock.now() + (info.ask_again if info is not None else DEFAULT_ASK_AGAIN)
            if info is not None and info.moment(self._random_unit) <= self._clock.now():
                explained = f" ({info.explanation})" if info.explanation else ""
                yield RenewalWanted(f"the CA suggests it{explained}")

    async def _suggestion(self) -> RenewalInfo | None:
        """A CA that cannot be asked suggests nothing: the schedule goes by the lifetime."""
        try:
            material = await self.read()
            if material is None:
                return None
            leaf = material.leaf
            return await self._questions.make("asking when to renew", lambda: self._ask(certificate_identifier(leaf)))
        except (MaterialError, AcmeError):
            return None

    # On a thread of their own.

    def _ask(self, identifier: str) -> RenewalInfo | None:
        session = Session(self._account.directory, self._account_key(make=True), self._clock)
        walk = renewal_info(session, identifier)
        return carry_out(walk, self._https(), None, self._clock, ASK_TIMEOUT_S)

    def _order(self, replaces: str) -> None:
        if self._unkept is not None and self._unkept.leaf.not_valid_after_utc > self._clock.now():
            self._publish(self._unkept)
            return
        account = self._account
        order = CertificateOrder(
            names=self._names,
            contact=account.contact,
            terms_agreed=account.terms_agreed,
            external=self._external(),
            challenge=account.challenge,
            profile=account.profile,
            replaces=replaces,
        )
        session = Session(account.directory, self._account_key(make=True), self._clock)
        key = KEY_TYPES[account.key_type]()
        try:
            walk = issue(session, order, key)
            pem = carry_out(walk, self._https(), self._responder, self._clock, ORDER_TIMEOUT_S)
        except AcmeError as error:
            if error.retry_after_s is not None:
                self._left_alone_until = self._clock.now() + timedelta(seconds=error.retry_after_s)
            hint = ""
            if error.kind == "unauthorized" and not session.account_url:  # of this key, or not any more
                hint = f"; where {account.state / ACCOUNT_FILE} is taken away, another account is made"
            raise _refused(f"{error}{hint}") from None
        self._left_alone_until = None
        signed = PrivateKey(key)
        leaf = leaf_of(certificates_in(read_blocks(pem)), signed.spki)
        if leaf is None:
            raise _refused("the CA's certificate is not for our key")
        missing = self._names_missing_in(leaf)
        if missing:  # kept, it would be taken for one of another configuration, and ordered anew with each reading
            raise _refused(f"the CA's certificate is not for {', '.join(missing)}")
        self._unkept = _Unkept(leaf, pem, signed)
        self._publish(self._unkept)

    def _publish(self, issued: _Unkept) -> None:
        files = {
            CERTIFICATE_FILE: PublishedFile(issued.pem, PUBLIC_FILE_MODE),
            KEY_FILE: PublishedFile(issued.key.to_pem(), PRIVATE_FILE_MODE),
        }
        try:
            publish(self._account.state, files, self._clock.now())
        except PublishError as error:
            raise _refused(f"what was issued cannot be kept: {error}") from None
        self._unkept = None

    def _https(self) -> Https:
        return Https(self._account.server_trust)

    def _account_key(self, *, make: bool) -> AccountKey:
        """The account's key; a new one, for which ``make`` also writes the file, where there is none."""
        path = self._account.state / ACCOUNT_FILE
        if not is_there(path):
            if not make:
                return AccountKey.generate()
            _make_account_key(path)
        try:
            return AccountKey.from_pem(read_file(path, Secrecy.SECRET))
        except ValueError as error:
            raise _refused(f"{path}: {error}") from None

    def _external(self) -> ExternalAccount | None:
        account = self._account
        if not account.external_key_id or account.mac_key_file is None:
            return None
        text = read_file(account.mac_key_file, Secrecy.SECRET)
        try:
            return ExternalAccount(account.external_key_id, unbase64url(text.decode("ascii").strip()))
        except ValueError:
            raise _refused(f"{account.mac_key_file}: not a key in base64url") from None

    def _names_missing_in(self, leaf: Certificate) -> list[str]:
        """Of those that are to be in it."""
        try:
            identity = Identity.from_certificate(leaf)
        except CertificateInvalid:
            return list(self._names)
        have = {*(each.lower() for each in identity.dns), *identity.ips}
        return [name for name in self._names if _normal(name) not in have]


def _make_account_key(path: Path) -> None:
    """Whole or not at all, and one for whoever shares the directory: an account without its key is lost."""
    try:
        path.parent.mkdir(PRIVATE_DIRECTORY_MODE, parents=True, exist_ok=True)
        with locked(path.parent):
            if not path.exists():
                replace_file(path, AccountKey.generate().to_pem(), PRIVATE_FILE_MODE)
    except OSError as error:
        raise _refused(f"the account's key cannot be kept: {path}: {error.strerror or error}") from None


def _normal(name: str) -> str:
    try:
        return str(ip_address(name))
    except ValueError:
        return name.lower()


def _refused(detail: str) -> MaterialError:
    return MaterialError(MaterialReason.ACME_FAILED, detail)
