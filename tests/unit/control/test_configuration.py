"""The configuration on disk: which keys differ, and which of them need a restart."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from unit.certs import forge
from unit.control.world import SETTINGS

from certs.sources.watch import RECENT_S
from tlsidecar.config import ConfigError, ConfigProblem
from tlsidecar.config.listener_tables import HEALTH_CHECK, HTTP_FIELDS, LIMITS, LISTENER, ROUTE
from tlsidecar.config.schema import ROOT
from tlsidecar.control import configuration
from tlsidecar.control.configuration import Configuration, changed_keys, is_live
from tlsidecar.sandbox.needs import beyond, needs_of
from tlsidecar.settings import Acme, Address, IdentitySettings, Limits, Log, Settings

WEB = SETTINGS.listeners[0]
LONG_AGO = timedelta(seconds=RECENT_S + 1)


def of_web(**changes: object) -> Settings:
    return replace(SETTINGS, listeners=(replace(WEB, **changes),))  # type: ignore[arg-type] - fields of it


@pytest.mark.parametrize(
    ("after", "keys", "live"),
    [
        (SETTINGS, [], True),
        (of_web(allow=("ou:sre",)), ["listener[web].allow"], True),
        (of_web(upstreams=(Address(host="127.0.0.1", port=1),)), ["listener[web].upstream"], True),
        (of_web(limits=Limits(idle_timeout_s=1.0)), ["listener[web].limits.idle_timeout"], True),
        (replace(SETTINGS, log=Log(level="debug")), ["log.level"], True),
        (replace(SETTINGS, log=Log(access="off")), ["log.access"], True),
        (of_web(listen=Address(host="127.0.0.1", port=1)), ["listener[web].listen"], False),
        (replace(SETTINGS, workers=2), ["workers"], False),
        (of_web(name="api"), ["listener[web] removed", "listener[api] added"], False),
    ],
)
def test_the_keys_that_differ(after: Settings, keys: list[str], live: bool) -> None:
    assert list(changed_keys(SETTINGS, after)) == keys
    assert all(is_live(key) for key in keys) is live


def test_every_key_is_decided_about() -> None:
    """A new key needs a restart unless it stands below what is live: this list is looked at when one is added."""
    live = {f"{name}.{entry.key}" for name, table in ROOT.tables.items() for entry in table}
    live |= {entry.key for entry in ROOT}
    needs_restart = {key for key in live if not is_live(key)}
    assert {"workers", "event_loop", "tracing.endpoint", "metrics.listen", "admin.socket"} <= needs_restart
    assert not [key for key in needs_restart if key.startswith(("identity.", "tls.", "limits.", "log."))]
    of_listener = {f"listener[web].{entry.key}" for entry in LISTENER}
    assert {key.partition("].")[2] for key in of_listener if not is_live(key)} >= {"name", "mode", "listen", "protocol"}
    for table, prefix in ((LIMITS, "limits"), (HEALTH_CHECK, "health_check"), (ROUTE, "route[0]")):
        assert all(is_live(f"listener[web].{prefix}.{entry.key}") for entry in table)
    assert HTTP_FIELDS


class Disk:
    """A configuration file, and what reading it comes to."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "tlsidecar.toml"
        self.file.write_text("")
        self.found: Settings | ConfigError = replace(SETTINGS, config_file=self.file)
        # By the time of its last change: one that is read once may have changed since.
        self.clock = forge.ManualClock(datetime.fromtimestamp(self.file.stat().st_ctime, UTC))
        self.readings = 0
        self.configuration = Configuration(replace(SETTINGS, config_file=self.file), self.read, self.clock)

    def read(self) -> Settings:
        self.readings += 1
        if isinstance(self.found, ConfigError):
            raise self.found
        return self.found


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path)


async def test_what_is_known_of_it_follows_the_disk(disk: Disk) -> None:
    configuration = disk.configuration
    assert (await configuration.look(), configuration.state) == (None, None)
    disk.found = replace(of_web(allow=("ou:sre",)), workers=2)
    change = await configuration.look()
    assert change is not None
    assert (change.keys, change.restart_keys) == (("workers", "listener[web].allow"), ("workers",))
    assert configuration.state is not None
    since = configuration.state.since
    disk.clock.advance(forge.DAY)
    problem = ConfigProblem("listener[web].allow", "is empty", where="tlsidecar.toml:3", label="listener[web].allow")
    disk.found = ConfigError([problem, problem])
    assert await configuration.look() is None
    assert (configuration.state.changes, configuration.state.since) == ((), since)
    assert "tlsidecar.toml:3" in configuration.state.error
    assert "and 1 more" in configuration.state.error
    disk.found = SETTINGS
    assert (await configuration.look(), configuration.state) == (None, None)


async def test_once_applied_it_is_the_one_in_force(disk: Disk) -> None:
    disk.found = of_web(allow=("ou:sre",))
    change = await disk.configuration.look()
    assert change is not None
    disk.configuration.applied(change)
    assert disk.configuration.state is None
    assert await disk.configuration.look() is None


class TestWhetherItIsReadAgain:
    @staticmethod
    async def readings(disk: Disk) -> int:
        """In one look."""
        before = disk.readings
        await disk.configuration.look()
        return disk.readings - before

    async def test_not_where_it_is_the_file_that_was_found_to_be_in_force(self, disk: Disk) -> None:
        disk.clock.advance(LONG_AGO)
        assert [await self.readings(disk) for _ in range(3)] == [1, 0, 0]

    async def test_one_that_was_just_changed_may_have_changed_since(self, disk: Disk) -> None:
        assert [await self.readings(disk) for _ in range(2)] == [1, 1]
        disk.clock.advance(LONG_AGO)
        assert [await self.readings(disk) for _ in range(2)] == [1, 0]

    async def test_one_from_the_future_too(self, disk: Disk) -> None:
        disk.clock.advance(-LONG_AGO)
        assert [await self.readings(disk) for _ in range(2)] == [1, 1]

    async def test_one_that_changed(self, disk: Disk) -> None:
        disk.clock.advance(LONG_AGO)
        assert await self.readings(disk) == 1
        forge.write(disk.file, b"# of another inode")
        disk.found = of_web(allow=("ou:sre",))
        assert await self.readings(disk) == 1
        assert disk.configuration.state is not None

    async def test_one_that_was_swapped_while_it_was_read_and_swapped_back(self, tmp_path: Path) -> None:
        """As by a link, which leaves the times of the files as they are: a rollback of ``..data``."""
        link, now, before = (tmp_path / name for name in ("tlsidecar.toml", "now", "before"))

        def swap_to(target: Path) -> None:
            link.unlink(missing_ok=True)
            link.symlink_to(target)

        in_force = replace(SETTINGS, config_file=link)
        says = {now: in_force, before: replace(of_web(allow=("ou:sre",)), config_file=link)}
        for file in says:
            file.write_text("")
        swap_to(before)
        swaps = [now]

        def read() -> Settings:
            if swaps:
                swap_to(swaps.pop())
            return says[link.readlink()]

        clock = forge.ManualClock(datetime.fromtimestamp(before.stat().st_ctime, UTC) + LONG_AGO)
        configuration = Configuration(in_force, read, clock)
        assert await configuration.look() is None
        swap_to(before)
        assert await configuration.look() is not None

    async def test_one_that_says_something_else_or_nothing_of_use(self, disk: Disk) -> None:
        disk.clock.advance(LONG_AGO)
        for disk.found in (of_web(allow=("ou:sre",)), ConfigError([ConfigProblem("", "is not UTF-8")])):
            assert [await self.readings(disk) for _ in range(2)] == [1, 1]

    async def test_once_it_was_applied(self, disk: Disk) -> None:
        disk.clock.advance(LONG_AGO)
        disk.found = of_web(allow=("ou:sre",))
        change = await disk.configuration.look()
        assert change is not None
        disk.configuration.applied(change)
        assert [await self.readings(disk) for _ in range(2)] == [1, 0]

    async def test_where_there_is_one_now_that_a_start_would_rather_take(
        self, disk: Disk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        disk.clock.advance(LONG_AGO)
        monkeypatch.setattr(configuration, "SYSTEM_FILE", disk.file)
        there = tmp_path / "there"
        there.mkdir()
        monkeypatch.chdir(there)
        assert [await self.readings(disk) for _ in range(2)] == [1, 0]
        (there / "tlsidecar.toml").write_text("")
        assert await self.readings(disk) == 1


async def test_without_a_file_nothing_ever_differs() -> None:
    configuration = Configuration(SETTINGS, lambda: replace(SETTINGS, workers=9), forge.ManualClock())
    assert (await configuration.look(), configuration.state) == (None, None)


FILES = replace(SETTINGS.identity, name="second")
AUTHORITY = IdentitySettings(name="second", authority=Path("/pki"), dns=("web",))
AGENT = IdentitySettings(name="second", spiffe_socket="tcp://127.0.0.1:8081")
LISTS = replace(SETTINGS.identity, crl_urls=("http://127.0.0.1/a.crl",), crl_cache=Path("/var/cache/crl"))
MORE_LISTS = replace(LISTS, crl_urls=("http://127.0.0.1/a.crl", "http://127.0.0.1/b.crl"))
ORDERED = IdentitySettings(dns=("web",), acme=Acme(directory="https://127.0.0.1:14000/dir", state=Path("/var/acme")))
AGREED = replace(ORDERED, acme=replace(ORDERED.acme, terms_agreed=True))  # type: ignore[type-var]
ELSEWHERE = replace(ORDERED, acme=replace(ORDERED.acme, directory="https://127.0.0.1:15000/dir"))  # type: ignore[type-var]


@pytest.mark.parametrize(
    ("before", "after", "beyond_it"),
    [
        (SETTINGS.identity, (SETTINGS.identity, AUTHORITY), ("identity[second] added",)),
        (SETTINGS.identity, (SETTINGS.identity, AGENT), ("identity[second] added",)),
        (SETTINGS.identity, (SETTINGS.identity, FILES), ()),
        (SETTINGS.identity, (replace(SETTINGS.identity, authority=Path("/pki")),), ("identity.authority",)),
        (SETTINGS.identity, (replace(SETTINGS.identity, key_group_readable=True),), ()),
        (SETTINGS.identity, (LISTS,), ("identity.crl_urls", "identity.crl_cache")),
        (LISTS, (MORE_LISTS,), ()),
        (LISTS, (replace(LISTS, crl_cache=Path("/elsewhere")),), ("identity.crl_cache",)),
        (ORDERED, (AGREED,), ()),
        (ORDERED, (ELSEWHERE,), ("identity.acme.directory",)),
        (ORDERED, (replace(ORDERED, dns=("other",)),), ()),
    ],
)
@pytest.mark.parametrize("is_held", [True, False])
async def test_what_a_sandbox_was_not_made_for_needs_a_restart(
    tmp_path: Path,
    before: IdentitySettings,
    after: tuple[IdentitySettings, ...],
    beyond_it: tuple[str, ...],
    is_held: bool,
) -> None:
    start = replace(SETTINGS, config_file=tmp_path / "tlsidecar.toml", identities=(before,))
    found = replace(start, identities=after)
    held = partial(beyond, needs_of(start)) if is_held else None
    configuration = Configuration(start, lambda: found, forge.ManualClock(), beyond=held)
    change = await configuration.look()
    assert change is not None
    assert change.restart_keys == (beyond_it if is_held else ())


@pytest.mark.parametrize("is_held", [True, False])
async def test_the_log_is_live_where_its_file_can_be_written(tmp_path: Path, is_held: bool) -> None:
    (tmp_path / "log").mkdir()
    (tmp_path / "other").mkdir()
    first = Log(file=tmp_path / "log" / "sidecar.log")
    start = replace(SETTINGS, config_file=tmp_path / "tlsidecar.toml", log=first)
    found = [start]
    held = partial(beyond, needs_of(start)) if is_held else None
    configuration = Configuration(start, lambda: found[-1], forge.ManualClock(), beyond=held)
    live = [Log(), Log(access="off", file=first.file), Log(access="text", file=tmp_path / "log" / "second.log")]
    for log in live:
        found.append(replace(start, log=log))
        change = await configuration.look()
        assert change is not None
        assert change.restart_keys == ()
    found.append(replace(start, log=Log(file=tmp_path / "other" / "sidecar.log")))
    change = await configuration.look()
    assert change is not None
    assert change.restart_keys == (("log.file",) if is_held else ())
    if not is_held:
        found.append(replace(start, log=Log(file=tmp_path / "nowhere" / "sidecar.log")))
        assert await configuration.look() is None
        assert configuration.state is not None
        assert configuration.state.error.startswith("log.file: cannot open the log file")
