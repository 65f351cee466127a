"""``make soak-certs``, its second part: one sidecar with an identity of every kind of source, each with lifetimes of a
minute and under traffic, while who issues is killed, slowed and broken at the moment when a renewal is due.

Ends with 0 when no exchange failed, every outage was survived and got over, and memory, threads and descriptors stayed
flat; prints the figures in any case.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import statistics
import sys
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import NoEncryption, pkcs12
from support import configs
from support.certs_cli import certs
from support.pebble import Pebble
from support.pki import Pair, Pki, replace
from support.ports import free_ports
from support.services import echo, http_service, serving
from support.sidecar import Sidecar, running
from support.spiffe_agent import Agent, Identity, response

from certs.durable import locked
from soak.certificates import read, svid
from soak.load import Churn, KeepAlive, Target

LIFETIME = timedelta(minutes=1)
# Whoever renews for us does so when a third is left, as we do, and may be away for half of that third, restarts of its
# server included.
ISSUED_EVERY_S = 38.0
OUTAGE_S = 9.0
BEFORE_DUE_S = 2.0
RECOVERED_WITHIN_S = 25.0
PAUSE_S = 0.25
SAMPLE_EVERY_S = 2.0
WARM_UP_FRACTION = 1 / 3
MOST_GROWTH_BYTES = 4 * 1024 * 1024

Outage = Callable[[], "contextlib.AbstractContextManager[object]"]


class Kind(ABC):
    """One kind of source, and who issues there."""

    name: str
    allows_renewal = True  # it is the sidecar that asks, when one is due

    def __init__(self, directory: Path, pki: Pki, port: int) -> None:
        self.directory = directory
        self.pki = pki
        self.port = port
        self.host = f"{self.name}.test"
        directory.mkdir(parents=True, exist_ok=True)

    @property
    def served_by(self) -> Path | None:
        """Whom its clients trust; None where that changes."""
        return self.pki.trust

    @property
    @abstractmethod
    def keys(self) -> dict[str, object]:
        """Its part of the configuration."""

    @property
    @abstractmethod
    def outages(self) -> dict[str, Outage]:
        """By name: each lasts as long as its context."""

    def start(self) -> None:  # noqa: B027 - most need nothing
        """What has to be there before the first leaf."""

    def stop(self) -> None:  # noqa: B027 - most need nothing
        """Give back what :meth:`start` took."""

    def issue(self) -> None:  # noqa: B027 - where the sidecar asks for it
        """A fresh leaf, as whoever renews without being asked makes one."""

    def config(self) -> str:
        values = {"name": self.name, "poll_interval": "500ms", **self.keys}
        text = "[[identity]]\n"
        for key, value in values.items():
            if isinstance(value, dict):
                value = "{ " + ", ".join(f"{inner} = {json.dumps(each)}" for inner, each in value.items()) + " }"
                text += f"{key} = {value}\n"
            else:
                text += f"{key} = {json.dumps(value)}\n"
        return text

    def leaf(self, name: str = "") -> Pair:
        now = datetime.now(UTC)
        return self.pki.issue(
            f"{name or self.name}-new", self.host, not_before=now - timedelta(minutes=1), not_after=now + LIFETIME
        )


@contextlib.contextmanager
def torn(path: Path, content: bytes) -> Iterator[None]:
    """Written in place, with an outage after the first half."""
    with path.open("r+b") as file:
        file.truncate(0)
        file.write(content[: len(content) // 2])
        file.flush()
        yield


class Files(Kind):
    """Somebody else's files, rewritten when a third of the life is left."""

    name = "files"
    allows_renewal = False

    @property
    def pair(self) -> Pair:
        return Pair(self.directory / "tls.crt", self.directory / "tls.key")

    @property
    def keys(self) -> dict[str, object]:
        return {"cert": str(self.pair.cert), "key": str(self.pair.key), "trust": str(self.pki.trust)}

    def start(self) -> None:
        self.issue()

    def issue(self) -> None:
        fresh = self.leaf()
        replace(self.pair.key, fresh.key.read_bytes(), mode=0o600)
        replace(self.pair.cert, fresh.cert.read_bytes())

    @property
    def outages(self) -> dict[str, Outage]:
        return {
            "killed": contextlib.nullcontext,  # nobody writes
            "slow": lambda: torn(self.pair.cert, self.leaf().cert.read_bytes()),
            "broken": self._mixed,
        }

    @contextlib.contextmanager
    def _mixed(self) -> Iterator[None]:
        replace(self.pair.key, self.leaf("other").key.read_bytes(), mode=0o600)
        yield


class Pkcs12(Kind):
    name = "pkcs12"
    allows_renewal = False

    @property
    def file(self) -> Path:
        return self.directory / "tls.p12"

    @property
    def keys(self) -> dict[str, object]:
        return {"cert": str(self.file), "trust": str(self.pki.trust)}

    def start(self) -> None:
        self.issue()

    def issue(self) -> None:
        replace(self.file, self._fresh(), mode=0o600)

    def _fresh(self) -> bytes:
        leaf, key = read(self.leaf())
        return pkcs12.serialize_key_and_certificates(None, key, leaf[0], leaf[1:] or None, NoEncryption())

    @property
    def outages(self) -> dict[str, Outage]:
        return {"killed": self._gone, "slow": lambda: torn(self.file, self._fresh()), "broken": self._cut}

    @contextlib.contextmanager
    def _gone(self) -> Iterator[None]:
        self.file.unlink()
        yield

    @contextlib.contextmanager
    def _cut(self) -> Iterator[None]:
        data = self.file.read_bytes()
        replace(self.file, data[: len(data) // 2], mode=0o600)
        yield


class Command(Kind):
    """A program; what it is to do stands in a file beside it."""

    name = "command"

    @property
    def keys(self) -> dict[str, object]:
        return {"command": [str(self.directory / "issue")], "trust": str(self.pki.trust), "source_timeout": "4s"}

    def start(self) -> None:
        program = self.directory / "issue"
        program.write_text(f"#!/bin/sh\n. {self.directory}/mood\nexec cat {self.directory}/all.pem\n")
        program.chmod(0o755)
        self._mood("")
        self.issue()

    def issue(self) -> None:
        pair = self.leaf()
        replace(self.directory / "all.pem", pair.cert.read_bytes() + pair.key.read_bytes(), mode=0o600)

    def _mood(self, script: str) -> None:
        replace(self.directory / "mood", script.encode() + b"\n", mode=0o755)

    @property
    def outages(self) -> dict[str, Outage]:
        return {
            "killed": lambda: self._in("echo 'the CA does not answer' >&2; exit 7"),
            "slow": lambda: self._in("sleep 100"),
            "broken": lambda: self._in("echo '-----BEGIN CERTIFICATE-----'; exit 0"),
        }

    @contextlib.contextmanager
    def _in(self, script: str) -> Iterator[None]:
        self._mood(script)
        yield
        self._mood("")


class LocalAuthority(Kind):
    name = "authority"

    def start(self) -> None:
        self.ca = self.directory / "ca"
        certs("init", self.ca, "--name", "Soak CA")

    @property
    def served_by(self) -> Path | None:
        return self.ca / "ca.crt"

    @property
    def keys(self) -> dict[str, object]:
        trust = str(self.pki.trust)
        ttl = f"{LIFETIME.total_seconds():.0f}s"
        return {"authority": str(self.ca), "dns": [self.host], "ttl": ttl, "trust": trust, "source_timeout": "3s"}

    @property
    def outages(self) -> dict[str, Outage]:
        key = self.ca / "ca-1" / "intermediate.key"
        return {
            "killed": lambda: self._without(key),
            "slow": lambda: locked(self.ca),
            "broken": lambda: self._garbled(key),
        }

    @contextlib.contextmanager
    def _without(self, file: Path) -> Iterator[None]:
        os.rename(file, self.directory / "away")
        yield
        os.rename(self.directory / "away", file)

    @contextlib.contextmanager
    def _garbled(self, file: Path) -> Iterator[None]:
        with self._without(file):
            replace(file, b"no key today\n", mode=0o600)
            yield


class Spiffe(Kind):
    name = "spiffe"
    allows_renewal = False

    def start(self) -> None:
        self.agent = Agent(self.directory / "agent.sock", b"")
        self.issue()
        self.agent.start()

    def stop(self) -> None:
        self.agent.stop()

    @property
    def keys(self) -> dict[str, object]:
        return {"spiffe_socket": self.agent.url}

    def issue(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        root = x509.load_pem_x509_certificate(self.pki.trust.read_bytes())
        spiffe_id = f"spiffe://soak.test/{self.name}"
        chain = svid(self.pki, spiffe_id, self.host, key, root, LIFETIME)
        self.agent.say(response([Identity(spiffe_id, chain, key, [root])]))

    @property
    def outages(self) -> dict[str, Outage]:
        return {"killed": self._killed, "slow": self._silent, "broken": self._garbage}

    @contextlib.contextmanager
    def _killed(self) -> Iterator[None]:
        self.agent.stop()
        yield
        self.agent.start()

    @contextlib.contextmanager
    def _silent(self) -> Iterator[None]:
        """Somebody takes connections there, and says nothing."""
        self.agent.stop()
        self.agent.socket.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as silent:
            silent.bind(str(self.agent.socket))
            silent.listen(8)
            yield
        self.agent.start()

    @contextlib.contextmanager
    def _garbage(self) -> Iterator[None]:
        self.agent.say(b"\xff\xff\xff")
        yield


class Acme(Kind):
    """Pebble, which has another CA and has forgotten every account after each start."""

    name = "acme"

    def start(self) -> None:
        self.server = Pebble(
            self.directory / "pebble",
            tls_port=self.port,
            bad_nonces=10,
            lifetime_s=int(LIFETIME.total_seconds()),
        )
        self.server.start()

    def stop(self) -> None:
        self.server.stop()

    @property
    def served_by(self) -> Path | None:
        return None

    @property
    def keys(self) -> dict[str, object]:
        acme = {
            "directory": self.server.url,
            "state": str(self.directory / "state"),
            "server_trust": str(self.server.trust),
            "terms_agreed": True,
        }
        return {"dns": [self.host], "trust": str(self.pki.trust), "acme": acme}

    @property
    def outages(self) -> dict[str, Outage]:
        return {"killed": self._killed, "slow": self._stopped, "broken": self._refusing}

    @contextlib.contextmanager
    def _killed(self) -> Iterator[None]:
        self.server.stop()
        yield
        self.server.start()

    @contextlib.contextmanager
    def _stopped(self) -> Iterator[None]:
        self.server.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.server.signal(signal.SIGCONT)

    @contextlib.contextmanager
    def _refusing(self) -> Iterator[None]:
        """No nonce is ever good."""
        self._restarted(bad_nonces=100)
        yield
        self._restarted(bad_nonces=10)

    def _restarted(self, bad_nonces: int) -> None:
        self.server.stop()
        self.server.bad_nonces = bad_nonces
        self.server.start()


KINDS: tuple[type[Kind], ...] = (Files, Pkcs12, Command, LocalAuthority, Spiffe, Acme)


@dataclass
class Trouble(threading.Thread):
    """Who issues for one kind, and is away when it is wanted most: one outage at each second renewal."""

    kind: Kind
    sidecar: Sidecar
    over: threading.Event
    suffered: dict[str, int] = field(default_factory=dict)
    renewed: int = 0
    slowest_s: float = 0.0  # from the end of an outage to new material in use
    least_left_s: float = LIFETIME.total_seconds()  # of the old material's life, when the new was seen
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        threading.Thread.__init__(self, daemon=True, name=f"trouble for {self.kind.name}")

    __hash__ = threading.Thread.__hash__

    def run(self) -> None:
        number = 0
        while not self.over.is_set():
            try:
                self._renewal(number)
            except Exception as error:
                self.problems.append(f"{self.name}, renewal {number}: {error!r}")
                self.over.wait(1)
            number += 1

    def _renewal(self, number: int) -> None:
        leaf = self._state()["leaf"]
        before, expires = leaf["serial"], datetime.fromisoformat(leaf["not_after"])
        names = sorted(self.kind.outages)
        name = names[number // 2 % len(names)] if number % 2 else ""
        if not self._wait_until_due():
            return
        if name:
            began = time.monotonic()
            with self.kind.outages[name]():
                self.over.wait(max(0.0, began + OUTAGE_S - time.monotonic()))
            self.suffered[name] = self.suffered.get(name, 0) + 1
        elif self.kind.allows_renewal:
            self.over.wait(BEFORE_DUE_S)
        self.kind.issue()
        began = time.monotonic()
        while not self.over.is_set():
            state = self._state()
            if state["leaf"]["serial"] != before and state["last_attempt"]["outcome"] != "refused":
                self.renewed += 1
                self.least_left_s = min(self.least_left_s, (expires - datetime.now(UTC)).total_seconds())
                self.slowest_s = max(self.slowest_s, time.monotonic() - began)
                return
            if time.monotonic() - began > RECOVERED_WITHIN_S:
                self.problems.append(f"{self.name}: not renewed {RECOVERED_WITHIN_S:g} s after {name or 'it was due'}")
                return
            self.over.wait(0.3)

    def _wait_until_due(self) -> bool:
        """Until a renewal is near; False when it is all over first."""
        while not self.over.wait(0.3):
            state = self._state()
            expires = datetime.fromisoformat(state["leaf"]["not_after"])
            due = expires - LIFETIME + timedelta(seconds=ISSUED_EVERY_S)
            if self.kind.allows_renewal and state["next_renewal_at"]:
                due = datetime.fromisoformat(state["next_renewal_at"]) - timedelta(seconds=BEFORE_DUE_S)
            if datetime.now(UTC) >= due:
                return True
            if isinstance(self.kind, Command):
                self.kind.issue()  # what it would print is always fresh
        return False

    def _state(self) -> Any:
        document = self.sidecar.json("/v1/certificates")
        return next(each for each in document["identities"] if each["name"] == self.kind.name)


@dataclass(frozen=True)
class Sample:
    resident: int
    descriptors: int
    threads: int

    @classmethod
    def of(cls, sidecar: Sidecar) -> Sample:
        threads = len(os.listdir(f"/proc/{sidecar.pid}/task"))
        return cls(sidecar.resident_bytes(), sidecar.descriptors(), threads)


def outages(minutes: float, directory: Path) -> list[str]:
    """So many minutes of it; what went wrong."""
    pki = Pki(directory / "pki")
    (port,) = free_ports(1)
    kinds = [kind(directory / kind.name, pki, port) for kind in KINDS]
    client, stranger = pki.issue("client", "client.test"), pki.issue("stranger", "stranger.test")
    with contextlib.ExitStack() as stack:
        for kind in kinds:
            stack.callback(kind.stop)
            kind.start()
        tcp, http = stack.enter_context(serving(echo)), stack.enter_context(http_service())
        config = "".join(kind.config() for kind in kinds)
        shown = {"allow": ("dns:client.test",), "identity": [kind.name for kind in kinds]}
        config += configs.terminate(tcp.address, name="raw", listen=f"127.0.0.1:{port}", **shown)
        config += configs.terminate(http, name="web", protocol="http", **shown)
        sidecar = stack.enter_context(running(directory / "sidecar", config))
        over = threading.Event()
        clients = [
            make(Target(sidecar.port(listener), kind.served_by, client, stranger, kind.host, PAUSE_S), over, seed)
            for seed, kind in enumerate(kinds)
            for make, listener in ((Churn, "raw"), (KeepAlive, "web"))
        ]
        troubles = [Trouble(kind, sidecar, over) for kind in kinds]
        samples: list[Sample] = []
        began, cpu_s = time.monotonic(), sidecar.cpu_s()
        for thread in (*clients, *troubles):
            thread.start()
        try:
            while time.monotonic() - began < minutes * 60:
                time.sleep(SAMPLE_EVERY_S)
                samples.append(Sample.of(sidecar))
        finally:
            over.set()
            for thread in (*clients, *troubles):
                thread.join(60)
        duration_s, cpu_s = time.monotonic() - began, sidecar.cpu_s() - cpu_s
        sidecar.settles()
        errors = [str(error) for each in clients for error in each.errors]
        problems = errors + [error for each in troubles for error in each.problems]
        problems += [f"{each.name} did nothing" for each in clients if not each.done]
        problems += [f"{each.kind.name} was never renewed" for each in troubles if not each.renewed]
        requests = sum(each.done for each in clients if isinstance(each, KeepAlive))
        handshakes = sidecar.metric("tlsidecar_handshakes_total", outcome="ok")
        print(f"duration          {duration_s:.0f} s, {cpu_s:.0f} s of processor time")
        print(f"exchanges         {sum(each.done for each in clients)}, of them {requests} requests; ", end="")
        print(f"{len(errors)} failed; {handshakes:.0f} handshakes")
        for each in troubles:
            suffered = ", ".join(f"{name} {count}" for name, count in sorted(each.suffered.items())) or "none"
            print(f"{each.kind.name:<17} renewed {each.renewed} times, at most {each.slowest_s:.1f} s late, ", end="")
            print(f"with {each.least_left_s:.0f} s left at least; ", end="")
            print(f"outages: {suffered}")
        if problems:
            kept = Path("outages.log")
            kept.write_text(sidecar.log_text)
            print(f"log               {kept.absolute()}")
        return problems + flat(samples)


def flat(samples: list[Sample]) -> list[str]:
    """Print what it held; what of it grew."""
    warm = samples[int(len(samples) * WARM_UP_FRACTION) :]
    half = len(warm) // 2
    problems: list[str] = []
    for name, most, unit in (("resident", MOST_GROWTH_BYTES, 1e6), ("descriptors", 6, 1), ("threads", 2, 1)):
        early, late = ([getattr(each, name) for each in part] for part in (warm[:half], warm[half:]))
        grown = statistics.median(late) - statistics.median(early)
        print(
            f"{name:<17} {min(early) / unit:.1f} to {max(early) / unit:.1f} in the first half after warm-up, ", end=""
        )
        print(f"{min(late) / unit:.1f} to {max(late) / unit:.1f} in the second; median {grown / unit:+.1f}")
        if grown > most:
            problems.append(f"{name} grew by {grown / unit:.1f}")
    return problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        problems = outages(parser.parse_args().minutes, Path(name))
    for problem in problems[:50]:
        print(f"FAILED {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
