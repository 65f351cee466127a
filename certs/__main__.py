"""``python -m certs``: the certificate commands alone."""

import sys

from certs.cli import certs
from certs.shell import guarded

if __name__ == "__main__":
    sys.exit(guarded(lambda: certs(prog_name="certs")))
