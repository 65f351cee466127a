"""SMTP's own words for TLS (RFC 3207): the server greets, the client says EHLO, finds STARTTLS among the extensions,
and says it.

After the handshake the session starts again (section 4.2): the client says EHLO once more, and is not greeted again. So
a service gets a client of ours only then, and its greeting is read by us; a local application gets its greeting from
us, once the remote has proved who it is. Nothing that was said in the clear reaches either of them.

TLS is required, and section 4 says what is answered until then: 530 to all but EHLO, NOOP, STARTTLS and QUIT; HELO and
RSET besides, which change nothing. What comes behind STARTTLS before its answer, or behind the answer, was put there by
somebody who hopes that it is read as if it had come encrypted (CVE-2011-0411): both ends it.
"""

from __future__ import annotations

import re
from enum import Enum, auto

from tlsidecar.dataplane.starttls.script import MOST_SHOWN_BYTES, TLS_HANDSHAKE, WAIT, Next, Step

_LINE_END = b"\r\n"
_MOST_COMMANDS = 20
_MOST_REPLY_LINES = 100
_QUOTED_CHARACTERS = 100  # of what a server said
_DOMAIN = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-.]{0,251}[A-Za-z0-9])?", re.ASCII)
_REPLY_LINE = re.compile(rb"([2-5][0-9]{2})(?:([ -])(.*))?\r\n", re.DOTALL)
_OTHER_PROTOCOLS = frozenset([b"GET", b"HEAD", b"POST", b"PUT", b"CONNECT", b"OPTIONS"])  # a browser led astray
_HARMLESS = {b"NOOP": b"250 2.0.0 OK\r\n", b"RSET": b"250 2.0.0 OK\r\n"}

NO_DOMAIN = "localhost"


def domain(names: tuple[str, ...]) -> str:
    """How we call ourselves in a greeting and in EHLO: the first name of our certificate that is one host's."""
    return next((name for name in names if _DOMAIN.fullmatch(name)), NO_DOMAIN)


def greeting(name: str) -> bytes:
    """What a local application is greeted with, once the remote is known."""
    return f"220 {name} ESMTP\r\n".encode("ascii")


def not_served(text: str) -> bytes:
    """In the place of a greeting; mail is tried again after it."""
    return f"421 4.4.1 tlsidecar: {text}\r\n".encode("ascii", "backslashreplace")


class SmtpServer:
    """For a client that has to say STARTTLS, and shows a certificate after it."""

    def __init__(self, name: str) -> None:
        self._name = name.encode("ascii")
        self._commands = 0
        self._wanted_more = False  # something that only the service can answer
        self.opening = greeting(name)

    def look(self, shown: bytes) -> Step:
        if not self._commands and shown[:1] and shown[0] == TLS_HANDSHAKE:
            return Step(Next.TLS)
        line, end, behind = shown.partition(b"\n")
        if not end:
            return self._refused(500, "5.5.2 Line too long") if len(shown) >= MOST_SHOWN_BYTES else WAIT
        take, line = len(line) + len(end), line.removesuffix(b"\r")
        if take != len(line) + len(_LINE_END) or b"\r" in line or b"\0" in line:
            return self._refused(500, "5.5.2 A line has to end with CR LF, and has no other CR in it")
        self._commands += 1
        if self._commands > _MOST_COMMANDS:
            return self._refused(421, "4.7.0 Too many commands without STARTTLS")
        verb, _, argument = line.partition(b" ")
        verb, argument = verb.upper(), argument.strip()
        if verb in _OTHER_PROTOCOLS:
            return Step(Next.REFUSED, take, b"", "it speaks HTTP, not SMTP")
        if verb == b"STARTTLS" and not argument:
            if behind:
                return self._refused(503, "5.5.1 Nothing may be sent behind STARTTLS before it is answered")
            return Step(Next.TLS, take, b"220 2.0.0 Ready to start TLS\r\n")
        if verb == b"QUIT":
            left = Step(Next.LEFT, take, b"221 2.0.0 Bye\r\n", "it went without STARTTLS")
            return left._replace(next=Next.REFUSED) if self._wanted_more else left
        return Step(Next.MORE, take, self._reply(verb, argument))

    def _reply(self, verb: bytes, argument: bytes) -> bytes:
        if verb in _HARMLESS:
            return _HARMLESS[verb]
        if verb == b"STARTTLS":
            return b"501 5.5.4 STARTTLS has no argument\r\n"
        if verb in (b"EHLO", b"HELO"):
            if not argument:
                return b"501 5.5.4 Your name is missing\r\n"
            name = self._name
            return b"250 " + name + _LINE_END if verb == b"HELO" else b"250-" + name + b"\r\n250 STARTTLS\r\n"
        self._wanted_more = True
        return b"530 5.7.0 Must issue a STARTTLS command first\r\n"

    @staticmethod
    def _refused(code: int, text: str) -> Step:
        return Step(Next.REFUSED, 0, f"{code} {text}\r\n".encode("ascii"), text.partition(" ")[2])


class _Reply:
    """One reply as it comes, line by line (RFC 5321 section 4.2.1)."""

    def __init__(self) -> None:
        self.code = b""
        self.keywords: list[bytes] = []  # the first word of each line, in upper case
        self.text = ""  # of its first line
        self._lines = 0
        self._is_whole = False

    def read(self, shown: bytes) -> int | Step:
        """How many bytes its last line has; or what to do until that has come, or because it is no reply."""
        line = self._next_line(shown)
        if isinstance(line, str):
            return Step(Next.REFUSED, detail=line)
        return line if self._is_whole else Step(Next.MORE, line)

    def _next_line(self, shown: bytes) -> int | str:
        """How many bytes its next line has, 0 while that is not whole; or what is wrong with it."""
        line, end, _ = shown.partition(b"\n")
        if not end:
            return "what it says is not SMTP: a line of more than 512 bytes" if len(shown) >= MOST_SHOWN_BYTES else 0
        found = _REPLY_LINE.fullmatch(line + end)
        if found is None or (self.code and found[1] != self.code):
            return f"what it says is not SMTP: {_quoted(line)}"
        self._lines += 1
        if self._lines > _MOST_REPLY_LINES:
            return f"a reply of more than {_MOST_REPLY_LINES} lines"
        if not self.code:
            self.text = _quoted(line)
        self.code = found[1]
        words = (found[3] or b"").split()
        self.keywords.append(words[0].upper() if words else b"")
        self._is_whole = found[2] != b"-"
        return len(line) + len(end)


class _Asked(Enum):
    GREETING = auto()
    EHLO = auto()
    STARTTLS = auto()


class SmtpClient:
    """Towards a server that is to show a certificate."""

    opening = b""

    def __init__(self, name: str) -> None:
        self._ehlo = f"EHLO {name}\r\n".encode("ascii")
        self._asked = _Asked.GREETING
        self._reply = _Reply()

    def look(self, shown: bytes) -> Step:
        taken = self._reply.read(shown)
        if isinstance(taken, Step):
            return taken
        reply, self._reply = self._reply, _Reply()
        wanted = b"250" if self._asked is _Asked.EHLO else b"220"
        if reply.code != wanted:
            return Step(Next.REFUSED, detail=f"to {self._asked.name} it says {reply.text}")
        if len(shown) > taken:
            return Step(Next.REFUSED, detail=f"it says more in the clear than its answer to {self._asked.name}")
        match self._asked:
            case _Asked.GREETING:
                self._asked = _Asked.EHLO
                return Step(Next.MORE, taken, self._ehlo)
            case _Asked.EHLO:
                if b"STARTTLS" not in reply.keywords[1:]:
                    return Step(Next.REFUSED, detail="it does not offer STARTTLS")
                self._asked = _Asked.STARTTLS
                return Step(Next.MORE, taken, b"STARTTLS\r\n")
            case _:
                return Step(Next.TLS, taken)


class SmtpService:
    """Towards the local service: its greeting is ours to read, for the peer has had one."""

    def __init__(self, opening: bytes = b"") -> None:
        """``opening`` goes before everything: a PROXY protocol header."""
        self.opening = opening
        self._reply = _Reply()

    def look(self, shown: bytes) -> Step:
        taken = self._reply.read(shown)
        if isinstance(taken, Step):
            return taken
        if self._reply.code != b"220":
            return Step(Next.REFUSED, taken, detail=f"it greets with {self._reply.text}")
        return Step(Next.PLAIN, taken)


def _quoted(line: bytes) -> str:
    return repr(line.rstrip(b"\r").decode("ascii", "backslashreplace")[:_QUOTED_CHARACTERS])
