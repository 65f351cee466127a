"""HTTP/1.1 by hand on a raw peer: what is sent is what the test wrote, what is read is split and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class Reader(Protocol):
    def recv(self, most: int = ..., /) -> bytes: ...


@dataclass(frozen=True)
class Answer:
    status: int
    fields: dict[str, str]  # names in lower case
    body: bytes

    @property
    def closes(self) -> bool:
        return self.fields.get("connection", "").lower() == "close"


def request(method: str = "GET", target: str = "/", *lines: str, body: bytes = b"") -> bytes:
    """One request; ``body`` brings its Content-Length."""
    head = [f"{method} {target} HTTP/1.1", "Host: localhost", *lines]
    if body:
        head.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*head, "", ""]).encode("latin-1") + body


def read_answer(peer: Reader, *, of_head: bool = False) -> Answer:
    """The next response, which must tell its length; nothing beyond it may have been sent."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = peer.recv(65536)
        assert more, f"ended in a head: {data!r}"
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    length = 0 if of_head else int(fields.get("content-length", "0"))
    while len(body) < length:
        more = peer.recv(65536)
        assert more, f"ended after {len(body)} of {length} bytes"
        body += more
    assert len(body) == length, body[length:]
    return Answer(int(first.split(" ")[1]), fields, body)
