"""The process that workers are forked from: it has imported what a worker needs, and nothing else ever happens in it.

Forking the controller itself would copy its threads' locks and, with an authority, the CA's key. Starting each worker
as a fresh interpreter costs 0.25 s of CPU and 21 MB that it shares with nobody; a fork of this one is there in a few
milliseconds and shares those pages (docs/decisions.md). It holds no key, no listening socket and no connection.

It is asked over a sequenced-packet socket: ``fork NUMBER`` with the worker's descriptors; it answers ``forked NUMBER
PID``, or ``failed NUMBER ERRNO``, and tells ``ended PID STATUS`` of each that ended. It ends when its socket does.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import signal
import socket
import sys
from collections.abc import Sequence

from tlsidecar.openssl import keep_out_the_systems, load_without_session_tickets
from tlsidecar.process import keep_memory_private, name_process

# SCM_MAX_FD (unix(7)): the kernel passes no more descriptors than this in one message.
MAX_DESCRIPTORS = 253

_WORKER = "tlsidecar.workers.process"
_BROKER = "tlsidecar.sandbox.broker"

# A terminal's Ctrl-C and a service manager's TERM reach every process of the group: only the controller listens.
_NOT_FOR_US = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def main(arguments: Sequence[str]) -> None:
    """``arguments``: the socket's descriptor, that of the sandbox's broker or -1, then modules that workers need."""
    for ignored in _NOT_FOR_US:
        signal.signal(ignored, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # whoever started us had them blocked meanwhile
    keep_memory_private()
    name_process("tlsidecar-fork")
    control, broker = socket.socket(fileno=int(arguments[0])), int(arguments[1])
    keep_out_the_systems()
    load_without_session_tickets()  # hence nothing above may import cryptography
    gc.disable()
    for module in (_WORKER, *([_BROKER] if broker >= 0 else []), *arguments[2:]):
        importlib.import_module(module)
    gc.collect()
    gc.freeze()
    gc.enable()
    signal.signal(signal.SIGCHLD, lambda *_: _tell_who_ended(control))
    while True:
        try:
            request, descriptors, _, _ = socket.recv_fds(control, 256, MAX_DESCRIPTORS)
        except ConnectionResetError:
            return  # the controller was killed before it read what it had been told
        if not request:
            return
        number = int(request.split()[1])
        # The end of one that ends at once must not be reported before its beginning.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        try:
            pid = os.fork()
        except OSError as error:  # too many processes, or no memory: the next one may come to be
            answer = b"failed %d %d" % (number, error.errno or 0)
        else:
            answer = b"forked %d %d" % (number, pid)
            if not pid:
                _become_worker(control, number, descriptors, broker)
        for descriptor in descriptors:
            os.close(descriptor)
        with contextlib.suppress(BrokenPipeError):  # killed meanwhile: the next request is the end
            control.send(answer)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})


def _become_worker(control: socket.socket, number: int, descriptors: Sequence[int], broker: int) -> None:
    code = 1
    try:
        control.close()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        keep_memory_private()
        name_process(f"tlsidecar-{number}")
        connector = importlib.import_module(_BROKER).Broker.inherited(broker).connect if broker >= 0 else None
        code = importlib.import_module(_WORKER).serve(descriptors, connector)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()
        os._exit(code)  # what is left to clean up is the fork server's


def _tell_who_ended(control: socket.socket) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        with contextlib.suppress(OSError):
            control.send(b"ended %d %d" % (pid, status), socket.MSG_DONTWAIT)


if __name__ == "__main__":
    main(sys.argv[1:])
