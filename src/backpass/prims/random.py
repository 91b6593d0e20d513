"""Random bits from a key and a counter: the block cipher Philox4x32-10, with no state between
calls.

The bits are a function of (key, counter, place in the result) alone: the same eager or compiled, in
any order, with any number of threads. One key is one stream; each draw of a stream takes its own
counter, whatever the draw's size. (Salmon, Moraes, Dror, Shaw 2011, Parallel random numbers: as
easy as 1, 2, 3.) See `ops/random.py` for numbers.
"""

from __future__ import annotations

import numpy as np

from backpass.errors import DTypeError, ShapeError
from backpass.ir import Lowering, NotDifferentiable, Operand, Primitive, TensorType
from backpass.ir.graph import Array, Params, tensor_type
from backpass.prims.rules import lead

Ints = tuple[int, ...]
Words = tuple[Array, ...]

ROUNDS = 10
WORD = np.uint64(0xFFFFFFFF)
HALF = np.uint64(32)
MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
WEYL = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)  # golden ratio, sqrt(3) - 1


def philox4x32(counter: Words, key: Words) -> Words:
    """Four words of random bits for each counter of four words and key of two.

    Words are 32-bit numbers held in uint64 arrays that broadcast together, least significant word
    first.

    >>> zero = np.zeros(1, np.uint64)
    >>> [hex(int(word[0])) for word in philox4x32((zero,) * 4, (zero,) * 2)]
    ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(ROUNDS):
        left, right = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            (right >> HALF) ^ c1 ^ k0,
            right & WORD,
            (left >> HALF) ^ c3 ^ k1,
            left & WORD,
        )
        k0, k1 = (k0 + WEYL[0]) & WORD, (k1 + WEYL[1]) & WORD
    return c0, c1, c2, c3


def _random_bits_reference(key: Array, counter: Array, shape: Ints) -> Array:
    size = tensor_type(shape, np.dtype(np.uint32)).size
    key, counter = np.asarray(key)[..., None], np.asarray(counter)[..., None]
    block = np.arange(-(-size // 4), dtype=np.uint64)
    words = philox4x32(
        (block & WORD, block >> HALF, counter & WORD, counter >> HALF), (key & WORD, key >> HALF)
    )
    together = np.stack(np.broadcast_arrays(*words), axis=-1).astype(np.uint32)
    rows = together.reshape((*key.shape[:-1], 4 * block.size))
    return rows[..., :size].reshape((*key.shape[:-1], *shape))


def _random_bits_shape(key: TensorType, counter: TensorType, shape: Ints) -> tuple[TensorType, ...]:
    for name, t in (("key", key), ("counter", counter)):
        if t.dtype != np.uint64:
            raise DTypeError(f"random_bits: the {name} must be uint64, got {t}")
    if key.shape != counter.shape:
        raise ShapeError(f"random_bits: key {key} and counter {counter} differ in shape")
    return (tensor_type((*key.shape, *shape), np.dtype(np.uint32)),)


def _random_bits_batch(
    inputs: tuple[Operand, ...], batched: tuple[bool, ...], size: int, params: Params
) -> tuple[tuple[Operand, ...], tuple[bool, ...]]:
    key, counter = (lead(x, b, size) for x, b in zip(inputs, batched, strict=True))
    return (random_bits(key, counter, **params),), (True,)


# random_bits(key, counter, shape): uint32 bits of `shape` for each key and counter (uint64, of one
# shape S, which comes first in the result). Words 4i to 4i + 3 are block i, whose Philox counter is
# (i, counter).
random_bits = Primitive(
    name="random_bits",
    shape=_random_bits_shape,
    reference=_random_bits_reference,
    vjp=NotDifferentiable("random bits are integers"),
    batch=_random_bits_batch,
    lower=Lowering.RANDOM,
    single=True,
)
