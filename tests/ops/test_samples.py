"""NumPy's functions on traced arrays: values, both derivatives in both modes, vmap, jit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.ops.samples import FUNCTIONS, NEEDS_VALUES, UFUNCS, Sample
from tests.ops.samples_special import SPECIAL

import backpass as bp
from backpass.errors import TracingError

CASES = [
    pytest.param(name, sample, id=f"{name}-{i}")
    for table in (UFUNCS, FUNCTIONS, SPECIAL)
    for name, found in table.items()
    for i, sample in enumerate(found)
]


def leaves(y: Any) -> list[Any]:
    return list(y) if isinstance(y, (list, tuple)) else [y]


def assert_same(got: Any, expected: Any, rtol: float = 1e-11, atol: float = 1e-13) -> None:
    for g, e in zip(leaves(got), leaves(expected), strict=True):
        assert np.shape(g) == np.shape(e)
        assert np.asarray(g).dtype == np.asarray(e).dtype
        np.testing.assert_allclose(g, e, rtol=rtol, atol=atol)


@pytest.mark.parametrize(("name", "sample"), CASES)
def test_values_and_derivatives(name: str, sample: Sample) -> None:
    function, args = sample
    assert_same(bp.vjp(function, *args)[0], function(*args))
    bp.check_grads(function, args, order=2, rtol=3e-5, atol=3e-5)


@pytest.mark.parametrize(("name", "sample"), CASES)
def test_jit_and_vmap(name: str, sample: Sample) -> None:
    """Compiled equals eager; mapped equals a loop, where the layout of the input is not C."""
    function, args = sample
    if name in NEEDS_VALUES:
        with pytest.raises(TracingError, match="jit and vmap do not"):
            bp.jit(function)(*args)
        return
    assert_same(bp.jit(function)(*args), function(*args))
    batch = [np.stack([x, x * 1.01, x], axis=-1) for x in args]
    mapped = bp.vmap(function, in_axes=-1)(*batch)
    looped = [leaves(function(*[x[..., i] for x in batch])) for i in range(3)]
    stacked = [np.stack(parts) for parts in zip(*looped, strict=True)]
    assert_same(leaves(mapped), stacked, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(("name", "sample"), CASES)
def test_float32(name: str, sample: Sample) -> None:
    """Results have NumPy's dtype, gradients that of their argument; values agree loosely."""
    function, args = sample
    small = [x.astype(np.float32) for x in args]

    def listed(*xs: Any) -> list[Any]:
        return leaves(function(*xs))

    value, pull = bp.vjp(listed, *small)
    assert_same(value, listed(*small), rtol=2e-3, atol=2e-3)
    wide, wide_pull = bp.vjp(listed, *args)
    gradients = pull([np.ones(np.shape(y), np.asarray(y).dtype) for y in value])
    expected = wide_pull([np.ones(np.shape(y)) for y in wide])
    for got, want in zip(gradients, expected, strict=True):
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, want, rtol=5e-3, atol=5e-3)
