"""A tlsidecar.toml in the making, with a comment for everything that has no counterpart."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import field

from tlsidecar.lazy_dataclass import dataclass
from tlsidecar.toml_text import toml

Value = str | int | bool | Sequence[str]


class MigrateError(Exception):
    """What was given is not such a configuration; the text says where."""


@dataclass(slots=True)
class Draft:
    """``identity`` and each of ``listeners`` are our keys with their values; keys with a dot are of a sub-table.

    ``lost`` tells what guarded the original and is not in the result, or what it did that we refuse to do: whoever
    puts the result to use has to read those. ``notes`` is everything else that was left out.
    """

    source: str
    identity: dict[str, Value] = field(default_factory=dict)
    listeners: list[dict[str, Value]] = field(default_factory=list)
    tables: dict[str, dict[str, Value]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    def use(self, place: str, **material: str) -> None:
        """Material that a listener at ``place`` shows or trusts: one set serves them all."""
        for key, value in material.items():
            if not value:
                continue
            before = self.identity.setdefault(key, value)
            if before != value:
                self.lost.append(
                    f"{place}: {key} = {value}: the listeners before it use {before}; run a sidecar of its own"
                )

    def listener(self, name: str, **keys: Value) -> dict[str, Value]:
        """A new listener; its name is made one of ours and its own."""
        plain = (
            "".join(each if each.isalnum() else "-" for each in name.lower() if each.isascii()).strip("-") or "listener"
        )
        taken = {each["name"] for each in self.listeners}
        unique = plain[:50]
        number = 2
        while unique in taken:
            unique, number = f"{plain[:50]}-{number}", number + 1
        made: dict[str, Value] = {"name": unique} | keys
        self.listeners.append(made)
        return made

    def in_the_clear(self, listener: dict[str, Value], place: str, *addresses: str) -> None:
        """``addresses`` are those of the listener's side without TLS: one that is not on this machine needs our switch,
        and is told of."""
        switch = "unsafe_upstream" if listener["mode"] == "terminate" else "unsafe_listen"
        for address in addresses:
            if not loopback(address):
                listener[switch] = True
                self.lost.append(f"{place}: {address} is in the clear and not on this machine: as before, by {switch}")

    def text(self) -> str:
        """The file."""
        if not self.listeners:
            self.lost.append("no listener was found that accepts or makes TLS connections")
        # A SPIFFE agent brings both, an ACME CA the certificate.
        brought = {"spiffe_socket": ("cert", "trust"), "dns": ("cert",)}
        given = {key for source, keys in brought.items() if source in self.identity for key in keys}
        for key in ("cert", "trust"):
            if key not in self.identity and key not in given:
                self.identity[key] = f"{'tls' if key == 'cert' else 'ca'}.crt"
                what = "our certificate" if key == "cert" else "the CAs that may vouch for peers"
                self.lost.append(f"{key}: it names no file with {what}: put it in its place")
        lines = [f"# Made by tlsidecar import from {_one_line(self.source)}. Try it: tlsidecar check --config FILE"]
        lines += _comments("What guarded the original, or that it allowed, and is not so here", self.lost)
        lines += _comments("Left out", self.notes)
        lines += ["", "[identity]", *_keys(self.identity)]
        for name, table in self.tables.items():
            lines += ["", f"[{name}]", *_keys(table)]
        for listener in self.listeners:
            lines += ["", "[[listener]]", *_keys({key: value for key, value in listener.items() if "." not in key})]
            tables = dict.fromkeys(key.rpartition(".")[0] for key in listener if "." in key)
            for name in tables:
                lines += ["", f"[listener.{name}]"]
                lines += _keys(
                    {key.rpartition(".")[2]: value for key, value in listener.items() if key.startswith(f"{name}.")}
                )
        return "\n".join(lines) + "\n"


def seconds(text: str) -> str:
    """A number of seconds as a duration of ours. Raises :class:`MigrateError`."""
    if not (text.isascii() and text.isdigit()) or int(text) == 0:
        raise MigrateError(f"{text!r} is not a number of seconds")
    return f"{int(text)}s"


def port_of(text: str) -> int:
    """A port by its number, or by its name in /etc/services; 0 where it is neither."""
    if text.isascii() and text.isdigit():
        return int(text) if len(text) <= 5 and int(text) < 65536 else 0
    try:
        return socket.getservbyname(text, "tcp")
    except (OSError, ValueError):
        return 0


def loopback(address: str) -> bool:
    """Whether only this machine reaches it."""
    host = address.rpartition(":")[0].strip("[]")
    return address.startswith("unix:") or host == "localhost" or host == "::1" or host.startswith("127.")


def _comments(title: str, texts: Sequence[str]) -> list[str]:
    return [f"# {title}:", *(f"#   {_one_line(text)}" for text in dict.fromkeys(texts))] if texts else []


def _one_line(text: str) -> str:
    """Safe in a comment: TOML allows no control characters there, and a line's end would end it."""
    return "".join(each if each.isprintable() else "?" for each in text)


def _keys(table: Mapping[str, Value]) -> list[str]:
    return [f"{key} = {toml(value)}" for key, value in table.items()]
