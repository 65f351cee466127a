"""A few local callers that keep asking through the shop's sidecar, and count what fails."""

from __future__ import annotations

import http.client
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tlsidecar.demo.stage import DemoSetup

CALLERS = 4
PAUSE_S = 0.01


class Traffic:
    """Requests, until it is left; ``answered`` and ``failures`` count them."""

    def __init__(self, stage: DemoSetup) -> None:
        self._port = stage.shop.port
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._call, daemon=True) for _ in range(CALLERS)]
        self._lock = threading.Lock()
        self.answered = 0
        self.failures: list[str] = []

    def __enter__(self) -> Traffic:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, more: int, within_s: float = 10.0) -> None:
        """Return when ``more`` further requests were answered, or one failed, or the time is over."""
        goal = self.answered + more
        deadline = time.monotonic() + within_s
        while self.answered < goal and not self.failures and time.monotonic() < deadline:
            self._stop.wait(PAUSE_S)

    def _call(self) -> None:
        number = 0
        while not self._stop.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
            try:
                for _ in range(20):
                    number += 1
                    connection.request("GET", f"/orders/{number}")
                    response = connection.getresponse()
                    response.read()
                    with self._lock:
                        if response.status == 200:
                            self.answered += 1
                        else:
                            self.failures.append(f"status {response.status}")
                    if self._stop.wait(PAUSE_S):
                        break
            except (OSError, http.client.HTTPException) as error:
                with self._lock:
                    self.failures.append(repr(error))
            finally:
                connection.close()
