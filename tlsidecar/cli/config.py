"""``tlsidecar config schema | show``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from tlsidecar.cli.context import echo_json, json_option
from tlsidecar.cli.settings_options import given, report, settings_options
from tlsidecar.config import ConfigError, effective, json_schema, load_with_origins, render_effective


@click.group()
def config() -> None:
    """The configuration's schema, and its effective values."""


@config.command(epilog="Example: tlsidecar config schema > tlsidecar.schema.json")
def schema() -> None:
    """The JSON Schema of tlsidecar.toml."""
    echo_json(json_schema())


@config.command(epilog="Example: tlsidecar config show --config tlsidecar.toml")
@settings_options
@json_option
def show(config_file: Path | None, as_json: bool, **flags: Any) -> None:
    """The effective configuration, with where each value came from."""
    try:
        values = effective(load_with_origins(config_file, given(flags), os.environ))
    except ConfigError as error:
        report(error)
    if as_json:
        echo_json([value.as_dict() for value in values])
    else:
        click.echo(render_effective(values))
