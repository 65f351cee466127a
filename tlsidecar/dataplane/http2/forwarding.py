"""What goes on of a read, the same in both directions."""

from __future__ import annotations

from collections.abc import Callable

from tlsidecar.dataplane.http2 import frames
from tlsidecar.dataplane.http2.errors import Http2Error
from tlsidecar.dataplane.http2.frames import Frame, FrameReader


def pass_on(
    reader: FrameReader,
    found: list[Frame],
    begin: int,
    run: int,
    judge: Callable[[Frame], bool],
    out: list[bytes | memoryview],
    made: list[bytes],
) -> Http2Error | None:
    """Append to ``out`` what goes on of a read of ``found`` behind ``begin`` bytes of a frame before: from ``run`` on,
    as views, each frame of which ``judge`` says that it goes on as it came, and in its place, or before it, what it has
    put into ``made``. What is wrong with the first frame that cannot be taken is returned; those before it are."""
    view = memoryview(reader.data)
    held_at = reader.end
    try:
        for frame in found:
            passes = judge(frame)
            if passes and not made:
                continue
            at = frame[3]
            if at > run:
                out.append(view[run:at])
            if made:
                out += made
                made.clear()
            run = at if passes else min(frame[4], held_at)
    except Http2Error as fault:
        if frame[3] > run:
            out.append(view[run : frame[3]])
        return fault.with_traceback(None)  # its frames hold the buffer
    stop = min(found[-1][4], held_at) if found else begin
    if stop > run:
        out.append(view[run:stop])
    return reader.fault


def block_since(reader: FrameReader, found: list[Frame], begin: int, since: float, now: float) -> float:
    """Since when the block or the frame has been under way that ``reader`` has the beginning of, after a read at
    ``now`` of ``found`` behind ``begin`` bytes of a frame before; 0 where there is none. CONTINUATIONs belong to it."""
    if not reader.in_a_block:
        return 0.0
    return since if since and not begin and all(frame[0] == frames.CONTINUATION for frame in found) else now
