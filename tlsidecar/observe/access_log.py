"""The access log: one line for each connection (TCP) or request (HTTP), JSON or text.

A line is made where the connection or the request ends, and handed to the sink's writer thread. Requests in JSON, the
default, have a template for each connection, in which all that does not change is written already; what changes is put
in as the bytes it came as, once one look has told that nothing in it needs escaping. Requests that end in the same turn
of the loop have the same time. All other lines are made of their entry.
"""

from __future__ import annotations

import re
from json.encoder import encode_basestring_ascii as quote

from tlsidecar.observe.sink import LineSink
from tlsidecar.observe.text import Timestamps, needs_visible, visible, word
from tlsidecar.outcomes import AccessEntry, EndedRequest
from tlsidecar.settings import DEFAULT_IDENTITY, Log

# A target may be 8 KiB long, and a log line is not the place to keep 10,000 of them a second.
LOGGED_TEXT_CHARACTERS = 2048

# So many connections' templates are kept; one is half a kilobyte.
TEMPLATES = 1024
_NEEDS_NO_ESCAPE = re.compile(rb"[ !#-\[\]-~]{0,%d}+" % LOGGED_TEXT_CHARACTERS).fullmatch


class _Template:
    """A connection's line, with places for what changes from request to request; good for the same identity and
    rule."""

    __slots__ = ("identity", "line", "rule")

    def __init__(self, identity: object, rule: str, line: bytes) -> None:
        self.identity = identity
        self.rule = rule
        self.line = line


class AccessLog:
    """Writes entries into ``sink`` in the format that ``log.access`` names; "off" writes nothing."""

    def __init__(self, log: Log, sink: LineSink) -> None:
        self._sink = sink
        self._timestamp = Timestamps()
        self.configure(log)
        self._templates: dict[int, _Template] = {}  # by connection
        self._upstreams: dict[str, bytes] = {}  # as JSON strings
        self._plain_target = b""  # the last one found so: requests that repeat share theirs
        self._now = 0.0  # monotonic seconds
        self._now_text = b""

    def configure(self, log: Log) -> None:
        """In the form of ``log`` from now on."""
        self._format = {"json": self._json, "text": self._text}.get(log.access)
        self._has_templates = log.access == "json"

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
        line = self._format(entry)
        # One look at the whole line instead of one at each text: hardly any line needs the second making.
        if len(line) > LOGGED_TEXT_CHARACTERS or needs_visible(line):
            line = self._format(_presentable(entry))
        self._sink.write(line)

    def request(self, ended: EndedRequest, now: float) -> None:
        """Write the line of a request that ended at ``now``, the monotonic time that its own times are of; never waits
        and never raises for what is in it."""
        asked = ended.request
        method, target, request_id, upstream = asked.method, asked.target, asked.request_id, ended.upstream
        if (
            not self._has_templates
            or ended.reason is not None
            or asked.trace is not None
            or not upstream
            or (target is not self._plain_target and not self._is_plain(target))
            or not method.isalpha()
            or not request_id.isalnum()
        ):
            self.record(ended.entry(now))
            return
        template = self._templates.get(ended.downstream.connection_id)
        if template is None or template.identity is not ended.identity or template.rule != ended.rule:
            template = self._template(ended, now)
        if now != self._now:
            self._now = now
            self._now_text = self._timestamp(ended.downstream.wall()).encode("ascii")
        attached_at = ended.attached_at
        since = b"%.6f" % (now - attached_at)
        if attached_at == ended.begun_at:  # mostly: an upstream connection was at hand
            wait, total = b"0.000000", since
        else:
            wait, total = b"%.6f" % (attached_at - ended.begun_at), b"%.6f" % (now - ended.begun_at)
        self._sink.write_bytes(
            template.line
            % (
                self._now_text,
                method,
                target,
                ended.status,
                request_id,
                ended.bytes_in,
                ended.bytes_out,
                wait,
                since,
                total,
                self._upstreams.get(upstream) or self._quoted(upstream),
            )
        )

    def _is_plain(self, target: bytes) -> bool:
        """Whether it needs no escaping."""
        if not _NEEDS_NO_ESCAPE(target):
            return False
        self._plain_target = target
        return True

    def _template(self, ended: EndedRequest, now: float) -> _Template:
        """The line of :meth:`_json` about this connection, with places for what changes."""
        entry = ended.entry(now)
        shown = _presentable(entry)
        peer, identity, rule = quote(shown.peer_address), quote(shown.identity), quote(shown.rule)
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
            ',"upstream":',
            f',"connection":{entry.connection_id},{_own(entry)}"generation":{entry.generation},"reason":"completed",'
            f'"rule":{rule}}}',
        )
        places = ("%b", "%b", "%b", "%d", "%b", "%d", "%d", "%b", "%b", "%b", "%b", "")
        line = "".join(part.replace("%", "%%") + place for part, place in zip(parts, places, strict=True))
        template = _Template(ended.identity, ended.rule, line.encode("ascii"))
        if len(self._templates) >= TEMPLATES:
            self._templates.clear()
        self._templates[entry.connection_id] = template
        return template

    def _quoted(self, upstream: str) -> bytes:
        if len(self._upstreams) >= TEMPLATES:
            self._upstreams.clear()
        quoted = self._upstreams[upstream] = quote(_shown(upstream)).encode("ascii")
        return quoted

    def _json(self, entry: AccessEntry) -> str:
        (at, protocol, listener, connection_id, generation, peer, identity, rule, reason, upstream) = entry[:10]
        (bytes_in, bytes_out, handshake_s, wait_s, upstream_s, total_s) = entry[10:16]
        request = ""
        if protocol == "http":
            method, target, status, request_id, trace = entry[16:21]
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
            f'"connection":{connection_id},{_own(entry)}"generation":{generation},"reason":"{reason.value}","rule":{quote(rule)}}}'
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
            f"{_own_word(entry)}generation={entry.generation} rule={word(entry.rule)}"
        )


def _own(entry: AccessEntry) -> str:
    """Which of our identities, where they have names; those need no escaping. A generation is one of its own."""
    own = entry.own_identity
    return f'"own_identity":"{own}",' if own and own != DEFAULT_IDENTITY else ""


def _own_word(entry: AccessEntry) -> str:
    own = entry.own_identity
    return f"as={own} " if own and own != DEFAULT_IDENTITY else ""


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
