"""What a request to the admin API asks for: the values in its path, its query and its body, each checked.

Whatever is wrong raises ApiError (400), whose text names the parameter and says what it may be.
"""

from __future__ import annotations

from collections.abc import Mapping

from tlsidecar.admin.messages import AdminRequest, ApiError, whole_number
from tlsidecar.api.filter import Filter, FilterError, Vocabulary, parse

MOST_EXPECTED = 2**31


def connection_id_of(request: AdminRequest) -> int:
    """The number in the path."""
    return _path_number(request, "connection")


def denial_id_of(request: AdminRequest) -> int:
    """The number in the path."""
    return _path_number(request, "denial")


def filter_of(query: Mapping[str, str], vocabulary: Vocabulary) -> Filter:
    """What ``filter`` asks for. The error has the place of what is wrong."""
    try:
        return parse(query.get("filter", ""), vocabulary)
    except FilterError as error:
        raise ApiError(400, f"filter: {error}", position=error.position) from None


def choice(query: Mapping[str, str], name: str, values: tuple[str, ...], default: str) -> str:
    """One of ``values``."""
    value = query.get(name, default)
    if value not in values:
        raise ApiError(400, f"{name} is one of {', '.join(values)}")
    return value


def integer(query: Mapping[str, str], name: str, default: int, lowest: int, highest: int) -> int:
    """A whole number within bounds, which belong to it."""
    text = query.get(name)
    if text is None:
        return default
    found = whole_number(text)
    if found is None or not lowest <= found <= highest:
        raise ApiError(400, f"{name} is a number from {lowest} to {highest}")
    return found


def expected_in_query(query: Mapping[str, str]) -> int:
    """How many connections the caller saw when it asked."""
    found = whole_number(query.get("expected", ""))
    if found is None:
        raise ApiError(400, "expected is missing: how many connections are meant, as /v1/connections counts them")
    return found


def fields_of(request: AdminRequest, *known: str) -> Mapping[str, object]:
    """The request's body, whose fields may be these and no others."""
    body = request.json_body()
    unknown = sorted(set(body) - set(known))
    if unknown:
        raise ApiError(400, f"unknown field {unknown[0]!r}")
    return body


def number(body: Mapping[str, object], name: str, lowest: float, highest: float) -> float | None:
    """A number within bounds, which belong to it; None where the body has none, or null."""
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ApiError(400, f"{name} is a number")
    if not lowest <= value <= highest:  # nor is NaN
        raise ApiError(400, f"{name} is from {lowest:g} to {highest:g}")
    return value


def whole(body: Mapping[str, object], name: str, lowest: int, highest: int) -> int | None:
    """As :func:`number`, without a fraction."""
    value = number(body, name, lowest, highest)
    if value is not None and value != int(value):
        raise ApiError(400, f"{name} is a whole number")
    return None if value is None else int(value)


def expected_in_body(body: Mapping[str, object]) -> int | None:
    """How many connections the caller saw when it asked; None: it does not say."""
    return whole(body, "expected", 0, MOST_EXPECTED)


def _path_number(request: AdminRequest, what: str) -> int:
    found = whole_number(request.path_values["id"])
    if found is None:
        raise ApiError(400, f"a {what}'s id is a number")
    return found
