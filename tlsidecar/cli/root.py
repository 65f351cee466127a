"""``tlsidecar``: the commands by name, none of them imported before it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click

from certs.shell import EXIT_INTERRUPTED

# Where each command is, and what it does: the listing must not import them all.
COMMANDS: Mapping[str, tuple[str, str]] = {
    "run": ("tlsidecar.cli.run:run", "Serve until TERM or INT."),
    "exec": ("tlsidecar.cli.execute:execute", "Serve for as long as a command runs, in front."),
    "check": ("tlsidecar.cli.check:check", "Report every problem at once; prove that the material would serve."),
    "config": ("tlsidecar.cli.config:config", "The configuration's schema, and its effective values."),
    "demo": ("tlsidecar.cli.run:demo", "A whole mTLS set-up on loopback, nothing to configure."),
    "ui": ("tlsidecar.cli.ui:ui", "The terminal UI."),
    "status": ("tlsidecar.cli.status:status", "What is wrong, who is refused, what expires, what flows."),
    "connections": ("tlsidecar.cli.reads:connections", "Who is connected."),
    "certificates": ("tlsidecar.cli.reads:certificates", "What is served and trusted now."),
    "refusals": ("tlsidecar.cli.refusals:refusals", "Who was turned away, and why."),
    "failures": ("tlsidecar.cli.refusals:failures", "What could not be served, and why."),
    "history": ("tlsidecar.cli.history:history", "What it was like: the last two hours."),
    "explain": ("tlsidecar.cli.explain:explain", "Why a peer is let in or not, and the line that would allow it."),
    "snapshot": ("tlsidecar.cli.snapshot:snapshot", "All that the admin API shows, as one file."),
    "events": ("tlsidecar.cli.events:events", "Follow what happens."),
    "reload": ("tlsidecar.cli.changes:reload", "Read the configuration and the material's source again."),
    "rotate": ("tlsidecar.cli.changes:rotate", "Ask the material's source to renew now."),
    "drain": ("tlsidecar.cli.changes:drain", "Stop accepting; let connections finish."),
    "undrain": ("tlsidecar.cli.changes:undrain", "Accept again, after a drain."),
    "shutdown": ("tlsidecar.cli.changes:shutdown", "Drain, then end the process."),
    "kill": ("tlsidecar.cli.peers:kill", "Close one connection, or all that match."),
    "deny": ("tlsidecar.cli.peers:deny", "Keep an identity out for a time."),
    "undeny": ("tlsidecar.cli.peers:undeny", "End a denial before its time."),
    "denials": ("tlsidecar.cli.peers:denials", "Whom an operator keeps out."),
    "log-level": ("tlsidecar.cli.changes:log_level", "Change the process log's level."),
    "wait": ("tlsidecar.cli.changes:wait", "Block until the sidecar is ready."),
    "health": ("tlsidecar.cli.probe:health", "For HEALTHCHECK and exec probes."),
    "admin-pipe": ("tlsidecar.cli.admin_pipe:admin_pipe", "The admin protocol on stdin and stdout, for ssh and exec."),
    "inject": ("tlsidecar.cli.inject:inject", "The native sidecar into Kubernetes manifests."),
    "import": ("tlsidecar.cli.migrate:migrate", "Another proxy's configuration as ours."),
    "completion": (
        "tlsidecar.cli.completion_script:completion",
        "A script for bash, zsh or fish that completes all these.",
    ),
    "certs": ("tlsidecar.cli.certificates:certs", "A local CA; issue, inspect, rotate, roll over, revoke."),
}


EXAMPLES: Mapping[str, str] = {
    "run": "tlsidecar run --config tlsidecar.toml",
    "exec": "tlsidecar exec --config tlsidecar.toml -- ./service --port 8080",
    "check": "tlsidecar check --config tlsidecar.toml && systemctl reload tlsidecar",
    "config": "tlsidecar config show --config tlsidecar.toml",
    "demo": "tlsidecar demo --once",
    "ui": "tlsidecar ui --once || page-somebody",
    "status": "tlsidecar status",
    "connections": "tlsidecar connections --filter 'id:*/sa/web !listener:raw idle:>60s' --sort bytes_out --desc",
    "certificates": "tlsidecar certificates --json | jq -r .leaf.not_after",
    "refusals": "tlsidecar refusals --filter 'reason:not_allowed age:<1h' --groups",
    "failures": "tlsidecar failures --filter 'listener:web' --follow",
    "history": "tlsidecar history --since 15m --step 1m",
    "snapshot": "tlsidecar snapshot -o ticket-4711.gz && tlsidecar ui --replay ticket-4711.gz",
    "events": "tlsidecar events --after 0 --filter '!kind:opened !kind:closed' --json",
    "explain": "tlsidecar explain --cert client.crt --listener web --path /admin/users --method POST",
    "reload": "tlsidecar reload --json",
    "rotate": "tlsidecar rotate",
    "drain": "tlsidecar drain --timeout 30s",
    "undrain": "tlsidecar undrain && tlsidecar wait --timeout 10s",
    "shutdown": "tlsidecar shutdown --wait",
    "kill": "tlsidecar kill --filter 'listener:web idle:>10m' --expect 40",
    "deny": "tlsidecar deny spiffe://prod.example/ns/shop/sa/web --for 10m",
    "undeny": "tlsidecar undeny spiffe://prod.example/ns/shop/sa/web",
    "denials": "tlsidecar denials --json",
    "log-level": "tlsidecar log-level debug",
    "wait": "tlsidecar wait --timeout 10s && ./start-the-rest",
    "admin-pipe": "tlsidecar admin-pipe --socket /run/web/admin.sock <request.http",
    "inject": "tlsidecar inject deployment.yaml --allow ou:sre | kubectl apply -f -",
    "import": "tlsidecar import stunnel stunnel.conf > tlsidecar.toml",
    "completion": "tlsidecar completion fish >~/.config/fish/completions/tlsidecar.fish",
    "certs": "tlsidecar certs init pki --name 'Dev CA'",
}


# What is asked for as a command and is none: an option, or a command of ``certs`` or ``config``.
_ELSEWHERE: Mapping[str, str] = {
    **{name: f"--{name}" for name in ("help", "version")},
    **{name: f"certs {name}" for name in ("init", "issue", "rollover", "revoke", "crl", "verify")},
    **{name: f"config {name}" for name in ("schema", "show")},
    "renew": "rotate",
}


class _CommandsByName(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:  # of which click would make exit code 1
            click.echo("\ninterrupted", err=True)
            ctx.exit(EXIT_INTERRUPTED)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            from difflib import get_close_matches

            nearest = [_ELSEWHERE[cmd_name]] if cmd_name in _ELSEWHERE else get_close_matches(cmd_name, COMMANDS, n=1)
            ctx.fail(f"no such command {cmd_name!a}" + (f": did you mean {nearest[0]}?" if nearest else ""))
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command = getattr(import_module(module), name)
        assert isinstance(command, click.Command)
        example = f"Example: {EXAMPLES[cmd_name]}" if cmd_name in EXAMPLES else ""
        if example not in (command.epilog or ""):
            command.epilog = f"{command.epilog}\n\n{example}" if command.epilog else example
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, meaning) for name, (_, meaning) in COMMANDS.items()])


def _print_version(ctx: click.Context, param: click.Parameter, wanted: Any) -> None:
    if not wanted or ctx.resilient_parsing:
        return
    import platform

    from cryptography.hazmat.backends.openssl import backend

    from tlsidecar import __version__

    click.echo(f"tlsidecar {__version__}, Python {platform.python_version()}, {backend.openssl_version_text()}")
    ctx.exit()


@click.group(
    cls=_CommandsByName,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 ok, 1 failed at run time, 2 bad usage, config or material, 3 admin socket unreachable, "
    "4 refused by the sidecar, 130 interrupted.",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the versions of tlsidecar, Python and OpenSSL.",
)
def root() -> None:
    """Mutual TLS beside a plaintext service, without changing a line of it."""
