"""Rows that are loaded along themselves and turned into lanes: the oracle's bytes, every edge."""

import numpy as np
import pytest
from tests.codegen.test_loopnest import OLDER, Case, check_kernel, x86_only
from tests.loops.kernels import load, reduce, store

from backpass.codegen.loopnest import emit_loops
from backpass.codegen.nest import plan_loops
from backpass.codegen.text import Module
from backpass.loops import Buffer, LoopKernel, Op, Schedule, Stage

I64 = np.dtype(np.int64)


def weighted_rows(
    rows: int, columns: int, gap: int, dtype: np.dtype, schedule: Schedule
) -> LoopKernel:
    """y[i] = sum over j of x[i, j] * w[j] * j, twice of what lies `gap` apart."""
    width = columns + gap
    elements = (
        load(0, (width, 1), 0, dtype),
        load(1, (0, 1), 0, dtype),
        Op("mul", (0, 1), dtype),
        Op("index", (), I64, 1),
        Op("cast", (3,), dtype),
        Op("mul", (2, 4), dtype),
        reduce("sum", 5, dtype),
    )
    buffers = (
        Buffer(dtype, rows * width),
        Buffer(dtype, columns),
        Buffer(dtype, rows, written=True),
    )
    stages = (Stage(True, elements), Stage(False, (store(6, 2, (1, 0), 0, dtype),)))
    return LoopKernel("k", buffers, (rows, columns), 1, stages, schedule=schedule)


def case(rows: int, columns: int, gap: int, dtype: type, schedule: Schedule) -> Case:
    kernel = weighted_rows(rows, columns, gap, np.dtype(dtype), schedule)
    (stage, _) = plan_loops(kernel).stages
    assert stage.turned == {0}
    rng = np.random.default_rng(rows + columns)
    sizes = [b.size for b in kernel.buffers]
    return kernel, [rng.standard_normal(n).astype(dtype) for n in sizes]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("columns", [8, 15, 16, 17, 50])
@pytest.mark.parametrize("rows", [8, 16, 33, 70])
def test_rows_are_turned(rows: int, columns: int, dtype: type) -> None:
    for unroll in (1, 2):
        for parallel in (False, True):
            check_kernel(case(rows, columns, 3, dtype, Schedule(0, unroll, parallel)))


@x86_only
@pytest.mark.parametrize("cpu", OLDER)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_are_turned_on_older_machines(cpu: str, dtype: type) -> None:
    check_kernel(case(33, 19, 0, dtype, Schedule(0, 2)), cpu)


def test_rows_with_large_gaps_are_turned_in_short_code() -> None:
    """Lines ahead are asked for only where rows lie near each other."""
    check_kernel(case(40, 19, 500, np.float64, Schedule(0)))
    for gap, asks in ((3, True), (500, False)):
        module = Module()
        emit_loops(module, weighted_rows(40, 19, gap, np.dtype(np.float64), Schedule(0)), "f")
        assert ("call void @llvm.prefetch" in str(module)) == asks
        assert len(str(module)) < 60_000
