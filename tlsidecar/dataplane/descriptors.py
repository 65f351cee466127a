"""The last few file descriptors: kept from the traffic, for the operator, the log and the files that are read.

Descriptors are given out lowest first (POSIX.1-2017, section 2.14), so the number of a new one tells how many are left:
no counting, one comparison.
"""

from __future__ import annotations

import errno
import functools
import os
import resource

# What is left for everybody else when accepting stops, and, less, when connecting to upstreams stops: connections that
# were accepted should rather be finished than new ones begun.
ACCEPT_RESERVE = 8
DIAL_RESERVE = 4

OUT_OF_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


@functools.cache
def limit() -> int:
    """The most descriptors of this process (getrlimit(2)), as it was when first asked for: once serving."""
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 1 << 20 if descriptors == resource.RLIM_INFINITY else descriptors


def may_accept(descriptor: int) -> bool:
    """Whether more may be accepted after a connection has got this descriptor."""
    return descriptor < limit() - ACCEPT_RESERVE


def may_dial(descriptor: int) -> bool:
    """Whether this descriptor may be used for a connection to an upstream."""
    return descriptor < limit() - DIAL_RESERVE


def have_room(descriptor: int) -> bool:
    """Whether accepting may go on; ``descriptor`` is any open one, to try with."""
    try:
        copy = os.dup(descriptor)
    except OSError:
        return False
    os.close(copy)
    return may_accept(copy)
