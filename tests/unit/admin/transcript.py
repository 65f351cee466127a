"""Raw HTTP over a Unix or TCP socket, for tests that read as transcripts."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEADLINE_S = 30.0


@dataclass
class Answer:
    """One reply as it came over the wire."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> tuple[int, str]:
        """Status and error code, for a table of refusals."""
        return self.status, self.json["error"]["code"]


class Wire:
    """Connects anew for each exchange unless told otherwise."""

    def __init__(self, path: Path | tuple[str, int]) -> None:
        self._path = path

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        if isinstance(self._path, tuple):
            reader, writer = await asyncio.open_connection(*self._path)
        else:
            reader, writer = await asyncio.open_unix_connection(self._path)
        try:
            yield reader, writer
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def send(self, raw: bytes) -> Answer | None:
        """The answer to these bytes; None when the connection was closed without one."""
        async with asyncio.timeout(DEADLINE_S), self.connected() as (reader, writer):
            writer.write(raw)
            with contextlib.suppress(OSError):
                await writer.drain()
            return await read_answer(reader)

    async def call(
        self,
        method: str,
        target: str,
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
        host: str = "localhost",
    ) -> Answer:
        raw = b"" if body is None else json.dumps(body).encode()
        lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", "Connection: close"]
        if body is not None:
            lines += ["Content-Type: application/json", f"Content-Length: {len(raw)}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        answer = await self.send("\r\n".join([*lines, "", ""]).encode() + raw)
        assert answer is not None, "closed without an answer"
        return answer

    async def get(self, target: str) -> Answer:
        return await self.call("GET", target)


async def read_answer(reader: asyncio.StreamReader, *, body: bool = True) -> Answer | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    first, *lines = head.rstrip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    length = int(headers.get("content-length", "0")) if body else 0
    return Answer(int(first.split()[1]), headers, await reader.readexactly(length))
