"""What a table of ``tlsidecar.toml`` is: its keys, each with its form, its default and its description."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from tlsidecar.config.forms import Form, Many
from tlsidecar.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of a table. ``field`` is its name in the settings; ``worked_out`` describes a default that is not a
    constant."""

    key: str
    form: Form
    description: str
    field: str = ""
    required: bool = False
    worked_out: str = ""

    @property
    def field_name(self) -> str:
        return self.field or self.key

    def show(self, value: Any) -> object:
        """A value as TOML would write it; None where it is unset."""
        if value is None or value == "":
            return None
        if isinstance(self.form, Many):
            return [self.form.item.show(item) for item in value]
        return self.form.show(value)


@dataclass(frozen=True)
class Table:
    """One table: its keys, the tables in it, and the dataclass whose defaults it has."""

    title: str
    description: str
    defaults: Mapping[str, object]
    entries: tuple[Entry, ...]
    tables: Mapping[str, Table] = dataclasses.field(default_factory=dict)
    arrays: Mapping[str, Table] = dataclasses.field(default_factory=dict)  # arrays of tables
    repeatable: frozenset[str] = frozenset()  # of ``tables``, those that may be an array of tables instead

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def keys(self) -> list[str]:
        """Everything that may stand in it."""
        return [*(entry.key for entry in self.entries), *self.tables, *self.arrays]

    def default(self, entry: Entry) -> object:
        """The default as TOML would write it; None where there is none or it is worked out."""
        return entry.show(self.defaults.get(entry.field_name))


def defaults_of(*types: type) -> dict[str, object]:
    """The defaults of the settings' fields, by their names."""
    return {
        field.name: field.default
        for settings_type in types
        for field in dataclasses.fields(settings_type)
        if field.default is not dataclasses.MISSING
    }
