"""The forms that values have in the file: how each is read, what the JSON Schema says of it, how it is written back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from certs.durations import DURATION_PATTERN
from tlsidecar.config import http_values, values
from tlsidecar.config.addresses import parse_dns_name, parse_ip_address, parse_listen_address, parse_upstream_address
from tlsidecar.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class One:
    """One value. ``parse`` raises InvalidValue."""

    parse: Callable[[object], object]
    schema: dict[str, Any]
    show: Callable[[Any], object] = lambda value: value


@dataclass(frozen=True, slots=True)
class Many:
    """An array of values, kept as a tuple. ``or_one``: a value alone may stand for an array of it."""

    item: One
    at_least: int = 0
    or_one: bool = False

    @property
    def schema(self) -> dict[str, Any]:
        array: dict[str, Any] = {"type": "array", "items": self.item.schema}
        if self.at_least:
            array["minItems"] = self.at_least
        return {"anyOf": [self.item.schema, array]} if self.or_one else array


Form = One | Many


def one_of(*words: str) -> One:
    """One of a few words."""
    return One(values.choice(*words), {"type": "string", "enum": list(words)}, str)


def _text(**keywords: object) -> dict[str, Any]:
    return {"type": "string", **keywords}


_TOKEN = _text(pattern=http_values.TOKEN_PATTERN)

TEXT = One(values.parse_text, _text(minLength=1))
ALPN_NAME = One(values.parse_alpn, _text(pattern=values.ALPN_PATTERN))
NAME = One(values.parse_name, _text(pattern=values.NAME_PATTERN))
IDENTITY_NAMES = Many(NAME, at_least=1, or_one=True)
PATH = One(values.parse_path, _text(minLength=1), str)
TRUST = Many(
    One(
        values.parse_trust,
        {
            "anyOf": [
                _text(minLength=1),
                {
                    "type": "object",
                    "properties": {"path": _text(minLength=1), "trust_domain": _text(minLength=1)},
                    "required": ["path"],
                    "additionalProperties": False,
                },
            ]
        },
        values.show_trust,
    ),
    at_least=1,
    or_one=True,
)
DURATION = One(values.parse_duration, _text(pattern=DURATION_PATTERN), values.show_duration)
DURATION_OR_ZERO = One(values.parse_duration_or_zero, DURATION.schema, values.show_duration)
SIZE = One(values.parse_size, _text(pattern=values.SIZE_PATTERN), values.show_size)
RATE = One(values.parse_rate, _text(pattern=values.RATE_PATTERN), values.show_rate)
SHARE = One(values.parse_share, _text(pattern=values.SHARE_PATTERN), values.show_share)
HTTPS_URL = One(http_values.parse_https_url, _text(pattern="^https://"))
SPIFFE_ENDPOINT = One(values.parse_spiffe_endpoint, _text(pattern="^(unix:/|tcp://)"))
HTTP_URL = One(http_values.parse_http_url, _text(pattern=http_values.HTTP_URL_PATTERN))
COUNT = One(values.parse_count, {"type": "integer", "minimum": 1})
COUNT_OR_ZERO = One(values.parse_count_or_zero, {"type": "integer", "minimum": 0})
WORKERS = One(
    values.parse_workers,
    {"anyOf": [{"type": "integer", "minimum": 1, "maximum": values.MAX_WORKERS}, {"const": "auto"}]},
)
FLAG = One(values.parse_flag, {"type": "boolean"})

LISTEN_ADDRESS = One(parse_listen_address, _text(minLength=1), str)
UPSTREAM_ADDRESSES = Many(One(parse_upstream_address, _text(minLength=1), str), at_least=1, or_one=True)
DNS_NAME = One(parse_dns_name, _text(minLength=1))
IP_ADDRESS = One(parse_ip_address, _text(minLength=1))
SPIFFE_ID = One(values.parse_spiffe_id, _text(pattern="^spiffe://"))
RULES = Many(One(values.parse_rule, _text(minLength=1)), at_least=1)

HEADER_NAME = One(http_values.parse_header_name, _TOKEN)
TRAILER_NAME = One(http_values.parse_trailer_name, _TOKEN)
UPGRADE = One(http_values.parse_upgrade, _text(pattern=http_values.UPGRADE_PATTERN))
METHOD = One(http_values.parse_method, _text(pattern="^[A-Z][A-Z0-9_-]*$"))
ROUTE_PATH = One(http_values.parse_route_path, _text(pattern="^/"))
HEALTH_PATH = One(http_values.parse_health_path, _text(pattern="^/"))
