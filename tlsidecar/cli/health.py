"""``tlsidecar health``: one question to the admin socket, for HEALTHCHECK and exec probes.

A probe runs every few seconds for ever, in a container that may have a tenth of a core. So this is the one command
that is made by hand: no option parser, no event loop, no HTTP library, nothing imported but what the interpreter has
loaded anyway and ``socket``. Together with the interpreter's own start it takes some 30 ms; importing click and h11
alone would triple that.
"""

from __future__ import annotations

import os
import sys

TIMEOUT_S = 2.0
REPLY_BYTES = 64 * 1024

EXIT_OK = 0
EXIT_UNHEALTHY = 1
EXIT_USAGE = 2
EXIT_UNREACHABLE = 3

HELP = """\
Usage: tlsidecar health [--live | --ready] [--socket PATH] [--json]

  Ask a running sidecar for its health; for HEALTHCHECK and exec probes.

Options:
  --ready        Material valid, listeners bound, not draining (default).
  --live         The event loop turns.
  --socket PATH  Its admin socket, or its view socket.
  --json         JSON on stdout.
  -h, --help     Show this message and exit.

Exit codes: 0 yes, 1 no, 2 bad usage, 3 nobody answers.
Example: tlsidecar health --live
"""


def main(arguments: list[str]) -> int:
    """Everything from the arguments after ``health`` to the exit code."""
    path, socket_path, as_json = "/readyz", "", False
    rest = arguments[:]
    while rest:
        argument = rest.pop(0)
        name, equals, value = argument.partition("=")
        if argument == "--live":
            path = "/healthz"
        elif argument == "--ready":
            path = "/readyz"
        elif argument == "--json":
            as_json = True
        elif argument in ("-h", "--help"):
            sys.stdout.write(HELP)
            return EXIT_OK
        elif name == "--socket" and (value or (not equals and rest)):
            socket_path = value or rest.pop(0)
        else:
            sys.stderr.write(f"Error: unexpected argument {argument!a}; see tlsidecar health --help\n")
            return EXIT_USAGE
    try:
        status, body = _ask(socket_path or _default_socket(), path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        sys.stderr.write(f"Error: {socket_path or _default_socket()!a}: {reason}\n")
        return EXIT_UNREACHABLE
    lines = [line for line in body.split("\n") if line]
    if as_json:
        _write_json(path, status, lines)
    else:
        sys.stdout.write("".join(f"{_printable(line)}\n" for line in lines))
    return EXIT_OK if status == 200 else EXIT_UNHEALTHY


def _ask(socket_path: str, path: str) -> tuple[int, str]:
    """The status and body of one GET. Raises OSError, and ValueError for what is no answer."""
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(TIMEOUT_S)
        connection.connect(socket_path)
        try:  # noqa: SIM105 - contextlib would be one more import
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        except BrokenPipeError:
            pass  # turned away before it was asked; the answer says so
        reply = b""
        while len(reply) < REPLY_BYTES and (data := connection.recv(REPLY_BYTES)):
            reply += data
    # The server closes after this one reply, so that its end is the body's end.
    head, separator, body = reply.partition(b"\r\n\r\n")
    version, _, rest = head.partition(b" ")
    status = rest[:3]
    if not (separator and version == b"HTTP/1.1" and status.isdigit()):
        raise ValueError("the answer is not HTTP")
    return int(status), body.decode("utf-8", "backslashreplace")


def _write_json(path: str, status: int, lines: list[str]) -> None:
    import json

    json.dump({"ok": status == 200, "check": "live" if path == "/healthz" else "ready", "told": lines}, sys.stdout)
    sys.stdout.write("\n")


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def _default_socket() -> str:
    """As tlsidecar.config.default_admin_socket, which costs more to import than all of this takes; a test holds them
    together."""
    if named := os.environ.get("TLSIDECAR_ADMIN_SOCKET"):
        return named
    runtime_directory = os.environ.get("XDG_RUNTIME_DIR", "")
    if runtime_directory.startswith("/"):
        return f"{runtime_directory}/tlsidecar/admin.sock"
    return "/run/tlsidecar/admin.sock"
