"""``tlsidecar completion``: the script that makes a shell ask us what fits.

What is asked then is in :mod:`tlsidecar.cli.completion`.
"""

from __future__ import annotations

import click
from click.shell_completion import ShellComplete

from tlsidecar.cli.shells import SHELLS

PROGRAM = "tlsidecar"
ASKED_BY = "_TLSIDECAR_COMPLETE"
"""The environment variable by which the scripts ask."""


@click.command(epilog="Example: tlsidecar completion bash > ~/.local/share/bash-completion/completions/tlsidecar")
@click.argument("shell", type=click.Choice(list(SHELLS)))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print what makes SHELL complete commands, options, sockets, connections, refusals and identities.

    For every new shell:

    \b
    bash  source <(tlsidecar completion bash)      in ~/.bashrc
    zsh   tlsidecar completion zsh >"${fpath[1]}/_tlsidecar"
    fish  tlsidecar completion fish >~/.config/fish/completions/tlsidecar.fish
    """
    made = SHELLS[shell](context.find_root().command, {}, PROGRAM, ASKED_BY)
    # Not the class' own: for bash that looks for a bash on this machine, and the script may be for another one.
    click.echo(ShellComplete.source(made).rstrip("\n"))
