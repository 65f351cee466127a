"""What flags and environment variables may set, and where it goes.

One name serves both: ``admin_socket`` is the flag ``--admin-socket`` and the variable ``TLSIDECAR_ADMIN_SOCKET``. The
keys of ``[identity]`` and of the listener go without their table's name.
"""

from __future__ import annotations

from enum import Enum, auto

from tlsidecar.config.forms import Many
from tlsidecar.config.identity_tables import IDENTITY
from tlsidecar.config.listener_tables import LISTENER
from tlsidecar.config.schema import ROOT
from tlsidecar.config.tables import Entry
from tlsidecar.lazy_dataclass import dataclass


class FlagKind(Enum):
    """How the text of a variable is read."""

    TEXT = auto()
    LIST = auto()  # comma-separated
    NUMBER = auto()
    FLAG = auto()  # true or false


@dataclass(frozen=True, slots=True)
class Override:
    """One key: ``section`` is its table, empty for the top level, or ``listener`` for the only listener."""

    section: str
    key: str
    kind: FlagKind

    @property
    def of_listener(self) -> bool:
        return self.section == "listener"


def _kind(entry: Entry) -> FlagKind:
    if isinstance(entry.form, Many):
        return FlagKind.LIST
    kinds = {"integer": FlagKind.NUMBER, "boolean": FlagKind.FLAG}
    written = [entry.form.schema, *entry.form.schema.get("anyOf", ())]
    return next((kinds[one["type"]] for one in written if one.get("type") in kinds), FlagKind.TEXT)


def _overrides() -> dict[str, Override]:
    found = {entry.key: Override("", entry.key, _kind(entry)) for entry in ROOT}
    for section, table in ROOT.tables.items():
        prefix = "" if table is IDENTITY else f"{section}_"
        # An identity that flags and variables describe is the only one: it needs no name.
        entries = [entry for entry in table if not (table is IDENTITY and entry.key == "name")]
        found |= {prefix + entry.key: Override(section, entry.key, _kind(entry)) for entry in entries}
    for entry in LISTENER:
        name = "listener_name" if entry.key == "name" else entry.key
        found[name] = Override("listener", entry.key, _kind(entry))
    return found


OVERRIDES = _overrides()
"""Every setting that a flag (``--log-level``) or a variable (``TLSIDECAR_LOG_LEVEL``) may give, by its name."""
