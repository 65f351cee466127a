"""From layers to settings: judge every table, gather every problem, and build the frozen tree only if there is none."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tlsidecar.config.build import build
from tlsidecar.config.checks import check
from tlsidecar.config.document import Document
from tlsidecar.config.judge import Finding, judge
from tlsidecar.config.places import default_admin_socket
from tlsidecar.config.problems import ConfigError, ConfigProblem, Key, dotted, labelled
from tlsidecar.config.sources import Layers, Origin, read_layers
from tlsidecar.lazy_dataclass import dataclass
from tlsidecar.settings import Mode, Settings


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings with the origin of every value that was written; what is not there is a default. Picklable."""

    settings: Settings
    origins: Mapping[Key, Origin]


def load(
    config_file: Path | None, flags: Mapping[str, object], environ: Mapping[str, str], working_directory: Path
) -> Settings:
    """Read, judge and build.

    Raises ConfigError with every problem at once.
    """
    settings, _ = _load(config_file, flags, environ, working_directory)
    return settings


def load_with_origins(
    config_file: Path | None, flags: Mapping[str, object], environ: Mapping[str, str], working_directory: Path
) -> Loaded:
    """The same, with where each value came from."""
    settings, layers = _load(config_file, flags, environ, working_directory)
    return Loaded(settings, layers.origins())


def _load(
    config_file: Path | None, flags: Mapping[str, object], environ: Mapping[str, str], working_directory: Path
) -> tuple[Settings, Layers]:
    layers = read_layers(config_file, flags, environ, working_directory)
    if layers.file_unreadable:
        raise ConfigError(layers.problems)
    _infer_mode(layers)
    document = _judged(layers, default_admin_socket(environ))
    findings = [*document.findings, *check(document)]
    problems = [*layers.problems, *(_placed(finding, layers) for finding in findings)]
    if problems:
        raise ConfigError(sorted(problems, key=_place_order))
    return build(document), layers


def _infer_mode(layers: Layers) -> None:
    """Flags alone need no --mode: whoever says what to expect of the remote, and not whom to allow, originates."""
    only = layers.listeners()[0] if layers.listeners() else None
    if ("listener", 0) not in layers.overlaid or not isinstance(only, dict):
        return
    if "mode" not in only and "expect" in only and "allow" not in only:
        only["mode"] = Mode.ORIGINATE.value


def _judged(layers: Layers, usual_admin_socket: Path) -> Document:
    root, findings = judge(layers.tree, layers.base)
    admin_socket = root.tables["admin"].read("socket") or layers.working_directory / usual_admin_socket
    return Document(root, tuple(findings), admin_socket, layers.file)


def _placed(finding: Finding, layers: Layers) -> ConfigProblem:
    return ConfigProblem(
        key=dotted(finding.key),
        message=finding.message,
        suggestion=finding.suggestion,
        where=layers.origin(finding.key).place,
        label=labelled(finding.key, layers.name_at(finding.key)),
    )


def _place_order(problem: ConfigProblem) -> tuple[str, int]:
    place, _, line = problem.where.rpartition(":")
    return (place, int(line)) if line.isdigit() else (problem.where, 0)
