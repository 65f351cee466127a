"""A command and the shell it was called from: streams that are closed, full, gone, or of another alphabet.

A result that cannot be written is a failure and is said in one line; what is only said beside it (stderr) never ends a
command. Imported by the one command that must answer in a few milliseconds, so it imports nothing but what the
interpreter has loaded.
"""

from __future__ import annotations

import errno
import io
import os
import sys

TYPE_CHECKING = False  # as typing has it, without importing that
if TYPE_CHECKING:
    from collections.abc import Callable

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130  # as of a shell: 128 and the signal's number
DEFECT_CHARACTERS = 300


_done: list[str] = []  # what the command has changed by now


def has_done(what: str) -> None:
    """The command has changed something: ``what``, in a few words. Said where its result cannot be, so that nobody
    does it again."""
    _done.append(what)


class OutputLost(Exception):
    """The standard output took no more. Not an OSError: nobody who handles those on the way means this one."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error.errno, error.strerror)
        self.reader_left = error.errno == errno.EPIPE

    def __str__(self) -> str:
        if self.args[0] == errno.EBADF:
            return "standard output: closed"
        return f"standard output: {self.args[1]}"


class _Output(io.FileIO):
    """Standard output that says why it failed, once; what is still buffered then is dropped."""

    _lost = False

    def write(self, data: object, /) -> int:
        if self._lost:
            return memoryview(data).nbytes  # type: ignore[arg-type] # what FileIO takes is a buffer
        try:
            while (written := super().write(data)) is None:  # type: ignore[arg-type] # the same
                _wait_for_room(self.fileno())
        except OSError as error:
            self._lost = True
            raise OutputLost(error) from None
        return written

    def drop_the_rest(self) -> None:
        """Whoever ended the command with ^C does not wait for a pager to take what is left."""
        self._lost = True


class _Diagnosis(io.FileIO):
    """Standard error: what cannot be said is not said."""

    def write(self, data: object, /) -> int:
        whole = left = memoryview(data)  # type: ignore[arg-type] # what FileIO takes is a buffer
        try:
            while left:
                written = super().write(left)
                if written is None:
                    _wait_for_room(self.fileno())
                else:
                    left = left[written:]
        except OSError:
            pass
        return whole.nbytes


def _wait_for_room(descriptor: int) -> None:
    """A stream that is full, and that somebody who has it, too, made non-blocking: for us as well (open(2))."""
    import select  # which the interpreter has not loaded

    select.select([], [descriptor], [])


def guarded(command: Callable[[], object]) -> int:
    """Run ``command``, which returns an exit code or raises SystemExit, and return the code to exit with.

    Nothing that goes wrong on the way to the shell shows as a traceback: output that is lost, a file that an error
    was not expected of, a defect of ours (``python -X dev -m tlsidecar …`` shows all of that one).
    """
    output = _open_streams()
    _done.clear()
    try:
        code = _code(command)
        sys.stdout.flush()
    except KeyboardInterrupt:
        output.drop_the_rest()
        _say("interrupted")
        code = EXIT_INTERRUPTED
    except OutputLost as lost:
        if _done:
            _say(f"{lost}; all the same it is done: {', '.join(_done)}")
        elif not lost.reader_left:
            _say(str(lost))
        code = EXIT_FAILED
    return code


def _code(command: Callable[[], object]) -> int:
    try:
        done = command()
    except SystemExit as end:
        done = end.code
    except OutputLost:
        raise
    except OSError as error:
        if sys.flags.dev_mode:
            raise
        what = error.strerror or str(error) or type(error).__name__
        _say(f"{error.filename}: {what}" if error.filename else what)
        return EXIT_FAILED
    except MemoryError:
        _say("out of memory")
        return EXIT_FAILED
    except Exception as defect:
        if sys.flags.dev_mode:
            raise
        _say(f"a defect of tlsidecar, please report it: {_shown(defect)} (python -X dev -m tlsidecar … shows more)")
        return EXIT_FAILED
    if isinstance(done, str):
        _say(done)
        return EXIT_FAILED
    return done if isinstance(done, int) else 0


def _shown(defect: Exception) -> str:
    at = defect.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    place = f" in {at.tb_frame.f_code.co_filename}, line {at.tb_lineno}" if at is not None else ""
    return f"{type(defect).__name__}: {str(defect)[:DEFECT_CHARACTERS]}{place}"


def _say(text: str) -> None:
    printable = "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
    sys.stderr.write(f"Error: {printable}\n")


def _open_streams() -> _Output:
    """All three exist from here on; standard output is what is returned. A descriptor that is closed would be taken by
    the next file or socket, and what is printed would go there. Standard output then stands on something that cannot be
    written, so that its loss shows."""
    for number, mode in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, mode)  # takes the lowest number that is free: this one
    if sys.stdin is None:
        sys.stdin = sys.__stdin__ = open(0, closefd=False)  # type: ignore[misc] # noqa: SIM115 - for good
    output = _Output(1, "w", closefd=False)
    sys.stdout = sys.__stdout__ = _text(io.BufferedWriter(output), sys.stdout)  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = _text(_Diagnosis(2, "w", closefd=False), sys.stderr)  # type: ignore[misc]
    return output


def _text(raw: io.BufferedWriter | io.FileIO, before: object) -> io.TextIOWrapper:
    """In the encoding that the stream had; what that has no sign for is spelled out."""
    encoding = getattr(before, "encoding", None) or "utf-8"
    at_once = getattr(before, "line_buffering", False) or getattr(before, "write_through", False)
    unbuffered = isinstance(raw, io.FileIO)  # as python -u has both
    return io.TextIOWrapper(raw, encoding, "backslashreplace", line_buffering=at_once, write_through=unbuffered)
