"""stunnel's configuration file (stunnel(8)): global options, then services in brackets."""

from __future__ import annotations

from collections.abc import Mapping

from tlsidecar.migrate.draft import Draft, MigrateError, Value, port_of, seconds

_SECURITY_LEVEL = 2  # of OpenSSL, as ours is set

# What has no counterpart and guards nothing (but see _guards), with why; an empty reason is not worth a word.
_HARMLESS = {
    "chroot": "the systemd unit and the container confine it",
    "setuid": "run it as the user it is to be",
    "setgid": "run it as the group it is to be",
    "pid": "it writes no file with its number",
    "foreground": "",
    "debug": "[log] level",
    "output": "[log] file",
    "log": "[log] file",
    "syslog": "systemd and containers take the log from stderr",
    "service": "",
    "socket": "socket options are set as they should be",
    "compression": "TLS compression is off, as it has to be",
    "renegotiation": "renegotiation is refused",
    "sessioncachesize": "sessions are not resumed: the access rules are judged in each handshake",
    "sessioncachetimeout": "sessions are not resumed: the access rules are judged in each handshake",
    "sessionresume": "sessions are not resumed: the access rules are judged in each handshake",
    "ticketkeysecret": "sessions are not resumed: the access rules are judged in each handshake",
    "ticketmacsecret": "sessions are not resumed: the access rules are judged in each handshake",
    "ciphers": "the AEAD suites with forward secrecy, always",
    "ciphersuites": "the AEAD suites with forward secrecy, always",
    "curves": "[tls] groups",
    "curve": "[tls] groups",
    "fips": "the OpenSSL that comes with it has no FIPS provider",
    "engine": "keys are read from files",
    "rndbytes": "",
    "rndfile": "",
    "rndoverwrite": "",
    "egd": "",
    "taskbar": "",
    "delay": "a name is resolved when it is needed",
    "retry": "",
    "reset": "",
    "libwrap": "addresses are for the firewall: certificates say here who may connect",
    "securitylevel": f"security level {_SECURITY_LEVEL}, always",
    "logid": "",
    "local": "",
    "stack": "",
}
_LIMITS = {
    "timeoutbusy": "limits.handshake_timeout",
    "timeoutclose": "limits.close_timeout",
    "timeoutconnect": "limits.upstream_connect_timeout",
    "timeoutidle": "limits.idle_timeout",
}
_STARTTLS = {"pgsql": "postgres", "smtp": "smtp"}
_USED = frozenset(
    [
        "client",
        "accept",
        "connect",
        "cert",
        "key",
        "cafile",
        "capath",
        "crlfile",
        "verify",
        "verifychain",
        "verifypeer",
        "requirecert",
        "checkhost",
        "checkip",
        "checkemail",
        "sni",
        "options",
        "sslversion",
        "sslversionmin",
        "sslversionmax",
        "protocol",
        "failover",
    ]
)

Section = dict[str, list[str]]


def read(text: str) -> Draft:
    """Raises :class:`MigrateError` naming the line."""
    draft = Draft("a stunnel file")
    shared, services = _parse(text)
    for name, own in services:
        _service(draft, name, shared | own)
    return draft


def _parse(text: str) -> tuple[Section, list[tuple[str, Section]]]:
    shared: Section = {}
    services: list[tuple[str, Section]] = []
    at = shared
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.strip().removeprefix("\ufeff")
        if not line or line[0] in "#;":
            continue
        if line.startswith("["):
            if not line.endswith("]"):
                raise MigrateError(f"line {number}: a service's name has no end: {line!r}")
            at = {}
            services.append((line[1:-1].strip(), at))
            continue
        key, equals, value = line.partition("=")
        if not equals:
            raise MigrateError(f"line {number}: neither a service nor option = value: {line!r}")
        at.setdefault(key.strip().lower(), []).append(value.strip())
    if not services:
        if "accept" not in shared:
            raise MigrateError("there is no service in it")
        services.append(("stunnel", {}))
    return shared, services


def _service(draft: Draft, name: str, options: Section) -> None:
    def last(key: str) -> str:
        return options.get(key, [""])[-1]

    client = last("client").lower() == "yes"
    if not last("accept") or not last("connect"):
        what = "runs a program (exec)" if last("exec") else "has no accept or no connect"
        draft.lost.append(f"[{name}]: it {what}: it was left out")
        return
    try:
        listen = _address(last("accept"), "127.0.0.1" if client else "0.0.0.0")  # noqa: S104 - what stunnel does
        upstreams = [_address(each, "127.0.0.1") for each in options["connect"]]
        limits = {key: seconds(last(option)) for option, key in _LIMITS.items() if last(option) not in ("", "0")}
    except MigrateError as error:
        raise MigrateError(f"[{name}]: {error}") from None
    mode = "originate" if client else "terminate"
    listener = draft.listener(name, mode=mode, listen=listen, upstream=upstreams, protocol="tcp")
    draft.use(f"[{name}]", cert=last("cert"), key=last("key"), trust=last("cafile"), crl=last("crlfile"))
    draft.in_the_clear(listener, f"[{name}]", *([listen] if client else upstreams))
    _verification(draft, name, listener, options, client=client)
    _version(draft, name, options)
    protocol = last("protocol").lower()
    if protocol == "proxy":
        listener["proxy_protocol"] = "v2"
        draft.notes.append(f"[{name}]: protocol = proxy: version 2 of it, not 1: the service has to read that")
    elif protocol in _STARTTLS:
        listener["starttls"] = _STARTTLS[protocol]
    elif protocol:
        draft.lost.append(f"[{name}]: protocol = {protocol}: not understood here")
    if last("sni"):
        if client:
            listener["server_name"] = last("sni")
        else:
            draft.lost.append(f"[{name}]: sni = {last('sni')}: one listener serves all names with one certificate")
    listener.update(limits)
    for key, values in options.items():
        if key in _HARMLESS and _guards(key, values[-1]):
            draft.lost.append(f"[{name}]: {key} = {values[-1]}: {_HARMLESS[key]}")
        elif key in _HARMLESS:
            if _HARMLESS[key]:
                draft.notes.append(f"{key} = {values[-1]}: {_HARMLESS[key]}")
        elif key not in _USED and key not in _LIMITS:
            draft.lost.append(f"[{name}]: {key} = {values[-1]}: there is nothing like it here")


def _guards(key: str, value: str) -> bool:
    """Whether what is harmless otherwise kept somebody out, or a key safe, with this value."""
    if key in ("libwrap", "fips"):
        return value.lower() == "yes"
    if key == "securitylevel":
        return value.isdecimal() and int(value) > _SECURITY_LEVEL
    return key == "engine" and bool(value)


def _verification(
    draft: Draft, name: str, listener: dict[str, Value], options: Mapping[str, list[str]], *, client: bool
) -> None:
    """Who may talk: stunnel checks nothing of its own accord, and names only with checkHost and its like."""

    def last(key: str) -> str:
        return options.get(key, [""])[-1].lower()

    rules = [f"dns:{each}" for each in options.get("checkhost", ())] + [
        f"ip:{each}" for each in options.get("checkip", ())
    ]
    if "checkemail" in options:
        draft.lost.append(f"[{name}]: checkEmail = {options['checkemail'][-1]}: there is no rule for e-mail addresses")
    verified = last("verifychain") == "yes" or last("verifypeer") == "yes" or last("verify") in ("2", "3", "4")
    if last("verifypeer") == "yes" or last("verify") in ("3", "4"):
        draft.lost.append(
            f"[{name}]: it trusts single certificates (verifyPeer), not CAs: allow sha256: rules say so here"
        )
    if not verified:
        who = "the server was not verified" if client else "clients needed no certificate"
        draft.lost.append(f"[{name}]: {who}: here both ends show one and are verified, always")
    if "capath" in options:
        draft.lost.append(f"[{name}]: CApath = {options['capath'][-1]}: put its CAs into one file, in [identity] trust")
    if rules:
        listener["expect" if client else "allow"] = rules
    elif not client:
        listener["allow"] = ["any"]
    elif verified:
        draft.notes.append(f"[{name}]: the server's name was not checked; here it is: expect says who it has to be")


def _version(draft: Draft, name: str, options: Mapping[str, list[str]]) -> None:
    low = options.get("sslversionmin", options.get("sslversion", [""]))[-1].lower()
    if low == "tlsv1.3":
        draft.tables["tls"] = {"min_version": "1.3"}
    elif low not in ("", "all", "tlsv1.2"):
        draft.notes.append(f"[{name}]: {low} is not spoken any more: TLS 1.2 and 1.3 are")
    high = options.get("sslversionmax", [""])[-1].lower()
    if high not in ("", "all", "tlsv1.3"):
        draft.notes.append(f"[{name}]: sslVersionMax = {high}: TLS 1.3 is always spoken")
    for option in options.get("options", ()):
        draft.notes.append(f"[{name}]: options = {option}: OpenSSL's options are set as they should be")


def _address(text: str, host: str) -> str:
    """``[HOST:]PORT`` or a Unix socket's path."""
    if text.startswith("/"):
        return f"unix:{text}"
    before, colon, name = text.rpartition(":")
    port = port_of(name)
    if not port:
        raise MigrateError(f"{text!r} is not an address: [HOST:]PORT, the port by its number or its name")
    if not colon:
        return f"{host}:{port}"
    before = before.strip("[]") or "::"
    return f"[{before}]:{port}" if ":" in before else f"{before}:{port}"
