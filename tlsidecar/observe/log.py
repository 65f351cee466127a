"""The process log: the standard library's logging, one escaped line for each record, written without blocking.

A record's structured part is ``extra={"fields": {…}}``: in JSON they stand beside the message, in text after it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping

from tlsidecar.observe.sink import LineSink
from tlsidecar.observe.text import Timestamps, escaped, json_string, needs_visible, visible, word
from tlsidecar.settings import Log

LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
LOGGED_MESSAGE_CHARACTERS = 8192
# These follow the configured level; everything else speaks from WARNING on.
OUR_LOGGERS = ("tlsidecar", "certs")
AUDIT_LOGGER = "tlsidecar.audit"


def open_sink(log: Log) -> LineSink:
    """The sink that ``log`` names: its file, or standard error. Raises tlsidecar.observe.sink.LogFileError."""
    return LineSink.stderr() if log.file is None else LineSink.file(log.file)


class ProcessLog:
    """Routes the ``logging`` records of the whole process into ``sink``, from construction until ``close``."""

    def __init__(self, log: Log, sink: LineSink) -> None:
        """Text when the access log is text, JSON otherwise. Raises ValueError for an unknown level."""
        self._level = ""
        self._handler = _LineHandler(sink, _formatter(log))
        self.set_level(log.level)
        # Audit lines are written whatever the level is.
        logging.getLogger(AUDIT_LOGGER).setLevel(logging.INFO)
        logging.getLogger().addHandler(self._handler)

    @property
    def level(self) -> str:
        """In force: debug, info, warning or error."""
        return self._level

    def set_level(self, level: str) -> None:
        """Raises ValueError for a level other than debug, info, warning and error."""
        if level not in LEVELS:
            raise ValueError(f"unknown log level {level!r}: one of {', '.join(LEVELS)}")
        for name in OUR_LOGGERS:
            logging.getLogger(name).setLevel(LEVELS[level])
        self._level = level

    def configure(self, log: Log) -> None:
        """In the form of ``log`` from now on; the level stays."""
        self._handler.setFormatter(_formatter(log))

    def close(self) -> None:
        """Take the handler away again; the sink is whoever's who made it."""
        logging.getLogger().removeHandler(self._handler)


def _formatter(log: Log) -> logging.Formatter:
    return _TextFormatter() if log.access == "text" else _JsonFormatter()


class _LineHandler(logging.Handler):
    def __init__(self, sink: LineSink, formatter: logging.Formatter) -> None:
        super().__init__()
        self._sink = sink
        self.setFormatter(formatter)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception as error:
            line = json.dumps({"level": "error", "message": f"a log record could not be formatted: {error!r}"})
        self._sink.write(line)


class _JsonFormatter(logging.Formatter):
    def __init__(self) -> None:
        super().__init__()
        self._timestamp = Timestamps()

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": self._timestamp(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _short(record.getMessage()),
        }
        line.update(_fields(record))
        if record.exc_info:
            line["traceback"] = _short(self.formatException(record.exc_info))
        text = _compact(line)
        return _compact(_all_visible(line)) if needs_visible(text) else text


class _TextFormatter(logging.Formatter):
    def __init__(self) -> None:
        super().__init__()
        self._timestamp = Timestamps()

    def format(self, record: logging.LogRecord) -> str:
        parts = [
            self._timestamp(record.created),
            record.levelname,
            f"{record.name}:",
            escaped(_short(record.getMessage())),
            *(f"{name}={word(str(value))}" for name, value in _fields(record).items()),
        ]
        if record.exc_info:
            parts.append(f"traceback={json_string(_short(self.formatException(record.exc_info)))}")
        return " ".join(parts)


def _fields(record: logging.LogRecord) -> Mapping[str, object]:
    fields = getattr(record, "fields", None)
    return fields if isinstance(fields, Mapping) else {}


def _compact(line: object) -> str:
    return json.dumps(line, default=str, separators=(",", ":"))


def _all_visible(value: object) -> object:
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, Mapping):
        return {visible(str(name)): _all_visible(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_all_visible(inner) for inner in value]
    return value


def _short(text: str) -> str:
    return text if len(text) <= LOGGED_MESSAGE_CHARACTERS else text[: LOGGED_MESSAGE_CHARACTERS - 1] + "…"
