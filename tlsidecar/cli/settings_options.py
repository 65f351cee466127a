"""The flags that set the configuration: one for each key that a flag may give, made from the same table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import click

from tlsidecar.cli.context import EXIT_BAD_INPUT
from tlsidecar.cli.text import say_lines
from tlsidecar.config.overrides import OVERRIDES, FlagKind

# The flags of the product contract, in its order; all others work as well and are listed in docs/config.md.
_SHOWN = {
    "listen": ("ADDRESS", "Where to accept: host:port or unix:/path."),
    "upstream": ("ADDRESS", "Where to go on to; repeatable."),
    "cert": ("FILE", "Our leaf and its intermediates, PEM."),
    "key": ("FILE", "Its private key, PEM."),
    "trust": ("FILE", "Who may vouch for peers, PEM."),
    "allow": ("RULE", "Who may connect; repeatable."),
    "expect": ("RULE", "Who the remote must be; repeatable."),
    "mode": ("MODE", "terminate (mTLS comes in) or originate (mTLS goes out)."),
    "protocol": ("PROTOCOL", "tcp, http or grpc."),
    "admin_socket": ("PATH", "The control socket."),
}


def settings_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--config`` and a flag for every setting; the command gets ``config_file`` and one keyword for each."""
    for name in reversed([*_SHOWN, *(name for name in OVERRIDES if name not in _SHOWN)]):
        command = _option(name)(command)
    return click.option(
        "--config",
        "config_file",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="The configuration.  [default: $TLSIDECAR_CONFIG, else tlsidecar.toml here, else in /etc/tlsidecar]",
    )(command)


def given(flags: Mapping[str, Any]) -> dict[str, object]:
    """The flags that were given, as tlsidecar.config takes them."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in flags.items() if value}


def report(error: Exception) -> NoReturn:
    """The problems of a configuration on stderr, and the exit code for them."""
    say_lines(str(error), err=True)
    click.get_current_context().exit(EXIT_BAD_INPUT)


def _option(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    kind = OVERRIDES[name].kind
    metavar, meaning = _SHOWN.get(name, (None, ""))
    flag = f"--{name.replace('_', '-')}"
    if kind is FlagKind.FLAG:
        return click.option(flag, name, is_flag=True, default=None, hidden=True)
    many = kind is FlagKind.LIST
    return click.option(flag, name, multiple=many, metavar=metavar, help=meaning, hidden=name not in _SHOWN)
