"""The oracle against plain NumPy, and the order of reductions that it states."""

from __future__ import annotations

import numpy as np
import pytest
from tests.loops import kernels

from backpass.loops import Buffer, Kernel, LoopKernel, Schedule, Stage, interpret, verify
from backpass.loops.interpret import identity

REFERENCES = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "maximum": np.maximum,
}
SCHEDULES = [Schedule(), Schedule(0), Schedule(1), Schedule(1, 3), Schedule(0, 2, True)]


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).standard_normal(shape).astype(np.float32)


def run(kernel: Kernel, *arrays: np.ndarray) -> int:
    return interpret(verify(kernel), arrays, REFERENCES)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_rows_of_several_stages(schedule: Schedule) -> None:
    x, y = numbers(5, 37), np.zeros((5, 37), np.float32)
    assert run(kernels.centred_rows(5, 37, schedule), x.ravel(), y.reshape(-1)) == 0
    centred = x - x.max(axis=1, keepdims=True)
    np.testing.assert_allclose(y, centred / centred.sum(axis=1, keepdims=True), rtol=1e-5)


@pytest.mark.parametrize("schedule", [Schedule(), Schedule(1, 2)])
@pytest.mark.parametrize("total", [1, 70, 71, 140])
def test_the_clip_cuts_the_last_block(schedule: Schedule, total: int) -> None:
    x = numbers(total)
    out = np.zeros(-(-total // 70), np.float32)
    assert run(kernels.block_sums(total, 70, schedule), x, out) == 0
    expected = [x[k : k + 70].sum(dtype=np.float64) for k in range(0, total, 70)]
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-5)


def test_scan_is_cumsum() -> None:
    x, y = numbers(3, 9), np.zeros((3, 9), np.float32)
    run(kernels.running_sums(3, 9, Schedule(0)), x.ravel(), y.reshape(-1))
    np.testing.assert_array_equal(y, np.cumsum(x, axis=1))


def test_rows_at_indices_and_their_status() -> None:
    table, out = numbers(4, 3), np.zeros((3, 3), np.float32)
    kernel = kernels.rows_at(4, 3, 3, Schedule(1))
    assert run(kernel, table.ravel(), np.array([1, -1, 0]), out.reshape(-1)) == 0
    np.testing.assert_array_equal(out, table[[1, -1, 0]])
    assert run(kernel, table.ravel(), np.array([1, 4, -5]), out.reshape(-1)) == 1
    np.testing.assert_array_equal(out, table[[1, 0, 0]])


def test_an_update_in_place() -> None:
    p, g = numbers(20), numbers(20) + 1
    expected = p - g * np.float32(0.5)
    run(kernels.descent(20, Schedule(0)), p, g, np.array([0.5], np.float32))
    np.testing.assert_array_equal(p, expected)


# 2**24 and 63 ones: in float32 a single 1 added to 2**24 is lost, so the sum tells the order. With
# lanes, what is left of lane 0 then meets sums of 4, 8, 16 and 32 ones.
ORDERS = [
    (Schedule(), 0),
    (Schedule(0), 4 + 8 + 16 + 32),  # lane 0 loses its three ones
    (Schedule(0, 4), 2 + 4 + 8 + 16 + 32),  # (v0 + v1) + (v2 + v3) loses one
]


@pytest.mark.parametrize(("schedule", "kept"), ORDERS)
def test_the_order_of_a_sum(schedule: Schedule, kept: int) -> None:
    x, out = np.ones(64, np.float32), np.zeros(1, np.float32)
    x[0] = 2.0**24
    stages = (
        Stage(True, (kernels.load(0, (1,)), kernels.reduce("sum", 0))),
        Stage(False, (kernels.store(1, 1, (0,)),)),
    )
    buffers = (Buffer(kernels.F32, 64), Buffer(kernels.F32, 1, written=True))
    run(LoopKernel("order", buffers, (64,), 0, stages, None, schedule), x, out)
    assert out[0] == 2**24 + kept


def test_the_product_and_its_epilogue() -> None:
    kernel = kernels.product(2, 3, 4, 5)
    x, y, bias, out = numbers(2, 3, 5), numbers(5, 4), numbers(4), np.zeros((2, 3, 4), np.float32)
    assert run(kernel, x.ravel(), y.ravel(), bias, out.reshape(-1)) == 0
    np.testing.assert_allclose(out, np.maximum(x @ y + bias, 0), rtol=1e-6, atol=1e-6)


def test_scatter_adds_in_order_and_leaves_out_what_is_out_of_range() -> None:
    kernel = kernels.scatter((2, 3), 5, 2)
    out, updates = np.full((2, 3, 2), 9, np.float32), numbers(5, 2)
    i, j = np.array([0, 1, -1, 2, 0]), np.array([2, 0, 0, 0, -1])
    assert run(kernel, out.reshape(-1), updates.ravel(), i, j) == 1
    expected = np.zeros((2, 3, 2), np.float32)
    for n in (0, 1, 2, 4):
        expected[i[n], j[n]] += updates[n]
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("kind", ["sum", "prod", "max", "min"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int8, np.uint64])
def test_identities_change_nothing(kind: str, dtype: type) -> None:
    ufunc = {"sum": np.add, "prod": np.multiply, "max": np.maximum, "min": np.minimum}[kind]
    x = np.array([0, 1, 100], dtype)
    x = np.append(x, -x[:1]) if np.dtype(dtype).kind == "f" else x
    found = ufunc(x, identity(kind, np.dtype(dtype)))
    assert found.tobytes() == x.tobytes()
