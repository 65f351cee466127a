"""The Huffman code of HPACK (RFC 7541 section 5.2 and appendix B), decoded a byte at a time.

The code is canonical: the lengths of the codes say what the codes are. A walk through its tree that begins in one
state and reads one byte always ends in the same state with the same symbols, so each such step is walked once and
then remembered; there are no more than 256 states of 256 bytes, and text needs a few hundred of them.
"""

from __future__ import annotations

from typing import Final

# The length in bits of the code of each symbol, in order; the last is EOS (RFC 7541 appendix B).
CODE_LENGTHS: Final = (
    *(13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28),
    *(28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28),
    *(6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6),
    *(5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10),
    *(13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7),
    *(7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6),
    *(15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5),
    *(6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28),
    *(20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23),
    *(24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24),
    *(22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23),
    *(21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23),
    *(26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25),
    *(19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27),
    *(20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23),
    *(26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26),
    30,
)
EOS: Final = 256


class HuffmanError(ValueError):
    """Not a string in this code: EOS within it, or padding that is not fewer than eight ones."""


def decode(coded: bytes) -> bytes:
    """The string that ``coded`` stands for. Raises :class:`HuffmanError`."""
    state = _START
    parts = []
    for byte in coded:
        state, text = state.steps[byte] or state.walk(byte)
        parts.append(text)
    if not state.may_end:
        raise HuffmanError("padding that is not the start of EOS")
    return b"".join(parts)


class _State:
    """Between two bytes: at an inner ``node`` of the tree. ``steps`` has, for each byte that was met here, the state
    after it and the symbols that it completes."""

    __slots__ = ("may_end", "node", "steps")

    def __init__(self, node: int) -> None:
        self.node = node
        self.may_end = node in _MAY_END
        self.steps: list[tuple[_State, bytes] | None] = [None] * 256

    def walk(self, byte: int) -> tuple[_State, bytes]:
        """The step that ``byte`` makes, for the first time. Raises :class:`HuffmanError`."""
        found = bytearray()
        at = self.node
        for shift in range(7, -1, -1):
            at = _TREE[at][byte >> shift & 1]
            if at < 0:
                if ~at == EOS:
                    raise HuffmanError("EOS within a string")
                found.append(~at)
                at = 0
        state = _STATES.get(at)
        if state is None:
            state = _STATES[at] = _State(at)
        step = self.steps[byte] = (state, bytes(found))
        return step


def _grow() -> list[list[int]]:
    """The tree: for each inner node where a 0 and a 1 lead, a symbol written as its complement."""
    tree = [[0, 0]]
    code = length = 0
    for symbol in sorted(range(len(CODE_LENGTHS)), key=lambda each: (CODE_LENGTHS[each], each)):
        code <<= CODE_LENGTHS[symbol] - length
        length = CODE_LENGTHS[symbol]
        at = 0
        for shift in range(length - 1, 0, -1):
            bit = code >> shift & 1
            if not tree[at][bit]:
                tree.append([0, 0])
                tree[at][bit] = len(tree) - 1
            at = tree[at][bit]
        tree[at][code & 1] = ~symbol
        code += 1
    return tree


def _ends() -> frozenset[int]:
    """The nodes at which a string may end: up to seven ones below the root."""
    ends = [0]
    for _ in range(7):
        ends.append(_TREE[ends[-1]][1])
    return frozenset(ends)


_TREE: Final = _grow()
_MAY_END: Final = _ends()
_START: Final = _State(0)
_STATES: Final = {0: _START}
