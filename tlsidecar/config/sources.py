"""Where values come from: the file, the environment and the flags, laid over one another into one tree.

Nothing is judged here but what cannot be read at all. Each value keeps its origin.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import field
from functools import cached_property
from pathlib import Path
from typing import Any

from tlsidecar.config.identity_tables import IDENTITY_SOURCES
from tlsidecar.config.overrides import OVERRIDES, FlagKind, Override
from tlsidecar.config.places import CONFIG_VARIABLE, FILE_NAME, SYSTEM_FILE, VARIABLE_PREFIX
from tlsidecar.config.positions import key_lines
from tlsidecar.config.problems import ConfigProblem, Key, closest, dotted, escaped, quoted
from tlsidecar.config.schema import ROOT
from tlsidecar.lazy_dataclass import dataclass

MAX_FILE_BYTES = 1 << 20
MAX_DEPTH = 50  # far more than any key has; scanners that recurse stay far from their end
DEFAULT_LISTENER_NAME = "default"

SPIFFE_VARIABLE = "SPIFFE_ENDPOINT_SOCKET"

_TRUE_WORDS = frozenset({"1", "true", "yes", "on"})
_FALSE_WORDS = frozenset({"0", "false", "no", "off"})
# To TOML it is one table defined twice, which says nothing to whoever adds a second identity.
_ONE_IDENTITY = re.compile(r"^[ \t]*\[[ \t]*identity[ \t]*\]", re.MULTILINE)
_SEVERAL_IDENTITIES = re.compile(r"^[ \t]*\[\[[ \t]*identity[ \t]*\]\]", re.MULTILINE)
_SYNTAX_ERROR_PLACE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value was written."""

    source: str  # "flag" | "environment" | "file" | "default"
    place: str = ""  # "--listen", "TLSIDECAR_LISTEN", "tlsidecar.toml:12"

    def __str__(self) -> str:
        return f"{self.source} {self.place}" if self.place else self.source


@dataclass
class Layers:
    """The tree as written, before anything in it is judged."""

    working_directory: Path
    file: Path | None = None
    file_shown: str = ""
    file_text: str = ""
    file_unreadable: bool = False
    tree: dict[str, Any] = field(default_factory=dict)
    overlaid: dict[Key, Origin] = field(default_factory=dict)
    problems: list[ConfigProblem] = field(default_factory=list)

    def base(self, key: Key) -> Path:
        """The directory that a relative path starts from: the file's, or for flags and variables our own."""
        if any(key[:length] in self.overlaid for length in range(1, len(key) + 1)) or self.file is None:
            return self.working_directory
        return self.file.parent

    def origin(self, key: Key) -> Origin:
        """Where a value comes from, or the table it would stand in when it is missing."""
        for length in range(len(key), 0, -1):
            if key[:length] in self.overlaid:
                return self.overlaid[key[:length]]
            if key[:length] in self.file_lines:
                return Origin("file", f"{self.file_shown}:{self.file_lines[key[:length]]}")
        return Origin("file", self.file_shown) if self.file else Origin("default")

    def origins(self) -> dict[Key, Origin]:
        """Where everything that was written comes from."""
        return {key: self.origin(key) for key in (*self.file_lines, *self.overlaid)}

    def listeners(self) -> list[Any]:
        """What was written under ``listener``, when it is an array at all."""
        found = self.tree.get("listener", [])
        return found if isinstance(found, list) else []

    def name_at(self, key: Key) -> object:
        """What was written as the name of the listener, or of the one of several identities, that ``key`` lies in."""
        tables = self.tree.get(str(key[0])) if len(key) > 1 else None
        at = key[1] if len(key) > 1 else None
        if not isinstance(tables, list) or not isinstance(at, int) or at >= len(tables):
            return None
        return tables[at].get("name") if isinstance(tables[at], dict) else None

    @cached_property
    def file_lines(self) -> dict[Key, int]:
        """Worked out only when somebody asks: a file in which all is well is never scanned for its lines."""
        return key_lines(self.file_text)


def read_layers(
    config_file: Path | None, flags: Mapping[str, object], environ: Mapping[str, str], working_directory: Path
) -> Layers:
    """Read the file and lay the environment, then the flags, over it."""
    layers = Layers(working_directory)
    environment = _from_environment(environ, layers)
    given = _from_flags(flags)
    layers.file = _choose_file(config_file, environ, {**environment, **given}, working_directory)
    if layers.file is not None:
        _read_file(layers.file, layers)
    _overlay("environment", environment, layers)
    _overlay("flag", given, layers)
    _lay_spiffe_agent(environ.get(SPIFFE_VARIABLE, ""), layers)
    return layers


def _lay_spiffe_agent(endpoint: str, layers: Layers) -> None:
    """The agent that the environment names for every SPIFFE workload (SPIFFE Workload Endpoint, section 4), where no
    other source is given."""
    identity = layers.tree.setdefault("identity", {})
    if not endpoint or not isinstance(identity, dict) or any(source in identity for source in IDENTITY_SOURCES):
        return
    identity["spiffe_socket"] = endpoint
    layers.overlaid[("identity", "spiffe_socket")] = Origin("environment", SPIFFE_VARIABLE)


def _choose_file(
    config_file: Path | None, environ: Mapping[str, str], overrides: Mapping[str, object], working_directory: Path
) -> Path | None:
    """The file named; else, unless flags or the environment describe a listener, the first of the usual places."""
    named = config_file or environ.get(CONFIG_VARIABLE)
    if named:
        return working_directory / named
    if "listen" in overrides:
        return None
    usual = (working_directory / FILE_NAME, SYSTEM_FILE)
    return next((place for place in usual if place.exists()), None)


def _read_file(path: Path, layers: Layers) -> None:
    layers.file_shown = shown = _shown_path(path, layers.working_directory)
    layers.file_unreadable = True
    text = _read_text(path, shown, layers)
    if text is None:
        return
    try:
        layers.tree = tomllib.loads(text)
    except RecursionError:
        layers.problems.append(ConfigProblem("", "nests too deeply", where=shown))
        return
    except ValueError as error:  # TOMLDecodeError, or a number or date that Python cannot hold
        layers.problems.append(_syntax_problem(str(error), text, shown))
        return
    if _depth(layers.tree) > MAX_DEPTH:
        layers.problems.append(ConfigProblem("", "nests too deeply", where=shown))
        return
    layers.file_text = text
    layers.file_unreadable = False


def _syntax_problem(error: str, text: str, shown: str) -> ConfigProblem:
    if (one := _ONE_IDENTITY.search(text)) and (several := _SEVERAL_IDENTITIES.search(text)):
        second = text.count("\n", 0, max(one.start(), several.start())) + 1
        message = "there are an [identity] and an [[identity]], too; one form is needed"
        suggestion = "write [[identity]] everywhere, each with a name"
        return ConfigProblem("identity", message, suggestion, where=f"{shown}:{second}", label="identity")
    place = _SYNTAX_ERROR_PLACE.search(error)
    line = place[1] if place and place[1] else str(text.count("\n") + 1) if place else ""
    message = _SYNTAX_ERROR_PLACE.sub("", error)
    message = message if message.isprintable() else quoted(message)
    return ConfigProblem("", f"not TOML: {message}", where=f"{shown}:{line}" if line else shown)


def _depth(tree: object) -> int:
    """How deep arrays and tables nest, counted without recursion."""
    level, depth = [tree], 0
    while level:
        depth += 1
        inner = [list(item.values()) if isinstance(item, dict) else item for item in level]
        level = [child for items in inner for child in items if isinstance(child, dict | list)]  # type: ignore[attr-defined]
    return depth


def _read_text(path: Path, shown: str, layers: Layers) -> str | None:
    try:
        # A FIFO or a device in the file's place must not hold the start up: open without waiting, then look.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
            content = file.read(MAX_FILE_BYTES + 1) if regular else b""
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        layers.problems.append(ConfigProblem("", f"cannot be read: {reason}", where=shown))
        return None
    if not regular:
        layers.problems.append(ConfigProblem("", "is not a regular file", where=shown))
        return None
    if len(content) > MAX_FILE_BYTES:
        layers.problems.append(ConfigProblem("", f"is larger than {MAX_FILE_BYTES >> 20} MiB", where=shown))
        return None
    try:
        return content.decode().removeprefix("\ufeff")  # TOML 1.1 ignores it, and Windows' editors write it
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        layers.problems.append(ConfigProblem("", "is not UTF-8", where=f"{shown}:{line}"))
        return None


def _from_environment(environ: Mapping[str, str], layers: Layers) -> dict[str, object]:
    """The values of the variables that are set; an empty one counts as unset."""
    found: dict[str, object] = {}
    for variable, text in sorted(environ.items()):
        name = variable.removeprefix(VARIABLE_PREFIX).lower()
        if not variable.startswith(VARIABLE_PREFIX) or not text or variable == CONFIG_VARIABLE:
            continue
        if name in OVERRIDES:
            found[name] = _from_text(text, OVERRIDES[name].kind)
            continue
        # Others may use the prefix, too (Kubernetes does, for a Service of that name): only a slip is a problem.
        close = closest(name, OVERRIDES, cutoff=0.85)
        if close:
            suggestion = f'did you mean "{VARIABLE_PREFIX}{close.upper()}"?'
            layers.problems.append(ConfigProblem("", "unknown variable", suggestion, where=variable))
    return found


def _from_flags(flags: Mapping[str, object]) -> dict[str, object]:
    """The flags that were given: None and an empty list count as not given."""
    found: dict[str, object] = {}
    for name, value in flags.items():
        if name not in OVERRIDES:
            raise KeyError(f"no setting is called {name!r}")
        if value is None or value == () or value == []:
            continue
        kind = OVERRIDES[name].kind
        plain = str(value) if isinstance(value, Path | str) else value
        if isinstance(plain, tuple | list):
            found[name] = [str(item) for item in plain]
        else:
            found[name] = _from_text(plain, kind) if isinstance(plain, str) and kind is not FlagKind.LIST else plain
    return found


def _from_text(text: str, kind: FlagKind) -> object:
    """The TOML value a text stands for; what does not fit stays text and is refused with the right message later."""
    if kind is FlagKind.LIST:
        return [part.strip() for part in text.split(",") if part.strip()]
    if kind is FlagKind.NUMBER and re.fullmatch(r"-?[0-9]{1,18}", text):
        return int(text)
    if kind is FlagKind.FLAG and text.lower() in _TRUE_WORDS | _FALSE_WORDS:
        return text.lower() in _TRUE_WORDS
    return text


def _overlay(source: str, found: Mapping[str, object], layers: Layers) -> None:
    """Put values over the tree. Those of a listener go to the only one there is; where none is, one is made."""
    for name, value in found.items():
        override = OVERRIDES[name]
        place = f"--{name.replace('_', '-')}" if source == "flag" else VARIABLE_PREFIX + name.upper()
        origin = Origin(source, place)
        table = (
            _listener_for(override, origin, layers) if override.of_listener else _section_for(override, origin, layers)
        )
        if table is None:
            continue
        content, key = table
        content[override.key] = value
        layers.overlaid[(*key, override.key)] = origin


def _section_for(override: Override, origin: Origin, layers: Layers) -> tuple[dict[str, Any], Key] | None:
    if not override.section:
        return layers.tree, ()
    content = layers.tree.setdefault(override.section, {})
    if override.section in ROOT.repeatable and isinstance(content, list):
        return _only_of(content, override, origin, layers)
    # Something else than a table in the file is a problem of its own, told when the tables are judged.
    return (content, (override.section,)) if isinstance(content, dict) else None


def _listener_for(override: Override, origin: Origin, layers: Layers) -> tuple[dict[str, Any], Key] | None:
    if "listener" in layers.tree and not isinstance(layers.tree["listener"], list):
        return None
    listeners = layers.listeners()
    if not listeners:
        listeners = layers.tree["listener"] = [{"name": DEFAULT_LISTENER_NAME}]
        layers.overlaid[("listener", 0)] = origin
    return _only_of(listeners, override, origin, layers)


def _only_of(
    tables: list[Any], override: Override, origin: Origin, layers: Layers
) -> tuple[dict[str, Any], Key] | None:
    """The only one of an array of tables; a flag or variable cannot say which of several it means."""
    section = override.section
    if len(tables) > 1:
        several = {"listener": "listeners", "identity": "identities"}[section]
        message = f"there are {len(tables)} {several} in the file, and this does not say which it means"
        layers.problems.append(
            ConfigProblem(dotted((section, override.key)), message, "set it in the file", where=origin.place)
        )
        return None
    only = tables[0] if tables else None
    return (only, (section, 0)) if isinstance(only, dict) else None


def _shown_path(path: Path, working_directory: Path) -> str:
    shown = str(path.relative_to(working_directory)) if path.is_relative_to(working_directory) else str(path)
    return shown if shown.isprintable() else escaped(shown)
