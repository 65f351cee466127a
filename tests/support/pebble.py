"""Pebble, the small ACME server of Let's Encrypt's makers, and its DNS, on ports of the kernel's choosing."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

from support.pki import Pki
from support.ports import free_ports
from support.waiting import eventually

EAB_KEY_ID = "kid-1"
EAB_MAC_KEY = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"


class Pebble:
    """The server validates at ``tls_port`` (tls-alpn-01) and ``http_port`` (http-01) of 127.0.0.1, whatever the name.
    ``bad_nonces`` is the share of good nonces that it refuses, in percent. A context manager."""

    def __init__(
        self,
        directory: Path,
        *,
        tls_port: int = 1,
        http_port: int = 1,
        bad_nonces: int = 0,
        external_account: bool = False,
        lifetime_s: int | None = None,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        pki = Pki(directory / "pebble-tls")
        pair = pki.issue("server", "127.0.0.1", "localhost")
        self.trust = pki.trust
        self.bad_nonces = bad_nonces
        self._log = directory / "pebble.log"
        self._config = directory / "pebble.json"
        self._port, self._management, self._control = free_ports(3)
        (self._dns,) = free_ports(1, socket.SOCK_DGRAM, socket.SOCK_STREAM)  # DNS is spoken over both
        self.url = f"https://127.0.0.1:{self._port}/dir"
        settings: dict[str, object] = {
            "listenAddress": f"127.0.0.1:{self._port}",
            "managementListenAddress": f"127.0.0.1:{self._management}",
            "certificate": str(pair.cert),
            "privateKey": str(pair.key),
            "httpPort": http_port,
            "tlsPort": tls_port,
            "externalAccountBindingRequired": external_account,
        }
        if lifetime_s is not None:
            settings["certificateValidityPeriod"] = lifetime_s
        if external_account:
            settings["externalAccountMACKeys"] = {EAB_KEY_ID: EAB_MAC_KEY}
        self._config.write_text(json.dumps({"pebble": settings}))
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Pebble:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        environment = os.environ | {
            "PEBBLE_VA_NOSLEEP": "1",
            "PEBBLE_WFE_NONCEREJECT": str(self.bad_nonces),
            "PEBBLE_AUTHZREUSE": "0",
        }
        dns = ["pebble-challtestsrv", "-dns01", f"127.0.0.1:{self._dns}", "-management", f"127.0.0.1:{self._control}"]
        dns += ["-http01", "", "-https01", "", "-tlsalpn01", "", "-defaultIPv6", ""]
        server = ["pebble", "-config", str(self._config), "-dnsserver", f"127.0.0.1:{self._dns}"]
        try:
            with self._log.open("ab") as log:
                for command in (dns, server):
                    process = subprocess.Popen(
                        command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment
                    )
                    self._processes.append(process)
            eventually(self._listens, within_s=30)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait(10)
        self._processes.clear()

    def signal(self, number: signal.Signals) -> None:
        for process in self._processes:
            process.send_signal(number)

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def _listens(self) -> bool:
        for process in self._processes:
            assert process.poll() is None, self.log()
        try:
            with socket.create_connection(("127.0.0.1", self._port), 1):
                return True
        except OSError:
            time.sleep(0.02)
            return False
