"""What is put into a pod: decided once, before any manifest is read."""

from __future__ import annotations

import re

from tlsidecar.lazy_dataclass import dataclass

# A DNS subdomain (RFC 1123), as Kubernetes wants the names of Secrets and ConfigMaps to be.
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,251}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")

WORKLOAD = "{name}"


class InjectError(Exception):
    """Something that cannot be injected into; the text names what and where."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How the sidecar is to be set up.

    ``secret`` names the Secret with tls.crt, tls.key and ca.crt; ``{name}`` in it stands for the workload's name, so
    that each has an identity of its own. With a ``config_map`` its tlsidecar.toml says everything else; without one
    the listener is given by flags: ``port`` with mutual TLS in front of ``upstream_port``, which is looked for among
    the containers' ports where it is 0, letting in whom ``allow`` names.
    """

    image: str
    secret: str = f"{WORKLOAD}-tlsidecar"
    config_map: str = ""
    port: int = 8443
    upstream_port: int = 0
    protocol: str = "http"
    allow: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raises :class:`InjectError`."""
        if not self.image.strip() or any(character.isspace() for character in self.image):
            raise InjectError(f"not the name of an image: {self.image!r}")
        for what, name in (("Secret", self.secret.replace(WORKLOAD, "x")), ("ConfigMap", self.config_map or "x")):
            if _NAME.fullmatch(name) is None:
                raise InjectError(f"not the name of a {what}: {name!r}")
        if not self.config_map and not self.allow:
            raise InjectError(
                "say who may connect, with --allow RULE, or name a ConfigMap that does, with --config-map"
            )
        if self.config_map and (self.allow or self.upstream_port):
            raise InjectError(
                "with --config-map its tlsidecar.toml says who may connect and to which port: leave out "
                "--allow and --upstream-port"
            )

    def secret_of(self, workload: str) -> str:
        """The name of the Secret of the workload of this name."""
        return self.secret.replace(WORKLOAD, workload)
