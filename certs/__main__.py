"""``python -m certs``: the certificate commands alone."""

from certs.cli import certs

if __name__ == "__main__":
    certs(prog_name="certs")
