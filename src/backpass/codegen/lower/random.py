"""Kernels of random bits: Philox4x32-10 for a row of blocks, each of which gives four words.

The arithmetic is that of `prims/random.py`, its reference, on 32-bit words in uint64, so that LLVM
sees products of 32 by 32 bits. A kernel has a variable for the block (and one for the key, where
there are several); the words behind the last whole block are a small kernel of their own, since a
store has no guard.
"""

from __future__ import annotations

import numpy as np

from backpass.codegen.lower.elements import Elements
from backpass.codegen.lower.groups import Group
from backpass.codegen.lower.index import (
    Form,
    domain_of,
    linear,
    number,
    scaled,
    total,
    variable,
)
from backpass.codegen.lower.schedule import Bound, scheduled
from backpass.ir import Node
from backpass.prims.random import HALF, MULTIPLIERS, ROUNDS, WEYL, WORD

UINT32, UINT64 = np.dtype(np.uint32), np.dtype(np.uint64)
WORDS = 4  # of a block
NEAR = 1 << int(HALF)  # block numbers below it have no high word

Words = tuple[int, ...]


def random_kernels(name: str, node: Node, stored: set[Node]) -> list[Bound]:
    """The kernels of a `random_bits` node: its whole blocks, and what is left of the last one."""
    whole, rest = divmod(node.types[0].size // node.inputs[0].type.size, WORDS)
    found: list[Bound] = []
    if whole:
        found.append(_blocks(name, node, stored, range(whole), WORDS))
    if rest:
        found.append(_blocks(f"{name}r", node, stored, range(whole, whole + 1), rest))
    return found


def _blocks(name: str, node: Node, stored: set[Node], blocks: range, words: int) -> Bound:
    """The first `words` words of each of the blocks, under each key."""
    keys = node.inputs[0]
    extents, _ = domain_of((*keys.shape, len(blocks)))
    variables = len(extents)
    own, rest = domain_of(keys.shape)
    place = tuple([Form(f.constant, (*f.coefs, *[0] * (variables - len(own)))) for f in rest])
    block = variable(len(own), variables) if len(blocks) > 1 else number(0, variables)
    block = Form(blocks.start, block.coefs)
    elements = Elements(Group(0, extents), stored)
    cipher = _Cipher(elements)
    key, counter = (cipher.halves(elements.element(v, place)) for v in node.inputs)
    at = cipher.halves(elements.add("cast", (elements.index(block),), UINT64), blocks.stop)
    row = scaled(linear(place, keys.shape, variables), node.types[0].size // keys.type.size)
    first = total((row, scaled(block, WORDS)), variables)
    for k, word in enumerate(cipher.encrypted((*at, *counter), key)[:words]):
        entry = elements.add("cast", (word,), UINT32)
        elements.store(entry, node, Form(first.constant + k, first.coefs))
    return scheduled(name, extents, elements.entries, None)


class _Cipher:
    """Philox as entries: the twin of `philox4x32`, line for line."""

    def __init__(self, elements: Elements) -> None:
        self.elements = elements
        self.word, self.half = elements.const(WORD, UINT64), elements.const(HALF, UINT64)

    def op(self, code: str, *args: int) -> int:
        """An operation on uint64."""
        return self.elements.add(code, args, UINT64)

    def halves(self, x: int, below: int | None = None) -> tuple[int, int]:
        """The low and the high word of a number, which may be known to be less than `below`."""
        if below is not None and below <= NEAR:
            return x, self.elements.const(0, UINT64)
        return self.op("bitwise_and", x, self.word), self.op("right_shift", x, self.half)

    def encrypted(self, counter: Words, key: Words) -> Words:
        """The four words of a counter under a key."""
        c0, c1, c2, c3 = counter
        k0, k1 = key
        by, weyl = (
            [self.elements.const(int(n), UINT64) for n in numbers]
            for numbers in (MULTIPLIERS, WEYL)
        )
        for _ in range(ROUNDS):
            left, right = self.op("mul", c0, by[0]), self.op("mul", c2, by[1])
            c0, c1, c2, c3 = (
                self._mixed(right, c1, k0),
                self.op("bitwise_and", right, self.word),
                self._mixed(left, c3, k1),
                self.op("bitwise_and", left, self.word),
            )
            k0, k1 = (
                self.op("bitwise_and", self.op("add", k, w), self.word)
                for k, w in zip((k0, k1), weyl, strict=True)
            )
        return c0, c1, c2, c3

    def _mixed(self, product: int, word: int, key: int) -> int:
        high = self.op("right_shift", product, self.half)
        return self.op("bitwise_xor", self.op("bitwise_xor", high, word), key)
