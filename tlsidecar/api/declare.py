"""How a record is declared: a frozen dataclass whose fields carry their meaning.

::

    @dataclass(frozen=True)
    class Worker(Generic[T]):
        "One worker process."

        pid: Annotated[int, Doc("its process id")]
        loop_lag_s: Annotated[float, Doc("how late its loop is", unit="s")]

From that one declaration come the JSON (:mod:`tlsidecar.api.encode`), its reading
(:mod:`tlsidecar.api.decode`), the schema in the OpenAPI document (:mod:`tlsidecar.api.schema`) and the tables in
``docs/``. A field may be text (the type variable :data:`T`), a number, a flag, a time, one of a ``StrEnum``'s words,
another record, a tuple of any of these (numbers of which may be null), or counters by name (``Mapping[T, int]``), or
a tuple of them by name (``Mapping[T, tuple[int, ...]]``). (No slots: called as
``Worker[str](…)`` a frozen dataclass with slots would stumble over ``__orig_class__``.)

:data:`T` is ``str`` where a record is made, since text from a peer is passed on as it was, and
:data:`~tlsidecar.api.text.SafeText` where one is read, since it may then be shown.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Annotated, Any, TypeVar

from tlsidecar.lazy_dataclass import dataclass

T = TypeVar("T", bound=str)
"""The text of a record."""

NO_TEXT: Any = ""
"""The default of a text field: fits every :data:`T`."""

Json: typing.TypeAlias = Mapping[str, object]
"""A JSON object as it came."""


@dataclass(frozen=True)
class Doc:
    """What a field means. ``unit`` is that of its number; ``words`` are the only values there are; ``long`` text is
    more than a name; a time that is given ``always`` is null only to a reader that could make no sense of it."""

    meaning: str
    unit: str = ""
    words: Iterable[str] = ()
    long: bool = False
    always: bool = False


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a record, looked up once: its ``kind`` with neither ``Annotated`` nor ``None`` round it."""

    name: str
    doc: Doc
    kind: Any
    nullable: bool

    @property
    def item(self) -> Any:
        """What a tuple holds, but for null."""
        return _bare(typing.get_args(self.kind)[0])[0]

    @property
    def has_gaps(self) -> bool:
        """Whether some of what a tuple holds may be null."""
        return self.is_tuple and type(None) in typing.get_args(typing.get_args(self.kind)[0])

    @property
    def is_text(self) -> bool:
        return isinstance(self.kind, TypeVar)

    @property
    def is_time(self) -> bool:
        return self.kind is datetime

    @property
    def is_tuple(self) -> bool:
        return typing.get_origin(self.kind) is tuple

    @property
    def is_counters(self) -> bool:
        return typing.get_origin(self.kind) is Mapping

    @property
    def is_series(self) -> bool:
        """Whether its counters are tuples of them."""
        return self.is_counters and typing.get_origin(typing.get_args(self.kind)[1]) is tuple

    @property
    def record(self) -> type | None:
        """The record that it is, or that its tuple holds."""
        kind = typing.get_origin(self.item if self.is_tuple else self.kind)
        return kind if isinstance(kind, type) and dataclasses.is_dataclass(kind) else None

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The only values there are; empty for anything."""
        if isinstance(self.kind, type) and issubclass(self.kind, StrEnum):
            return tuple(word.value for word in self.kind)
        return tuple(str(word) for word in self.doc.words)


@cache
def fields_of(record: type) -> tuple[Field, ...]:
    """The fields of a record class, in their order. Raises TypeError for one without a :class:`Doc`."""
    hints = typing.get_type_hints(record, include_extras=True)
    return tuple(_field(record, each.name, hints[each.name]) for each in dataclasses.fields(record))


def _field(record: type, name: str, hint: Any) -> Field:
    doc = next((extra for extra in getattr(hint, "__metadata__", ()) if isinstance(extra, Doc)), None)
    if typing.get_origin(hint) is not Annotated or doc is None:
        raise TypeError(f"{record.__name__}.{name} does not say what it means")
    kind = typing.get_args(hint)[0]
    bare = _bare(kind)
    if len(bare) != 1:
        raise TypeError(f"{record.__name__}.{name} is of several kinds")
    return Field(name, doc, bare[0], nullable=bare[0] is not kind)


def _bare(kind: Any) -> list[Any]:
    """The kinds that a hint allows, but for null."""
    is_union = typing.get_origin(kind) in (typing.Union, types.UnionType)
    return [part for part in (typing.get_args(kind) if is_union else (kind,)) if part is not type(None)]
