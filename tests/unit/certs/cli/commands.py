"""The certificate commands run in this process, and what stands in for sidecars that they are given."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from certs.cli import CertsContext, certs
from certs.clock import SYSTEM_CLOCK, Clock
from certs.errors import CertsError
from certs.material import Material
from certs.preflight import preflight
from certs.probe import ChainLink, LivePeer, Reach, Reloaded, Served, SidecarProbe, SidecarRefused, SidecarUnreachable
from certs.sources.files import FileSource
from certs.text import describe_certificate


def run(
    *arguments: object,
    probe: Sidecar | None = None,
    reach: Reach | None = None,
    clock: Clock = SYSTEM_CLOCK,
    sleep: Callable[[float], None] = time.sleep,
    code: int = 0,
) -> Result:
    """``certs ARGUMENTS``, which has to end with ``code``; ``probe`` is behind every --socket, or else ``reach`` says
    who is."""
    if probe is not None:
        reach = lambda targets, _: nullcontext([Asked(name, probe) for name in targets])  # noqa: E731
    context = CertsContext(reach, clock, sleep)
    result = CliRunner().invoke(certs, list(map(str, arguments)), obj=context)
    assert result.exit_code == code, result.output
    if result.exception is not None:
        assert isinstance(result.exception, SystemExit), result.exception
    return result


def run_json(*arguments: object, **more: Any) -> dict[str, Any]:
    result = run(*arguments, "--json", **more)
    answer = json.loads(result.stdout)
    assert isinstance(answer, dict)
    return answer


class Sidecar:
    """Stands in for a sidecar's admin socket; its listener is a real one, its certificate read from real files."""

    def __init__(self, out: Path) -> None:
        self.source = FileSource(out / "tls.crt", out / "tls.key", out / "ca.crt")
        self.material: Material = self.source.load()
        self.generation = 1
        self.live_peers: tuple[LivePeer, ...] = ()
        self.reloads = 0
        self.stuck = False
        self.refuses = ""
        self.is_here = True
        self._out = out
        self._server = socket.create_server(("127.0.0.1", 0))
        self._context = self._tls()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def reload(self) -> Reloaded:
        self.reloads += 1
        if self.refuses:
            return Reloaded("refused", self.refuses, "detail")
        if not self.stuck:
            self.material = self.source.load()
            preflight(self.material, [], self.material.identity.not_before + timedelta(minutes=6))
            self._context = self._tls()
            self.generation += 1
        return Reloaded("applied")

    def served(self) -> Served:
        return Served(
            serial=self.material.identity.serial,
            generation=self.generation,
            source=self.material.source,
            trust=tuple(each.sha256 for each in self.material.trust),
            chain=tuple(
                ChainLink(described["sha256"], described["issuer"])
                for described in map(describe_certificate, (self.material.leaf, *self.material.chain))
            ),
            listeners=(f"127.0.0.1:{self._server.getsockname()[1]}",),
        )

    def peers(self) -> tuple[LivePeer, ...]:
        return self.live_peers

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join(10)

    def _tls(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._out / "tls.crt", self._out / "tls.key")
        context.load_verify_locations(self._out / "ca.crt")
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            try:
                with self._context.wrap_socket(connection, server_side=True) as tls:
                    tls.recv(1)
            except OSError:
                connection.close()


@dataclass
class Asked:
    """It, by the name that a command was given; some names are of others."""

    name: str
    sidecar: Sidecar

    @property
    def is_here(self) -> bool:
        return self.sidecar.is_here

    def reload(self) -> Reloaded:
        if self.name == "/gone.sock":
            raise SidecarUnreachable(f"{self.name}: nobody answers any more")
        if self.name == "/refuses.sock":
            return Reloaded("refused", "wrong_purpose", "detail")
        return self._asked().reload()

    def served(self) -> Served:
        return self._asked().served()

    def peers(self) -> tuple[LivePeer, ...]:
        return self._asked().peers()

    def _asked(self) -> Sidecar:
        if self.name == "/nobody.sock":
            raise SidecarUnreachable(f"{self.name}: nobody answers")
        if self.name == "/other.sock":
            raise SidecarRefused(f"{self.name}: not allowed")
        return self.sidecar


APPLIED = Reloaded("applied")


@dataclass
class Scripted:
    """A sidecar elsewhere that says what it is told to: ``answers`` are what it serves, one after the other, and the
    last one from then on."""

    name: str
    answers: list[Served | CertsError | Callable[[], Served]]
    reloaded: Reloaded | CertsError = APPLIED
    live_peers: tuple[LivePeer, ...] = ()
    is_here: bool = False
    calls: list[str] = field(default_factory=list)

    def reload(self) -> Reloaded:
        self.calls.append("reload")
        if isinstance(self.reloaded, CertsError):
            raise self.reloaded
        return self.reloaded

    def served(self) -> Served:
        self.calls.append("served")
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, CertsError):
            raise answer
        return answer if isinstance(answer, Served) else answer()

    def peers(self) -> tuple[LivePeer, ...]:
        self.calls.append("peers")
        return self.live_peers


def among(*sidecars: Scripted) -> Reach:
    """Each is behind its name; behind any other there is nobody."""
    known = {sidecar.name: sidecar for sidecar in sidecars}

    def reach(targets: Sequence[str], commands: Sequence[str]) -> AbstractContextManager[Sequence[SidecarProbe]]:
        lost = [name for name in (*targets, *commands) if name not in known]
        if lost:
            raise SidecarUnreachable(f"{lost[0]}: leads nowhere")
        return nullcontext([known[name] for name in (*targets, *commands)])

    return reach


def serving(serial: str, generation: int = 1, **more: Any) -> Served:
    """What a sidecar with this leaf says; ``more`` are fields of :class:`~certs.probe.Served`."""
    return Served(serial, generation, **{"source": "files: tls.crt", "trust": (), "chain": (), "listeners": (), **more})
