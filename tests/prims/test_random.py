"""Philox4x32-10 against Random123's known answers, and the random_bits primitive: places, batching,
jit, refusals.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import backpass as bp
from backpass.ir import TensorType
from backpass.ops import random as draw
from backpass.prims.random import philox4x32, random_bits
from backpass.trace import unwrap, wrap

# Random123's kat_vectors, philox4x32 with 10 rounds: counter, key, result.
KNOWN = [
    (
        "00000000 00000000 00000000 00000000",
        "00000000 00000000",
        "6627e8d5 e169c58d bc57ac4c 9b00dbd8",
    ),
    (
        "ffffffff ffffffff ffffffff ffffffff",
        "ffffffff ffffffff",
        "408f276d 41c83b0e a20bc7c6 6d5451fd",
    ),
    (
        "243f6a88 85a308d3 13198a2e 03707344",
        "a4093822 299f31d0",
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
]
KEY, COUNTER = np.uint64(0x0123456789ABCDEF), np.uint64(2**40 + 5)


def words(text: str) -> tuple[np.ndarray, ...]:
    """Words in hexadecimal as arrays."""
    return tuple([np.array([int(word, 16)], np.uint64) for word in text.split()])


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_known_answers(counter: str, key: str, expected: str) -> None:
    found = philox4x32(words(counter), words(key))
    assert [f"{int(word[0]):08x}" for word in found] == expected.split()


def test_bits_are_philox_of_the_block_number_and_the_counter() -> None:
    bits = random_bits(np.asarray(KEY), np.asarray(COUNTER), shape=(2, 5))
    assert bits.dtype == np.uint32 and bits.shape == (2, 5)
    block = (np.uint64(2), np.uint64(0), COUNTER & np.uint64(2**32 - 1), COUNTER >> np.uint64(32))
    key = (KEY & np.uint64(2**32 - 1), KEY >> np.uint64(32))
    expected = philox4x32(
        tuple([np.array([w]) for w in block]), tuple([np.array([w]) for w in key])
    )
    assert bits.ravel()[8:].tolist() == [int(w[0]) for w in expected[:2]]


def test_a_shorter_draw_is_a_prefix_of_a_longer_one() -> None:
    long = random_bits(np.asarray(KEY), np.asarray(COUNTER), shape=(100,))
    for size in (0, 1, 3, 4, 5, 99):
        short = random_bits(np.asarray(KEY), np.asarray(COUNTER), shape=(size,))
        np.testing.assert_array_equal(short, long[:size])


def test_keys_and_counters_give_different_bits() -> None:
    drawn = [
        random_bits(np.asarray(np.uint64(k)), np.asarray(np.uint64(c)), shape=(8,)).tobytes()
        for k in (0, 1, 2**32)
        for c in (0, 1, 2**32)
    ]
    assert len(set(drawn)) == 9


def bits_of(key: object, counter: object) -> object:
    """random_bits on traced arrays."""
    return wrap(random_bits(unwrap(key), unwrap(counter), shape=(3, 2)))


def test_vmap_and_jit_give_the_bits_of_a_loop() -> None:
    keys = np.arange(4, dtype=np.uint64)
    one = np.array(9, np.uint64)
    expected = [random_bits(np.asarray(k), one, shape=(3, 2)) for k in keys]
    np.testing.assert_array_equal(bp.vmap(bits_of, in_axes=(0, None))(keys, one), expected)
    np.testing.assert_array_equal(bp.vmap(bits_of)(keys, np.full(4, 9, np.uint64)), expected)
    np.testing.assert_array_equal(bp.jit(bits_of)(keys[1], one), expected[1])


def test_the_shape_rule_agrees_with_the_reference() -> None:
    kind = TensorType((4,), np.dtype(np.uint64))
    shape_rule: Callable[..., Any] = random_bits.shape
    (rule,) = shape_rule(kind, kind, shape=(3,))
    found = random_bits(np.zeros(4, np.uint64), np.zeros(4, np.uint64), shape=(3,))
    assert (rule.shape, rule.dtype) == (found.shape, found.dtype)
    with pytest.raises(TypeError, match="key must be uint64"):
        shape_rule(TensorType((), np.dtype(np.int64)), kind, shape=(3,))
    with pytest.raises(ValueError, match="differ in shape"):
        shape_rule(TensorType((), np.dtype(np.uint64)), kind, shape=(3,))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_uniform_is_uniform_and_below_one(dtype: type) -> None:
    drawn = np.asarray(draw.uniform(KEY, COUNTER, (100_000,), dtype))
    assert drawn.dtype == dtype
    assert drawn.min() >= 0.0 and drawn.max() < 1.0
    counts, _ = np.histogram(drawn.astype(np.float64), bins=16, range=(0.0, 1.0))
    assert np.sum((counts - 6250.0) ** 2 / 6250.0) < 45.0  # chi squared, 15 degrees: p about 1e-4


def test_uniform_uses_all_digits_of_float64() -> None:
    scaled = np.asarray(draw.uniform(KEY, COUNTER, (1000,))) * 2.0**53
    assert (scaled == np.floor(scaled)).all() and (np.mod(scaled, 2.0) == 1.0).any()


@pytest.mark.parametrize("p", [0.0, 1e-3, 0.3, 0.999, 1.0])
def test_bernoulli_has_its_rate(p: float) -> None:
    drawn = np.asarray(draw.bernoulli(KEY, COUNTER, p, (100_000,)))
    assert drawn.dtype == bool
    assert abs(drawn.mean() - p) <= 4.5 * np.sqrt(p * (1.0 - p) / 100_000)
    with pytest.raises(ValueError, match="no probability"):
        draw.bernoulli(KEY, COUNTER, 1.5, (1,))
