"""Plain values as JSON and back, by their declared types: what crosses between the controller and a worker.

No pickle: it runs what it reads. Here the reader says what it expects, and what does not fit is refused, so that a
worker taken over by a peer can lie about its counts and no more.

Dataclasses and named tuples travel as the list of their fields, mappings as lists of pairs (keys may be tuples).
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum, StrEnum
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from tlsidecar.lazy_dataclass import dataclass

Plain = Any  # what json reads and writes
T = TypeVar("T")


class WireError(ValueError):
    """What arrived is not what was expected."""


def pack(kind: Any, value: object) -> bytes:
    """``value``, which is of type ``kind``, as bytes."""
    return packed(plain_of(kind, value))


def packed(plain: Plain) -> bytes:
    """What :func:`plain_of` made, as bytes."""
    return json.dumps(plain, separators=(",", ":")).encode()


def plain_of(kind: Any, value: object) -> Plain:
    """``value``, which is of type ``kind``, as a part of something to be :func:`packed`."""
    return _codec(kind).encode(value)


def unpack(kind: Any, data: bytes | memoryview) -> Any:
    """The value of type ``kind`` that these bytes hold. Raises :class:`WireError`."""
    try:
        plain = json.loads(bytes(data))
    except (ValueError, RecursionError) as error:
        raise WireError(f"not JSON: {type(error).__name__}") from None
    return value_of(kind, plain)


def value_of(kind: Any, plain: Plain) -> Any:
    """The value of type ``kind`` that a part of what was unpacked holds. Raises :class:`WireError`."""
    try:
        return _codec(kind).decode(plain)
    except WireError:
        raise
    except (ValueError, TypeError, KeyError, IndexError, RecursionError) as error:
        raise WireError(f"not a {getattr(kind, '__name__', kind)}: {type(error).__name__}") from None


@dataclass(frozen=True, slots=True)
class _Codec:
    encode: Callable[[Any], Plain]
    decode: Callable[[Plain], Any]
    scalar: type | None = None  # for a value that JSON writes as it is: the type that it is read as


@cache
def _codec(kind: Any) -> _Codec:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind in (str, int, float, bool):
        return _Codec(_same, _scalar(kind), kind)
    if kind is bytes:
        return _Codec(bytes.hex, lambda plain: bytes.fromhex(_checked(plain, str)))
    if kind is datetime:
        return _Codec(datetime.timestamp, _moment)
    if isinstance(kind, TypeVar):
        return _codec(kind.__bound__)
    if kind is Path:
        return _Codec(str, lambda plain: Path(_checked(plain, str)))
    if origin in (typing.Union, types.UnionType):
        return _union(arguments)
    if origin is tuple and Ellipsis not in arguments:
        return _record(tuple, [_codec(each) for each in arguments])
    if origin in (tuple, list, Sequence):
        make = list if origin is list else tuple
        item = _codec(arguments[0])
        return _Codec(
            lambda value: [item.encode(each) for each in value],
            lambda plain: make(item.decode(each) for each in _checked(plain, list)),
        )
    if origin in (dict, Mapping):
        return _mapping(_codec(arguments[0]), _codec(arguments[1]))
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return _Codec(_same, kind, str)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return _Codec(lambda value: value.value, kind)
    if isinstance(kind, type) and issubclass(kind, tuple):
        hints = typing.get_type_hints(kind)
        return _flat_record(kind, hints) or _record(lambda fields: kind(*fields), list(map(_codec, hints.values())))
    record = origin or kind
    if isinstance(record, type) and dataclasses.is_dataclass(record):
        hints = typing.get_type_hints(record)
        make_one: Callable[..., Any] = record
        return _record(
            lambda values: make_one(*values), [_codec(hints[field.name]) for field in dataclasses.fields(record)]
        )
    raise TypeError(f"{kind} cannot cross to a worker")


def _moment(plain: Plain) -> datetime:
    try:
        return datetime.fromtimestamp(_codec(float).decode(plain), UTC)
    except (OverflowError, OSError):
        raise WireError("a time that no calendar has") from None


def _same(value: Any) -> Plain:
    return value


def _scalar(kind: type) -> Callable[[Plain], Any]:
    allowed = (int, float) if kind is float else (kind,)

    def decode(plain: Plain) -> Any:
        if type(plain) not in allowed:  # exactly: True is not a number here
            raise WireError(f"{kind.__name__} expected, not {type(plain).__name__}")
        return plain

    return decode


def _checked(plain: Plain, kind: type[T]) -> T:
    if type(plain) is not kind:
        raise WireError(f"{kind.__name__} expected, not {type(plain).__name__}")
    return plain


def _union(kinds: Sequence[Any]) -> _Codec:
    """Optional values, and unions of JSON's own scalars."""
    codecs = [_codec(kind) for kind in kinds if kind is not type(None)]
    optional = type(None) in kinds
    if len(codecs) == 1 and optional:
        (one,) = codecs
        return _Codec(
            lambda value: None if value is None else one.encode(value),
            lambda plain: None if plain is None else one.decode(plain),
        )
    if not {*kinds} <= {str, int, float, bool, type(None)}:
        raise TypeError(f"a union of {kinds} cannot cross to a worker")

    def decode(plain: Plain) -> Any:
        if type(plain) not in kinds:
            raise WireError(f"one of {kinds} expected, not {type(plain).__name__}")
        return plain

    return _Codec(_same, decode)


def _record(make: Callable[[Any], Any], fields: Sequence[_Codec]) -> _Codec:
    def encode(value: Any) -> Plain:
        values = value if isinstance(value, tuple) else [getattr(value, field.name) for field in _fields_of(value)]
        return [field.encode(each) for field, each in zip(fields, values, strict=True)]

    def decode(plain: Plain) -> Any:
        return make([field.decode(each) for field, each in zip(fields, _checked(plain, list), strict=True)])

    return _Codec(encode, decode)


def _flat_record(kind: Callable[..., Any], hints: Mapping[str, Any]) -> _Codec | None:
    """For a named tuple of scalars, of which there are two for each connection: JSON writes it as it is, and one look
    tells whether what was read fits."""
    fields = [_codec(hint) for hint in hints.values()]
    expected = [field.scalar for field in fields]
    if None in expected:
        return None
    slowly = _record(lambda values: kind(*values), fields).decode
    # The types of JSON are those of the fields but for these, which are words for something else.
    words = [at for at, hint in enumerate(hints.values()) if isinstance(hint, type) and issubclass(hint, Enum)]

    def decode(plain: Plain) -> Any:
        if type(plain) is not list or list(map(type, plain)) != expected:
            return slowly(plain)  # it may be a number without a fraction; else that says what is wrong
        for at in words:
            plain[at] = fields[at].decode(plain[at])
        return kind(*plain)

    return _Codec(_same, decode)


def _fields_of(value: Any) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(value)


def _mapping(key: _Codec, item: _Codec) -> _Codec:
    return _Codec(
        lambda value: [[key.encode(name), item.encode(each)] for name, each in value.items()],
        lambda plain: {key.decode(name): item.decode(each) for name, each in _checked(plain, list)},
    )
