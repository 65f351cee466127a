"""The commands that read, from outside: stdout is data, stderr everything else, exit codes are the contract's."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from unit.admin.fake_control import HOSTILE, critical, made_connection, made_refusal
from unit.certs import forge
from unit.cli.conftest import COMMAND_S, Served, tlsidecar, tlsidecar_process

from tlsidecar.cli import health
from tlsidecar.config import default_admin_socket
from tlsidecar.control.interface import State
from tlsidecar.outcomes import Failure, Reason

READS = ("status", "connections", "certificates", "refusals", "failures", "history")
COMMANDS = (*READS, "events", "reload", "rotate", "drain", "shutdown", "health")


@pytest.mark.parametrize("command", READS)
def test_json_is_the_reply_of_the_api(served: Served, command: str) -> None:
    done = served.run(command, "--json")
    assert (done.code, done.err) == (0, "")
    assert json.loads(done.out)["now"].endswith("Z")


def test_status_for_people(served: Served) -> None:
    """In the order of the console's overview."""
    served.control.found_problems = [critical()]
    done = served.run("status")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert ": ready" in lines[0]
    assert lines[1].startswith("spiffe://prod.example/ns/shop/sa/web, serial ")
    titles = [line.split()[0] for line in lines if line[:1].isupper()]
    assert titles == ["Problems", "Refused", "Expires", "Traffic", "LISTENER"]
    at = lines.index("Problems  1 critical")
    assert (
        lines[at + 1] == "! critical: the key does not belong to the certificate [tls.key] since 2026-11-23T23:15:00Z"
    )
    assert lines[-2].split()[:5] == ["LISTENER", "MODE", "PROTOCOL", "LISTEN", "UPSTREAM"]
    row = lines[-1].split()
    assert row[:6] == ["web", "terminate", "http", "0.0.0.0:8443", "127.0.0.1:8080", "2"]
    assert row[8:] == ["42", "3", "-", "123", "B", "456", "B"], "no handshake in the last minute"


def test_status_tells_what_failed_and_who_was_refused(served: Served) -> None:
    failure = Failure(
        at=1.0,
        listener="web",
        upstream="127.0.0.1:8080",
        reason=Reason.UPSTREAM_REFUSED,
        peer_address="10.0.0.7:1",
        identity="cart",
    )
    for _ in range(3):
        served.control.failures.record(failure)
    for number in range(6):
        served.control.refusals.record(made_refusal(identity=f"intruder-{number}"))
    lines = served.run("status").out.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("Failed  3 since the start"))
    assert "3x" in lines[at + 1]
    assert "upstream_refused" in lines[at + 1]
    at = next(number for number, line in enumerate(lines) if line.startswith("Refused  6 since the start"))
    shown = [line.split()[-4:] for line in lines[at + 1 : at + 5]]
    assert shown == [["1x", f"intruder-{number}", "not_allowed", "web"] for number in (5, 4, 3, 2)]
    assert lines[at + 5] == "", "the four that came last"
    assert "nothing is wrong" in "\n".join(lines)


def test_connections_are_filtered_sorted_and_cut(served: Served) -> None:
    served.control.records = [made_connection(number) for number in range(1, 31)]
    done = served.run("connections", "--filter", "client-2", "--sort", "bytes_out", "--desc", "--limit", "2")
    assert done.code == 0
    assert [line.split()[0] for line in done.out.splitlines()] == ["ID", "29", "28"]
    assert done.err == "2 of 11 shown: see --limit and --filter\n"


def test_more_connections_than_one_page(served: Served) -> None:
    served.control.records = [made_connection(number) for number in range(1, 2501)]
    document = json.loads(served.run("connections", "--json", "--limit", "2200").out)
    assert [row["id"] for row in document["connections"]] == list(range(1, 2201))
    document = json.loads(served.run("connections", "--json", "--limit", "9999", "--offset", "100").out)
    assert [row["id"] for row in document["connections"]] == list(range(101, 2501))


def test_certificates_for_people(served: Served) -> None:
    done = served.run("certificates")
    assert done.code == 0
    assert "generation 3, in use since 2026-11-23T23:15:00Z" in done.out
    assert "connections by generation: 1 on 2, 11 on 3" in done.out
    assert "revocation list of CN=Test CA: 0 revoked, next update" in done.out
    roles = [line.split()[0] for line in done.out.splitlines() if line.startswith(("leaf", "trust"))]
    assert roles == ["leaf", "trust"]


def test_the_cas_of_another_trust_domain_are_shown_with_it(served: Served) -> None:
    generation = served.control.generation
    assert generation is not None
    partner = forge.authority("Partner Root", starts=forge.NOW - forge.DAY, ends=forge.NOW + forge.DAY)
    material = replace(generation.material, federated={"partner.example": (partner.read,)})
    served.control.generation = replace(generation, material=material)
    (row,) = [line for line in served.run("certificates").out.splitlines() if "Partner Root" in line]
    assert row.startswith("trust of partner.example  Partner Root ")
    (row,) = [line for line in served.run("status").out.splitlines() if "Partner Root" in line]
    assert "trusted CA" in row
    document = json.loads(served.run("certificates", "--json").out)
    assert [each["trust_domain"] for each in document["federated"]] == ["partner.example"]


def test_certificates_before_there_are_any(served: Served) -> None:
    served.control.generation = None
    done = served.run("certificates")
    assert (done.code, done.err) == (0, "")
    assert "generation 0" in done.out


def test_refusals_for_people(served: Served) -> None:
    served.control.refusals.record(made_refusal(detail="not in the list"))
    done = served.run("refusals")
    assert done.code == 0
    assert done.out.splitlines()[1].split() == [
        *("r1", "2026-11-23T23:15:00Z", "web", "10.0.0.9:40000", "us", "authorize", "not_allowed"),
        *("spiffe://prod.example/ns/evil/sa/intruder", "not", "in", "the", "list"),
    ]


@pytest.mark.parametrize("command", ["connections", "refusals"])
def test_hostile_text_reaches_the_terminal_as_printable_text(served: Served, command: str) -> None:
    served.control.records = [made_connection(1, identity=HOSTILE, peer_address=HOSTILE)]
    served.control.refusals.record(made_refusal(identity=HOSTILE, detail=HOSTILE))
    done = served.run(command)
    assert len(done.out.splitlines()) == 2
    assert done.out.replace("\n", "").isprintable()
    assert "\\x1b]0;owned\\x07" in done.out


def test_events_are_followed(served: Served) -> None:
    served.control.events.publish("state", {"state": "ready", "previous": "starting"})
    served.control.events.publish("refusal", {"identity": HOSTILE, "detail": "two words", "listener": "web"})
    done = served.run("events", "--after", "0", "--count", "2")
    assert (done.code, done.err) == (0, "")
    first, second = done.out.splitlines()
    assert first.split(" ", 1)[1] == "1 state state=ready previous=starting"
    assert second.isprintable()
    assert second.endswith('detail="two words" listener=web')


def test_events_as_json_lines_appear_as_they_happen(served: Served) -> None:
    command = [sys.executable, "-m", "tlsidecar", "events", "--socket", str(served.socket), "--after", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        assert following.stderr is not None
        for number in (1, 2):
            served.soon(served.control.events.publish, "opened", {"id": number})
            line = json.loads(following.stdout.readline())
            assert (line["event"], line["seq"], line["id"]) == ("opened", number, number)
        served.stop()
        assert following.wait(COMMAND_S) == 3
        assert following.stderr.read() == "Error: the sidecar ended the stream\n"


def test_output_into_a_closed_pipe_is_no_traceback(served: Served) -> None:
    for number in range(2000):
        served.control.events.publish("opened", {"id": number, "padding": "x" * 100})
    command = f"{sys.executable} -m tlsidecar events --socket {served.socket} --after 0 --json | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=COMMAND_S, check=True)
    assert json.loads(done.stdout)["seq"] == 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", READS)
def test_as_a_process_it_says_the_same(served: Served, command: str) -> None:
    inside, outside = served.run(command), tlsidecar_process(command, "--socket", served.socket)
    assert (outside.code, outside.err) == (inside.code, inside.err) == (0, "")
    assert len(outside.out.splitlines()) == len(inside.out.splitlines())


def test_as_a_process_it_has_the_exit_codes(tmp_path: Path) -> None:
    for command in ("status", "health"):
        assert tlsidecar_process(command, "--socket", tmp_path / "absent.sock").code == 3
        assert tlsidecar_process(command, "--nonsense").code == 2


@pytest.mark.parametrize("command", COMMANDS)
def test_nobody_there_is_exit_code_3(tmp_path: Path, command: str) -> None:
    done = tlsidecar(command, "--socket", tmp_path / "absent.sock")
    assert (done.code, done.out) == (3, "")
    assert done.err.startswith("Error: ")
    assert len(done.err.splitlines()) == 1


def test_somebody_who_does_not_speak_http_is_exit_code_3(tmp_path: Path) -> None:
    path = tmp_path / "other.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        for command in ("status", "health"):
            with subprocess.Popen(
                [sys.executable, "-m", "tlsidecar", command, "--socket", str(path)],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            ) as asking:
                connection, _ = listener.accept()
                connection.recv(65536)
                connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
                connection.close()
                out, err = asking.communicate(timeout=COMMAND_S)
            assert (asking.returncode, out) == (3, "")
            assert "not an admin API" in err or "the answer is not HTTP" in err


def test_bad_usage_is_exit_code_2() -> None:
    for line in ("status --nonsense", "nonsense", "connections --limit 0", "health --nonsense", "kill", "kill x"):
        done = tlsidecar(*line.split())
        assert (done.code, done.out) == (2, ""), line


def test_health_and_its_exit_codes(served: Served) -> None:
    assert served.run("health").out == "ready\n"
    assert served.run("health", "--live").out == "live\n"
    document = json.loads(served.run("health", "--json").out)
    assert document == {"ok": True, "check": "ready", "told": ["ready"]}
    served.control.state = State.DRAINING
    served.control.found_problems = [critical("no_material", "none\x1b[31m")]
    done = served.run("health", "--ready")
    assert (done.code, done.out) == (1, "draining\nno_material: none\\u001b[31m\n")
    assert served.run("health", "--live").code == 0


def test_health_of_somebody_who_never_answers_ends_in_time(tmp_path: Path) -> None:
    path = tmp_path / "silent.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        began = time.monotonic()
        done = tlsidecar("health", "--socket", path)
        assert done.code == 3
        assert time.monotonic() - began < 10


def test_health_imports_next_to_nothing() -> None:
    probe = (
        "import sys; before = set(sys.modules); sys.argv = ['tlsidecar', 'health', '--help']\n"
        "from tlsidecar.__main__ import main\n"
        "try: main()\n"
        "except SystemExit as end: assert end.code == 0\n"
        "print(*sorted(set(sys.modules) - before), sep='\\n', file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())
    ours = {"certs", "certs.shell", "tlsidecar", "tlsidecar.__main__", "tlsidecar.cli", "tlsidecar.cli.health"}
    assert loaded <= ours | {"__future__", "errno"}
    assert "Usage: tlsidecar health" in done.stdout


def test_reading_commands_import_nothing_heavy(served: Served) -> None:
    probe = (
        "import sys; sys.argv = ['tlsidecar', 'status', '--socket', sys.argv[1]]\n"
        "from tlsidecar.__main__ import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "print(*sorted(sys.modules), sep='\\n', file=sys.stderr)"
    )
    command = [sys.executable, "-c", probe, str(served.socket)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert not {"pydantic", "cryptography", "OpenSSL", "textual", "asyncio", "prometheus_client"} & set(
        done.stderr.split()
    )


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"TLSIDECAR_ADMIN_SOCKET": "/somewhere/a.sock", "XDG_RUNTIME_DIR": "/run/user/1"},
        {"TLSIDECAR_ADMIN_SOCKET": "", "XDG_RUNTIME_DIR": "/run/user/1"},
        {"XDG_RUNTIME_DIR": "relative"},
        {"XDG_RUNTIME_DIR": ""},
    ],
)
def test_health_looks_where_everything_else_looks(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TLSIDECAR_ADMIN_SOCKET", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert health._default_socket() == str(default_admin_socket(os.environ))


def test_the_socket_may_come_from_the_environment(served: Served) -> None:
    for command in ("status", "health"):
        assert tlsidecar(command, env={"TLSIDECAR_ADMIN_SOCKET": str(served.socket)}).code == 0


def test_the_version_names_what_matters() -> None:
    done = tlsidecar_process("--version")
    assert done.code == 0
    assert done.out.startswith("tlsidecar ")
    assert f"Python {sys.version_info.major}.{sys.version_info.minor}" in done.out
    assert "OpenSSL " in done.out


def test_every_command_has_its_help() -> None:
    from tlsidecar.cli.root import COMMANDS as ALL

    listing = tlsidecar("--help").out
    for command, (_, meaning) in ALL.items():
        assert f"  {command}" in listing
        assert meaning.split(";")[0].split()[0] in listing
        done = tlsidecar(command, "--help")
        assert done.code == 0, done.err
        assert "Usage: tlsidecar" in done.out
        assert f"Example: tlsidecar {command} " in " ".join(done.out.split()) + " "


@pytest.mark.parametrize(
    "command",
    [f"certs {name}" for name in ("init", "issue", "rotate", "rollover", "revoke", "crl", "show", "verify")]
    + ["config schema", "config show"],
)
def test_a_command_of_a_group_has_its_example(command: str) -> None:
    said = " ".join(tlsidecar(*command.split(), "--help").out.split())
    assert f"Example: tlsidecar {command}" in said


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        *(("statsu", "status"), ("refusal", "refusals"), ("relaod", "reload")),
        *(("help", "--help"), ("version", "--version"), ("init", "certs init"), ("schema", "config schema")),
    ],
)
def test_a_mistyped_command_is_answered_with_the_nearest(typed: str, meant: str) -> None:
    done = tlsidecar(typed)
    assert (done.code, done.out) == (2, "")
    assert f"no such command '{typed}': did you mean {meant}?" in done.err


def test_failures_for_people(served: Served) -> None:
    assert served.run("failures").out == "Nothing failed since the sidecar began.\n"
    assert served.run("refusals").out == "Nobody was refused since the sidecar began.\n"
    for at in (1.0, 61.0):
        served.control.failures.record(
            Failure(
                at=at,
                listener="web",
                upstream="127.0.0.1:8080",
                reason=Reason.UPSTREAM_REFUSED,
                detail="127.0.0.1:8080: Connection refused\x1b[2J",
                peer_address="10.0.0.7:1",
                identity="spiffe://prod.example/ns/shop/sa/cart",
            )
        )
    done = served.run("failures")
    assert (done.code, done.err) == (0, "")
    row = done.out.splitlines()[1]
    assert row.split()[:6] == [
        *("1970-01-01T00:01:01Z", "2", "web", "127.0.0.1:8080", "upstream_refused", "1970-01-01T00:00:01Z")
    ]
    assert "spiffe://prod.example/ns/shop/sa/cart" in row
    assert "\\x1b[2J" in row


def test_without_the_terminal_ui_one_line_says_so() -> None:
    probe = (
        "import sys; sys.modules['tui'] = None; sys.argv = ['tlsidecar', 'ui', '--once', '--socket', 'x']\n"
        "from tlsidecar.__main__ import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "Error: this installation has no terminal UI: it was made without the package tui\n"


def test_shells_can_complete_the_commands() -> None:
    assert "_TLSIDECAR_COMPLETE" in tlsidecar_process(env={"_TLSIDECAR_COMPLETE": "bash_source"}).out
    words = {"COMP_WORDS": "tlsidecar sta", "COMP_CWORD": "1", "_TLSIDECAR_COMPLETE": "bash_complete"}
    assert tlsidecar_process(env=words).out == "plain,status\n"


def test_a_filter_that_cannot_be_read_is_pointed_at_before_anything_is_asked(tmp_path: Path) -> None:
    for command, text, caret in [
        ("connections", "shop listner:raw", "       ^^^^^^^"),
        ("refusals", "\x1b[31m idle:>1s", "           ^^^^"),
        ("failures", "count:many", "        ^^^^"),
        ("events", 'kind:"opened', "       ^^^^^^^"),
    ]:
        done = tlsidecar(command, "--filter", text, "--socket", tmp_path / "absent.sock")
        assert (done.code, done.out) == (2, ""), command
        *_, shown, pointer = done.err.splitlines()
        assert pointer == caret
        assert shown.isprintable()
        assert len(shown) >= len(pointer)


def test_refusals_and_failures_that_match_a_filter(served: Served) -> None:
    for number in range(3):
        served.control.refusals.record(made_refusal(peer_address=f"10.0.{number}.9:40000", identity=f"client-{number}"))
    assert len(served.run("refusals", "--filter", "peer:10.0.1.0/24").out.splitlines()) == 2
    groups = served.run("refusals", "--groups", "--filter", "!id:client-1").out.splitlines()
    assert [line.split()[-2] for line in groups[1:]] == ["client-2", "client-0"]
    assert served.run("refusals", "--filter", "absent").out == "No refusal of 3 matches the filter.\n"
    served.control.failures.record(
        Failure(at=1.0, listener="web", upstream="10.0.0.1:80", reason=Reason.UPSTREAM_REFUSED)
    )
    assert served.run("failures", "--filter", "count:>1").out == "No failure of 1 matches the filter.\n"
    assert "10.0.0.1:80" in served.run("failures", "--filter", "upstream:10.0.0.1").out


def test_connections_in_groups(served: Served) -> None:
    served.control.records = [made_connection(number, identity=f"client-{number % 3}") for number in range(7)]
    done = served.run("connections", "--group", "identity", "--limit", "2")
    assert [line.split()[:3] for line in done.out.splitlines()] == [
        ["IDENTITY", "OPEN", "REQ/S"],
        ["client-0", "3", "1.5"],
        ["client-2", "2", "1.0"],
    ]
    assert done.err == "2 of 3 shown: see --limit and --filter\n"
    assert served.run("connections", "--group", "identity", "--sort", "idle_s").code == 2
    assert served.run("connections", "--sort", "key").code == 2


def test_nobody_connected_is_a_sentence(served: Served) -> None:
    assert served.run("connections", "--filter", "absent").out == "No connection matches the filter.\n"
    served.control.records = []
    assert served.run("connections").out == "Nobody is connected.\n"


def test_events_that_are_kept_and_match(served: Served) -> None:
    for kind in ("opened", "closed", "state"):
        served.control.events.publish(kind, {"id": 7, "listener": "web"})
    told = served.run("events", "--no-follow", "--filter", "!kind:closed conn:7")
    assert (told.code, [line.split()[2] for line in told.out.splitlines()]) == (0, ["opened"])
    assert served.run("events", "--no-follow", "--filter", "kind:reload").out == "No event matches the filter.\n"


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_refusals_are_followed(served: Served, form: list[str]) -> None:
    for number in range(1, 4):
        served.control.refusals.record(made_refusal(identity=f"client-{number}"))
    command = [
        sys.executable,
        "-m",
        "tlsidecar",
        "refusals",
        "--socket",
        str(served.socket),
        "--follow",
        "--limit",
        "2",
    ]
    with subprocess.Popen([*command, *form], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        for number in (2, 3):
            assert f"client-{number}" in following.stdout.readline()
        served.soon(served.control.refusals.record, made_refusal(identity="client-4"))
        line = following.stdout.readline()
        assert "client-4" in line
        if form:
            assert json.loads(line)["seq"] == 4
        following.send_signal(signal.SIGINT)
        assert following.wait(COMMAND_S) == 0


def test_a_failure_that_goes_on_is_followed_by_its_count(served: Served) -> None:
    failure = Failure(at=1.0, listener="web", upstream="10.0.0.1:80", reason=Reason.UPSTREAM_REFUSED)
    served.control.failures.record(failure)
    command = [sys.executable, "-m", "tlsidecar", "failures", "--socket", str(served.socket), "--follow", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        assert json.loads(following.stdout.readline())["count"] == 1
        served.soon(served.control.failures.record, failure)
        assert json.loads(following.stdout.readline())["count"] == 2
        following.send_signal(signal.SIGINT)
        assert following.wait(COMMAND_S) == 0
