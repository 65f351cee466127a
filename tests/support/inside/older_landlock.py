"""Runs a command as on a kernel whose Landlock is of an earlier ABI.

python older_landlock.py ABI COMMAND [ARGUMENT]...

A seccomp filter sends its system calls here first (seccomp_unotify(2)): the question for the ABI gets the earlier
number; a ruleset that is about more than that ABI knows, or a rule of a later kind, is refused as that kernel does it.
What the earlier one knows is done by the kernel that runs.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
import struct
import sys

_PR_SET_NO_NEW_PRIVS, _SYS_SECCOMP = 38, {"x86_64": 317, "aarch64": 277}[os.uname().machine]
_SET_MODE_FILTER, _NEW_LISTENER = 1, 8
_LOAD_WORD, _JUMP_IF_AT_LEAST, _RETURN = 0x20, 0x35, 0x06  # BPF_LD|W|ABS, BPF_JMP|JGE|K, BPF_RET|K
_ALLOW, _USER_NOTIF = 0x7FFF0000, 0x7FC00000
_RECEIVE, _SEND = 0xC0502100, 0xC0182101  # SECCOMP_IOCTL_NOTIF_RECV, _SEND
_NOTIFICATION = struct.Struct("=QIIiIQ6Q")  # id, pid, flags; nr, arch, instruction pointer, arguments
_RESPONSE = struct.Struct("=QqiI")
_CONTINUE = 1
_CREATE_RULESET, _ADD_RULE = 444, 445
_ASK_ABI, _RULE_NET_PORT = 1, 2
# How long struct landlock_ruleset_attr is, by the ABI that made it so.
_ATTRIBUTE_BYTES = ((6, 24), (4, 16), (1, 8))


def _known(abi: int) -> int:
    return (1 << 13 + (abi >= 2) + (abi >= 3) + (abi >= 5)) - 1


def _install() -> int:
    """The descriptor that notifications are read from."""
    program = [
        (_LOAD_WORD, 0, 0, 0),  # the system call's number
        (_JUMP_IF_AT_LEAST, 0, 2, _CREATE_RULESET),
        (_JUMP_IF_AT_LEAST, 1, 0, _ADD_RULE + 1),
        (_RETURN, 0, 0, _USER_NOTIF),
        (_RETURN, 0, 0, _ALLOW),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *each) for each in program))
    filter_program = struct.pack("@HP", len(program), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    found: int = libc.syscall(_SYS_SECCOMP, _SET_MODE_FILTER, _NEW_LISTENER, filter_program)
    if found < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return found


def _answer(abi: int, pid: int, number: int, arguments: tuple[int, ...]) -> tuple[int, int]:
    """A value and an errno; the kernel itself where both are 0."""
    if number == _ADD_RULE:
        return 0, errno.EINVAL if arguments[1] == _RULE_NET_PORT and abi < 4 else 0
    if arguments[2] & _ASK_ABI:
        return abi, 0
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        memory.seek(arguments[0])
        attributes = memory.read(arguments[1])
    known = next(length for since, length in _ATTRIBUTE_BYTES if abi >= since)
    if any(attributes[known:]):
        return 0, errno.E2BIG
    return 0, errno.EINVAL if int.from_bytes(attributes[:8], "little") & ~_known(abi) else 0


def _supervise(abi: int, listener: int) -> None:
    """Until the last process under the filter has ended."""
    while True:
        notification = bytearray(_NOTIFICATION.size)
        try:
            fcntl.ioctl(listener, _RECEIVE, notification)
        except OSError as error:
            if error.errno == errno.EINTR:
                continue
            return
        identifier, pid, _, number, _, _, *arguments = _NOTIFICATION.unpack(notification)
        value, refused = _answer(abi, pid, number, tuple(arguments))
        flags = 0 if value or refused else _CONTINUE
        response = bytearray(_RESPONSE.pack(identifier, value, -refused, flags))
        try:
            fcntl.ioctl(listener, _SEND, response)
        except OSError:
            continue  # whoever asked is gone


def main(abi: int, command: list[str]) -> None:
    ours, theirs = socket.socketpair()
    if os.fork() == 0:
        ours.close()
        if os.fork() != 0:  # nobody's child, so that the command has none that it does not know
            os._exit(0)
        _, (listener,), _, _ = socket.recv_fds(theirs, 1, 1)
        os.set_blocking(listener, True)
        os.closerange(0, listener)
        _supervise(abi, listener)
        os._exit(0)
    os.wait()
    listener = _install()
    socket.send_fds(ours, [b"!"], [listener])
    os.close(listener)
    ours.close()
    theirs.close()
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
