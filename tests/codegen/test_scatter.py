"""Emitted scatter-adds against the oracle, bit for bit, on any number of threads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.codegen.native import NativeKernel, guarded

from backpass.codegen.scatter import emit_scatter
from backpass.loops import Access, Buffer, ScatterAdd, interpret, verify

I64 = np.dtype(np.int64)


def scatter(
    extents: tuple[int, ...], count: int, width: int, dtype: np.dtype, parallel: bool
) -> ScatterAdd:
    """out, updates, then the index buffers."""
    rows = int(np.prod(extents))
    buffers = [Buffer(dtype, rows * width, written=True), Buffer(dtype, count * width)]
    buffers += [Buffer(I64, count)] * len(extents)
    places = tuple(range(2, len(buffers)))
    updates = Access(1, 0, (width, 1))
    kernel = ScatterAdd("s", tuple(buffers), 0, updates, places, extents, (count,), width, parallel)
    verify(kernel)
    return kernel


def check(kernel: ScatterAdd, seed: int, bad: bool) -> None:
    """The oracle's bytes and status."""
    rng = np.random.default_rng(seed)
    dtype = kernel.buffers[0].dtype
    arrays = [rng.standard_normal(b.size).astype(dtype) * 5 for b in kernel.buffers[:2]] + [
        rng.integers(-n, n + bad, kernel.count) for n in kernel.extents
    ]
    arrays = [a.astype(b.dtype) for a, b in zip(arrays, kernel.buffers, strict=True)]
    expected = [a.copy() for a in arrays]
    status = interpret(kernel, expected, {})
    native = NativeKernel(kernel, emit_scatter)
    for n in (1, 2, 3, 5, 7) if kernel.parallel else (1,):
        found = [guarded(a) for a in arrays]
        assert native(found, n) == status
        for a, b in zip(found, expected, strict=True):
            assert a.tobytes() == b.tobytes()


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=3),
    st.integers(1, 60),
    st.sampled_from([1, 2, 15, 16, 17, 64, 100, 255, 256, 259, 330, 512]),
    st.sampled_from([np.float32, np.float64, np.int64]),
    st.booleans(),
    st.booleans(),
    st.integers(0, 1000),
)
def test_random_scatters_equal_the_oracle(
    extents: list[int],
    count: int,
    width: int,
    kind: type,
    parallel: bool,
    bad: bool,
    seed: int,
) -> None:
    check(scatter(tuple(extents), count, width, np.dtype(kind), parallel), seed, bad)


@pytest.mark.parametrize("index", [-4, 3, 2**62, -(2**63)])
def test_an_index_out_of_range_adds_nothing_and_is_told(index: int) -> None:
    kernel = scatter((3,), 2, 5, np.dtype(np.float32), False)
    out, updates = np.full(15, 7, np.float32), np.ones(10, np.float32)
    assert NativeKernel(kernel, emit_scatter)([out, updates, np.array([1, index])]) == 1
    assert out.reshape(3, 5).tolist() == [[0] * 5, [1] * 5, [0] * 5]


@pytest.mark.parametrize("strides", [(0, 7, 0, 1), (7, 0, 21, 1), (0, 0, 0, 0), (40, 13, 3, 1)])
@pytest.mark.parametrize("parallel", [False, True])
def test_updates_lie_anywhere(strides: tuple[int, ...], parallel: bool) -> None:
    """Over the axes of the positions and the column, repeated or with gaps."""
    kernel = scatter((5,), 24, 3, np.dtype(np.float32), parallel)
    counts = (2, 3, 4)
    size = 2 + sum([s * (n - 1) for s, n in zip(strides, (*counts, 3), strict=True)])
    buffers = (kernel.buffers[0], Buffer(np.dtype(np.float32), size), *kernel.buffers[2:])
    access = Access(1, 1, strides)
    check(verify(replace(kernel, buffers=buffers, updates=access, counts=counts)), 1, True)


@pytest.mark.parametrize("width", [256, 259, 330, 1000])
@pytest.mark.parametrize("bad", [False, True])
def test_wide_rows_are_shared_by_columns(width: int, bad: bool) -> None:
    check(scatter((5,), 40, width, np.dtype(np.float32), True), width, bad)


@pytest.mark.parametrize("extents", [(5,), (31,)])
@pytest.mark.parametrize("width", [1, 20, 256, 330])
@pytest.mark.parametrize("n", [2, 5, 7])
def test_every_element_has_one_owner(extents: tuple[int], width: int, n: int) -> None:
    kernel = scatter(extents, 10, width, np.dtype(np.float32), True)
    native = NativeKernel(kernel, emit_scatter)
    updates = np.full(10 * width, 0.1, np.float32)
    owners = np.zeros(kernel.buffers[0].size, np.int64)
    for tid in range(n):
        out = np.full(owners.size, 99, np.float32)
        native.share([out, updates, np.arange(10) % extents[0]], tid, n)
        owners += out != 99
    assert (owners == 1).all()
