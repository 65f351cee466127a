"""Each table judged by itself: what is right is read, what is wrong is found, and one slip hides no other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from pathlib import Path
from typing import Any, TypeGuard

from tlsidecar.config.forms import Many
from tlsidecar.config.problems import InvalidValue, Key, did_you_mean, quoted
from tlsidecar.config.schema import ROOT
from tlsidecar.config.tables import Entry, Table
from tlsidecar.lazy_dataclass import dataclass
from tlsidecar.settings import Address, TrustFile


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem that still lacks its place."""

    key: Key
    message: str
    suggestion: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """One table as it was written, and the values of the keys that could be read. Paths are absolute."""

    key: Key
    written: Mapping[str, object] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)  # the same values by their names in the settings
    tables: Mapping[str, Part] = field(default_factory=dict)
    arrays: Mapping[str, tuple[Part, ...]] = field(default_factory=dict)

    def __contains__(self, name: str) -> bool:
        return name in self.written

    def read(self, name: str, default: Any = None) -> Any:
        """The value, ``default`` when the key is left out, None when it is there and wrong."""
        return self.values.get(name, None if name in self.written else default)

    def finding(self, name: str, message: str, suggestion: str = "") -> Finding:
        return Finding((*self.key, name), message, suggestion)


def judge(tree: Mapping[str, object], base: Callable[[Key], Path]) -> tuple[Part, list[Finding]]:
    """The whole tree; ``base`` gives the directory that a relative path written at a key starts from."""
    judging = _Judging(base)
    return judging.table(ROOT, tree, ()), judging.findings


class _Judging:
    def __init__(self, base: Callable[[Key], Path]) -> None:
        self.base = base
        self.findings: list[Finding] = []

    def table(self, table: Table, written: object, key: Key) -> Part:
        if not self.is_table(written, key):
            return self.table(table, {}, key)
        known = set(table.keys())
        for name in written:
            if name not in known:
                self.found((*key, name), "unknown key", _suggest_key(table, name))
        values: dict[str, Any] = {}
        fields: dict[str, Any] = {}
        for entry in table:
            if entry.key in written:
                value = self.value(entry, written[entry.key], (*key, entry.key))
                if value is not None:
                    values[entry.key] = fields[entry.field_name] = value
        return Part(
            key,
            written,
            values,
            fields,
            {
                name: self.table(nested, written.get(name, {}), (*key, name))
                for name, nested in table.tables.items()
                if name not in table.repeatable
            },
            {
                **{name: self.one_or_several(table.tables[name], written, (*key, name)) for name in table.repeatable},
                **{name: self.array(nested, written, (*key, name)) for name, nested in table.arrays.items()},
            },
        )

    def one_or_several(self, table: Table, written: Mapping[str, object], key: Key) -> tuple[Part, ...]:
        """Where one table may stand for an array of it; one that is left out is found wanting all it needs."""
        found = written.get(str(key[-1]))
        return (
            self.array(table, written, key)
            if found and isinstance(found, list)
            else (self.table(table, found or {}, key),)
        )

    def array(self, table: Table, written: Mapping[str, object], key: Key) -> tuple[Part, ...]:
        name = str(key[-1])
        found = written.get(name, [])
        if isinstance(found, list):
            # What is no table lacks no keys.
            items = [(item, (*key, at)) for at, item in enumerate(found)]
            return tuple(self.table(table, item, place) for item, place in items if self.is_table(item, place))
        header = ".".join(part for part in key if isinstance(part, str))
        self.found(key, "is not an array of tables", f"write [[{header}]], with two brackets")
        return ()

    def is_table(self, written: object, key: Key) -> TypeGuard[Mapping[str, object]]:
        if isinstance(written, Mapping):
            return True
        self.found(key, f"a table is needed, not {quoted(written)}")
        return False

    def value(self, entry: Entry, written: object, key: Key) -> Any:
        """The value, or None when it is wrong."""
        form = entry.form
        if not isinstance(form, Many):
            return self.one(form.parse, written, key)
        if not isinstance(written, list):
            if form.or_one:
                value = self.one(form.item.parse, written, key)
                return None if value is None else (value,)
            self.found(key, f"an array is needed, not {quoted(written)}", _suggest_array(written))
            return None
        if len(written) < form.at_least:
            self.found(key, "is empty", "write at least one" + ("" if entry.required else ", or leave it out"))
            return None
        items = [self.one(form.item.parse, item, (*key, at)) for at, item in enumerate(written)]
        return None if None in items else tuple(items)

    def one(self, parse: Callable[[object], object], written: object, key: Key) -> object:
        try:
            return self.absolute(parse(written), key)
        except InvalidValue as error:
            self.found(key, error.message, error.suggestion)
            return None

    def absolute(self, value: object, key: Key) -> object:
        if isinstance(value, Path):
            return self.base(key) / value
        if isinstance(value, TrustFile):
            return TrustFile(self.base(key) / value.path, value.trust_domain)
        if isinstance(value, Address) and value.is_unix:
            return Address(path=str(self.base(key) / value.path))
        return value

    def found(self, key: Key, message: str, suggestion: str = "") -> None:
        self.findings.append(Finding(key, message, suggestion))


def _suggest_array(written: object) -> str:
    return f"write [{quoted(written)}]" if isinstance(written, str) else ""


def _suggest_key(table: Table, name: str) -> str:
    """The key that was probably meant: the same name in another table, or one like it in this."""
    name = name.replace("-", "_")
    if name in set(table.keys()):
        return f'did you mean "{name}"?'
    listener = ROOT.arrays["listener"]
    within_listener = {f"listener.{home}": other for home, other in {**listener.tables, **listener.arrays}.items()}
    homes = {"": ROOT, **ROOT.tables, **ROOT.arrays, **within_listener}
    for home, other in homes.items():
        if name in set(other.keys()):
            return f'did you mean "{home}.{name}"?' if home else f'did you mean "{name}" at the top of the file?'
    return did_you_mean(name, table.keys())
