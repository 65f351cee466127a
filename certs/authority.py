"""A local CA in a directory: a root that can be taken offline, an intermediate that issues, a journal of everything.

The directory (0700) holds::

    authority.json        name, which CA generation issues, which are trusted, rollover phase; nothing secret
    journal.jsonl         every certificate, before it was given out; every revocation and change
    ca.crt                the trust bundle
    ca.crl                revocation lists, once there are any
    ca-1/                 one CA generation: root.crt root.key intermediate.crt intermediate.key (keys 0600)

Everything that changes the directory holds its lock, so that a sidecar and a command line can use it at once.
"""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from certs.authority_state import AuthorityState, Phase, Plan
from certs.certificate import Certificate
from certs.chain import is_issuer, spki
from certs.clock import SYSTEM_CLOCK, Clock
from certs.durable import (
    PRIVATE_DIRECTORY_MODE,
    PRIVATE_FILE_MODE,
    PUBLIC_FILE_MODE,
    create_file,
    locked,
    replace_file,
    sync_directory,
)
from certs.errors import AuthorityError, MaterialError
from certs.identity import Role, serial_text
from certs.journal import Journal, time_text
from certs.material import Material, PrivateKey
from certs.pem import certificates_in, crls_in, key_in, read_blocks
from certs.preflight import inspect
from certs.profiles import (
    BACKDATE,
    MAX_SERVER_LIFETIME,
    Issuer,
    LeafRequest,
    RandomBits,
    intermediate_certificate,
    leaf_certificate,
    new_key,
    random_serial,
    root_certificate,
)
from certs.revocation_list import RevocationList
from certs.safe_files import Secrecy, read_file
from certs.text import certificate_pem

STATE_FILE = "authority.json"
JOURNAL_FILE = "journal.jsonl"
TRUST_FILE = "ca.crt"
CRL_FILE = "ca.crl"


class Authority:
    """The CA in one directory."""

    def __init__(
        self, directory: Path, clock: Clock = SYSTEM_CLOCK, random_bits: RandomBits = secrets.randbits
    ) -> None:
        """Raises :class:`AuthorityError` when there is no CA in the directory, or others could change it."""
        self.directory = directory
        self.clock = clock
        self.random_bits = random_bits
        self.journal = Journal(directory / JOURNAL_FILE)
        _judge_directory(directory)
        self.state()

    @classmethod
    def create(
        cls, directory: Path, plan: Plan, clock: Clock = SYSTEM_CLOCK, random_bits: RandomBits = secrets.randbits
    ) -> Authority:
        """A new CA in a directory that is not there yet or is empty; it appears there whole or not at all.

        Raises :class:`AuthorityError`.
        """
        plan.check()
        try:
            if directory.exists() and any(directory.iterdir()):
                raise AuthorityError(f"{directory} is not empty: a CA wants a directory of its own")
            directory.parent.mkdir(parents=True, exist_ok=True)
            building = directory.with_name(f".{directory.name}.{secrets.token_hex(4)}.new")
            os.mkdir(building, PRIVATE_DIRECTORY_MODE)
            try:
                _build(building, plan, clock.now(), random_bits)
                os.rename(building, directory)
                sync_directory(directory.parent)
            finally:
                shutil.rmtree(building, ignore_errors=True)
        except OSError as error:
            raise AuthorityError(f"{directory}: {error.strerror}") from None
        return cls(directory, clock, random_bits)

    def state(self) -> AuthorityState:
        """As it is on the disk now. Raises :class:`AuthorityError`."""
        data = self._read(STATE_FILE)
        try:
            return AuthorityState.from_json(data)
        except AuthorityError as error:
            raise AuthorityError(f"{self.directory / STATE_FILE}: {error}") from None

    @contextmanager
    def changing(self) -> Iterator[AuthorityState]:
        """Holds the lock; gives the state as of then. Raises :class:`AuthorityError` when the clock went back."""
        with self._lock():
            newest = self.journal.last_time()
            now = self.clock.now()
            if newest is not None and now < newest:
                raise AuthorityError(
                    f"the clock says {time_text(now)}, but the journal's last entry is of {time_text(newest)}: "
                    "not issuing before the clock is right"
                )
            state = self.state()
            self._mend_bundle(state)
            yield state

    def trust(self) -> tuple[Certificate, ...]:
        """The roots that are trusted now. Raises :class:`AuthorityError`."""
        return tuple(self.root(generation) for generation in self.state().trusted)

    def crls(self) -> tuple[RevocationList, ...]:
        """The revocation lists written last; none before the first. Raises :class:`AuthorityError`."""
        path = self.directory / CRL_FILE
        if not path.exists():
            return ()
        try:
            return tuple(crls_in(read_blocks(self._read(CRL_FILE), path), path))
        except MaterialError as error:
            raise AuthorityError(str(error)) from None

    def root(self, generation: str) -> Certificate:
        return self._certificate(generation, "root")

    def intermediate(self, generation: str) -> Certificate:
        return self._certificate(generation, "intermediate")

    def has_root_key(self, generation: str) -> bool:
        """Whether the root's key is here, and not kept offline."""
        return (self.directory / generation / "root.key").exists()

    def root_issuer(self, generation: str) -> Issuer:
        return self._issuer(generation, "root")

    def intermediate_issuer(self, generation: str) -> Issuer:
        return self._issuer(generation, "intermediate")

    def examine(self, request: LeafRequest) -> None:
        """Whatever keeps :meth:`issue` from issuing and can be told without it. Changes nothing.
        Raises :class:`AuthorityError`."""
        request.checked()
        state = self.state()
        self.trust()
        self.crls()
        issuer = self.intermediate_issuer(state.active).certificate
        if not is_issuer(self.root(state.active), self.intermediate(state.active)):
            path = self.directory / state.active
            raise AuthorityError(f"{path / 'intermediate.crt'} was not issued by {path / 'root.crt'}")
        if issuer.not_valid_after_utc <= self.clock.now() and not self.has_root_key(state.active):
            raise _issuer_expired(state.active, issuer)

    def issue(self, request: LeafRequest, requester: str, *, unsafe_ttl: bool = False) -> Material:
        """A new key and leaf, journaled on the disk before this returns. ``unsafe_ttl`` allows server leaves that live
        longer than browsers take. Raises :class:`AuthorityError`."""
        request = request.checked()
        if Role.SERVER in request.roles and not unsafe_ttl:
            if request.ttl > MAX_SERVER_LIFETIME:
                raise AuthorityError(f"browsers refuse server certificates of over {MAX_SERVER_LIFETIME.days} days")
            # The backdating counts, and so do both ends (RFC 5280 section 4.1.2.5).
            longest = MAX_SERVER_LIFETIME - BACKDATE - timedelta(seconds=1)
            request = replace(request, ttl=min(request.ttl, longest))
        with self.changing() as state:
            now = self.clock.now()
            issuer = self._usable_issuer(state, request.ttl, now)
            key = new_key()
            leaf = leaf_certificate(request, key.public_key(), issuer, now, random_serial(self.random_bits))
            notes: tuple[str, ...] = ()
            if leaf.not_valid_after_utc < (now + request.ttl).replace(microsecond=0):
                notes = (f"shorter than asked: its issuer expires at {time_text(leaf.not_valid_after_utc)}",)
            material = Material(
                leaf=Certificate.of(leaf),
                chain=(Certificate.of(issuer.certificate),),
                key=PrivateKey(key),
                trust=self.trust(),
                crls=self.crls(),
                source=f"local CA {self.directory}",
                notes=notes,
            )
            problems = inspect(material, request.roles, now, soft_crl=True).problems
            if problems:
                raise AuthorityError(f"not issued, since it could not be served: {problems[0]}")
            self.journal.append(
                "issue",
                now,
                serial=serial_text(leaf.serial_number),
                spki_sha256=material.identity.spki_sha256,
                names=[*material.identity.uris, *material.identity.dns, *material.identity.ips],
                subject=material.identity.subject,
                roles=[role.value for role in request.roles],
                not_after=time_text(leaf.not_valid_after_utc),
                ca=state.active,
                requester=requester,
            )
            return material

    def write_state(self, state: AuthorityState) -> None:
        """Puts a new state and its trust bundle in place; the bundle last, since sidecars watch it. Under the lock."""
        try:
            replace_file(self.directory / STATE_FILE, state.to_json(), PRIVATE_FILE_MODE)
            replace_file(self.directory / TRUST_FILE, self._bundle(state), PUBLIC_FILE_MODE)
        except OSError as error:
            raise AuthorityError(f"{self.directory}: {error.strerror}") from None

    def add_generation(self, state: AuthorityState) -> AuthorityState:
        """A new root and intermediate beside the old, not trusted yet; the state that knows of them. Under the lock."""
        name = state.next_generation
        path = self.directory / name
        try:
            shutil.rmtree(path, ignore_errors=True)  # left by a crash before the state knew of it
            _build_generation(path, state.plan, self.clock.now(), self.random_bits, self.journal)
            sync_directory(self.directory)
        except OSError as error:
            raise AuthorityError(f"{path}: {error.strerror}") from None
        return replace(state, generations=(*state.generations, name))

    def _usable_issuer(self, state: AuthorityState, ttl: timedelta, now: datetime) -> Issuer:
        """The intermediate, certified anew with the same key when its time runs out and the root's key is here."""
        issuer = self.intermediate_issuer(state.active)
        lifetime = state.plan.intermediate_lifetime
        remaining = issuer.certificate.not_valid_after_utc - now
        wanted = max(lifetime / 3, min(ttl, lifetime * 9 / 10))
        root = self.root(state.active)
        could_last_longer = root.not_valid_after_utc > issuer.certificate.not_valid_after_utc
        if remaining < wanted and could_last_longer and self.has_root_key(state.active):
            issuer = self._certify_again(state, issuer, lifetime, now)
        if not issuer.certificate.not_valid_before_utc <= now < issuer.certificate.not_valid_after_utc:
            raise _issuer_expired(state.active, issuer.certificate)
        return issuer

    def _bundle(self, state: AuthorityState) -> bytes:
        return b"".join(certificate_pem(self.root(generation)) for generation in state.trusted)

    def _mend_bundle(self, state: AuthorityState) -> None:
        """A crash between writing the state and the bundle is put right by whoever holds the lock next."""
        path = self.directory / TRUST_FILE
        bundle = self._bundle(state)
        if not path.exists() or self._read(TRUST_FILE) != bundle:
            replace_file(path, bundle, PUBLIC_FILE_MODE)

    def _certify_again(self, state: AuthorityState, issuer: Issuer, lifetime: timedelta, now: datetime) -> Issuer:
        certificate = intermediate_certificate(
            f"{state.plan.name} Intermediate {state.active.removeprefix('ca-')}",
            issuer.key.public_key(),
            self.root_issuer(state.active),
            now,
            lifetime,
            state.plan.constraints,
            random_serial(self.random_bits),
        )
        self.journal.append(
            "certify",
            now,
            serial=serial_text(certificate.serial_number),
            ca=state.active,
            not_after=time_text(certificate.not_valid_after_utc),
        )
        path = self.directory / state.active / "intermediate.crt"
        try:
            replace_file(path, certificate_pem(certificate), PUBLIC_FILE_MODE)
        except OSError as error:
            raise AuthorityError(f"{path}: {error.strerror}") from None
        return Issuer(certificate, issuer.key)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        try:
            with locked(self.directory):
                yield
        except OSError as error:
            raise AuthorityError(f"{self.directory}: {error.strerror}") from None

    def _issuer(self, generation: str, which: str) -> Issuer:
        certificate, key = self._certificate(generation, which), self._key(generation, which)
        if spki(key.public_key()) != certificate.key_der:
            path = self.directory / generation
            raise AuthorityError(f"{path / f'{which}.key'} is not the key of {path / f'{which}.crt'}")
        return Issuer(_made_here(certificate), key)

    def _certificate(self, generation: str, which: str) -> Certificate:
        path = self.directory / generation / f"{which}.crt"
        try:
            found = certificates_in(read_blocks(read_file(path, Secrecy.TRUSTED), path), path)
        except MaterialError as error:
            raise AuthorityError(str(error)) from None
        if len(found) != 1:
            raise AuthorityError(f"{path}: {len(found)} certificates where one should be")
        return found[0]

    def _key(self, generation: str, which: str) -> ec.EllipticCurvePrivateKey:
        path = self.directory / generation / f"{which}.key"
        try:
            key = key_in(read_blocks(read_file(path, Secrecy.SECRET), path), None, path)
        except MaterialError as error:
            raise AuthorityError(str(error)) from None
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise AuthorityError(f"{path}: not an elliptic curve key")
        return key

    def _read(self, name: str) -> bytes:
        try:
            return read_file(self.directory / name, Secrecy.TRUSTED)
        except MaterialError as error:
            raise AuthorityError(f"{error} (is {self.directory} a CA's directory? see certs init)") from None


def _issuer_expired(generation: str, issuer: x509.Certificate) -> AuthorityError:
    return AuthorityError(
        f"the intermediate of {generation} is only valid until {time_text(issuer.not_valid_after_utc)}: "
        "bring its root.key back to renew it, or start a rollover"
    )


def _judge_directory(directory: Path) -> None:
    try:
        status = os.stat(directory)
    except OSError as error:
        raise AuthorityError(f"{directory}: {error.strerror} (make a CA with certs init)") from None
    if not stat.S_ISDIR(status.st_mode):
        raise AuthorityError(f"{directory} is not a directory")
    if status.st_uid not in (os.geteuid(), 0):
        raise AuthorityError(f"{directory} belongs to uid {status.st_uid}, neither to us nor to root")
    if stat.S_IMODE(status.st_mode) & (stat.S_IWGRP | stat.S_IWOTH):
        raise AuthorityError(f"{directory} can be written by others: chmod 0700 it")


def _build(directory: Path, plan: Plan, now: datetime, random_bits: RandomBits) -> None:
    journal = Journal(directory / JOURNAL_FILE)
    _build_generation(directory / "ca-1", plan, now, random_bits, journal)
    state = AuthorityState(plan, Phase.STEADY, active="ca-1", trusted=("ca-1",), generations=("ca-1",))
    create_file(directory / STATE_FILE, state.to_json(), PRIVATE_FILE_MODE)
    root = (directory / "ca-1" / "root.crt").read_bytes()
    create_file(directory / TRUST_FILE, root, PUBLIC_FILE_MODE)
    sync_directory(directory)


def _made_here(certificate: Certificate) -> x509.Certificate:
    made = certificate.to_cryptography()
    if made is None:
        raise AuthorityError(f"the CA's certificate {certificate.title} is not as this program writes it")
    return made


def _build_generation(path: Path, plan: Plan, now: datetime, random_bits: RandomBits, journal: Journal) -> None:
    os.mkdir(path, PRIVATE_DIRECTORY_MODE)
    number = path.name.removeprefix("ca-")
    root_key, key = new_key(), new_key()
    root = root_certificate(
        f"{plan.name} Root {number}", root_key, now, plan.root_lifetime, plan.constraints, random_serial(random_bits)
    )
    intermediate = intermediate_certificate(
        f"{plan.name} Intermediate {number}",
        key.public_key(),
        Issuer(root, root_key),
        now,
        plan.intermediate_lifetime,
        plan.constraints,
        random_serial(random_bits),
    )
    for which, certificate in (("root", root), ("intermediate", intermediate)):
        journal.append(
            "certify",
            now,
            serial=serial_text(certificate.serial_number),
            ca=path.name,
            which=which,
            not_after=time_text(certificate.not_valid_after_utc),
        )
    create_file(path / "root.key", PrivateKey(root_key).to_pem(), PRIVATE_FILE_MODE)
    create_file(path / "intermediate.key", PrivateKey(key).to_pem(), PRIVATE_FILE_MODE)
    create_file(path / "root.crt", certificate_pem(root), PUBLIC_FILE_MODE)
    create_file(path / "intermediate.crt", certificate_pem(intermediate), PUBLIC_FILE_MODE)
    sync_directory(path)
