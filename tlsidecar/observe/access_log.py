"""The access log: one line for each connection (TCP) or request (HTTP), JSON or text.

A line is made where the connection or the request ends, and handed to the sink's writer thread. Requests in JSON, the
default, have a template for each connection, in which all that does not change is written already; what changes is put
in as it is, once one look has told that nothing in it needs escaping. ``json.dumps`` of the same fields costs eight
times as much.
"""

from __future__ import annotations

import re
from json.encoder import encode_basestring_ascii as quote

from tlsidecar.observe.sink import LineSink
from tlsidecar.observe.text import Timestamps, needs_visible, visible, word
from tlsidecar.outcomes import AccessEntry, Reason
from tlsidecar.settings import Log

# A target may be 8 KiB long, and a log line is not the place to keep 10,000 of them a second.
LOGGED_TEXT_CHARACTERS = 2048


# So many connections' templates are kept; one is half a kilobyte.
TEMPLATES = 1024
_NEEDS_NO_ESCAPE = re.compile(rf"[ !#-\[\]-~]{{0,{LOGGED_TEXT_CHARACTERS}}}+").fullmatch
_COMPLETED = Reason.COMPLETED

_Constants = tuple[object, ...]


class AccessLog:
    """Writes entries into ``sink`` in the format that ``log.access`` names; "off" writes nothing."""

    def __init__(self, log: Log, sink: LineSink) -> None:
        self._sink = sink
        self._timestamp = Timestamps()
        self._format = {"json": self._json, "text": self._text}.get(log.access)
        self._has_templates = log.access == "json"
        self._templates: dict[int, tuple[_Constants, str]] = {}  # by connection

    @property
    def enabled(self) -> bool:
        """False when nothing is written: then an entry need not be made."""
        return self._format is not None

    @property
    def dropped_lines(self) -> int:
        """Lines that could not be written, of everything that shares this sink."""
        return self._sink.dropped_lines

    def record(self, entry: AccessEntry) -> None:
        """Write one line; never waits and never raises for what is in the entry."""
        if self._format is None:
            return
        if self._has_templates and self._by_template(entry):
            return
        line = self._format(entry)
        # One look at the whole line instead of one at each text: hardly any line needs the second making.
        if len(line) > LOGGED_TEXT_CHARACTERS or needs_visible(line):
            line = self._format(_presentable(entry))
        self._sink.write(line)

    def _by_template(self, entry: AccessEntry) -> bool:
        """Write the line of an ordinary request; False for any other, of which nothing is written."""
        if entry[1] != "http":
            return False
        method, target, status, request_id, trace = entry[16:]
        if trace is not None or not _NEEDS_NO_ESCAPE(target):
            return False
        if not (request_id.isalnum() and request_id.isascii() and method.isalpha() and method.isascii()):
            return False
        _, _, _, connection_id, _, _, _, _, reason, upstream, bytes_in, bytes_out, handshake_s, wait_s, *ends = entry[
            :16
        ]
        constants = (*entry[2:8], upstream, handshake_s)
        known = self._templates.get(connection_id)
        template = known[1] if known is not None and known[0] == constants else self._template(entry, constants)
        self._sink.write(
            template
            % (
                self._timestamp(entry[0]),
                method,
                target,
                status,
                request_id,
                bytes_in,
                bytes_out,
                wait_s,
                *ends,
                "completed" if reason is _COMPLETED else reason.value,
            )
        )
        return True

    def _template(self, entry: AccessEntry, constants: _Constants) -> str:
        """The line of :meth:`_json` about this connection with places for what changes."""
        shown = _presentable(entry)
        peer, identity = quote(shown.peer_address), quote(shown.identity)
        upstream, rule = quote(shown.upstream), quote(shown.rule)
        parts = (
            '{"time":"',
            f'","access":"request","listener":{quote(entry.listener)},"peer":{peer},"identity":{identity},"method":"',
            '","target":"',
            '","status":',
            ',"request_id":"',
            '","bytes_in":',
            ',"bytes_out":',
            f',"handshake_s":{entry.handshake_s:.6f},"wait_s":',
            ',"upstream_s":',
            ',"total_s":',
            f',"upstream":{upstream},"connection":{entry.connection_id},"generation":{entry.generation},"reason":"',
            f'","rule":{rule}}}',
        )
        places = ("%s", "%s", "%s", "%d", "%s", "%d", "%d", "%.6f", "%.6f", "%.6f", "%s", "")
        template = "".join(part.replace("%", "%%") + place for part, place in zip(parts, places, strict=True))
        if len(self._templates) >= TEMPLATES:
            self._templates.clear()
        self._templates[entry.connection_id] = (constants, template)
        return template

    def _json(self, entry: AccessEntry) -> str:
        (at, protocol, listener, connection_id, generation, peer, identity, rule, reason, upstream) = entry[:10]
        (bytes_in, bytes_out, handshake_s, wait_s, upstream_s, total_s) = entry[10:16]
        request = ""
        if protocol == "http":
            method, target, status, request_id, trace = entry[16:]
            traced = f'"trace_id":"{trace.trace_id}",' if trace is not None else ""
            request = (
                f'"method":{quote(method)},"target":{quote(target)},"status":{status},"request_id":{quote(request_id)},'
                f"{traced}"
            )
        return (
            f'{{"time":"{self._timestamp(at)}","access":"{"request" if request else "connection"}",'
            f'"listener":{quote(listener)},"peer":{quote(peer)},"identity":{quote(identity)},{request}'
            f'"bytes_in":{bytes_in},"bytes_out":{bytes_out},"handshake_s":{handshake_s:.6f},"wait_s":{wait_s:.6f},'
            f'"upstream_s":{upstream_s:.6f},"total_s":{total_s:.6f},"upstream":{quote(upstream)},'
            f'"connection":{connection_id},"generation":{generation},"reason":"{reason.value}","rule":{quote(rule)}}}'
        )

    def _text(self, entry: AccessEntry) -> str:
        request = ""
        if entry.protocol == "http":
            line = quote(f"{entry.method} {entry.target}")
            request = f" {line} {entry.status} id={word(entry.request_id)}"
            if entry.trace is not None:
                request += f" trace={entry.trace.trace_id}"
        return (
            f"{self._timestamp(entry.at)} {word(entry.listener)} {word(entry.peer_address)} {word(entry.identity)}"
            f"{request} {entry.reason.value} in={entry.bytes_in} out={entry.bytes_out} "
            f"handshake={entry.handshake_s:.6f} wait={entry.wait_s:.6f} upstream={entry.upstream_s:.6f} "
            f"total={entry.total_s:.6f} to={word(entry.upstream)} connection={entry.connection_id} "
            f"generation={entry.generation} rule={word(entry.rule)}"
        )


def _presentable(entry: AccessEntry) -> AccessEntry:
    return entry._replace(
        peer_address=_shown(entry.peer_address),
        identity=_shown(entry.identity),
        rule=_shown(entry.rule),
        upstream=_shown(entry.upstream),
        method=_shown(entry.method),
        target=_shown(entry.target),
        request_id=_shown(entry.request_id),
    )


def _shown(text: str) -> str:
    text = visible(text)
    return text if len(text) <= LOGGED_TEXT_CHARACTERS else text[: LOGGED_TEXT_CHARACTERS - 1] + "…"
