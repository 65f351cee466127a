"""``tlsidecar`` and ``python -m tlsidecar``."""

from __future__ import annotations

import os
import sys

try:
    from certs.shell import guarded
except ImportError:
    import certs

    sys.exit(
        f"Error: the package certs in {next(iter(certs.__path__))} is not tlsidecar's, and is in its way: "
        "install tlsidecar into an environment of its own (python3 -m venv, pipx or uv tool)"
    )


def main() -> None:
    """Run the command that the arguments name, and exit with its code."""
    sys.exit(guarded(_command))


def _command() -> object:
    if sys.argv[1:2] == ["health"]:
        from tlsidecar.cli.health import main as health

        return health(sys.argv[2:])
    if sys.argv[1:2] in (["run"], ["exec"]):
        import gc

        # What start-up makes stays: looking through it again and again for what does not is a fifth of the start.
        gc.disable()
        from tlsidecar.openssl import keep_out_the_systems, load_without_session_tickets

        keep_out_the_systems()
        load_without_session_tickets()
    if "_TLSIDECAR_COMPLETE" in os.environ:
        from tlsidecar.cli.shells import register

        register()
    elif sys.argv[1:2] == ["run"]:
        from tlsidecar.cli.serving import plainly_asked, serve

        options = plainly_asked(sys.argv[2:])
        if options is not None:
            return serve(options)
    from tlsidecar.cli.root import root

    return root(prog_name="tlsidecar")


if __name__ == "__main__":
    main()
