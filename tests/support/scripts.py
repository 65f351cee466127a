"""Playing a script of ``starttls`` without a socket."""

from __future__ import annotations

from tlsidecar.dataplane.starttls.script import Next, Script


def played(script: Script, sent: bytes, piece: int = 1000) -> tuple[Next, bytes, bytes]:
    """How it ends, what was answered, and what was left for whoever comes next; ``sent`` comes in such pieces."""
    arrived, left, answers = 0, b"", b""
    while True:
        step = script.look(left)
        answers += step.answer
        left = left[step.take :] if step.next is not Next.CANCEL else left
        if step.next is not Next.MORE:
            return step.next, answers, left
        if not step.take:
            if arrived >= len(sent):
                return Next.MORE, answers, left
            left += sent[arrived : arrived + piece]
            arrived += piece
