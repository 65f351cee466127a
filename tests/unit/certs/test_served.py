"""Reading what a listener serves, by a real handshake with a real listener."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from certs.authority import Authority
from certs.authority_state import Plan
from certs.clock import SYSTEM_CLOCK
from certs.identity import Role
from certs.issued import Record, publish_issued
from certs.material import Material
from certs.profiles import LeafRequest
from certs.served import HandshakeRefused, served_serial


@contextmanager
def listener(
    context: ssl.SSLContext, family: socket.AddressFamily, address: object, greeting: bytes = b""
) -> Iterator[socket.socket]:
    """Greets, and shakes hands with whoever comes, on a thread, until closed."""
    server = socket.socket(family, socket.SOCK_STREAM)
    server.bind(address)  # type: ignore[arg-type]
    server.listen()

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            try:
                connection.sendall(greeting)
                with context.wrap_socket(connection, server_side=True) as tls:
                    tls.recv(1)
            except OSError:
                connection.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(10)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.create(tmp_path / "pki", Plan("Dev CA"))


def server_context(authority: Authority, out: Path) -> tuple[ssl.SSLContext, Material]:
    request = LeafRequest(dns=("web.internal",), roles=(Role.SERVER,))
    material = authority.issue(request, "test")
    publish_issued(out, material, Record(request, authority.directory, ""), SYSTEM_CLOCK.now())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(out / "tls.crt", out / "tls.key")
    context.load_verify_locations(out / "ca.crt")
    context.verify_mode = ssl.CERT_REQUIRED
    return context, material


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("roles", [(Role.SERVER,), (Role.SERVER, Role.CLIENT)], ids=["no certificate", "our own"])
def test_the_serial_is_read_whether_we_are_let_in_or_not(
    authority: Authority, tmp_path: Path, version: ssl.TLSVersion, roles: tuple[Role, ...]
) -> None:
    context, material = server_context(authority, tmp_path / "out")
    context.minimum_version = context.maximum_version = version
    ours = authority.issue(LeafRequest(dns=("web.internal",), roles=roles), "test")
    with listener(context, socket.AF_INET, ("127.0.0.1", 0)) as server:
        assert served_serial(f"127.0.0.1:{server.getsockname()[1]}", ours) == material.identity.serial
        assert served_serial(f"0.0.0.0:{server.getsockname()[1]}", ours) == material.identity.serial


@pytest.mark.parametrize("greeting", [b"220 us.test ESMTP\r\n", b"\x03\0\0\0\x0a8\0"], ids=["SMTP", "MySQL"])
def test_a_greeting_in_the_clear_is_skipped(authority: Authority, tmp_path: Path, greeting: bytes) -> None:
    context, material = server_context(authority, tmp_path / "out")
    with listener(context, socket.AF_INET, ("127.0.0.1", 0), greeting) as server:
        assert served_serial(f"127.0.0.1:{server.getsockname()[1]}", material) == material.identity.serial


def test_ipv6_and_unix_listeners(authority: Authority, tmp_path: Path) -> None:
    context, material = server_context(authority, tmp_path / "out")
    with listener(context, socket.AF_INET6, ("::1", 0)) as server:
        assert served_serial(f"[::1]:{server.getsockname()[1]}", material) == material.identity.serial
        assert served_serial(f"[::]:{server.getsockname()[1]}", material) == material.identity.serial
    path = str(tmp_path / "s")
    with listener(context, socket.AF_UNIX, path):
        assert served_serial(f"unix:{path}", material) == material.identity.serial


def test_a_leaf_that_does_not_verify_is_not_believed(authority: Authority, tmp_path: Path) -> None:
    context, _ = server_context(authority, tmp_path / "out")
    stranger = Authority.create(tmp_path / "other", Plan("Other")).issue(LeafRequest(dns=("a",)), "test")
    refused = pytest.raises(HandshakeRefused, match="certificate verify failed")
    with listener(context, socket.AF_INET, ("127.0.0.1", 0)) as server, refused:
        served_serial(f"127.0.0.1:{server.getsockname()[1]}", stranger)


def test_nobody_there_silence_and_no_tls(authority: Authority, tmp_path: Path) -> None:
    material = authority.issue(LeafRequest(dns=("a",)), "test")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(HandshakeRefused):
            served_serial(f"127.0.0.1:{port}", material, timeout_s=0.2)
    with pytest.raises(HandshakeRefused, match="refused"):
        served_serial(f"127.0.0.1:{port}", material)
    with pytest.raises(HandshakeRefused):
        served_serial(f"unix:{tmp_path}/nothing", material)

    with socket.create_server(("127.0.0.1", 0)) as plain:

        def talk() -> None:
            connection, _ = plain.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                connection.recv(4096)

        thread = threading.Thread(target=talk)
        thread.start()
        with pytest.raises(HandshakeRefused):
            served_serial(f"127.0.0.1:{plain.getsockname()[1]}", material)
        thread.join(10)
