"""The admin sockets' files: their permissions, who may use them, and what is in the way."""

from __future__ import annotations

import asyncio
import grp
import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from unit.admin.conftest import Served
from unit.admin.fake_control import FakeControl
from unit.admin.transcript import Wire

from tlsidecar.admin.routes import ROUTES
from tlsidecar.admin.server import AdminServer, AdminSocketError, AdminSocketTaken
from tlsidecar.settings import Address, Admin

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")
NOBODY = 65534

# A client in a process of its own, since credentials are a process's; prints the status line or the error's name.
CLIENT = """
import os, socket, sys
path, uid, groups, request = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
os.setgroups([int(group) for group in groups.split(",") if group])
os.setgid(uid); os.setuid(uid)
client = socket.socket(socket.AF_UNIX)
client.settimeout(10)
try:
    client.connect(path)
    try:
        client.sendall(request.encode() + b" HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n")
    except BrokenPipeError:
        pass
    print(client.recv(65536).split(b"\\r\\n")[0].decode())
except OSError as error:
    print(type(error).__name__)
"""


async def as_user(path: Path, uid: int, request: str = "GET /v1/status", groups: str = "") -> str:
    command = [sys.executable, "-I", "-c", CLIENT, str(path), str(uid), groups, request]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@asynccontextmanager
async def serving(admin: Admin) -> AsyncIterator[AdminServer]:
    server = AdminServer(FakeControl(admin), admin)
    await server.start()
    try:
        yield server
    finally:
        await server.close()


async def refused(admin: Admin) -> str:
    with pytest.raises(AdminSocketError) as raised:
        async with serving(admin):
            pass
    return str(raised.value)


async def test_the_socket_and_its_directory_are_the_owners_alone(served: Served) -> None:
    assert stat.S_IMODE(served.socket.stat().st_mode) == 0o600
    assert stat.S_IMODE(served.socket.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(served.view_socket.stat().st_mode) == 0o600


async def test_the_umask_is_put_back(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        async with serving(Admin(socket=tmp_path / "a" / "b" / "admin.sock")):
            assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700


async def test_a_socket_nobody_answers_on_is_replaced(private_directory: Callable[[], Path]) -> None:
    path = private_directory() / "admin.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    async with serving(Admin(socket=path)):
        assert (await Wire(path).get("/healthz")).status == 200
    assert not path.exists()


async def test_a_socket_somebody_answers_on_is_not(private_directory: Callable[[], Path]) -> None:
    path = private_directory() / "admin.sock"
    with socket.socket(socket.AF_UNIX) as alive:
        alive.bind(str(path))
        alive.listen()
        assert "in use by another process" in await refused(Admin(socket=path))
    assert path.exists()


async def test_the_second_of_two_instances_is_refused_and_the_first_serves_on(served: Served) -> None:
    message = await refused(Admin(socket=served.socket))
    assert message.startswith(f"another tlsidecar (pid {os.getpid()}) has the admin socket")
    assert (await served.wire().get("/healthz")).status == 200


async def test_two_instances_started_at_once_leave_one(private_directory: Callable[[], Path]) -> None:
    admin = Admin(socket=private_directory() / "admin.sock")
    servers = [AdminServer(FakeControl(admin), admin) for _ in range(5)]
    results = await asyncio.gather(*(server.start() for server in servers), return_exceptions=True)
    assert sum(isinstance(result, AdminSocketTaken) for result in results) == 4
    for server in servers:
        await server.close()


async def test_after_a_close_it_can_be_started_again(tmp_path: Path) -> None:
    admin = Admin(socket=tmp_path / "run" / "admin.sock")
    for _ in range(3):
        async with serving(admin):
            assert (await Wire(admin.socket).get("/healthz")).status == 200


@pytest.mark.parametrize("kind", ["file", "directory", "symlink", "fifo"])
async def test_what_is_not_a_socket_is_left_alone(private_directory: Callable[[], Path], kind: str) -> None:
    path = private_directory() / "admin.sock"
    make: dict[str, Callable[[], object]] = {
        "file": lambda: path.write_text("precious"),
        "directory": path.mkdir,
        "symlink": lambda: path.symlink_to("elsewhere"),
        "fifo": lambda: os.mkfifo(path),
    }
    make[kind]()
    assert "is in the way" in await refused(Admin(socket=path))
    assert os.path.lexists(path)


async def test_a_directory_others_can_write_to_is_refused(tmp_path: Path) -> None:
    for mode in (0o777, 0o1777, 0o770):
        directory = tmp_path / f"{mode:o}"
        directory.mkdir()
        directory.chmod(mode)
        assert "can be written to by others" in await refused(Admin(socket=directory / "admin.sock"))


async def test_a_directory_that_is_a_symlink_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to("real")
    assert "is not a real directory" in await refused(Admin(socket=tmp_path / "link" / "admin.sock"))


async def test_a_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "is not a real directory" in await refused(Admin(socket=tmp_path / "file" / "admin.sock"))


@needs_root
async def test_a_directory_of_another_owner_is_refused(private_directory: Callable[[], Path]) -> None:
    directory = private_directory()
    os.chown(directory, NOBODY, NOBODY)
    assert f"belongs to uid {NOBODY}" in await refused(Admin(socket=directory / "admin.sock"))


@needs_root
async def test_a_dead_socket_of_another_owner_is_left_alone(private_directory: Callable[[], Path]) -> None:
    path = private_directory() / "admin.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    os.chown(path, NOBODY, NOBODY)
    assert f"belongs to uid {NOBODY}" in await refused(Admin(socket=path))
    assert path.exists()


@pytest.mark.parametrize("path", ["@tlsidecar", "\0tlsidecar"])
async def test_an_abstract_socket_is_refused(path: str) -> None:
    assert "abstract" in await refused(Admin(socket=Path(path)))


async def test_an_overlong_path_is_refused(tmp_path: Path) -> None:
    assert "over 107 bytes" in await refused(Admin(socket=tmp_path / ("x" * 100) / "admin.sock"))


async def test_a_lock_file_that_is_a_symlink_is_not_followed(private_directory: Callable[[], Path]) -> None:
    directory = private_directory()
    (directory / "admin.sock.lock").symlink_to(directory / "victim")
    assert "cannot open the lock file" in await refused(Admin(socket=directory / "admin.sock"))
    assert not (directory / "victim").exists()


async def test_a_socket_that_took_our_path_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "run" / "admin.sock"
    async with serving(Admin(socket=path)):
        path.unlink()
        path.write_text("somebody else's")
    assert path.read_text() == "somebody else's"


async def test_nothing_is_left_bound_when_one_of_the_addresses_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        admin = Admin(
            socket=tmp_path / "run" / "admin.sock",
            view_socket=tmp_path / "view" / "view.sock",
            http=Address(host="127.0.0.1", port=port),
        )
        assert await refused(admin) == f"admin.http cannot listen on 127.0.0.1:{port}: Address already in use"
    assert not admin.socket.exists()
    async with serving(Admin(socket=admin.socket)):
        assert (await Wire(admin.socket).get("/healthz")).status == 200


async def test_http_is_loopback_only(tmp_path: Path) -> None:
    for host in ("0.0.0.0", "::", "10.0.0.1"):
        admin = Admin(socket=tmp_path / "run" / "admin.sock", http=Address(host=host, port=0))
        assert "is not a loopback address" in await refused(admin)


async def test_the_verbs_of_each_entrance(served: Served) -> None:
    assert served.server.http_address is not None
    http = Wire((served.server.http_address.host, served.server.http_address.port))
    for route in ROUTES:
        if route.path == "/v1/events":
            continue
        target = route.path.replace("{id}", "1")
        body = {"level": "info"} if route.body == "LogLevelRequest" else None
        view = await served.wire(served.view_socket).call(route.method, target, body)
        probe = await http.call(route.method, target, body)
        is_probe = route.path in ("/healthz", "/readyz", "/metrics")
        assert (view.status == 403) == (route.method != "GET"), route
        assert (probe.status == 403) == (not is_probe), route
    assert served.control.calls == []


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:9901", "localhost", "localhost:1", "[::1]", "[::1]:80"])
async def test_the_loopback_port_takes_its_own_names(served: Served, host: str) -> None:
    assert served.server.http_address is not None
    http = Wire((served.server.http_address.host, served.server.http_address.port))
    assert (await http.call("GET", "/healthz", host=host)).status == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "127.0.0.1:x", "localhost.", "::1"])
async def test_the_loopback_port_refuses_a_name_that_was_rebound(served: Served, host: str) -> None:
    assert served.server.http_address is not None
    http = Wire((served.server.http_address.host, served.server.http_address.port))
    assert (await http.call("GET", "/metrics", host=host)).status == 403


@needs_root
async def test_another_user_cannot_connect(served: Served) -> None:
    assert await as_user(served.socket, NOBODY) == "PermissionError"


@needs_root
async def test_another_user_is_refused_even_where_the_permissions_would_let_him(served: Served) -> None:
    for path in (served.socket, served.view_socket):
        path.chmod(0o666)
        directory = path.parent
        while directory != Path("/"):
            if not stat.S_IMODE(directory.stat().st_mode) & 0o001:
                directory.chmod(stat.S_IMODE(directory.stat().st_mode) | 0o011)
            directory = directory.parent
        assert await as_user(path, NOBODY, "POST /v1/reload") == "HTTP/1.1 403 Forbidden"
    assert served.control.calls == []


@needs_root
async def test_a_view_group_may_read_and_nothing_else(tmp_path: Path) -> None:
    group = next(each for each in grp.getgrall() if each.gr_gid not in (0, NOBODY))
    admin = Admin(
        socket=tmp_path / "run" / "admin.sock", view_socket=tmp_path / "view" / "view.sock", view_group=group.gr_name
    )
    assert admin.view_socket is not None
    async with serving(admin):
        status, directory = admin.view_socket.stat(), admin.view_socket.parent.stat()
        assert (stat.S_IMODE(status.st_mode), status.st_gid) == (0o660, group.gr_gid)
        assert (stat.S_IMODE(directory.st_mode), directory.st_gid) == (0o750, group.gr_gid)
        for parent in admin.view_socket.parents[1:-1]:
            parent.chmod(stat.S_IMODE(parent.stat().st_mode) | 0o011)
        member = str(group.gr_gid)
        assert await as_user(admin.view_socket, NOBODY, groups=member) == "HTTP/1.1 200 OK"
        assert await as_user(admin.view_socket, NOBODY, "POST /v1/reload", groups=member) == "HTTP/1.1 403 Forbidden"
        assert await as_user(admin.view_socket, NOBODY) == "PermissionError"
        assert await as_user(admin.socket, NOBODY, groups=member) == "PermissionError"


async def test_a_view_group_that_does_not_exist(tmp_path: Path) -> None:
    admin = Admin(socket=tmp_path / "r" / "a.sock", view_socket=tmp_path / "v" / "v.sock", view_group="no-such-group")
    assert await refused(admin) == "admin.view_group: there is no group 'no-such-group'"


async def test_an_operator_gets_in_when_every_descriptor_is_taken(tmp_path: Path) -> None:
    """In a process of its own, whose limit can be lowered."""
    script = f"""
import asyncio, os, resource, sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from unit.admin.fake_control import FakeControl
from tlsidecar.admin.server import AdminServer
from tlsidecar.settings import Admin
async def main():
    admin = Admin(socket=Path({str(tmp_path)!r}) / "run" / "admin.sock")
    server = AdminServer(FakeControl(admin), admin)
    await server.start()
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    try:
        while True:
            os.open(os.devnull, os.O_RDONLY)
    except OSError:
        print("full", flush=True)
    await asyncio.sleep(30)
asyncio.run(main())
"""
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE)
    assert child.stdout is not None
    try:
        assert await child.stdout.readline() == b"full\n"
        for _ in range(3):
            answer = await Wire(tmp_path / "run" / "admin.sock").get("/v1/status")
            assert answer.status == 200
    finally:
        child.kill()
        await child.wait()


async def test_changes_and_denials_leave_audit_lines(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "tlsidecar.audit")
    await served.wire().call("POST", "/v1/reload")
    await served.wire(served.view_socket).call("POST", "/v1/reload")
    await served.wire().call("POST", "/v1/drain", headers={"Origin": "http://evil"})
    await served.wire().call("DELETE", "/v1/connections/999")
    await served.wire().get("/v1/status")
    lines = [record.fields for record in caplog.records if record.name == "tlsidecar.audit"]  # type: ignore[attr-defined]
    told = [(line["verb"], line["outcome"], line["generation_before"], line["generation_after"]) for line in lines]
    assert told == [
        ("POST /v1/reload", "applied", 3, 4),
        ("POST /v1/reload", "denied", 0, 0),
        ("POST /v1/drain", "denied", 0, 0),
        ("DELETE /v1/connections/999", "not_found", 4, 4),
    ]
    assert all(line["uid"] == os.getuid() and line["pid"] == os.getpid() for line in lines)
    json.dumps(lines)


async def test_nothing_is_changed_when_no_trace_could_be_written(served: Served) -> None:
    served.sink._buffered = 4 * 1024 * 1024
    assert (await served.wire().call("POST", "/v1/reload")).error == (503, "unavailable")
    assert served.control.calls == []
    assert (await served.wire().get("/v1/status")).status == 200
    served.sink._buffered = 0


async def test_a_call_in_progress_is_answered_before_the_server_closes(served: Served) -> None:
    served.control.hold = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        reload = tasks.create_task(served.wire().call("POST", "/v1/reload"))
        while not served.control.calls:
            await asyncio.sleep(0.001)
        closing = tasks.create_task(served.server.close())
        await asyncio.sleep(0.05)
        served.control.hold.set()
        await closing
    assert reload.result().json["outcome"] == "applied"
