"""How single values are written: durations, sizes, rates, counts, paths, names. Each is parsed here and shown here.

Values whose grammar is HTTP's are in :mod:`.http_values`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from certs.durations import InvalidDuration, parse_seconds
from certs.spiffe import trust_domain_problem
from tlsidecar.config.problems import InvalidValue, did_you_mean, quoted
from tlsidecar.settings import TrustFile

SIZE_PATTERN = r"^[0-9]{1,15}(B|KiB|MiB|GiB)$"
RATE_PATTERN = r"^[0-9]{1,9}(\.[0-9]{1,9})?/(s|m|h)$"
SHARE_PATTERN = r"^[0-9]{1,3}(\.[0-9]{1,4})?%$"
ALPN_PATTERN = r"^[\x21-\x7e]{1,255}$"
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_LEAST_AMOUNT = {"ms": 1, "s": 1, "m": 2, "h": 1, "d": 2}  # "60s" and "24h" read better than "1m" and "1d"
_BYTES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_LONGEST_DURATION_S = 3660 * 86400.0
_LARGEST_SIZE_BYTES = 1 << 40
_LARGEST_COUNT = 10_000_000
MAX_WORKERS = 256


def parse_duration(value: object) -> float:
    """Seconds, above zero, from ``"10s"``, ``"1.5h"``, ``"200ms"`` or ``"1h30m"``.

    Raises InvalidValue.
    """
    seconds = parse_duration_or_zero(value)
    if seconds == 0:
        raise InvalidValue("must be longer than zero")
    return seconds


def parse_duration_or_zero(value: object) -> float:
    """The same, where zero has a meaning."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not isinstance(value, str) and not number:
        raise InvalidValue(f"{quoted(value)} is not a duration", 'write for example "10s", "5m" or "24h"')
    try:
        seconds = parse_seconds(str(value))
    except InvalidDuration as error:
        raise InvalidValue(error.message, error.suggestion) from None
    if seconds > _LONGEST_DURATION_S:
        raise InvalidValue(f"{quoted(value)} is longer than ten years")
    return seconds


def show_duration(seconds: float) -> str:
    """The shortest exact way to write it: 3600.0 is ``1h``, 75.0 is ``75s``, 0.2 is ``200ms``."""
    for unit in ("d", "h", "m", "s", "ms"):
        amount = seconds / _SECONDS[unit]
        if amount >= _LEAST_AMOUNT[unit] and abs(amount - round(amount)) < 1e-9:
            return f"{round(amount)}{unit}"
    return f"{seconds:.9f}".rstrip("0").rstrip(".") + "s"


def parse_size(value: object) -> int:
    """Bytes, above zero, from ``"64KiB"``, ``"1MiB"`` or ``"512B"``.

    Raises InvalidValue.
    """
    if not isinstance(value, str) or not re.fullmatch(SIZE_PATTERN, value):
        raise InvalidValue(f"{quoted(value)} is not a size", _size_suggestion(value))
    amount, unit = re.fullmatch(r"([0-9]+)([A-Za-z]+)", value).groups()  # type: ignore[union-attr] # it matched above
    size = int(amount) * _BYTES[unit]
    if not 0 < size <= _LARGEST_SIZE_BYTES:
        raise InvalidValue("must be above zero and at most 1024GiB")
    return size


def show_size(size_bytes: int) -> str:
    """``64KiB``, or plain bytes where no larger unit is exact."""
    for unit in ("GiB", "MiB", "KiB"):
        if size_bytes and size_bytes % _BYTES[unit] == 0:
            return f"{size_bytes // _BYTES[unit]}{unit}"
    return f"{size_bytes}B"


def parse_rate(value: object) -> float:
    """Events a second, above zero, from ``"100/s"``, ``"90/m"`` or ``"3600/h"``.

    Raises InvalidValue.
    """
    if not isinstance(value, str) or not re.fullmatch(RATE_PATTERN, value):
        raise InvalidValue(f"{quoted(value)} is not a rate", 'write for example "100/s" or "90/m"')
    amount, _, unit = value.partition("/")
    if float(amount) == 0:
        raise InvalidValue("must be above zero")
    return float(amount) / _SECONDS[unit]


def show_rate(events_per_second: float) -> str:
    """The first of ``/s``, ``/m``, ``/h`` that gives a whole number."""
    for unit in ("s", "m", "h"):
        amount = events_per_second * _SECONDS[unit]
        if amount >= 1 and abs(amount - round(amount)) < 1e-9:
            return f"{round(amount)}/{unit}"
    return f"{events_per_second:.9f}".rstrip("0").rstrip(".") + "/s"


def parse_share(value: object) -> float:
    """A share from 0 to 1, from ``"10%"`` or ``"0.5%"``.

    Raises InvalidValue.
    """
    if not isinstance(value, str) or not re.fullmatch(SHARE_PATTERN, value) or float(value[:-1]) > 100:
        raise InvalidValue(f"{quoted(value)} is not a share", 'write for example "100%" or "0.5%"')
    return float(value[:-1]) / 100


def show_share(share: float) -> str:
    """As it is written."""
    return f"{share * 100:.4f}".rstrip("0").rstrip(".") + "%"


def parse_spiffe_endpoint(value: object) -> str:
    """A SPIFFE agent's address (SPIFFE Workload API, section 4.1).

    Raises InvalidValue.
    """
    from certs.spiffe import EndpointError, endpoint_of

    try:
        endpoint_of(parse_text(value))
    except EndpointError as error:
        raise InvalidValue(
            f"{quoted(value)} is not one: {error}", 'write for example "unix:///run/spire/agent.sock"'
        ) from None
    return str(value)


def parse_count(value: object) -> int:
    """A whole number above zero.

    Raises InvalidValue.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidValue(f"{quoted(value)} is not a whole number")
    if not 0 < value <= _LARGEST_COUNT:
        raise InvalidValue(f"must be between 1 and {_LARGEST_COUNT}, not {quoted(value)}")
    return value


def parse_count_or_zero(value: object) -> int:
    """The same, where zero has a meaning."""
    return value if value == 0 and isinstance(value, int) and not isinstance(value, bool) else parse_count(value)


def parse_workers(value: object) -> int:
    """How many worker processes: a number, or ``"auto"`` for one on each core this process may run on.

    Raises InvalidValue.
    """
    if value == "auto":
        return len(os.sched_getaffinity(0))
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidValue(f"{quoted(value)} is not a number of workers", 'write a number or "auto"')
    if not 0 < value <= MAX_WORKERS:
        raise InvalidValue(f"must be between 1 and {MAX_WORKERS}, not {quoted(value)}", 'write a number or "auto"')
    return value


def parse_flag(value: object) -> bool:
    """True or false.

    Raises InvalidValue.
    """
    if not isinstance(value, bool):
        raise InvalidValue(f"{quoted(value)} is neither true nor false", "write true or false, without quotes")
    return value


def parse_path(value: object) -> Path:
    """A path, not yet made absolute.

    Raises InvalidValue.
    """
    text = parse_text(value)
    if text.startswith("~"):
        raise InvalidValue(f"~ is not expanded in {quoted(text)}", "write the whole path")
    return Path(text)


def parse_trust(value: object) -> TrustFile:
    """A path, or a table of a path and the SPIFFE trust domain that it is good for.

    Raises InvalidValue.
    """
    if not isinstance(value, Mapping):
        return TrustFile(parse_path(value))
    unknown = sorted(set(value) - {"path", "trust_domain"})
    if unknown or "path" not in value:
        message = f"{quoted(unknown[0])} is no key of a trust bundle" if unknown else "a trust bundle has no path"
        raise InvalidValue(message, 'write { path = "ca.crt", trust_domain = "prod.example" }')
    domain = value.get("trust_domain", "")
    problem = trust_domain_problem(domain) if isinstance(domain, str) else "it is not text"
    if domain and problem:
        raise InvalidValue(f"{quoted(domain)} is no trust domain: {problem}", 'write for example "prod.example"')
    return TrustFile(parse_path(value["path"]), str(domain))


def show_trust(trusted: TrustFile) -> object:
    """As :func:`parse_trust` would read it again."""
    if not trusted.trust_domain:
        return str(trusted.path)
    return {"path": str(trusted.path), "trust_domain": trusted.trust_domain}


def parse_text(value: object) -> str:
    """Text on one line, not empty.

    Raises InvalidValue.
    """
    if not isinstance(value, str):
        raise InvalidValue(f"a string is needed, not {quoted(value)}")
    if not value:
        raise InvalidValue("is empty", "leave the key out")
    if not value.isprintable():
        raise InvalidValue(f"{quoted(value)} has control characters in it")
    return value


def parse_rule(value: object) -> str:
    """The text of an access rule that is known to parse.

    Raises InvalidValue.
    """
    from certs.errors import RuleError  # not above: cryptography comes with it, and most commands need neither
    from certs.rules import Rule

    text = parse_text(value)
    try:
        return str(Rule.parse(text))
    except RuleError as error:
        raise InvalidValue(error.problem, error.suggestion) from None


def parse_spiffe_id(value: object) -> str:
    """A workload's SPIFFE ID.

    Raises InvalidValue.
    """
    from certs.spiffe import SpiffeId

    text = parse_text(value)
    try:
        return str(SpiffeId.parse(text))
    except ValueError as error:
        raise InvalidValue(f"{quoted(text)} is not a SPIFFE ID: {error}") from None


def parse_alpn(value: object) -> str:
    """The name of a protocol in ALPN (RFC 7301): any bytes, of which only printable ones are in use.

    Raises InvalidValue.
    """
    if not isinstance(value, str) or not re.fullmatch(ALPN_PATTERN, value):
        raise InvalidValue(f"{quoted(value)} is not the name of a protocol in ALPN, as h2 and http/1.1 are")
    return value


def parse_name(value: object) -> str:
    """A listener's name, as it stands in logs and metric labels.

    Raises InvalidValue.
    """
    if not isinstance(value, str) or not re.fullmatch(NAME_PATTERN, value):
        raise InvalidValue(f"{quoted(value)} is not a name: letters, digits, '.', '_', '-', at most 63")
    return value


def choice(*words: str) -> Callable[[object], str]:
    """A parser for one of a few words."""

    def parse(value: object) -> str:
        if isinstance(value, str) and value in words:
            return value
        listed = " or ".join(quoted(word) for word in words)
        hint = did_you_mean(value, words) if isinstance(value, str) and len(words) > 1 else ""
        raise InvalidValue(f"{quoted(value)} is not {listed}", hint or f"write {listed}")

    return parse


def _size_suggestion(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value < _LARGEST_SIZE_BYTES:
        return f'write "{show_size(value)}"'
    decimal = re.fullmatch(r"([0-9]{1,12})([kKmMgG])[bB]?", value) if isinstance(value, str) else None
    if decimal:
        return f'write "{decimal[1]}{decimal[2].upper()}iB"'
    return 'write for example "64KiB" or "1MiB"'
