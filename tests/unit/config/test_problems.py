"""Every kind of mistake: told with its key, its place and what to write instead, and all of them at once."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from tlsidecar.config import ConfigError, ConfigProblem, load, render_problems

IDENTITY = """
[identity]
cert = "tls.crt"
key = "tls.key"
trust = "ca.crt"
"""
METRICS = """
[metrics]
listen = "0.0.0.0:9902"
allow = ["any"]
"""
SEVERAL = """
[[identity]]
name = "public"
cert = "tls.crt"
trust = "ca.crt"
[[identity]]
name = "mesh"
authority = "pki"
dns = ["web.mesh"]
"""
ACME = "[identity]\ndns = ['a.b']\ntrust = 'x'\n"
ACME_TABLE = "[identity.acme]\nstate = 's'\ndirectory = 'https://ca.test/dir'\n"
TERMINATE = """
[[listener]]
name = "web"
mode = "terminate"
listen = "0.0.0.0:8443"
upstream = "127.0.0.1:8080"
allow = ["any"]
"""
ORIGINATE = """
[[listener]]
name = "out"
mode = "originate"
listen = "127.0.0.1:9001"
upstream = "payments.internal:8443"
"""
WEB = TERMINATE.replace("allow", 'protocol = "http"\nallow')


def problems_of(document: str | bytes, tmp_path: Path, **flags: object) -> tuple[ConfigProblem, ...]:
    file = tmp_path / "tlsidecar.toml"
    file.write_bytes(document if isinstance(document, bytes) else document.encode())
    with pytest.raises(ConfigError) as caught:
        load(file, flags, {})
    return caught.value.problems


def test_the_helper_documents_are_right(tmp_path: Path) -> None:
    file = tmp_path / "tlsidecar.toml"
    for listener in (TERMINATE + "identity = ['mesh', 'public']", ORIGINATE + "identity = 'mesh'"):
        file.write_text(SEVERAL + listener)
        assert [each.name for each in load(file, {}, {}).identities] == ["public", "mesh"]
    for listener in (TERMINATE, ORIGINATE, WEB, TERMINATE + ORIGINATE):
        file.write_text(IDENTITY + listener)
        assert load(file, {}, {}).listeners


CASES = [
    # What is written at all.
    ("upsteam = 1\n" + IDENTITY + TERMINATE, "upsteam", "unknown key", ""),
    ("cert = 'x'\n" + IDENTITY + TERMINATE, "cert", "unknown key", '"identity.cert"'),
    ("idle_timeout = '1h'\n" + IDENTITY + TERMINATE, "idle_timeout", "unknown key", '"limits.idle_timeout"'),
    (IDENTITY + TERMINATE + "upsteam = 1", "listener[web].upsteam", "unknown key", '"upstream"'),
    (IDENTITY + TERMINATE + "workers = 1", "listener[web].workers", "unknown key", '"workers"'),
    (IDENTITY + TERMINATE + "limits.buffr = 1", "listener[web].limits.buffr", "unknown key", '"buffer"'),
    (IDENTITY + WEB + "route = [{path = '/', allow = ['any'], verbs = []}]", "listener[web].route.0.verbs", "unk", ""),
    ("[listeners]\n" + IDENTITY + TERMINATE, "listeners", "unknown key", '"listener"'),
    (IDENTITY + "[listener]\nname = 'web'", "listener", "not an array of tables", "[[listener]]"),
    (IDENTITY + WEB + "[listener.route]\npath = '/'", "listener[web].route", "not an array", "[[listener.route]]"),
    ("identity = 'files'\n" + TERMINATE, "identity", "a table is needed", ""),
    ("listener = ['web']\n" + IDENTITY, "listener.0", "a table is needed", ""),
    (IDENTITY + TERMINATE + "limits = 3", "listener[web].limits", "a table is needed", ""),
    # Several identities.
    (SEVERAL + TERMINATE + "identity = 'pubic'", "listener[web].identity", "no identity is called", '"public"'),
    (SEVERAL + TERMINATE + "identity = ['mesh', 'zzz']", "listener[web].identity.1", "no identity", '"public", "mesh"'),
    (SEVERAL + TERMINATE + "identity = ['mesh', 'mesh']", "listener[web].identity.1", "twice", "keep one"),
    (SEVERAL + TERMINATE + "identity = []", "listener[web].identity", "is empty", "write at least one"),
    (SEVERAL + TERMINATE + "identity = 3", "listener[web].identity", "is not a name", ""),
    (SEVERAL + ORIGINATE + "identity = ['mesh', 'public']", "listener[out].identity", "here we are the client", "one"),
    (IDENTITY + TERMINATE + "identity = 'public'", "listener[web].identity", "no identity", '"default"'),
    (SEVERAL.replace("mesh", "public") + TERMINATE, "identity[public].name", "another identity", "another name"),
    (SEVERAL.replace('name = "mesh"', "") + TERMINATE, "identity.1.name", "is missing", "name ="),
    (SEVERAL.replace('"mesh"', '"me sh"') + TERMINATE, "identity[\"me sh\"].name", "", ""),
    (IDENTITY + 'name = "x"\n' + TERMINATE, "identity.name", "is for [[identity]]", "[[identity]]"),
    (SEVERAL.replace('authority = "pki"', "") + TERMINATE, "identity[mesh].cert", "there is no certificate", "cert"),
    (SEVERAL + "ttll = '1h'\n" + TERMINATE, "identity[mesh].ttll", "unknown key", '"ttl"'),
    (SEVERAL + IDENTITY + TERMINATE, "identity", "there are an [identity] and an [[identity]]", "[[identity]]"),
    (IDENTITY + SEVERAL + TERMINATE, "identity", "there are an [identity] and an [[identity]]", "[[identity]]"),
    (SEVERAL + TERMINATE + METRICS + "identity = 'messh'", "metrics.identity", "no identity is called", '"mesh"'),
    (
        SEVERAL + TERMINATE + "[metrics]\nlisten = '0.0.0.0:1'\nidentity = 'mesh'",
        "metrics.identity",
        "is for mutual TLS",
        "add allow",
    ),
    ("identity = []\n" + TERMINATE, "identity.cert", "there is no certificate", "cert"),
    # Values.
    ("workers = 0\n" + IDENTITY + TERMINATE, "workers", "between 1 and", '"auto"'),
    ("workers = 'many'\n" + IDENTITY + TERMINATE, "workers", "not a number of workers", '"auto"'),
    ("event_loop = 'uvlop'\n" + IDENTITY + TERMINATE, "event_loop", "is not", '"uvloop"'),
    (IDENTITY + TERMINATE + "[limits]\nhandshake_timeout = 10", "limits.handshake_timeout", "has no unit", '"10s"'),
    (IDENTITY + TERMINATE + "[limits]\nbuffer = '64KB'", "limits.buffer", "not a size", '"64KiB"'),
    (IDENTITY + TERMINATE + "[limits]\nmax_connections = 0", "limits.max_connections", "between 1 and", ""),
    (IDENTITY + TERMINATE + "[limits]\nmax_connections = -4", "limits.max_connections", "between 1 and", ""),
    (IDENTITY + TERMINATE + "[limits]\nidle_timeout = '0s'", "limits.idle_timeout", "longer than zero", ""),
    (IDENTITY + TERMINATE + "[limits]\nrequest_rate = 100", "limits.request_rate", "not a rate", '"100/s"'),
    (IDENTITY + TERMINATE + "[tls]\nmin_version = 1.2", "tls.min_version", "is not", ""),
    (IDENTITY + TERMINATE + "[tls]\nmin_version = '1.1'", "tls.min_version", "is not", ""),
    (IDENTITY + TERMINATE + "[log]\nlevel = 'WARN'", "log.level", "is not", '"warning"'),
    (IDENTITY + TERMINATE + "[log]\naccess = true", "log.access", "is not", ""),
    (IDENTITY + TERMINATE + "limits.max_handshakes = 'x'", "listener[web].limits.max_handshakes", "whole number", ""),
    (IDENTITY.replace('"tls.crt"', "''") + TERMINATE, "identity.cert", "is empty", ""),
    (IDENTITY.replace('"tls.crt"', "'~/tls.crt'") + TERMINATE, "identity.cert", "not expanded", "whole path"),
    (IDENTITY.replace('"tls.crt"', '"a\\u0000b"') + TERMINATE, "identity.cert", "control characters", ""),
    (IDENTITY + "key_group_readable = 'yes'" + TERMINATE, "identity.key_group_readable", "neither true nor", ""),
    (IDENTITY + TERMINATE.replace('"web"', "'a b'"), "listener[\"a b\"].name", "not a name", ""),
    (IDENTITY + TERMINATE.replace('"web"', "7"), "listener.0.name", "not a name", ""),
    (IDENTITY + TERMINATE.replace('"terminate"', "'terminat'"), "listener[web].mode", "is not", '"terminate"'),
    (IDENTITY + TERMINATE.replace("0.0.0.0:8443", ":8443"), "listener[web].listen", "no host", '"0.0.0.0:8443"'),
    (IDENTITY + TERMINATE.replace("127.0.0.1:8080", "8080"), "listener[web].upstream", "no host", "127.0.0.1:8080"),
    (IDENTITY + TERMINATE.replace('"127.0.0.1:8080"', "['127.0.0.1:0']"), "listener[web].upstream.0", "port 0", ""),
    (IDENTITY + TERMINATE.replace('"127.0.0.1:8080"', "[]"), "listener[web].upstream", "is empty", ""),
    (IDENTITY + TERMINATE.replace('"127.0.0.1:8080"', "'unix:@x'"), "listener[web].upstream", "abstract", ""),
    (IDENTITY + TERMINATE.replace('["any"]', "'any'"), "listener[web].allow", "an array is needed", '["any"]'),
    (IDENTITY + TERMINATE.replace('["any"]', "['everyone']"), "listener[web].allow.0", "not an access rule", ""),
    (IDENTITY + TERMINATE.replace('["any"]', "['any', 'san:x']"), "listener[web].allow.1", "not an acc", '"dns:x"'),
    (IDENTITY + WEB + "remove_headers = ['Host']", "listener[web].remove_headers.0", "frames or routes", ""),
    (IDENTITY + WEB + "trailers = ['client-cert']", "listener[web].trailers.0", "who the client is", ""),
    (IDENTITY + WEB + "upgrades = ['h2c']", "listener[web].upgrades.0", "past the access rules", ""),
    (IDENTITY + WEB + "underscores = 'keep'", "listener[web].underscores", "is not", ""),
    (IDENTITY + WEB + "client_certificate_details = ['key']",
     "listener[web].client_certificate_details.0", "is not", "cert"),
    (IDENTITY + TERMINATE + "proxy_protocol = 'v1'", "listener[web].proxy_protocol", "is not", '"v2"'),
    # Listeners.
    (IDENTITY, "listener", "nothing to listen on", "--listen"),
    (IDENTITY + "listener = []", "identity.listener", "unknown key", '"listener"'),
    (IDENTITY + "[[listener]]\nname = 'a'\nallow = ['any']", "listener[a].listen", "is missing", "0.0.0.0:8443"),
    (IDENTITY + "[[listener]]\nname = 'a'\nallow = ['any']", "listener[a].upstream", "is missing", "127.0.0.1:8080"),
    (IDENTITY + TERMINATE.replace('name = "web"', ""), "listener.0.name", "is missing", '"web"'),
    (IDENTITY + TERMINATE.replace("allow", "#"), "listener[web].allow", "nothing says who", '["any"]'),
    (IDENTITY + TERMINATE.replace('["any"]', "[]"), "listener[web].allow", "is empty", "write at least one"),
    (IDENTITY + TERMINATE + "max-connections = 5", "listener[web].max-connections", "unknown key",
     "limits.max_connections"),
    (IDENTITY + TERMINATE + "proxy-protocol = 'v2'", "listener[web].proxy-protocol", "unknown key", '"proxy_protocol"'),
    (IDENTITY + TERMINATE + "expect = ['any']", "listener[web].expect", "for originate", 'mode = "originate"'),
    (IDENTITY + TERMINATE + "server_name = 'x'", "listener[web].server_name", "for originate", ""),
    (IDENTITY + TERMINATE + "unsafe_listen = true", "listener[web].unsafe_listen", "for originate", ""),
    (IDENTITY + ORIGINATE + "allow = ['any']", "listener[out].allow", "for terminate", "expect"),
    (IDENTITY + ORIGINATE + "unsafe_upstream = true", "listener[out].unsafe_upstream", "for terminate", ""),
    (IDENTITY + ORIGINATE + "proxy_protocol = 'v2'", "listener[out].proxy_protocol", "for terminate", ""),
    (IDENTITY + WEB + "starttls = 'smtp'", "listener[web].starttls", "for TCP", ""),
    (IDENTITY + TERMINATE + "starttls = 'imap'", "listener[web].starttls", "is not", ""),
    (
        IDENTITY + TERMINATE + "starttls = 'mysql'\nproxy_protocol = 'v2'",
        "listener[web].proxy_protocol",
        "reached before the peer is known",
        "leave it out",
    ),
    (IDENTITY + TERMINATE.replace("127.0.0.1", "10.0.0.1"),
     "listener[web].upstream", "in the clear", "unsafe_upstream = true"),
    (IDENTITY + ORIGINATE.replace("127.0.0.1", "0.0.0.0"), "listener[out].listen", "plaintext", "unsafe_listen"),
    (IDENTITY + TERMINATE + TERMINATE.replace("8443", "1"), "listener[web].name", "name of another", ""),
    (IDENTITY + TERMINATE + TERMINATE.replace("web", "w2"), "listener[w2].listen", "taken by listener", ""),
    (IDENTITY + TERMINATE + ORIGINATE.replace("9001", "8443"), "listener[out].listen", "taken by listener", ""),
    (IDENTITY + TERMINATE.replace("8443", "8080"), "listener[web].upstream", "this listener itself", ""),
    (IDENTITY + ORIGINATE.replace('"payments', '"unix:/a') , "listener[out].expect", "no name to expect", "expect"),
    (IDENTITY + ORIGINATE.replace('"payments.internal:8443"', "['a:1', 'b:1']"), "listener[out].expect", "differ", ""),
    (IDENTITY + TERMINATE + "host_rewrite = 'x'", "listener[web].host_rewrite", "for HTTP", 'protocol = "http"'),
    (IDENTITY + TERMINATE + "route = []", "listener[web].route", "for HTTP", 'protocol = "http"'),
    (IDENTITY + TERMINATE + "health_check = {path = '/'}", "listener[web].health_check.path", "for HTTP", ""),
    (IDENTITY + TERMINATE + "http2 = 'also'", "listener[web].http2", "is for HTTP", 'protocol = "http"'),
    (IDENTITY + TERMINATE + "alpn = ['']", "listener[web].alpn.0", "ALPN", ""),
    (IDENTITY + WEB + "alpn = ['h2']", "listener[web].alpn", "is for TCP", ""),
    (
        IDENTITY + TERMINATE + "protocol = 'grpc'\nhttp2 = 'also'",
        "listener[web].http2",
        "HTTP/2 only",
        'protocol = "http"',
    ),
    (
        IDENTITY + WEB + "[listener.health_check]\ngrpc = true",
        "listener[web].health_check.grpc",
        "is for HTTP/2",
        "http2",
    ),
    (IDENTITY + WEB + "proxy_protocol = 'v2'", "listener[web].proxy_protocol", "for TCP", ""),
    (IDENTITY + WEB + "route = [{path = '/'}]", "listener[web].route.0.allow", "is missing", "ou:sre"),
    (IDENTITY + WEB + "route = [{allow = ['any']}]", "listener[web].route.0.path", "is missing", "/admin/**"),
    (IDENTITY + WEB + "route = [{path = '/', allow = ['any'], methods = ['get']}]",
     "listener[web].route.0.methods.0", "not an HTTP method", '"GET"'),
    (IDENTITY + TERMINATE + "max_connection_age = '1h'\nlimits.max_connection_age = '1h'",
     "listener[web].max_connection_age", "set twice", ""),
    (IDENTITY + TERMINATE.replace("0.0.0.0:8443", "unix:/" + "x" * 200), "listener[web].listen", "at most 107", ""),
    (IDENTITY + TERMINATE.replace("127.0.0.1:8080", "unix:" + "x" * 107), "listener[web].upstream", "at most 107", ""),
    # Limits.
    (IDENTITY + TERMINATE + "[limits]\nmax_connections = 5\nmax_handshakes = 6", "limits.max_handshakes", "over", ""),
    (IDENTITY + TERMINATE + "limits.max_connections = 5\n[limits]\nmax_handshakes = 6",
     "listener[web].limits.max_handshakes", "over max_connections (5)", ""),
    (IDENTITY + TERMINATE + "[limits]\nrequest_burst = 5", "limits.request_burst", "no request_rate", "100/s"),
    # Identity.
    (TERMINATE, "identity.cert", "no certificate to show", "--cert"),
    ("[identity]\ncert = 'x'" + TERMINATE, "identity.trust", "who may vouch", "ca.crt"),
    (IDENTITY + "authority = 'pki'" + TERMINATE, "identity.authority", "exactly one", ""),
    (IDENTITY + "dns = ['a']" + TERMINATE, "identity.dns", "belongs to authority or acme, and", "leave it out"),
    ("[identity]\nauthority = 'pki'" + TERMINATE, "identity.authority", "no name", "dns"),
    ("[identity]\nauthority = 'pki'\ndns = ['a']\nkey = 'k'" + TERMINATE, "identity.key", "belongs to cert, and", ""),
    ("[identity]\nspiffe_socket = '/run/a'" + TERMINATE, "identity.spiffe_socket", "unix:///absolute/path", "unix:///"),
    ("[identity]\nspiffe_socket = 'unix:///a'\ntrust = 'x'" + TERMINATE, "identity.trust", "belongs to cert or ", ""),
    ("[identity]\nspiffe_socket = 'unix:///a'\ncert = 'x'" + TERMINATE, "identity.spiffe_socket", "there is cert", ""),
    (f"{ACME}ttl = '1h'\n{ACME_TABLE}" + TERMINATE, "identity.ttl", "belongs to authority, and", ""),
    (f"[identity]\ntrust = 'x'\n{ACME_TABLE}" + TERMINATE, "identity.acme", "no name to ask for", "dns"),
    (f"[identity]\ndns = ['a.b']\n{ACME_TABLE}" + TERMINATE, "identity.trust", "who may vouch", ""),
    (f"{ACME}{ACME_TABLE}http = ':80'\n" + TERMINATE, "identity.acme.http", "", ""),
    (f"{ACME}{ACME_TABLE}challenge = 'http-01'\n" + TERMINATE, "identity.acme.http", "needs an address", "0.0.0.0:80"),
    (f"{ACME}{ACME_TABLE}eab_key_id = 'k'\n" + TERMINATE, "identity.acme.eab_key_file", "eab_key_id needs it", ""),
    (f"{ACME}[identity.acme]\nstate = 's'\n" + TERMINATE, "identity.acme.directory", "", ""),
    (f"{ACME}[identity.acme]\nstate = 's'\ndirectory = 'http://a'" + TERMINATE, "identity.acme.directory", "https", ""),
    ("[identity]\nauthority = 'pki'\nspiffe = 'spiffe://A/b'" + TERMINATE, "identity.spiffe", "not a SPIFFE ID", ""),
    ("[identity]\nauthority = 'pki'\nip = ['a']" + TERMINATE, "identity.ip.0", "not an IP address", ""),
    # The admin sockets.
    (IDENTITY + TERMINATE + "[admin]\nhttp = '0.0.0.0:9901'", "admin.http", "not a loopback", "127.0.0.1:9901"),
    (IDENTITY + TERMINATE + "[admin]\nhttp = 'unix:/x'", "admin.http", "not a loopback", "127.0.0.1:9901"),
    (IDENTITY + TERMINATE + "[admin]\nhttp = '127.0.0.1:8443'", "listener[web].listen", "taken by admin.http", ""),
    (IDENTITY + TERMINATE + "[admin]\nview_group = 'x'", "admin.view_group", "no view_socket", ""),
    (IDENTITY + TERMINATE + "[admin]\nsocket = '/a/s'\nview_socket = '/a/v'", "admin.view_socket", "share", ""),
    (IDENTITY + TERMINATE + "[admin]\nsocket = '/" + "a" * 120 + "'", "admin.socket", "at most 107", ""),
    (IDENTITY + TERMINATE.replace("0.0.0.0:8443", "unix:/a/s") + "[admin]\nsocket = '/a/s'",
     "listener[web].listen", "taken by the admin socket", ""),
]  # fmt: skip


@pytest.mark.parametrize(
    ("document", "label", "message", "suggestion"),
    CASES,
    ids=[f"{label}: {message}" for _, label, message, _ in CASES],
)
def test_each_mistake_is_told(document: str, label: str, message: str, suggestion: str, tmp_path: Path) -> None:
    found = [
        problem
        for problem in problems_of(document, tmp_path)
        if problem.label == label and message in problem.message and suggestion in problem.suggestion
    ]
    assert found, render_problems(ConfigError(problems_of(document, tmp_path)))
    assert found[0].where.startswith(str(tmp_path / "tlsidecar.toml"))


def test_one_slip_is_one_problem_and_hides_no_other(tmp_path: Path) -> None:
    document = IDENTITY + TERMINATE.replace('["any"]', "['everyone']").replace("8443", "x") + "[log]\nlevel = 1"
    assert [(problem.key, problem.where.rpartition(":")[2]) for problem in problems_of(document, tmp_path)] == [
        ("listener.0.listen", "10"),
        ("listener.0.allow.0", "12"),
        ("log.level", "14"),
    ]


def test_a_problem_says_where_what_and_how_to_put_it_right(tmp_path: Path) -> None:
    problem = problems_of(IDENTITY + TERMINATE + "upsteam = 1", tmp_path)[0]
    assert problem == ConfigProblem(
        key="listener.0.upsteam",
        message="unknown key",
        suggestion='did you mean "upstream"?',
        where=f"{tmp_path}/tlsidecar.toml:13",
        label="listener[web].upsteam",
    )
    assert str(problem) == (
        f'{tmp_path}/tlsidecar.toml:13: listener[web].upsteam: unknown key; did you mean "upstream"?'
    )


def test_the_place_is_short_inside_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert problems_of("x = 1\n" + IDENTITY + TERMINATE, tmp_path)[0].where == "tlsidecar.toml:1"


@pytest.mark.parametrize(
    ("document", "message", "line"),
    [
        ("a = 1\nb = = 2\n", "not TOML: Invalid value", "2"),
        ("a = 1\na = 2\n", "not TOML: Cannot overwrite a value", "2"),
        ("a = [1,\n", "not TOML", "2"),
        ("a = " + "9" * 5000, "not TOML", ""),
        (b"a = 1\nb = '\xff'\n", "not UTF-8", "2"),
        ("a = " + "[" * 100_000, "nests too deeply", ""),
        ("a = " + "[" * 60 + "]" * 60, "nests too deeply", ""),
        ("# " + "x" * (1 << 20), "larger than 1 MiB", ""),
    ],
)
def test_a_file_that_is_no_toml_is_told_by_its_line(
    document: str | bytes, message: str, line: str, tmp_path: Path
) -> None:
    (problem,) = problems_of(document, tmp_path)
    assert message in problem.message
    assert problem.where == f"{tmp_path}/tlsidecar.toml" + (f":{line}" if line else "")


def test_a_file_that_is_not_there_or_no_file_is_told(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for name, message in (("absent.toml", "No such file"), ("fifo", "not a regular file"), (".", "Is a directory")):
        with pytest.raises(ConfigError, match=message):
            load(tmp_path / name, {}, {})


def test_flags_and_variables_are_named_as_the_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    flags = {"listen": "nowhere", "upstream": "10.0.0.1:80", "allow": ("any",), "cert": Path("c"), "trust": Path("t")}
    with pytest.raises(ConfigError) as caught:
        load(None, flags, {"TLSIDECAR_LIMITS_MAX_CONNECTIONS": "none", "TLSIDECAR_TLS_MIN_VERSION": "1"})
    assert {(problem.where, problem.label) for problem in caught.value.problems} == {
        ("--listen", "listener[default].listen"),
        ("--upstream", "listener[default].upstream"),
        ("TLSIDECAR_LIMITS_MAX_CONNECTIONS", "limits.max_connections"),
        ("TLSIDECAR_TLS_MIN_VERSION", "tls.min_version"),
    }


def test_a_flag_that_could_mean_two_listeners_is_refused(tmp_path: Path) -> None:
    (problem,) = problems_of(IDENTITY + TERMINATE + ORIGINATE, tmp_path, allow=("ou:x",))
    assert (problem.where, problem.suggestion) == ("--allow", "set it in the file")
    assert "2 listeners" in problem.message


def test_a_variable_that_is_nearly_right_is_refused_and_others_are_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "tlsidecar.toml"
    file.write_text(IDENTITY + TERMINATE)
    kubernetes = {
        "TLSIDECAR_SERVICE_HOST": "10.0.0.1",
        "TLSIDECAR_PORT": "tcp://10.0.0.1:443",
        "TLSIDECAR_PORT_443_TCP_ADDR": "10.0.0.1",
    }
    assert load(file, {}, kubernetes).listeners
    with pytest.raises(ConfigError) as caught:
        load(file, {}, {"TLSIDECAR_UPSTREEM": "127.0.0.1:1"})
    assert caught.value.problems == (
        ConfigProblem("", "unknown variable", 'did you mean "TLSIDECAR_UPSTREAM"?', where="TLSIDECAR_UPSTREEM"),
    )


def test_hostile_text_is_shown_on_one_line_and_escaped(tmp_path: Path) -> None:
    document = IDENTITY + TERMINATE + '"\\u001b[31m\\n" = 1\nmax_connection_age = "\\u009b\\n[/red]"'
    text = render_problems(ConfigError(problems_of(document, tmp_path)))
    assert len(text.split("\n")) == 2
    assert all(line.isprintable() for line in text.split("\n"))


def test_the_error_survives_a_trip_to_another_process(tmp_path: Path) -> None:
    problems = problems_of("x = 1", tmp_path)
    copy = pickle.loads(pickle.dumps(ConfigError(problems)))
    assert copy.problems == problems
    assert str(copy) == render_problems(copy)


def test_a_flag_goes_to_the_only_identity_and_to_none_of_several(tmp_path: Path) -> None:
    only = SEVERAL.partition('[[identity]]\nname = "mesh"')[0]
    file = tmp_path / "tlsidecar.toml"
    file.write_text(only + TERMINATE)
    assert load(file, {"cert": "other.crt"}, {}).identity.cert == Path("other.crt").absolute()
    (problem,) = problems_of(SEVERAL + TERMINATE, tmp_path, cert="other.crt")
    assert (problem.key, problem.where) == ("identity.cert", "--cert")
    assert "2 identities" in problem.message


def test_a_listener_that_names_no_identity_has_the_first(tmp_path: Path) -> None:
    file = tmp_path / "tlsidecar.toml"
    file.write_text(SEVERAL + TERMINATE + ORIGINATE)
    assert [each.identities for each in load(file, {}, {}).listeners] == [("public",), ("public",)]
    file.write_text(SEVERAL + TERMINATE + METRICS)
    assert load(file, {}, {}).listeners[-1].identities == ("public",)
    file.write_text(SEVERAL + TERMINATE + METRICS + "identity = 'mesh'")
    assert load(file, {}, {}).listeners[-1].identities == ("mesh",)


def test_where_there_is_no_file_it_is_said_where_one_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as refused:
        load(None, {}, {})
    suggestions = {problem.key: problem.suggestion for problem in refused.value.problems}
    assert suggestions["listener"].startswith("no tlsidecar.toml is here or in /etc/tlsidecar: name one with --config")
    assert "add a [[listener]] table" in problems_of(IDENTITY, tmp_path)[0].suggestion
