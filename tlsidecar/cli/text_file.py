"""Reading the text that a command is given: a file, or standard input for ``-``; in YAML, where that is installed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tlsidecar.cli.context import EXIT_BAD_INPUT, CommandFailed
from tlsidecar.extras import install_line

MAX_TEXT_BYTES = 64 << 20


def read_text(file: Path | None) -> str:
    """UTF-8. Raises :class:`CommandFailed` naming the file."""
    try:
        if file is None or str(file) == "-":
            data = sys.stdin.buffer.read(MAX_TEXT_BYTES + 1)
        else:
            with file.open("rb") as opened:
                data = opened.read(MAX_TEXT_BYTES + 1)
        if len(data) > MAX_TEXT_BYTES:
            raise CommandFailed(f"{name_of(file)}: more than {MAX_TEXT_BYTES >> 20} MiB", EXIT_BAD_INPUT)
        return data.decode()
    except OSError as error:
        raise CommandFailed(f"{name_of(file)}: {error.strerror}", EXIT_BAD_INPUT) from None
    except UnicodeDecodeError as error:
        raise CommandFailed(f"{name_of(file)}: not UTF-8 at byte {error.start}", EXIT_BAD_INPUT) from None


def name_of(file: Path | None) -> str:
    """What to call it in a message."""
    return "stdin" if file is None or str(file) == "-" else str(file)


@contextmanager
def yaml_needed() -> Iterator[None]:
    """Raises :class:`CommandFailed` with the line that installs the YAML reader, where that is what is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "ruamel":
            raise
        raise CommandFailed(
            f"YAML is read by an extra that is not installed: {install_line('yaml')}", EXIT_BAD_INPUT
        ) from None
