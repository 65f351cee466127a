"""ghostunnel's command line (its docs: ``ghostunnel help server``, ``help client``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tlsidecar.migrate.draft import Draft, MigrateError, Value, loopback

_BOOLEAN = frozenset(
    [
        "allow-all",
        "disable-authentication",
        "enable-pprof",
        "enable-shutdown",
        "proxy-protocol",
        "quiet",
        "syslog",
        "unsafe-target",
        "unsafe-listen",
        "use-workload-api",
        "auto-acme-agree-to-tos",
        "skip-resolve",
        "keychain-require-token",
        "disable-landlock",
        "use-landlock",
        "help",
        "version",
    ]
)

# Flags that name who may talk, and the kind of rule that each becomes.
_RULES = {"cn": "cn", "ou": "ou", "dns": "dns", "uri": "uri"}

# What has no counterpart and guards nothing, with why.
_HARMLESS = {
    "metrics-graphite": "metrics are scraped from /metrics of [metrics] or of the admin socket",
    "metrics-url": "metrics are scraped from /metrics of [metrics] or of the admin socket",
    "metrics-prefix": "metric names are fixed",
    "metrics-interval": "metrics are scraped",
    "enable-pprof": "there is no profiler in it",
    "enable-shutdown": "tlsidecar shutdown does it, over the admin socket only",
    "quiet": "[log] level and access choose what is logged",
    "syslog": "the log goes to stderr or [log] file: systemd and containers take it from there",
    "skip-resolve": "an upstream's name is resolved when it is needed, never at the start",
    "timed-reload": "files are looked at every second, whatever was set",
    "use-landlock": "the sandbox is on by default, where it is built in",
    "disable-landlock": "the sandbox is on by default, where it is built in",
    "auto-acme-agree-to-tos": "",
}
_PUBLIC_CA = "https://acme-v02.api.letsencrypt.org/directory"
_TEST_CA = "https://acme-staging-v02.api.letsencrypt.org/directory"
_DURATIONS = {
    "shutdown-timeout": "limits.drain_timeout",
    "connect-timeout": "limits.upstream_connect_timeout",
    "close-timeout": "limits.close_timeout",
    "max-conn-lifetime": "limits.max_connection_age",
}


def read(words: Sequence[str]) -> Draft:
    """``words`` as they follow ``ghostunnel``. Raises :class:`MigrateError`."""
    mode, flags = _parse([word for word in words if word != "--"])
    draft = Draft("ghostunnel's flags")
    server = mode == "server"
    listen, target = (_address(flags, key) for key in ("listen", "target"))
    listener = draft.listener(
        mode, mode="terminate" if server else "originate", listen=listen, upstream=target, protocol="tcp"
    )
    _material(draft, flags, mode)
    _access(draft, listener, flags, server=server)
    draft.in_the_clear(listener, mode, target if server else listen)
    if flags.get("override-server-name"):
        listener["server_name"] = flags["override-server-name"][-1]
    if "proxy-protocol" in flags or "proxy-protocol-mode" in flags:
        listener["proxy_protocol"] = "v2"
    for flag, key in _DURATIONS.items():
        if flag in flags and flags[flag][-1] not in ("0", "0s"):
            listener[key] = flags[flag][-1]
    if "max-concurrent-conns" in flags and flags["max-concurrent-conns"][-1] != "0":
        listener["limits.max_connections"] = _number(flags["max-concurrent-conns"][-1], "--max-concurrent-conns")
    if "status" in flags:
        address = flags["status"][-1].removeprefix("http://").removeprefix("https://")
        if loopback(address) and not address.startswith("unix:"):
            draft.tables["admin"] = {"http": address}
        else:
            draft.notes.append(f"--status {address}: [admin] http is on loopback only")
    known = {*_HARMLESS, *_DURATIONS, *_USED}
    for flag, values in flags.items():
        if flag in _HARMLESS:
            if _HARMLESS[flag]:
                draft.notes.append(f"--{flag}: {_HARMLESS[flag]}")
        elif flag not in known and not flag.startswith(("allow-", "verify-")):
            draft.lost.append(f"--{flag} {' '.join(values)}".rstrip() + ": there is nothing like it here")
    return draft


_USED = frozenset(
    [
        "listen",
        "target",
        "keystore",
        "cert",
        "key",
        "cacert",
        "storepass",
        "allow-all",
        "disable-authentication",
        "unsafe-target",
        "unsafe-listen",
        "override-server-name",
        "proxy-protocol",
        "proxy-protocol-mode",
        "max-concurrent-conns",
        "status",
        "use-workload-api",
        "use-workload-api-addr",
        "auto-acme-cert",
        "auto-acme-email",
        "auto-acme-ca",
        "auto-acme-testca",
    ]
)


def _parse(words: Sequence[str]) -> tuple[str, dict[str, list[str]]]:
    mode = ""
    flags: dict[str, list[str]] = {}
    rest = list(words)
    if rest and rest[0].rpartition("/")[2] == "ghostunnel":
        del rest[0]
    while rest:
        word = rest.pop(0)
        if not word.startswith("-"):
            if mode or word not in ("server", "client"):
                raise MigrateError(f"ghostunnel: {word!r} is neither server nor client nor a flag")
            mode = word
            continue
        name, equals, value = word.lstrip("-").partition("=")
        if not equals and name not in _BOOLEAN:
            if not rest:
                raise MigrateError(f"ghostunnel: --{name} needs a value")
            value = rest.pop(0)
        if equals and name in _BOOLEAN and value == "false":
            continue
        flags.setdefault(name, []).append(value)
    if not mode:
        raise MigrateError("ghostunnel: its flags begin with server or client")
    return mode, flags


def _address(flags: Mapping[str, Sequence[str]], key: str) -> str:
    if key not in flags:
        raise MigrateError(f"ghostunnel: there is no --{key}")
    address = flags[key][-1]
    if address.startswith(("systemd:", "launchd:")):
        raise MigrateError(f"ghostunnel: --{key} {address}: sockets by name come with the unit: give the address here")
    return f"0.0.0.0{address}" if address.startswith(":") else address  # noqa: S104 - what ghostunnel does


def _material(draft: Draft, flags: Mapping[str, Sequence[str]], mode: str) -> None:
    def last(flag: str) -> str:
        return flags[flag][-1] if flag in flags else ""

    if "use-workload-api" in flags or "use-workload-api-addr" in flags:
        draft.identity["spiffe_socket"] = last("use-workload-api-addr") or "unix:///run/spire/agent.sock"
        return
    if "auto-acme-cert" in flags:
        _acme(draft, flags)
        draft.use(mode, trust=last("cacert"))
        return
    if last("keystore"):
        draft.use(mode, cert=last("keystore"))
        if "storepass" in flags:
            draft.lost.append(
                "--storepass: a passphrase is read from a file that nobody else may read: passphrase_file"
            )
        if last("keystore").endswith(".jks"):
            draft.lost.append("--keystore: Java's own format is not read, PKCS #12 and PEM are")
    draft.use(mode, cert=last("cert"), key=last("key"), trust=last("cacert"))
    if "cacert" not in flags:
        draft.lost.append("--cacert is not given: ghostunnel trusts the system's CAs then, which is not done here")


def _acme(draft: Draft, flags: Mapping[str, Sequence[str]]) -> None:
    draft.identity["dns"] = list(flags["auto-acme-cert"])
    directory = _TEST_CA if "auto-acme-testca" in flags else _PUBLIC_CA
    table: dict[str, Value] = {"directory": flags.get("auto-acme-ca", [directory])[-1], "state": "acme"}
    if "auto-acme-email" in flags:
        table["contact"] = [f"mailto:{flags['auto-acme-email'][-1]}"]
    table["terms_agreed"] = "auto-acme-agree-to-tos" in flags
    draft.tables["identity.acme"] = table


def _access(draft: Draft, listener: dict[str, Value], flags: Mapping[str, Sequence[str]], *, server: bool) -> None:
    prefix, key = ("allow", "allow") if server else ("verify", "expect")
    rules = [f"{kind}:{value}" for flag, kind in _RULES.items() for value in flags.get(f"{prefix}-{flag}", ())]
    rules = [rule.removeprefix("uri:") if rule.startswith("uri:spiffe://") else rule for rule in rules]
    if server and "allow-all" in flags:
        rules.append("any")
    for flag in ("policy", "query"):
        if f"{prefix}-{flag}" in flags:
            draft.lost.append(
                f"--{prefix}-{flag} {flags[f'{prefix}-{flag}'][-1]}: policies in Rego are not judged here"
            )
    if "disable-authentication" in flags:
        if server:
            draft.lost.append("--disable-authentication: clients without a certificate are always refused here")
            rules = rules or ["any"]
        else:
            draft.lost.append("--disable-authentication: the client shows a certificate here, it needs one")
    if rules:
        listener[key] = rules
    elif server:
        draft.lost.append("it names nobody who may connect, and ghostunnel would not start either: add allow")


def _number(text: str, flag: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise MigrateError(f"ghostunnel: {flag} {text!r} is not a number")
    return int(text)
