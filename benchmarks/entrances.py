"""What stands before the proxies for loads that speak no TLS: one haproxy that does, with ports for each of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from benchmarks import contenders
from benchmarks.contenders import Contender, Place
from benchmarks.credentials import SERVER_NAME
from benchmarks.settings import H2

# One suite for everybody: left to themselves Envoy prefers AES-128 and OpenSSL follows the client's AES-256.
CIPHER_SUITE = "TLS_AES_128_GCM_SHA256"

_HEAD = """global
  nbthread 1
  maxconn {most}
defaults
  mode tcp
  timeout connect 5s
  timeout client 600s
  timeout server 600s
"""
_LISTEN = """listen to-{port}-{kind}
  bind 127.0.0.1:{local} backlog 4096
  server one 127.0.0.1:{port} ssl crt {pem} ca-file {trust} verify required force-tlsv13 {how}
"""


@dataclass(frozen=True)
class Entrance:
    """The load's own ports for one proxy: plaintext in, mutual TLS to the proxy."""

    full: int  # a full handshake for every connection
    resumed: int  # sessions resumed where the proxy offers it


@contextlib.contextmanager
def entrances(place: Place, running: Iterable[Contender]) -> Iterator[dict[Contender, Entrance]]:
    """A door to each of them, while this lasts."""
    doors = {contender: Entrance(contenders.free_port(), contenders.free_port()) for contender in running}
    text = _HEAD.format(most=place.descriptors // 2 - 100)
    for contender, door in doors.items():
        client = place.pki_of(contender.setting).client
        alpn = " alpn h2" if contender.speaks == H2 else ""
        for kind, local, reuse in (("full", door.full, " no-ssl-reuse"), ("resumed", door.resumed, "")):
            text += _LISTEN.format(
                port=contender.port,
                kind=kind,
                local=local,
                pem=client.combined,
                trust=client.trust,
                how=f"verifyhost {SERVER_NAME} sni str({SERVER_NAME}) ciphersuites {CIPHER_SUITE}{reuse}{alpn}",
            )
    config = place.directory / "originator.cfg"
    config.write_text(text)
    process = place.processes.start(
        "originator", ["haproxy", "-db", "-f", str(config)], place.cores.load, directory=place.directory
    )
    try:
        for door in doors.values():
            contenders.wait_until_listening(process, door.full)
        yield doors
    finally:
        place.processes.stop(process)
