"""What a filter's values mean, kind by kind: each becomes a test of one field's value.

Nothing here is a pattern language of the reader's making: an asterisk stands for any text, and every test takes time
in proportion to what it looks at.
"""

from __future__ import annotations

import ipaddress
import operator
import re
from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import lru_cache
from typing import Any, TypeAlias

from tlsidecar.lazy_dataclass import dataclass

MOST_ASTERISKS = 16

Test: TypeAlias = Callable[[Any], bool]
"""Whether a field's value is meant. None, which is a value that is not known, never is."""


class Operator(StrEnum):
    """What stands between a field's colon and the value; the longer ones first, as they are looked for."""

    AT_MOST = "<="
    AT_LEAST = ">="
    LESS = "<"
    MORE = ">"
    EXACTLY = "="
    MATCHES = ""


class ValueKind(StrEnum):
    """What a field's values are."""

    NAME = "name"  # of our own choosing: meant as a whole
    TEXT = "text"  # a part of it is enough
    ADDRESS = "address"
    NUMBER = "number"
    SIZE = "size"  # bytes
    DURATION = "duration"  # seconds
    VERSION = "TLS version"

    @property
    def form(self) -> str:
        """How a value of it is written."""
        return _FORMS[self]


_FORMS = {
    ValueKind.NAME: "the whole name; * stands for any text",
    ValueKind.TEXT: "a part of it; with a *, which stands for any text, the whole of it",
    ValueKind.ADDRESS: "an address, a network such as 10.0.0.0/8, or a part of the text",
    ValueKind.NUMBER: "a whole number",
    ValueKind.SIZE: "bytes: 512, 64KiB, 1.5MiB, 2GiB",
    ValueKind.DURATION: "behind < or >: 500ms, 90s, 5m, 1h30m, 2d",
    ValueKind.VERSION: "1.2 or 1.3",
}


@dataclass(frozen=True, slots=True)
class FilterField:
    """One field that can be asked for."""

    name: str
    kind: ValueKind
    meaning: str
    aliases: tuple[str, ...] = ()

    def test(self, how: Operator, value: str) -> Test:
        """The test for a value so written. Raises ValueError, its text for the reader."""
        if self.kind in (ValueKind.NAME, ValueKind.TEXT, ValueKind.ADDRESS):
            if how is Operator.EXACTLY:
                return lambda held: held == value
            if how is not Operator.MATCHES:
                raise ValueError(f"{self.name} is text, which is matched and not compared: leave out the {how.value}")
            return (
                _address_test(value)
                if self.kind is ValueKind.ADDRESS
                else _text_test(value, self.kind is ValueKind.NAME)
            )
        if self.kind is ValueKind.DURATION and how in (Operator.MATCHES, Operator.EXACTLY):
            raise ValueError(f"{self.name} is a duration, which is compared: {self.name}:>{value}")
        wanted = _READERS[self.kind](value)
        if self.kind is ValueKind.VERSION:
            return _version_test(_COMPARISONS[how], wanted)
        compare = _COMPARISONS[how]
        return lambda held: held is not None and compare(held, wanted)


_COMPARISONS: dict[Operator, Callable[[Any, Any], bool]] = {
    Operator.MATCHES: operator.eq,
    Operator.EXACTLY: operator.eq,
    Operator.LESS: operator.lt,
    Operator.AT_MOST: operator.le,
    Operator.MORE: operator.gt,
    Operator.AT_LEAST: operator.ge,
}


# Text.


def _text_test(value: str, whole: bool) -> Test:
    if not value:
        return lambda held: held == ""
    if "*" in value:
        return _asterisks_test(value.casefold().split("*"))
    wanted = value.casefold()
    if whole:
        return lambda held: held is not None and held.casefold() == wanted
    return lambda held: held is not None and wanted in held.casefold()


def _asterisks_test(parts: Sequence[str]) -> Test:
    """The parts in their order with any text between them: each is looked for once, behind the one before it, since
    the first place it is found leaves most room for the rest."""
    if len(parts) - 1 > MOST_ASTERISKS:
        raise ValueError(f"more than {MOST_ASTERISKS} asterisks")
    first, *middle, last = parts

    def test(held: str | None) -> bool:
        if held is None:
            return False
        text = held.casefold()
        end = len(text) - len(last)
        if not text.startswith(first) or not text.endswith(last) or end < len(first):
            return False
        at = len(first)
        for part in middle:
            at = text.find(part, at, end)
            if at < 0:
                return False
            at += len(part)
        return True

    return test


# Addresses.

_IpAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
_LOOKS_LIKE_A_NETWORK = re.compile(r"[0-9A-Fa-f.:]+/[0-9]+")


def _address_test(value: str) -> Test:
    if _LOOKS_LIKE_A_NETWORK.fullmatch(value):
        try:
            network = ipaddress.ip_network(value, strict=False)
        except ValueError:
            raise ValueError(f"{value!r} is no network: 10.0.0.0/8, fd00::/8") from None
        return lambda held: held is not None and (ip := ip_of(held)) is not None and ip in network
    wanted = _ip(value.removeprefix("[").removesuffix("]"))
    if wanted is not None:
        return lambda held: held is not None and ip_of(held) == wanted
    host, _, port = value.rpartition(":")
    if port.isdigit() and _ip(host.removeprefix("[").removesuffix("]")) is not None:
        return lambda held: held == value
    return _text_test(value, False)


def ip_of(address: str) -> _IpAddress | None:
    """The IP address of ``192.0.2.1:443`` or ``[2001:db8::1]:443``; None for what has none."""
    if address.startswith("["):
        return _ip(address[1:].partition("]")[0])
    return _ip(address.rpartition(":")[0] if address.count(":") == 1 else address)


@lru_cache(maxsize=4096)
def _ip(text: str) -> _IpAddress | None:
    try:
        ip = ipaddress.ip_address(text)
    except ValueError:
        return None
    return ip.ipv4_mapped or ip if isinstance(ip, ipaddress.IPv6Address) else ip


# Amounts.

_NUMBER = re.compile(r"[0-9]{1,18}")
_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,3})?)((?:[kmgt](?:i?b)?|b)?)", re.IGNORECASE)
_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,3})?)(ms|s|m|h|d)")
_VERSION = re.compile(r"(?:TLSv)?([0-9])\.([0-9])", re.IGNORECASE)
_DURATION_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def _number(value: str) -> int:
    if _NUMBER.fullmatch(value) is None:
        raise ValueError(f"{value!r} is no whole number")
    return int(value)


def _size(value: str) -> float:
    found = _SIZE.fullmatch(value)
    if found is None:
        raise ValueError(f"{value!r} is no size: 512, 64KiB, 1.5MiB")
    unit = found[2].lower()
    step = 1000 if unit.endswith("b") and "i" not in unit else 1024  # kB is the SI's; K alone is what the tables show
    power = max(0, " kmgt".find(unit[:1] or " "))
    return float(found[1]) * float(step**power)


def _duration_s(value: str) -> float:
    if _NUMBER.fullmatch(value):
        return float(value)
    total, at = 0.0, 0
    while at < len(value):
        found = _DURATION.match(value, at)
        if found is None:
            break
        total += float(found[1]) * _DURATION_UNITS_S[found[2]]
        at = found.end()
    if not value or at < len(value):
        raise ValueError(f"{value!r} is no duration: 90s, 5m, 1h30m")
    return total


def _version(value: str) -> tuple[str, str]:
    found = _VERSION.fullmatch(value)
    if found is None:
        raise ValueError(f"{value!r} is no TLS version: 1.2, 1.3")
    return found[1], found[2]


def _version_test(compare: Callable[[Any, Any], bool], wanted: object) -> Test:
    def test(held: str | None) -> bool:
        found = _VERSION.fullmatch(held or "")
        return found is not None and compare((found[1], found[2]), wanted)

    return test


_READERS: dict[ValueKind, Callable[[str], object]] = {
    ValueKind.NUMBER: _number,
    ValueKind.SIZE: _size,
    ValueKind.DURATION: _duration_s,
    ValueKind.VERSION: _version,
}
