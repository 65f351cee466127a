"""``tlsidecar`` and ``python -m tlsidecar``."""

from __future__ import annotations

import sys

from certs.shell import guarded


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
        from tlsidecar.openssl import load_without_session_tickets

        load_without_session_tickets()
    from tlsidecar.cli.root import root

    return root(prog_name="tlsidecar")


if __name__ == "__main__":
    main()
