"""What is measured by turns: each figure with the load that makes it, and the settings it is made in."""

from __future__ import annotations

from dataclasses import dataclass, replace

from benchmarks.h2load import H2Work
from benchmarks.load import MIB, Counts, Work, WrkWork
from benchmarks.own_load import MessageWork, OpeningWork
from benchmarks.settings import H2, HTTP, HTTP_NO_INTERMEDIATE, NO_INTERMEDIATE, P384, RSA, SHIPPED, STREAMS, TCP
from benchmarks.stream_service import MESSAGES
from benchmarks.variants import OVER_TCP, TWO_WORKERS, WITHOUT_LOG

PLAIN = (TCP, HTTP)
# Others' certificates matter to new connections, and to nothing else.
OTHER_PKI = (NO_INTERMEDIATE, HTTP_NO_INTERMEDIATE, RSA, P384)
CONNECTION = WrkWork(Counts.REQUESTS, 8, closing=True)


@dataclass(frozen=True)
class Row:
    """``is_decisive``: a few hundredths decide whether a target is met, so it is given more rounds. ``opens``: a turn
    holds hundreds of connections instead of thousands of exchanges, and is longer. ``variants`` of ours take part."""

    key: str
    work: Work
    settings: tuple[str, ...]
    is_decisive: bool = False
    opens: bool = False
    variants: tuple[str, ...] = ()


def _exchange(key: str, settings: tuple[str, ...], path: str = "/", connections: int = 64, **more: object) -> Row:
    return Row(key, WrkWork(Counts.REQUESTS, connections, path, **more), settings)  # type: ignore[arg-type]


def _upload(key: str, *, chunked: bool = False) -> Row:
    work = WrkWork(Counts.REQUESTS, 64, "/upload", "POST", 1 << 10, chunked=chunked)
    return Row(key, work, (HTTP,), is_decisive=True)


ROWS = (
    replace(_exchange("exchange_64", (SHIPPED, TCP, HTTP)), is_decisive=True, variants=(TWO_WORKERS, WITHOUT_LOG)),
    _exchange("exchange_1", PLAIN, connections=1),
    _exchange("body_1k", PLAIN, "/files/1k"),
    _exchange("body_16k", PLAIN, "/files/16k"),
    _exchange("body_1m", PLAIN, "/files/1m"),
    replace(_exchange("chunked_1k", (HTTP,), "/chunked/1k"), is_decisive=True),
    _exchange("gzip_16k", (HTTP,), "/gzip/16k", takes_gzip=True),
    _exchange("close_1k", (HTTP,), "/close/1k"),
    _upload("post_1k"),
    _upload("chunked_post_1k", chunked=True),
    Row("event", MessageWork("events"), PLAIN, is_decisive=True, variants=(OVER_TCP,)),
    Row("frame", MessageWork("frames"), PLAIN, is_decisive=True, variants=(OVER_TCP,)),
    Row("connection_full", CONNECTION, (SHIPPED, *PLAIN, *OTHER_PKI), is_decisive=True, opens=True),
    Row("connection_own", OpeningWork(), (*PLAIN, *OTHER_PKI), opens=True),
    Row("http10", replace(CONNECTION, minor=0), (HTTP,), opens=True),
    Row("connection_resumed", replace(CONNECTION, resumed=True), PLAIN, opens=True),
    Row("download", WrkWork(Counts.DOWNLOADED, 2, "/files/100m"), PLAIN, is_decisive=True),
    Row("upload", WrkWork(Counts.UPLOADED, 2, "/upload", "POST", MIB), PLAIN, is_decisive=True),
    Row("h2_unary_64x1", H2Work(Counts.REQUESTS, 64, body_bytes=21), (H2,), is_decisive=True),
    Row("h2_unary_8x16", H2Work(Counts.REQUESTS, 8, 16, body_bytes=21), (H2,), is_decisive=True),
    Row("h2_new_paths", H2Work(Counts.REQUESTS, 1, 64, paths=50_000), (H2,)),
    Row("h2_download", H2Work(Counts.DOWNLOADED, 8, 2, "/1m"), (H2,)),
    Row("h2_upload", H2Work(Counts.UPLOADED, 8, 2, body_bytes=MIB), (H2,)),
    Row("h2_message", H2Work(Counts.REQUESTS, 8, body_bytes=21, messages=MESSAGES), (STREAMS,)),
)
KEYS = tuple(row.key for row in ROWS)
