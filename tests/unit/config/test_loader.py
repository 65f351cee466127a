"""What is loaded: precedence, defaults, paths, flags alone, the places that are looked in."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from tlsidecar.config import ConfigError, load, loader
from tlsidecar.config.overrides import OVERRIDES
from tlsidecar.settings import (
    Address,
    Admin,
    ClientCertificateHeader,
    HealthCheck,
    Http,
    IdentitySettings,
    Limits,
    ListenerSettings,
    Log,
    Mode,
    Protocol,
    Route,
    Settings,
    Tls,
    TrustFile,
)

MINIMAL = """
[identity]
cert = "tls.crt"
trust = "ca.crt"

[[listener]]
name = "web"
listen = "0.0.0.0:8443"
upstream = "127.0.0.1:8080"
allow = ["any"]
"""

EVERYTHING = """
workers = 2
event_loop = "asyncio"

[admin]
socket = "/run/t/admin.sock"
view_socket = "view/view.sock"
view_group = "dash"
http = "[::1]:9901"

[identity]
cert = "tls.crt"
key = "/keys/tls.key"
trust = "ca.crt"
crl = "ca.crl"
passphrase_file = "passphrase"
key_group_readable = true
crl_policy = "soft"
poll_interval = "2s"
clock_skew = "0s"

[tls]
min_version = "1.3"

[log]
access = "text"
level = "debug"
file = "log"

[limits]
idle_timeout = "10m"
max_connections = 100

[[listener]]
name = "web"
mode = "terminate"
listen = "unix:in.sock"
upstream = ["unix:app.sock", "10.0.0.1:80"]
protocol = "http"
http2 = "also"
allow = ["ou:sre", "any"]
client_certificate_header = "append_forward"
client_certificate_details = ["cert", "chain"]
remove_headers = ["X-Internal"]
underscores = "drop"
trust_forwarded = true
host_rewrite = "app.internal"
upgrades = []
trailers = ["X-Checksum"]
max_connection_age = "1h"
close_on_peer_expiry = true
close_on_revocation = true
unsafe_upstream = true

[listener.limits]
handshake_timeout = "1s"
max_connections = 10
max_handshakes = 5
keepalive_timeout = "2s"
head_timeout = "3s"
body_idle_timeout = "4s"
response_timeout = "5s"
upstream_connect_timeout = "6s"
close_timeout = "7s"
write_timeout = "9s"
stream_idle_timeout = "13s"
drain_timeout = "8s"
max_header_bytes = "1KiB"
max_header_fields = 9
max_line_bytes = "512B"
max_body_bytes = "1MiB"
max_requests_per_connection = 10
max_concurrent_requests = 11
max_upstream_idle = 0
request_rate = "90/m"
request_burst = 12
buffer = "16KiB"

[listener.health_check]
path = "/healthz"
interval = "10s"
timeout = "1s"
readiness = true

[[listener.route]]
path = "/admin/**"
methods = ["POST"]
allow = ["ou:sre"]

[[listener.route]]
path = "/"
allow = ["any"]

[[listener]]
name = "out"
mode = "originate"
listen = "127.0.0.1:0"
upstream = "payments.internal.:8443"
unsafe_listen = true
"""


def write(tmp_path: Path, document: str = MINIMAL) -> Path:
    file = tmp_path / "tlsidecar.toml"
    file.write_text(document)
    return file


def test_everything_that_can_be_set_is_set(tmp_path: Path) -> None:
    settings = load(write(tmp_path, EVERYTHING), {}, {})
    assert settings == Settings(
        admin=Admin(
            socket=Path("/run/t/admin.sock"),
            view_socket=tmp_path / "view/view.sock",
            view_group="dash",
            http=Address("::1", 9901),
        ),
        identities=(
            IdentitySettings(
                cert=tmp_path / "tls.crt",
                key=Path("/keys/tls.key"),
                trust=(TrustFile(tmp_path / "ca.crt"),),
                crl=tmp_path / "ca.crl",
                passphrase_file=tmp_path / "passphrase",
                key_group_readable=True,
                crl_policy="soft",
                poll_interval_s=2.0,
                clock_skew_s=0.0,
            ),
        ),
        listeners=(
            ListenerSettings(
                name="web",
                mode=Mode.TERMINATE,
                listen=Address(path=str(tmp_path / "in.sock")),
                upstreams=(Address(path=str(tmp_path / "app.sock")), Address("10.0.0.1", 80)),
                protocol=Protocol.HTTP,
                http2="also",
                allow=("ou:sre", "any"),
                routes=(Route("/admin/**", ("POST",), ("ou:sre",)), Route("/", (), ("any",))),
                limits=Limits(
                    handshake_timeout_s=1.0,
                    max_connections=10,
                    max_handshakes=5,
                    idle_timeout_s=600.0,
                    stream_idle_timeout_s=13.0,
                    keepalive_timeout_s=2.0,
                    head_timeout_s=3.0,
                    body_idle_timeout_s=4.0,
                    response_timeout_s=5.0,
                    upstream_connect_timeout_s=6.0,
                    close_timeout_s=7.0,
                    write_timeout_s=9.0,
                    drain_timeout_s=8.0,
                    max_header_bytes=1024,
                    max_header_fields=9,
                    max_line_bytes=512,
                    max_body_bytes=1048576,
                    max_requests_per_connection=10,
                    max_concurrent_requests=11,
                    max_upstream_idle=0,
                    request_rate=1.5,
                    request_burst=12,
                    buffer_bytes=16384,
                    max_connection_age_s=3600.0,
                ),
                http=Http(
                    client_certificate_header=ClientCertificateHeader.APPEND_FORWARD,
                    client_certificate_details=("cert", "chain"),
                    remove_headers=("x-internal",),
                    underscores="drop",
                    trust_forwarded=True,
                    host_rewrite="app.internal",
                    upgrades=(),
                    trailers=("x-checksum",),
                ),
                unsafe_upstream=True,
                close_on_peer_expiry=True,
                close_on_revocation=True,
                health_check=HealthCheck("/healthz", 10.0, 1.0, readiness=True),
            ),
            ListenerSettings(
                name="out",
                mode=Mode.ORIGINATE,
                listen=Address("127.0.0.1", 0),
                upstreams=(Address("payments.internal.", 8443),),
                expect=("dns:payments.internal",),
                server_name="payments.internal",
                limits=Limits(idle_timeout_s=600.0, max_connections=100),
                unsafe_listen=True,
            ),
        ),
        tls=Tls("1.3"),
        log=Log("text", "debug", tmp_path / "log"),
        limits=Limits(idle_timeout_s=600.0, max_connections=100),
        workers=2,
        event_loop="asyncio",
        config_file=tmp_path / "tlsidecar.toml",
    )


def test_what_is_left_out_has_the_default_of_the_settings(tmp_path: Path) -> None:
    settings = load(write(tmp_path), {}, {})
    listener = settings.listeners[0]
    assert (listener.mode, listener.protocol, listener.limits, listener.http) == (
        Mode.TERMINATE,
        Protocol.TCP,
        Limits(),
        Http(),
    )
    assert settings.admin == Admin(Path("/run/tlsidecar/admin.sock"))
    assert (settings.tls, settings.log, settings.workers, settings.event_loop) == (Tls(), Log(), 1, "auto")
    assert settings.identity == IdentitySettings(cert=tmp_path / "tls.crt", trust=(TrustFile(tmp_path / "ca.crt"),))


def test_a_local_authority_is_a_source(tmp_path: Path) -> None:
    document = MINIMAL.replace('cert = "tls.crt"\ntrust = "ca.crt"', 'authority = "pki/"\ndns = ["Web.Internal"]')
    names = 'spiffe = "spiffe://prod.example/ns/a"\nip = ["10.0.0.1", "::1"]\ncn = "web"\nttl = "1h"\n[[listener]]'
    identity = load(write(tmp_path, document.replace("[[listener]]", names, 1)), {}, {}).identity
    assert identity == IdentitySettings(
        authority=tmp_path / "pki",
        dns=("web.internal",),
        ip=("10.0.0.1", "::1"),
        spiffe="spiffe://prod.example/ns/a",
        common_name="web",
        ttl_s=3600.0,
    )


@pytest.mark.parametrize(
    ("upstream", "written", "expect", "server_name"),
    [
        ('"payments.internal:1"', "", ("dns:payments.internal",), "payments.internal"),
        ('["payments.internal:1", "payments.internal:2"]', "", ("dns:payments.internal",), "payments.internal"),
        ('"10.0.0.1:1"', "", ("ip:10.0.0.1",), ""),
        ('"[2001:db8::1]:1"', "", ("ip:2001:db8::1",), ""),
        ('"10.0.0.1:1"', 'server_name = "pay.example"', ("dns:pay.example",), "pay.example"),
        ('"unix:/run/pay"', 'server_name = "pay.example"', ("dns:pay.example",), "pay.example"),
        ('["a:1", "b:1"]', 'expect = ["spiffe://x/y"]', ("spiffe://x/y",), ""),
        ('"a.example:1"', 'expect = ["ou:x"]', ("ou:x",), "a.example"),
    ],
)
def test_the_remote_is_expected_under_the_name_it_is_called_by(
    upstream: str, written: str, expect: tuple[str, ...], server_name: str, tmp_path: Path
) -> None:
    document = MINIMAL.partition("[[listener]]")[0] + (
        f'[[listener]]\nname = "out"\nmode = "originate"\nlisten = "127.0.0.1:1"\nupstream = {upstream}\n{written}\n'
    )
    listener = load(write(tmp_path, document), {}, {}).listeners[0]
    assert (listener.expect, listener.server_name) == (expect, server_name)


def test_flags_alone_make_one_listener(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    flags = {
        "listen": "0.0.0.0:8443",
        "upstream": "127.0.0.1:8080",
        "cert": "tls.crt",
        "key": Path("tls.key"),
        "trust": tmp_path / "ca.crt",
        "allow": ("ou:a,b", "ou:c"),
        "expect": (),
        "mode": None,
        "protocol": None,
        "admin_socket": Path("admin.sock"),
    }
    settings = load(None, flags, {})
    assert settings.listeners == (
        ListenerSettings(
            "default",
            Mode.TERMINATE,
            Address("0.0.0.0", 8443),
            (Address("127.0.0.1", 8080),),
            allow=("ou:a,b", "ou:c"),
        ),
    )
    assert settings.identity == IdentitySettings(
        tmp_path / "tls.crt", tmp_path / "tls.key", (TrustFile(tmp_path / "ca.crt"),)
    )
    assert settings.admin.socket == tmp_path / "admin.sock"
    assert settings.config_file is None


def test_expect_alone_means_originate(tmp_path: Path) -> None:
    flags = {"listen": "127.0.0.1:1", "upstream": "a.example:1", "cert": "c", "trust": "t", "expect": ["ou:pay"]}
    listener = load(None, flags, {}).listeners[0]
    assert (listener.mode, listener.expect) == (Mode.ORIGINATE, ("ou:pay",))


def test_a_flag_wins_over_a_variable_over_the_file_over_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "etc").mkdir()
    file = write(tmp_path / "etc", MINIMAL + '[log]\nlevel = "error"\naccess = "off"\nfile = "log"\n')
    environ = {
        "TLSIDECAR_LOG_LEVEL": "warning",
        "TLSIDECAR_LOG_ACCESS": "text",
        "TLSIDECAR_TRUST": "env.crt",
        "TLSIDECAR_ALLOW": "ou:x, ou:y,",
        "TLSIDECAR_WORKERS": "2",
        "TLSIDECAR_KEY_GROUP_READABLE": "Yes",
        "TLSIDECAR_LIMITS_MAX_CONNECTIONS": "7",
        "TLSIDECAR_KEY": "",
    }
    settings = load(file, {"log_level": "debug"}, environ)
    assert settings.log == Log(access="text", level="debug", file=tmp_path / "etc/log")
    assert settings.identity.cert == tmp_path / "etc/tls.crt"
    assert settings.identity.trust == (TrustFile(tmp_path / "env.crt"),)
    assert (settings.identity.key, settings.identity.key_group_readable) == (None, True)
    assert settings.listeners[0].allow == ("ou:x", "ou:y")
    assert settings.listeners[0].limits.max_connections == 7
    assert settings.workers == 2


def test_the_file_is_the_one_named_or_one_in_the_usual_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    write(tmp_path)
    write(other, MINIMAL.replace("web", "other"))
    assert load(None, {}, {}).listeners[0].name == "web"
    assert load(None, {}, {"TLSIDECAR_CONFIG": "other/tlsidecar.toml"}).listeners[0].name == "other"
    assert load(Path("tlsidecar.toml"), {}, {"TLSIDECAR_CONFIG": "other/tlsidecar.toml"}).listeners[0].name == "web"
    flags = {"listen": "127.0.0.1:1", "upstream": "127.0.0.1:2", "cert": "c", "trust": "t", "allow": ["any"]}
    assert load(None, flags, {}).config_file is None, "a listener given by flags must not be mixed with a stray file"


def test_relative_paths_start_where_the_link_stands_and_not_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "..data").mkdir()
    write(tmp_path / "..data")
    (tmp_path / "tlsidecar.toml").symlink_to("..data/tlsidecar.toml")
    assert load(tmp_path / "tlsidecar.toml", {}, {}).identity.cert == tmp_path / "tls.crt"


@pytest.mark.parametrize(
    ("environ", "flags", "path"),
    [
        ({}, {}, "/run/tlsidecar/admin.sock"),
        ({"TLSIDECAR_ADMIN_SOCKET": "/x/a.sock"}, {}, "/x/a.sock"),
        ({"TLSIDECAR_ADMIN_SOCKET": "/x/a.sock"}, {"admin_socket": "own/b.sock"}, "/work/own/b.sock"),
        ({"TLSIDECAR_ADMIN_SOCKET": "x/a.sock"}, {}, "/work/x/a.sock"),
    ],
)
def test_the_admin_socket_is_where_commands_look_for_it(
    environ: dict[str, str], flags: dict[str, object], path: str, tmp_path: Path
) -> None:
    """Relative paths of flags and variables start where the command was given, those of the file beside the file."""
    settings = loader.load(write(tmp_path), flags, environ, Path("/work"))
    assert settings.admin.socket == Path(path)
    assert settings.identity.cert == tmp_path / "tls.crt"


def test_problems_come_in_the_order_of_the_file_and_all_at_once(tmp_path: Path) -> None:
    """A tenth line comes after a ninth; what has no line stands by where it was written."""
    document = MINIMAL.replace('"any"', '"every"') + "\n" * 3 + "[log]\nlevel = 1\n[limits]\nmax_connections = 0\n"
    with pytest.raises(ConfigError) as refused:
        loader.load(write(tmp_path, document), {"workers": 0}, {"TLSIDECAR_TLS_MIN_VERSION": "1"}, Path("/work"))
    found = [(each.label, each.where.rpartition("/")[2]) for each in refused.value.problems]
    assert found == [
        ("workers", "--workers"),
        ("listener[web].allow.0", "tlsidecar.toml:10"),
        ("log.level", "tlsidecar.toml:15"),
        ("limits.max_connections", "tlsidecar.toml:17"),
        ("tls.min_version", "TLSIDECAR_TLS_MIN_VERSION"),
    ]


def test_a_mode_is_guessed_from_flags_alone(tmp_path: Path) -> None:
    """What a file leaves out is its default, and no riddle."""
    flags = {"listen": "127.0.0.1:1", "upstream": "a.example:1", "cert": "c", "trust": "t"}
    for more, mode in (
        ({"expect": ["ou:pay"]}, Mode.ORIGINATE),
        ({"allow": ["any"], "upstream": "127.0.0.1:2"}, Mode.TERMINATE),
    ):
        assert load(None, {**flags, **more}, {}).listeners[0].mode is mode
    for more in ({"expect": ["any"], "allow": ["any"]}, {"expect": ["any"], "mode": "terminate"}):
        with pytest.raises(ConfigError, match="is for originate"):
            load(None, {**flags, **more}, {})
    with pytest.raises(ConfigError, match="is for originate"):
        load(write(tmp_path, MINIMAL.replace("allow", "expect")), {}, {})


def test_origins_are_kept_with_the_settings_and_travel(tmp_path: Path) -> None:
    loaded = loader.load_with_origins(write(tmp_path), {"workers": 2}, {}, tmp_path)
    assert loaded.settings.workers == 2
    assert {str(origin) for origin in loaded.origins.values()} >= {"flag --workers", "file tlsidecar.toml:3"}
    assert pickle.loads(pickle.dumps(loaded)) == loaded


def test_settings_survive_a_trip_to_another_process(tmp_path: Path) -> None:
    settings = load(write(tmp_path, EVERYTHING), {}, {})
    assert pickle.loads(pickle.dumps(settings)) == settings


def test_an_unknown_flag_is_a_mistake_in_the_program(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="no setting is called 'lisen'"):
        load(write(tmp_path), {"lisen": "x"}, {})


def test_no_two_settings_share_a_name_outside_the_file() -> None:
    places = {(override.section, override.key) for override in OVERRIDES.values()}
    assert len(places) == len(OVERRIDES)
    assert {"listen", "upstream", "allow", "expect", "mode", "protocol", "cert", "key", "trust"} <= OVERRIDES.keys()
    assert {"admin_socket", "log_level", "limits_drain_timeout", "workers", "tls_min_version"} <= OVERRIDES.keys()


def test_grpc_is_http2_and_nothing_else(tmp_path: Path) -> None:
    listener = load(write(tmp_path, MINIMAL + 'protocol = "grpc"\n'), {}, {}).listeners[0]
    assert (listener.protocol, listener.http2, listener.offered) == (Protocol.HTTP, "only", (b"h2",))
    assert listener.http.underscores == "allow"
    listener = load(write(tmp_path, MINIMAL + 'protocol = "grpc"\nunderscores = "drop"\n'), {}, {}).listeners[0]
    assert listener.http.underscores == "drop"


@pytest.mark.parametrize(
    ("written", "offered"),
    [
        ("", ()),
        ('alpn = ["h2", "postgresql"]', (b"h2", b"postgresql")),
        ('protocol = "http"', (b"http/1.1",)),
        ('protocol = "http"\nhttp2 = "also"', (b"h2", b"http/1.1")),
        ('protocol = "http"\nhttp2 = "only"', (b"h2",)),
    ],
)
def test_what_alpn_agrees_on(written: str, offered: tuple[bytes, ...], tmp_path: Path) -> None:
    assert load(write(tmp_path, MINIMAL + written + "\n"), {}, {}).listeners[0].offered == offered


def test_a_byte_order_mark_and_the_line_ends_of_windows_change_nothing(tmp_path: Path) -> None:
    plain = load(write(tmp_path), {}, {})
    path = tmp_path / "tlsidecar.toml"
    path.write_bytes(b"\xef\xbb\xbf" + MINIMAL.lstrip().replace("\n", "\r\n").encode())
    assert load(path, {}, {}) == plain
