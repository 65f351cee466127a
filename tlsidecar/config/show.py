"""The effective configuration: every key with its value and where that came from. Nothing secret is ever in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tlsidecar.config.identity_tables import ACME, IDENTITY
from tlsidecar.config.listener_tables import HEALTH_CHECK, HTTP_FIELDS, LIMITS, LISTENER, ROUTE
from tlsidecar.config.loader import Loaded
from tlsidecar.config.problems import Key, dotted, labelled
from tlsidecar.config.schema import ROOT
from tlsidecar.config.sources import Origin
from tlsidecar.config.tables import Table
from tlsidecar.lazy_dataclass import dataclass
from tlsidecar.settings import ListenerSettings
from tlsidecar.toml_text import toml

_WIDEST_COLUMN = 72


@dataclass(frozen=True, slots=True)
class EffectiveValue:
    """One key; ``value`` is as TOML would write it (text, number, boolean, array of text), None when unset.

    ``origin`` is ``flag --listen``, ``environment TLSIDECAR_LISTEN``, ``file tlsidecar.toml:12`` or ``default``.
    """

    key: str
    value: object
    origin: str
    label: str

    def as_dict(self) -> dict[str, object]:
        return {"key": self.key, "value": self.value, "origin": self.origin}


def effective(loaded: Loaded) -> tuple[EffectiveValue, ...]:
    """Every key, in the order of the reference."""
    return tuple(_Show(loaded).everything())


def render_effective(values: tuple[EffectiveValue, ...]) -> str:
    """One line a key, as TOML, with where it came from in a comment; unset keys are left out."""
    lines = [(f"{value.label} = {toml(value.value)}", value.origin) for value in values if value.value is not None]
    width = min(_WIDEST_COLUMN, max((len(text) for text, _ in lines), default=0))
    return "\n".join(f"{text:<{width}}  # {origin}" for text, origin in lines)


class _Show:
    def __init__(self, loaded: Loaded) -> None:
        self.settings = loaded.settings
        self.origins = loaded.origins

    def everything(self) -> Iterator[EffectiveValue]:
        yield from self.table(ROOT, self.settings, ())
        for name, table in ROOT.tables.items():
            if table is IDENTITY:
                yield from self.identities()
            else:
                yield from self.table(table, getattr(self.settings, name), (name,))
        for at, listener in enumerate(self.settings.listeners):
            yield from self.listener(listener, ("listener", at))

    def identities(self) -> Iterator[EffectiveValue]:
        several = self.settings.names_identities
        for at, identity in enumerate(self.settings.identities):
            key: Key = ("identity", at) if several else ("identity",)
            for value in self.table(IDENTITY, identity, key):
                if several or value.key != "identity.name":  # which only one of several may be given
                    yield value
            if identity.acme is not None:
                yield from self.table(ACME, identity.acme, (*key, "acme"))

    def listener(self, listener: ListenerSettings, key: Key) -> Iterator[EffectiveValue]:
        for entry in LISTENER:
            if entry.field_name == "max_connection_age_s":
                continue  # stands in limits
            holder = listener.http if entry.field_name in HTTP_FIELDS else listener
            yield self.value((*key, entry.key), entry.show(getattr(holder, entry.field_name)))
        yield from self.table(LIMITS, listener.limits, (*key, "limits"))
        if listener.health_check is not None:
            yield from self.table(HEALTH_CHECK, listener.health_check, (*key, "health_check"))
        for at, route in enumerate(listener.routes):
            yield from self.table(ROUTE, route, (*key, "route", at))

    def table(self, table: Table, values: Any, key: Key) -> Iterator[EffectiveValue]:
        for entry in table:
            yield self.value((*key, entry.key), entry.show(getattr(values, entry.field_name)))

    def value(self, key: Key, shown: object) -> EffectiveValue:
        name = ""
        if len(key) > 1 and isinstance(key[1], int):
            name = (self.settings.listeners if key[0] == "listener" else self.settings.identities)[key[1]].name
        return EffectiveValue(dotted(key), shown, str(self.origin(key)), labelled(key, name))

    def origin(self, key: Key) -> Origin:
        """Where a value was written: in its place, or where a listener's limit is inherited from."""
        places = [key]
        if len(key) == 4 and key[0] == "listener" and key[2] == "limits":
            places += [("listener", key[1], key[3]), ("limits", key[3])]
        if key[0] == "identity" and not isinstance(key[1], int):
            places.append(("identity", 0, *key[1:]))
        return next((self.origins[place] for place in places if place in self.origins), Origin("default"))
