"""The logs of one process, both on one sink: what it says of itself, and its access log."""

from __future__ import annotations

import logging

from tlsidecar.observe.access_log import AccessLog
from tlsidecar.observe.log import ProcessLog
from tlsidecar.observe.sink import LineSink, LogFileError
from tlsidecar.settings import Log

_log = logging.getLogger("tlsidecar.observe")


class Logs:
    """Writes as ``log`` says, until it is told otherwise."""

    def __init__(self, log: Log, sink: LineSink) -> None:
        self.process = ProcessLog(log, sink)
        self.access = AccessLog(log, sink)
        self.sink = sink
        self._file = log.file

    def __repr__(self) -> str:
        return f"<Logs {self.sink!r}>"

    def configure(self, log: Log) -> None:
        """Another file or form from now on. The level is its own affair, which may have been set by hand. A file that
        cannot be opened is said in the one that is open, which goes on."""
        if log.file != self._file:
            try:
                self.sink.move(log.file)
                self._file = log.file
            except LogFileError as error:
                _log.error("the log goes on in the file that is open: %s", error)
        self.process.configure(log)
        self.access.configure(log)

    def reopen(self) -> None:
        """The file was renamed: write to a new one."""
        try:
            self.sink.reopen()
        except LogFileError as error:
            _log.error("the log goes on in the file that is open: %s", error)

    def close(self) -> None:
        """The sink is whoever's who made it."""
        self.process.close()
