"""hitch's configuration file (hitch.conf(5))."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tlsidecar.migrate.draft import Draft, MigrateError, port_of

_HARMLESS = {
    "backlog": "the queue is as long as the system allows",
    "keepalive": "TCP keep-alive is on",
    "chroot": "the systemd unit and the container confine it",
    "user": "run it as the user it is to be",
    "group": "run it as the group it is to be",
    "daemon": "systemd or the container has it in the background",
    "pidfile": "it writes no file with its number",
    "quiet": "[log] level and access choose what is logged",
    "log-level": "[log] level",
    "log-filename": "[log] file",
    "syslog": "systemd and containers take the log from stderr",
    "syslog-facility": "systemd and containers take the log from stderr",
    "ciphers": "the AEAD suites with forward secrecy, always",
    "ciphersuites": "the AEAD suites with forward secrecy, always",
    "ecdh-curve": "[tls] groups",
    "prefer-server-ciphers": "our order, always",
    "session-cache-size": "sessions are not resumed",
    "recv-bufsize": "buffers are sized by limits.buffer",
    "send-bufsize": "buffers are sized by limits.buffer",
    "ring-slots": "buffers are sized by limits.buffer",
    "ring-data-len": "buffers are sized by limits.buffer",
    "backend-refresh": "a name is resolved when it is needed",
    "ocsp-dir": "nothing is stapled: clients of mutual TLS ask for no OCSP",
    "ocsp-verify-staple": "nothing is stapled",
    "ocsp-connect-tmo": "nothing is stapled",
    "ocsp-resp-tmo": "nothing is stapled",
    "ocsp-refresh-interval": "nothing is stapled",
    "tcp-fastopen": "",
    "tls-protos": "",
}
# What kept somebody out, or a key safe, and is not so here, unless it is off.
_GUARDS = {"sni-nomatch-abort": "any server name is taken", "ssl-engine": "keys are read from files"}
_TOKEN = re.compile(r'\s+|#[^\n]*|(?P<brace>[{}=])|"(?P<quoted>(?:[^"\\\n]|\\.)*)"|(?P<word>[^\s{}="#]+)')

# What follows an equals sign without quotes goes to the line's end: several words, as in tls-protos.
_BARE_VALUE = re.compile(r'[ \t]*([^\s{}"#=][^\n#{}"]*)')

Entry = tuple[int, str, "str | list[Entry]"]


def read(text: str) -> Draft:
    """Raises :class:`MigrateError` naming the line."""
    draft = Draft("a hitch file")
    entries = list(_entries(_tokens(text)))
    shared = {key: value for _, key, value in entries if isinstance(value, str)}
    fronts: list[str] = []
    for line, key, value in entries:
        if key == "frontend":
            address, _, certificate = (_of(value, "host", "port") if not isinstance(value, str) else value).partition(
                "+"
            )
            fronts.append(_address(address, line))
            draft.use("frontend", cert=certificate)
            if not isinstance(value, str):
                for _, inner, material in value:
                    if inner == "pem-file":
                        _pem(draft, material)
        elif key == "pem-file":
            _pem(draft, value)
    backend = _address(shared["backend"], 0) if "backend" in shared else ""
    if not backend:
        raise MigrateError("there is no backend in it")
    draft.use("client-verify-ca", trust=shared.get("client-verify-ca", ""))
    verify = shared.get("client-verify", "none")
    if verify != "required":
        draft.lost.append(f"client-verify = {verify}: here clients always need a certificate")
    for listen in fronts or ["0.0.0.0:8443"]:
        listener = draft.listener(
            "hitch", mode="terminate", listen=listen, upstream=backend, protocol="tcp", allow=["any"]
        )
        draft.in_the_clear(listener, "backend", backend)
        if shared.get("write-proxy-v2") == "on" or shared.get("write-proxy") == "on":
            listener["proxy_protocol"] = "v2"
        if "backend-connect-timeout" in shared:
            listener["limits.upstream_connect_timeout"] = f"{shared['backend-connect-timeout']}s"
        if "ssl-handshake-timeout" in shared:
            listener["limits.handshake_timeout"] = f"{shared['ssl-handshake-timeout']}s"
    if not fronts:
        draft.notes.append("frontend: hitch's own default is [*]:8443")
    if shared.get("write-proxy-v1") == "on" or shared.get("write-ip") == "on":
        draft.lost.append(
            'write-proxy-v1, write-ip: proxy_protocol = "v2" is what there is: the service has to read it'
        )
    if shared.get("proxy-proxy") == "on":
        draft.lost.append("proxy-proxy = on: a PROXY header that a client sends is not read here")
    protos = shared.get("tls-protos", "").split()
    if protos == ["TLSv1.3"]:
        draft.tables["tls"] = {"min_version": "1.3"}
    elif set(protos) & {"SSLv3", "TLSv1.0", "TLSv1.1"}:
        draft.notes.append(f"tls-protos = {' '.join(protos)}: TLS 1.2 and 1.3 are spoken")
    _rest(draft, shared)
    return draft


_USED = frozenset(
    [
        "frontend",
        "backend",
        "pem-file",
        "client-verify",
        "client-verify-ca",
        "write-proxy",
        "write-proxy-v1",
        "write-proxy-v2",
        "write-ip",
        "proxy-proxy",
        "backend-connect-timeout",
        "ssl-handshake-timeout",
        "workers",
        "alpn-protos",
        "pem-dir",
        "pem-dir-glob",
    ]
)


def _rest(draft: Draft, shared: dict[str, str]) -> None:
    for key, value in shared.items():
        if key in _GUARDS and value not in ("off", ""):
            draft.lost.append(f"{key} = {value}: {_GUARDS[key]}")
        elif key in _HARMLESS:
            if _HARMLESS[key]:
                draft.notes.append(f"{key} = {value}: {_HARMLESS[key]}")
        elif key == "workers":
            draft.notes.append(f"workers = {value}: the top level has workers, too; one process does for most")
        elif key == "alpn-protos":
            draft.notes.append(f'alpn-protos = {value}: say protocol = "http" for HTTP/1.1')
        elif key in ("pem-dir", "pem-dir-glob"):
            draft.lost.append(f"{key} = {value}: name one certificate in [identity]")
        elif key not in _USED and key not in _GUARDS:
            draft.lost.append(f"{key} = {value}: there is nothing like it here")


def _pem(draft: Draft, value: str | list[Entry]) -> None:
    """A combined PEM, or a block that names its parts."""
    if isinstance(value, str):
        draft.use("pem-file", cert=value)
        return
    parts = {key: part for _, key, part in value if isinstance(part, str)}
    draft.use("pem-file", cert=parts.get("cert", ""), key=parts.get("private-key", ""))


def _of(block: list[Entry], *keys: str) -> str:
    found = {key: value for _, key, value in block if isinstance(value, str)}
    host, port = (found.get(key, "") for key in keys)
    return f"[{host or '*'}]:{port}"


def _address(text: str, line: int) -> str:
    """``[HOST]:PORT``, or a Unix socket's path."""
    if text.startswith("/"):
        return f"unix:{text}"
    host, _, name = text.rpartition(":")
    host, port = host.strip("[]"), port_of(name)
    if not port:
        at = f"line {line}: " if line else ""
        raise MigrateError(f"{at}{text!r} is not an address as [HOST]:PORT")
    if host in ("", "*"):
        host = "0.0.0.0"  # noqa: S104 - what hitch does
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _tokens(text: str) -> Iterator[tuple[int, str, bool]]:
    """Line, text, and whether it is a sign of the grammar."""
    position, line = 0, 1
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise MigrateError(f"line {line}: not understood: {text[position:].splitlines()[0]!r}")
        if match["brace"]:
            yield line, match["brace"], True
            value = _BARE_VALUE.match(text, match.end()) if match["brace"] == "=" else None
            if value is not None:
                yield line, value[1].strip(), False
                position = value.end()
                continue
        elif match["quoted"] is not None:
            yield line, re.sub(r"\\(.)", r"\1", match["quoted"]), False
        elif match["word"]:
            yield line, match["word"], False
        line += text.count("\n", position, match.end())
        position = match.end()


def _entries(tokens: Iterator[tuple[int, str, bool]], depth: int = 0) -> Iterator[Entry]:
    for line, key, sign in tokens:
        if sign:
            if key == "}" and depth:
                return
            raise MigrateError(f"line {line}: {key!r} where a key is expected")
        _, equals, is_sign = next(tokens, (line, "its end", False))
        if equals != "=" or not is_sign:
            raise MigrateError(f"line {line}: {key} is not followed by =")
        at, value, is_sign = next(tokens, (line, "its end", True))
        if not is_sign:
            yield line, key, value
        elif value == "{" and depth < 4:
            yield line, key, list(_entries(tokens, depth + 1))
        else:
            raise MigrateError(f"line {at}: {key} has no value")
    if depth:
        raise MigrateError("a block has no end")
