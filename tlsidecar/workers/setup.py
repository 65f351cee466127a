"""What all workers of a supervisor have in common."""

from __future__ import annotations

import socket

from certs.clock import Clock
from tlsidecar.dataplane.board import Board
from tlsidecar.lazy_dataclass import dataclass
from tlsidecar.recorder import Collector
from tlsidecar.settings import Settings
from tlsidecar.workers.fork_server import ForkServer


@dataclass(slots=True)
class WorkerSetup:
    """``settings`` are those in force, ``sockets`` the listening ones, by listener."""

    settings: Settings
    workers: int
    sockets: dict[str, list[socket.socket]]
    board: Board
    board_descriptor: int
    log_descriptor: int
    fork_server: ForkServer
    collector: Collector
    clock: Clock
