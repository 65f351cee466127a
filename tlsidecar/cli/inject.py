"""``tlsidecar inject``: the native sidecar into Kubernetes manifests, and out again."""

from __future__ import annotations

from pathlib import Path

import click

from tlsidecar.cli.context import EXIT_BAD_INPUT, EXIT_FAILED, CommandFailed, Number
from tlsidecar.cli.text import say
from tlsidecar.cli.text_file import name_of, read_text, yaml_needed
from tlsidecar.inject.plan import InjectError, Plan


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path, allow_dash=True))
@click.option("--remove", is_flag=True, help="Take the sidecar out again.")
@click.option("--image", metavar="NAME", help="The sidecar's image.  [default: tlsidecar:VERSION]")
@click.option(
    "--secret",
    default="{name}-tlsidecar",
    show_default=True,
    metavar="NAME",
    help="The Secret with tls.crt, tls.key and ca.crt; {name} is the workload's name.",
)
@click.option(
    "--config-map",
    default="",
    metavar="NAME",
    help="A ConfigMap whose tlsidecar.toml says everything else; without one the options below do.",
)
@click.option("--allow", multiple=True, metavar="RULE", help="Who may connect; repeatable.")
@click.option("--port", type=Number(1, 65535), default=8443, show_default=True, help="The port with mutual TLS.")
@click.option(
    "--upstream-port",
    type=Number(1, 65535),
    default=None,
    help="The application's port.  [default: the container's]",
)
@click.option("--protocol", type=click.Choice(["http", "tcp"]), default="http", show_default=True)
@click.option(
    "--serve",
    metavar="HOST:PORT",
    help="Answer an API server's AdmissionReviews instead, on loopback: a terminate listener stands in front.",
)
def inject(
    file: Path | None,
    remove: bool,
    image: str | None,
    secret: str,
    config_map: str,
    allow: tuple[str, ...],
    port: int,
    upstream_port: int | None,
    protocol: str,
    serve: str | None,
) -> None:
    """Put the native sidecar into Kubernetes manifests: FILE (or - for stdin) with it goes to stdout.

    Pods, Deployments, StatefulSets, DaemonSets, ReplicaSets, Jobs and CronJobs get it; everything else stays as it is,
    and so does what has it already. The application's own port should listen on 127.0.0.1 only.

    \b
    tlsidecar inject web.yaml --allow 'spiffe://cluster.local/ns/*/sa/frontend' | kubectl apply -f -
    """
    if (file is None) == (serve is None):
        raise click.UsageError("give a FILE (- for stdin), or --serve HOST:PORT")
    if remove and serve is not None:
        raise click.UsageError("--remove is for a FILE: a webhook puts the sidecar in")
    if remove:
        _transform(file, None)
        return
    try:
        plan = Plan(
            image=image or _default_image(),
            secret=secret,
            config_map=config_map,
            port=port,
            upstream_port=upstream_port or 0,
            protocol=protocol,
            allow=_checked(allow),
        )
    except InjectError as error:
        raise CommandFailed(str(error), EXIT_BAD_INPUT) from None
    if serve is not None:
        _serve(plan, serve)
    else:
        _transform(file, plan)


def _default_image() -> str:
    from tlsidecar import __version__

    return f"tlsidecar:{__version__}"


def _checked(allow: tuple[str, ...]) -> tuple[str, ...]:
    from certs.errors import RuleError
    from certs.rules import Rule

    for text in allow:
        try:
            Rule.parse(text)
        except RuleError as error:
            raise CommandFailed(f"--allow {text}: {error}", EXIT_BAD_INPUT) from None
    return allow


def _transform(file: Path | None, plan: Plan | None) -> None:
    from tlsidecar.inject import pod
    from tlsidecar.inject.manifests import apply

    text = read_text(file)
    change = pod.remove if plan is None else lambda template, name: pod.inject(template, plan, name)
    try:
        with yaml_needed():
            result = apply(text, change)
    except InjectError as error:
        raise CommandFailed(f"{name_of(file)}: {error}", EXIT_BAD_INPUT) from None
    click.echo(result.text, nl=False)
    done = "taken out of" if plan is None else "put into"
    for workload in result.changed:
        say(f"{done} {workload}", err=True)
    for workload in result.unchanged:
        say(f"unchanged: {workload}", err=True)
    if not result.changed and not result.unchanged:
        say(f"{name_of(file)}: there is no workload in it", err=True)


def _serve(plan: Plan, address: str) -> None:
    import logging
    from ipaddress import ip_address

    from tlsidecar.inject.webhook import WebhookServer

    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    try:
        is_loopback = host == "localhost" or ip_address(host).is_loopback
        number = int(port)
    except ValueError:
        raise CommandFailed(f"--serve {address}: not HOST:PORT, as 127.0.0.1:9443", EXIT_BAD_INPUT) from None
    if not is_loopback:
        raise CommandFailed(
            f"--serve {address}: in the clear only on loopback: put a terminate listener in front of it", EXIT_BAD_INPUT
        )
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        server = WebhookServer(plan, host, number)
    except (OSError, OverflowError) as error:
        raise CommandFailed(f"--serve {address}: {error}", EXIT_FAILED) from None
    with server:
        say(f"answering AdmissionReviews on http://{host}:{server.server_address[1]}/", err=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return
