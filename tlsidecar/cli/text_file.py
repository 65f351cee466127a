"""Reading the text that a command is given: a file, or standard input for ``-``."""

from __future__ import annotations

import sys
from pathlib import Path

from tlsidecar.cli.context import EXIT_BAD_INPUT, Failure

MAX_TEXT_BYTES = 64 << 20


def read_text(file: Path | None) -> str:
    """UTF-8. Raises :class:`Failure` naming the file."""
    try:
        if file is None or str(file) == "-":
            data = sys.stdin.buffer.read(MAX_TEXT_BYTES + 1)
        else:
            with file.open("rb") as opened:
                data = opened.read(MAX_TEXT_BYTES + 1)
        if len(data) > MAX_TEXT_BYTES:
            raise Failure(f"{name_of(file)}: more than {MAX_TEXT_BYTES >> 20} MiB", EXIT_BAD_INPUT)
        return data.decode()
    except OSError as error:
        raise Failure(f"{name_of(file)}: {error.strerror}", EXIT_BAD_INPUT) from None
    except UnicodeDecodeError as error:
        raise Failure(f"{name_of(file)}: not UTF-8 at byte {error.start}", EXIT_BAD_INPUT) from None


def name_of(file: Path | None) -> str:
    """What to call it in a message."""
    return "stdin" if file is None or str(file) == "-" else str(file)
