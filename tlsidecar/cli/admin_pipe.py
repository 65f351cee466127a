"""``tlsidecar admin-pipe``: the admin protocol on stdin and stdout, for ssh, kubectl exec and docker exec.

One pipe is one connection to the admin socket; whoever needs several runs several. Nothing is read into the bytes, and
no right is added: the sidecar sees the user who runs this.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
from pathlib import Path

import click

from tlsidecar.admin.client import connected
from tlsidecar.api.client import READ_BYTES
from tlsidecar.api.errors import Unreachable, os_error
from tlsidecar.cli.context import EXIT_FAILED, EXIT_UNREACHABLE, CommandFailed, socket_path_option


@click.command("admin-pipe")
@socket_path_option
def admin_pipe(socket_path: Path) -> None:
    """Carry the admin protocol on stdin and stdout, for a console elsewhere that reaches this command through ssh,
    kubectl exec or docker exec.

    Bytes go both ways until the sidecar closes its side; the end of stdin is passed on. Who may do what is decided by
    the admin socket, by the user who runs this.
    """
    try:
        connection = connected(socket_path)
    except Unreachable as error:
        raise CommandFailed(str(error), EXIT_UNREACHABLE) from None
    with connection:
        # A thread each way: a reader that is slow in one direction must not hold up the other one.
        threading.Thread(target=_carry_in, args=(connection,), daemon=True).start()
        _carry_out(connection)


def _carry_in(connection: socket.socket) -> None:
    """From stdin to the sidecar, and the end of it."""
    descriptor = sys.stdin.fileno()
    with contextlib.suppress(OSError):  # the sidecar has closed: the other direction tells
        try:
            while octets := os.read(descriptor, READ_BYTES):
                connection.sendall(octets)
        finally:
            connection.shutdown(socket.SHUT_WR)


def _carry_out(connection: socket.socket) -> None:
    """From the sidecar to stdout, until one of them has enough."""
    descriptor = sys.stdout.fileno()
    while True:
        try:
            octets = connection.recv(READ_BYTES)
        except OSError as error:
            raise CommandFailed(f"the sidecar cut the connection: {os_error(error)}", EXIT_FAILED) from None
        if not octets:
            return
        while octets:
            try:
                octets = octets[os.write(descriptor, octets) :]
            except BrokenPipeError:
                return  # the reader has what it came for
            except OSError as error:
                raise CommandFailed(f"standard output: {error.strerror}", EXIT_FAILED) from None
