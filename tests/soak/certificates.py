"""``make soak-certs``: publishing, killed at random moments; then one sidecar with an identity of every kind of source,
each under traffic, renewed again and again, one time in three with material that cannot be served.

Ends with 0 when no exchange failed, every renewal came to what it should, and each kill left a whole set; prints the
figures in any case. ACME is not among the sources here, whose server would be the slowest by far: see
:mod:`soak.outages`, which comes after it.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from datetime import timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import NoEncryption, load_pem_private_key, pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID
from support import configs
from support.certs_cli import certs, issued
from support.pki import Pair, Pki, replace
from support.services import echo, serving
from support.sidecar import Sidecar, running
from support.spiffe_agent import Agent, Identity, response

from certs.authority import Authority
from certs.issued import publish_issued, read_record
from certs.sources.files import FileSource
from soak.load import Churn, Target, Tunnel

# Bad material one time in so many.
BAD_EVERY = 3
TOO_MANY = 429
# A publishing takes some 10 ms; it is killed at any moment of several.
LONGEST_LIFE_S = 0.12
MOST_GROWTH_BYTES = 4 * 1024 * 1024
WARM_UP_FRACTION = 1 / 3


class Kind(ABC):
    """One kind of source; ``name`` is that of its identity, and of the server its leaf is for."""

    name: str

    def __init__(self, directory: Path, pki: Pki) -> None:
        self.directory = directory
        self.pki = pki
        self.host = f"{self.name}.test"
        directory.mkdir(parents=True, exist_ok=True)
        self.set_up()

    def set_up(self) -> None:  # noqa: B027 - most kinds need nothing
        """What has to be there before the first leaf."""

    @property
    def served_by(self) -> Path:
        """Whom its clients trust."""
        return self.pki.trust

    @property
    @abstractmethod
    def keys(self) -> dict[str, object]:
        """Its part of the configuration."""

    @abstractmethod
    def good(self) -> None:
        """Have a new leaf ready to be read, or ordered."""

    @abstractmethod
    def bad(self) -> None:
        """Have what cannot be served ready instead."""

    def config(self) -> str:
        values = {"name": self.name, "poll_interval": "1h", **self.keys}
        return "[[identity]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())

    def leaf(self) -> Pair:
        return self.pki.issue(self.name, self.host)


class Files(Kind):
    name = "files"

    @property
    def keys(self) -> dict[str, object]:
        pair = Pair(self.pki.directory / "files.crt", self.pki.directory / "files.key")
        return {"cert": str(pair.cert), "key": str(pair.key), "trust": str(self.pki.trust)}

    def good(self) -> None:
        self.leaf()

    def bad(self) -> None:
        replace(self.leaf().key, self.pki.issue("other", "other.test").key.read_bytes(), mode=0o600)


class Pkcs12(Kind):
    name = "pkcs12"

    @property
    def keys(self) -> dict[str, object]:
        return {"cert": str(self.directory / "tls.p12"), "trust": str(self.pki.trust)}

    def good(self) -> None:
        leaf, key = read(self.leaf())
        data = pkcs12.serialize_key_and_certificates(None, key, leaf[0], leaf[1:] or None, NoEncryption())
        replace(self.directory / "tls.p12", data, mode=0o600)

    def bad(self) -> None:
        data = (self.directory / "tls.p12").read_bytes()
        replace(self.directory / "tls.p12", data[: len(data) // 2], mode=0o600)


class Command(Kind):
    name = "command"

    @property
    def keys(self) -> dict[str, object]:
        return {"command": ["/bin/cat", str(self.directory / "all.pem")], "trust": str(self.pki.trust)}

    def good(self) -> None:
        pair = self.leaf()
        replace(self.directory / "all.pem", pair.cert.read_bytes() + pair.key.read_bytes(), mode=0o600)

    def bad(self) -> None:
        replace(self.directory / "all.pem", b"no certificate today\n", mode=0o600)


class LocalAuthority(Kind):
    name = "authority"

    def set_up(self) -> None:
        self.ca = self.directory / "ca"
        certs("init", self.ca, "--name", "Soak CA")
        self.key = self.ca / "ca-1" / "intermediate.key"
        self.away = self.directory / "intermediate.key"

    @property
    def served_by(self) -> Path:
        return self.ca / "ca.crt"

    @property
    def keys(self) -> dict[str, object]:
        return {"authority": str(self.ca), "dns": [self.host], "trust": str(self.pki.trust)}

    def good(self) -> None:
        if self.away.exists():
            os.rename(self.away, self.key)

    def bad(self) -> None:
        if self.key.exists():
            os.rename(self.key, self.away)


class Spiffe(Kind):
    name = "spiffe"

    def set_up(self) -> None:
        self.agent = Agent(self.directory / "agent.sock", b"")
        self.good()
        self.agent.start()

    @property
    def keys(self) -> dict[str, object]:
        return {"spiffe_socket": self.agent.url}

    def good(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        root = x509.load_pem_x509_certificate(self.pki.trust.read_bytes())
        chain = svid(self.pki, f"spiffe://soak.test/{self.name}", self.host, key, root)
        self.agent.say(response([Identity(f"spiffe://soak.test/{self.name}", chain, key, [root])]))

    def bad(self) -> None:
        self.agent.say(b"\xff\xff\xff")


KINDS: tuple[type[Kind], ...] = (Files, Pkcs12, Command, LocalAuthority, Spiffe)


def read(pair: Pair) -> tuple[list[x509.Certificate], ec.EllipticCurvePrivateKey]:
    key = load_pem_private_key(pair.key.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return x509.load_pem_x509_certificates(pair.cert.read_bytes()), key


def svid(
    pki: Pki,
    spiffe_id: str,
    host: str,
    key: ec.EllipticCurvePrivateKey,
    root: x509.Certificate,
    lifetime: timedelta = timedelta(hours=1),
) -> list[x509.Certificate]:
    """A leaf with a SPIFFE ID, which trustme makes none of, under its CA."""
    from datetime import UTC, datetime

    now = datetime.now(UTC)
    authority = load_pem_private_key(pki.authority.private_key_pem.bytes(), None)
    names = [x509.UniformResourceIdentifier(spiffe_id), x509.DNSName(host)]
    usage = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    leaf = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(root.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + lifetime)
        .add_extension(x509.SubjectAlternativeName(names), critical=True)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usage), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root.public_key()), critical=False)  # type: ignore[arg-type]
        .sign(authority, hashes.SHA256())  # type: ignore[arg-type]
    )
    return [leaf]


def renewals(count: int, directory: Path) -> list[str]:
    """So many renewals under traffic; what went wrong."""
    pki = Pki(directory / "pki")
    kinds = [kind(directory / kind.name, pki) for kind in KINDS]
    for kind in kinds:
        kind.good()
    client, stranger = pki.issue("client", "client.test"), pki.issue("stranger", "stranger.test")
    with serving(echo) as service:
        config = "".join(kind.config() for kind in kinds)
        names = [kind.name for kind in kinds]
        config += configs.terminate(service.address, allow=("dns:client.test",), identity=names)
        with running(directory / "sidecar", config) as sidecar:
            over = threading.Event()
            port = sidecar.port()
            targets = [Target(port, kind.served_by, client, stranger, kind.host) for kind in kinds]
            clients = [make(each, over, seed) for seed, each in enumerate(targets) for make in (Churn, Tunnel)]
            for each in clients:
                each.start()
            try:
                problems = _renew(sidecar, kinds, count)
            finally:
                over.set()
                for each in clients:
                    each.join(60)
            errors = [str(error) for each in clients for error in each.errors]
            done = sum(each.done for each in clients)
            handshakes = sidecar.metric("tlsidecar_handshakes_total")
            print(f"exchanges         {done}, {len(errors)} failed; {handshakes:.0f} handshakes")
            problems += errors + [f"{each.name} did nothing" for each in clients if not each.done]
            sidecar.settles()
            if "Traceback" in sidecar.log_text:
                problems.append("a traceback in the log")
    for kind in kinds:
        if isinstance(kind, Spiffe):
            kind.agent.stop()
    return problems


def _renew(sidecar: Sidecar, kinds: list[Kind], count: int) -> list[str]:
    problems: list[str] = []
    outcomes: dict[str, int] = {}
    resident: list[int] = []
    chance = random.Random(7)
    began = time.monotonic()
    for number in range(1, count + 1):
        kind = chance.choice(kinds)
        is_bad = number % BAD_EVERY == 0
        if is_bad:
            kind.bad()
        else:
            kind.good()
        document = _rotate(sidecar, kind.name)
        outcome = document["outcome"]
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
        if (outcome == "refused") != is_bad:
            problems.append(f"renewal {number}, of {kind.name}, was {outcome}: {document['attempt']['detail']}")
        resident.append(sidecar.resident_bytes())
    warm = resident[int(len(resident) * WARM_UP_FRACTION) :]
    half = len(warm) // 2
    growth = sum(warm[half:]) / max(1, len(warm) - half) - sum(warm[:half]) / max(1, half)
    told = ", ".join(f"{number} {outcome}" for outcome, number in sorted(outcomes.items()))
    print(f"renewals          {count} of {len(kinds)} kinds in {time.monotonic() - began:.0f} s: {told}")
    first, last = resident[0] / 1e6, resident[-1] / 1e6
    print(f"resident          {first:.1f} MB at first, {last:.1f} last; after warm-up {growth / 1e6:+.2f}")
    if growth > MOST_GROWTH_BYTES:
        problems.append(f"it grew by {growth / 1e6:.1f} MB")
    return problems


def _rotate(sidecar: Sidecar, name: str) -> Any:
    """As often as changes are taken: there is a limit to their rate."""
    while True:
        status, document = sidecar.call("POST", "/v1/rotate", {"identity": name})
        if status != TOO_MANY:
            return document
        time.sleep(0.02)


def kills(count: int, directory: Path) -> list[str]:
    """Publish, killed without warning at random moments: what was left that is not one whole set."""
    ca, out = directory / "ca", directory / "out"
    certs("init", ca, "--name", "Soak CA")
    issued(ca, out, "--dns", "localhost")
    source = FileSource(out / "tls.crt", out / "tls.key", out / "ca.crt")
    chance = random.Random(11)
    problems: list[str] = []
    serials = {source.load().identity.serial}
    most_left = 0
    for number in range(1, count + 1):
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            _publish_for_ever(ca, out, writer)
        os.close(writer)
        os.read(reader, 1)  # it has begun
        os.close(reader)
        time.sleep(chance.uniform(0.0, LONGEST_LIFE_S))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        try:
            material = source.load()
            serials.add(material.identity.serial)
            if read_record(out).serial != material.identity.serial:
                problems.append(f"kill {number}: the record is of another leaf")
        except Exception as error:
            problems.append(f"kill {number}: {error!r}")
        most_left = max(most_left, len([each for each in out.iterdir() if each.name.startswith("..2")]))
    journaled = {entry["serial"] for entry in Authority(ca).journal.entries() if entry["event"] == "issue"}
    problems += [f"{serial} was given out and is not in the journal" for serial in serials - journaled]
    print(f"kills             {count}: {len(serials)} different sets seen, each whole; {most_left} generations at most")
    return problems


def _publish_for_ever(ca: Path, out: Path, begun: int) -> None:
    try:
        authority, record = Authority(ca), read_record(out)
        os.write(begun, b"!")
        while True:
            material = authority.issue(record.request, "soak")
            record = dataclasses.replace(record, serial=material.identity.serial)
            publish_issued(out, material, record, authority.clock.now())
    finally:
        os._exit(1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--renewals", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=200)
    asked = parser.parse_args()
    problems: list[str] = []
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        problems += kills(asked.kills, Path(name) / "kills")  # first: it forks, and there are no threads yet
        problems += renewals(asked.renewals, Path(name) / "renewals")
    for problem in problems[:50]:
        print(f"FAILED {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
