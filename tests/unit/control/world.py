"""A controller's surroundings for transcripts: a clock moved by hand, a source that gives what it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path

from unit.certs import forge

from certs.authority import Authority
from certs.authority_state import Plan
from certs.errors import MaterialError
from certs.identity import Role
from certs.material import Material
from certs.profiles import LeafRequest
from certs.sources import Event
from tlsidecar.dataplane.snapshot import ListenerCounters, ListenerRecord, UpstreamRecord, WorkerSnapshot
from tlsidecar.settings import Address, Admin, IdentitySettings, ListenerSettings, Mode, Settings, TrustFile

SETTINGS = Settings(
    admin=Admin(socket=Path("admin.sock")),
    identities=(IdentitySettings(cert=Path("tls.crt"), trust=(TrustFile(Path("ca.crt")),)),),
    listeners=(
        ListenerSettings(
            name="web",
            mode=Mode.TERMINATE,
            listen=Address(host="127.0.0.1", port=8443),
            upstreams=(Address(host="127.0.0.1", port=8080),),
            allow=("any",),
        ),
    ),
)


class Issuer:
    """A CA in a directory, for material."""

    def __init__(self, directory: Path, clock: forge.ManualClock) -> None:
        self.clock = clock
        self.authority = Authority.create(directory / "pki", Plan("Test CA"), clock)

    def material(self, ttl: timedelta = timedelta(hours=24)) -> Material:
        request = LeafRequest(dns=("localhost",), ttl=ttl, roles=(Role.SERVER, Role.CLIENT))
        return self.authority.issue(request, "test")


class ScriptedSource:
    """Gives ``at_hand`` when it is read, ``fresh`` when it is asked to renew; errors are raised."""

    def __init__(self, *, renews: bool = False) -> None:
        self.renews = renews
        self.at_hand: Material | MaterialError | None = None
        self.fresh: Material | MaterialError | None = None
        self.calls: list[str] = []
        self.events: asyncio.Queue[Event] = asyncio.Queue()

    async def read(self) -> Material | None:
        self.calls.append("read")
        if isinstance(self.at_hand, MaterialError):
            raise self.at_hand
        return self.at_hand

    async def renew(self) -> Material:
        self.calls.append("renew")
        if self.fresh is None or isinstance(self.fresh, MaterialError):
            raise self.fresh or AssertionError("nobody said what to renew to")
        self.at_hand = self.fresh
        return self.fresh

    async def follow(self) -> AsyncIterator[Event]:
        while True:
            yield await self.events.get()

    def describe(self) -> str:
        return "a script"


def snapshot(
    counters: ListenerCounters | None = None,
    *upstreams: UpstreamRecord,
    protocol: str = "http",
    worker: int = 0,
    lag_s: float = 0.0,
    name: str = "web",
) -> WorkerSnapshot:
    record = ListenerRecord(
        name=name,
        mode="terminate",
        protocol=protocol,
        listen="127.0.0.1:8443",
        bound="127.0.0.1:8443",
        upstreams=upstreams,
        max_connections=100,
        max_handshakes=25,
        counters=counters or ListenerCounters(),
    )
    return WorkerSnapshot(worker, 4711 + worker, 0, (record,), {}, lag_s)


def upstream(address: str = "127.0.0.1:8080", *, up: bool = True, tried_at: float = 1.0) -> UpstreamRecord:
    error = "" if up else f"{address}: Connection refused"
    return UpstreamRecord(address, up, 0, 0, 0 if up else 1, last_error=error, tried_at=tried_at)


def at(seconds: float) -> datetime:
    return forge.NOW + timedelta(seconds=seconds)
