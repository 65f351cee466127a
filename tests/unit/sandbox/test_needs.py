"""What a configuration needs: its places, and its ports."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tlsidecar.sandbox.landlock import Files
from tlsidecar.sandbox.needs import APPEND, KEEP, LISTEN, LISTEN_LOCKED, READ, Place, needs_of
from tlsidecar.settings import (
    Acme,
    Address,
    Admin,
    IdentitySettings,
    ListenerSettings,
    Log,
    Metrics,
    Mode,
    Settings,
    Tracing,
    TrustFile,
)


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def listener(listen: Address, *upstreams: Address) -> ListenerSettings:
    return ListenerSettings(name="web", mode=Mode.TERMINATE, listen=listen, upstreams=upstreams)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    for name in ("etc", "pki", "run", "peers"):
        (tmp_path / name).mkdir()
    return Settings(
        admin=Admin(socket=tmp_path / "run" / "admin.sock"),
        identities=(
            IdentitySettings(
                cert=tmp_path / "pki" / "tls.crt",
                key=tmp_path / "pki" / "tls.key",
                trust=(TrustFile(tmp_path / "peers"),),
            ),
        ),
        listeners=(listener(Address(host="0.0.0.0", port=8443), Address(host="127.0.0.1", port=8080)),),
        config_file=tmp_path / "etc" / "tlsidecar.toml",
    )


def access(settings: Settings) -> dict[Path, Files]:
    found: dict[Path, Files] = {}
    for place in needs_of(settings).places:
        found[place.path] = found.get(place.path, Files(0)) | place.access
    return found


def test_files(settings: Settings, tmp_path: Path) -> None:
    assert access(settings) == {
        tmp_path / "etc": READ,
        tmp_path / "pki": READ,
        tmp_path / "peers": READ,
        tmp_path: READ,  # should the trust become a file
        tmp_path / "run": LISTEN_LOCKED,
    }
    assert Place(tmp_path / "pki", READ, "identity.key") in needs_of(settings).places


def test_what_is_written(settings: Settings, tmp_path: Path) -> None:
    identity = replace(
        settings.identity,
        crl_urls=("http://crl.test/ca.crl",),
        crl_cache=tmp_path / "crls",
        acme=Acme("https://ca.test:14000/dir", tmp_path / "acme", server_trust=tmp_path / "ca" / "pebble.pem"),
    )
    log = Log(file=tmp_path / "log" / "tlsidecar.log")
    unix = listener(Address(path=str(tmp_path / "in" / "web.sock")), Address(path="/run/app.sock"))
    changed = replace(settings, identities=(identity,), log=log, listeners=(unix,))
    needs = needs_of(changed)
    assert set(needs.own) == {tmp_path / "crls", tmp_path / "acme"}
    found = access(changed)
    assert (found[tmp_path / "crls"], found[tmp_path / "acme"]) == (KEEP, KEEP)
    assert found[tmp_path / "log"] == APPEND
    assert found[tmp_path / "in"] == LISTEN
    assert found[tmp_path / "ca"] == READ
    assert (needs.bind, needs.connect) == (frozenset(), {53, 80, 443, 14000})


def test_a_device_as_log_opens_nothing_beside_it(settings: Settings) -> None:
    places = needs_of(replace(settings, log=Log(file=Path("/dev/null")))).places
    assert Path("/dev") not in {place.path for place in places}


def test_an_authority_is_written_by_the_source_alone(settings: Settings, tmp_path: Path) -> None:
    changed = replace(settings, identities=(IdentitySettings(authority=tmp_path / "pki", dns=("web",)),))
    assert access(changed)[tmp_path / "pki"] == KEEP
    assert needs_of(changed).own == ()


def test_an_authority_that_is_to_come_is_awaited_where_nobody_else_keeps_things(
    settings: Settings, tmp_path: Path
) -> None:
    def places(authority: Path) -> set[tuple[Path, Path | None]]:
        identity = replace(settings.identities[0], authority=authority)
        found = needs_of(replace(settings, identities=(identity,))).places
        return {(each.path, each.awaits) for each in found if each.key == "identity.authority"}

    late = tmp_path / "not" / "yet"
    assert places(late) == {(tmp_path.resolve(), late)}
    assert places(Path("/var/lib/tlsidecar-none/ca")) == {(Path("/var/lib/tlsidecar-none/ca"), None)}
    late.mkdir(parents=True)
    assert places(late) == {(late.resolve(), None)}


def test_ports(settings: Settings) -> None:
    needs = needs_of(
        replace(
            settings,
            admin=replace(settings.admin, http=Address(host="127.0.0.1", port=9901)),
            metrics=Metrics(listen=Address(host="0.0.0.0", port=9902)),
            tracing=Tracing(endpoint="http://127.0.0.1:4318/v1/traces"),
        )
    )
    assert needs.bind == {8443, 9901, 9902}
    assert needs.connect == {8080, 4318}
    assert not needs.resolves


@pytest.mark.parametrize(("host", "resolves"), [("api.internal", True), ("localhost", False), ("::1", False)])
def test_names_need_a_resolver(settings: Settings, host: str, resolves: bool) -> None:
    out = listener(Address(host="127.0.0.1", port=1), Address(host=host, port=2))
    needs = needs_of(replace(settings, listeners=(out,)))
    assert needs.resolves is resolves
    assert needs.connect == ({2, 53} if resolves else {2})


def test_a_port_that_the_kernel_chooses_for_several_addresses_is_not_known(settings: Settings) -> None:
    upstream = Address(host="127.0.0.1", port=2)
    assert needs_of(replace(settings, listeners=(listener(Address(host="127.0.0.1"), upstream),))).bind == {0}
    assert needs_of(replace(settings, listeners=(listener(Address(host="localhost"), upstream),))).bind is None


def test_proxies_are_reached(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.test:3128")
    assert 3128 not in needs_of(settings).connect
    traced = replace(settings, tracing=Tracing(endpoint="https://collector.test/v1/traces"))
    assert {443, 3128} <= needs_of(traced).connect


def test_an_agent_on_tcp(settings: Settings) -> None:
    agent = IdentitySettings(spiffe_socket="tcp://127.0.0.1:8081")
    assert 8081 in needs_of(replace(settings, identities=(agent,))).connect
    assert needs_of(replace(settings, identities=(IdentitySettings(spiffe_socket="unix:///run/a.sock"),))).connect == {
        8080
    }


def test_each_of_several_identities(settings: Settings, tmp_path: Path) -> None:
    second = IdentitySettings(name="second", authority=tmp_path / "pki", crl_urls=("http://lists.example:8088/ca.crl",))
    both = needs_of(replace(settings, identities=(settings.identity, second)))
    assert Place(tmp_path / "pki", KEEP, "identity.authority") in both.places
    assert set(needs_of(settings).places) < set(both.places)
    assert 8088 in both.connect
