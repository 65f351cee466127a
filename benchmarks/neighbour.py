"""Who has the other half of the proxies' core while CPU is counted.

With two cores the load, its service and the TLS before it have one, and most proxies the other: a proxy that is faster
than what feeds it runs after every packet, each a wake of its own, and its CPU per unit is then the interval of the
producer and no cost of its own. So a loop of the ordinary class takes half of its core, and something always waits for
it. What is told by the clock (latency, start, health) is measured without.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

from benchmarks.contenders import Place

# It ends by itself after this long, whatever becomes of us.
_MOST_S = 3600.0


@contextlib.contextmanager
def neighbour(place: Place) -> Iterator[None]:
    """One, where the place is to have one."""
    if not place.has_neighbour:
        yield
        return
    loop = f"import time\nend = time.time() + {_MOST_S}\nwhile time.time() < end: pass"
    # In a session of its own: where the kernel has autogroups (sched(7)) it gets half whatever the proxy's processes
    # are, and else what one more process gets.
    process = place.processes.start("neighbour", [sys.executable, "-c", loop], place.cores.proxy, has_own_session=True)
    try:
        yield
    finally:
        place.processes.stop(process)
