"""The chosen schedules: where the lanes go for typical kernels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from tests.loops import kernels
from tests.loops.kernels import F32, call, load, reduce, store
from tests.loops.random_kernels import loop_kernels, map_kernels

from backpass.codegen.schedule import chosen
from backpass.loops import Buffer, LoopKernel, Op, Schedule, Stage, verify


def matrix(rows: int, columns: int, *ops: Op) -> LoopKernel:
    """One looping stage over a matrix, of which rows are the outer axis."""
    buffers = (
        Buffer(F32, rows * columns),
        Buffer(F32, max(rows, columns)),
        Buffer(F32, rows * columns, written=True),
    )
    return LoopKernel("m", buffers, (rows, columns), 1, (Stage(True, ops),))


def axis(kernel: LoopKernel) -> int | None:
    return verify(chosen(verify(kernel), True)).schedule.vector


@pytest.mark.parametrize(("rows", "columns"), [(128, 512), (512, 100), (64, 300)])
def test_contiguous_rows_have_lanes_along_them(rows: int, columns: int) -> None:
    row = (columns, 1)
    bias = matrix(rows, columns, load(0, row), load(1, (0, 1)), call("add", 0, 1), store(2, 2, row))
    assert axis(bias) == 1
    assert axis(kernels.centred_rows(rows, columns, Schedule())) == 1
    assert axis(kernels.rows_at(rows, columns, 40, Schedule())) == 1


def test_short_rows_have_lanes_across_them() -> None:
    assert axis(kernels.centred_rows(200, 3, Schedule())) == 0


def test_sums_of_columns_have_lanes_along_the_columns() -> None:
    stages = (
        Stage(True, (load(0, (1, 300)), reduce("sum", 0))),
        Stage(False, (store(1, 1, (1, 0)),)),
    )
    buffers = (Buffer(F32, 300 * 70), Buffer(F32, 300, written=True))
    kernel = chosen(LoopKernel("sums", buffers, (300, 70), 1, stages), True)
    assert kernel.schedule == Schedule(0, 4, False)
    wide = (Buffer(F32, 3000 * 70), Buffer(F32, 3000, written=True))
    stages = (Stage(True, (load(0, (1, 3000)), reduce("sum", 0))), stages[1])
    kernel = chosen(LoopKernel("sums", wide, (3000, 70), 1, stages), True)
    assert kernel.schedule == Schedule(0, 8, True)


def test_a_running_sum_has_no_lanes_along_itself() -> None:
    assert axis(kernels.running_sums(40, 50, Schedule())) == 0
    assert axis(kernels.running_sums(1, 50, Schedule())) is None


def test_nothing_to_share_has_no_lanes() -> None:
    one = LoopKernel(
        "one",
        (Buffer(F32, 1), Buffer(F32, 1, written=True)),
        (),
        0,
        (Stage(False, (load(0, ()), store(0, 1, ()))),),
    )
    assert chosen(one, True).schedule == Schedule(None, 1, False)


def test_threads_are_for_what_takes_long() -> None:
    assert not chosen(kernels.block_sums(4096, 512, Schedule()), True).schedule.parallel
    assert chosen(kernels.block_sums(1 << 20, 512, Schedule()), True).schedule.parallel


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(loop_kernels(), map_kernels())
def test_every_choice_is_sound(
    case: tuple[LoopKernel, list[np.ndarray]], other: tuple[LoopKernel, list[np.ndarray]]
) -> None:
    for kernel, _ in (case, other):
        verify(chosen(replace(kernel, schedule=Schedule()), True))
