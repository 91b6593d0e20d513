"""Emitted loop kernels against the oracle, bit for bit, on any number of threads."""

from __future__ import annotations

import platform
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from tests.codegen.native import NativeKernel, guarded
from tests.loops import kernels
from tests.loops.random_kernels import REFERENCES, loop_kernels, map_kernels

from backpass.codegen.loopnest import emit_loops
from backpass.codegen.text import Module
from backpass.loops import (
    Access,
    Buffer,
    Indexed,
    LoopKernel,
    Op,
    Schedule,
    Stage,
    interpret,
    show,
    verify,
)

Case = tuple[LoopKernel, list[np.ndarray]]
OLDER = ["haswell", "x86-64"]  # machines without masks, or with 128-bit vectors alone
slow_draws = [HealthCheck.too_slow, HealthCheck.data_too_large]
x86_only = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="compiles for older x86 processors"
)


def check_kernel(case: Case, cpu: str | None = None) -> None:
    """The oracle's bytes and status, for 1, 2 and 3 threads, with nothing touched outside."""
    kernel, arrays = case
    expected = [a.copy() for a in arrays]
    status = interpret(kernel, expected, REFERENCES)
    native = NativeKernel(kernel, emit_loops, cpu)
    for n in (1, 2, 3) if kernel.schedule.parallel else (1, 1):
        for front in (False, True):
            found = [guarded(a, front) for a in arrays]
            assert native(found, n) == status
            for k, (a, b) in enumerate(zip(found, expected, strict=True)):
                same = a.view(np.uint8) == b.view(np.uint8)
                assert same.all(), f"array {k}, {n} threads\n{show(kernel)}\n{a}\n{b}"


@settings(max_examples=100, deadline=None, suppress_health_check=slow_draws)
@given(loop_kernels())
def test_random_kernels_equal_the_oracle(case: Case) -> None:
    check_kernel(case)


@settings(max_examples=60, deadline=None, suppress_health_check=slow_draws)
@given(map_kernels())
def test_random_maps_equal_the_oracle(case: Case) -> None:
    check_kernel(case)


@x86_only
@pytest.mark.parametrize("cpu", OLDER)
def test_older_machines_give_the_same_bits(cpu: str) -> None:
    @settings(max_examples=25, deadline=None, suppress_health_check=slow_draws)
    @given(loop_kernels(), map_kernels())
    def check(case: Case, other: Case) -> None:
        check_kernel(case, cpu)
        check_kernel(other, cpu)

    check()


DTYPES = ["bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]
DTYPES += ["float16", "float32", "float64"]


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("cpu", [None, pytest.param("haswell", marks=x86_only)])
def test_every_dtype_moves_through_every_stride(name: str, cpu: str | None) -> None:
    """Copies of a matrix with 9 rows of 37: forward, backward, spread out, and turned."""
    dtype = np.dtype(name)
    rows, columns = 9, 37
    moves = [(0, (columns, 1)), (columns - 1, (columns, -1)), (0, (3 * columns, 3))]
    moves += [(2 * columns - 2, (2 * columns, -2))]
    moves += [(0, (1, rows)), (rows - 1, (-1, rows))]
    size = rows * columns * 3
    values = np.random.default_rng(1).integers(0, 120, size).astype(dtype)
    for vector in (0, 1):
        for offset, strides in moves:
            for back in (False, True):
                places = [Access(0, 0, (columns, 1)), Access(1, offset, strides)]
                if back:
                    places = [Access(0, offset, strides), Access(1, 0, (columns, 1))]
                ops = (Op("load", (), dtype, places[0]), Op("store", (0,), dtype, places[1]))
                buffers = (Buffer(dtype, size), Buffer(dtype, size, written=True))
                kernel = LoopKernel(
                    "copy",
                    buffers,
                    (rows, columns),
                    1,
                    (Stage(True, ops),),
                    None,
                    Schedule(vector, 2),
                )
                verify(kernel)
                check_kernel((kernel, [values, np.zeros(size, dtype)]), cpu)


@pytest.mark.parametrize("schedule", [Schedule(), Schedule(0, 2), Schedule(1), Schedule(1, 4)])
def test_nan_wins_in_a_maximum(schedule: Schedule) -> None:
    kernel = kernels.centred_rows(21, 70, replace(schedule, parallel=True))
    x = np.random.default_rng(2).standard_normal((21, 70)).astype(np.float32)
    x[3, 0] = x[4, 69] = x[5, 40] = np.nan
    y = np.zeros_like(x)
    centred = dict(REFERENCES, div=np.divide)
    expected = [x.ravel(), np.zeros(x.size, np.float32)]
    interpret(kernel, expected, centred)
    NativeKernel(kernel, emit_loops)([x, y], 2)
    assert np.isnan(y[3:6]).all() and not np.isnan(np.delete(y, [3, 4, 5], 0)).any()
    np.testing.assert_array_equal(y.ravel(), expected[1])


def test_two_buffers_may_be_one_address() -> None:
    """y = x + x, in place."""
    row = (40, 1)
    ops = (kernels.load(0, row), kernels.call("add", 0, 0), kernels.store(1, 1, row))
    buffers = (Buffer(kernels.F32, 200), Buffer(kernels.F32, 200, written=True))
    for vector in (None, 0, 1):
        kernel = LoopKernel(
            "twice", buffers, (5, 40), 1, (Stage(True, ops),), None, Schedule(vector, 2)
        )
        x = np.arange(200, dtype=np.float32)
        NativeKernel(verify(kernel), emit_loops)([x, x])
        assert x.tolist() == [2 * k for k in range(200)]


def test_what_all_lanes_share_is_loaded_before_the_loop() -> None:
    module = Module()
    emit_loops(module, kernels.descent(1000, Schedule(0)), "f")
    before, loop = re.split(r"^loop\d+:", str(module), flags=re.MULTILINE)
    assert "load float, ptr" in before
    assert "load float, ptr" not in loop and "load <16 x float>" in loop


def test_a_long_scalar_program() -> None:
    """6,000 ops one after the other; the text grows with their number alone."""
    ops = [kernels.load(0, (), k) for k in range(100)]
    for k in range(6000):
        ops.append(kernels.call("add" if k % 2 else "maximum", len(ops) - 1, len(ops) - 97))
    ops.append(kernels.store(len(ops) - 1, 1, ()))
    buffers = (Buffer(kernels.F32, 100), Buffer(kernels.F32, 1, written=True))
    kernel = LoopKernel("long", buffers, (), 0, (Stage(False, tuple(ops)),))
    values = np.random.default_rng(4).standard_normal(100).astype(np.float32)
    check_kernel((verify(kernel), [values, np.zeros(1, np.float32)]))


def test_scratch_is_counted_for_each_thread() -> None:
    def workspace(schedule: Schedule) -> tuple[int, int]:
        found = emit_loops(Module(), kernels.centred_rows(40, 50, schedule), "f")
        return found.shared, found.per_thread

    assert workspace(Schedule(1, 4)) == (0, 256)  # 50 floats
    assert workspace(Schedule(0, 2)) == (0, 50 * 32 * 4)


@pytest.mark.parametrize("schedule", [Schedule(), Schedule(0, 2), Schedule(1, 2)])
def test_dead_lanes_are_no_bad_index(schedule: Schedule) -> None:
    """out[i, j] = x[(j, i)]: the index of a lane behind the end is out of range."""
    ops = (
        Op("index", (), kernels.I64, 0),
        Op("index", (), kernels.I64, 1),
        Op("load_at", (0, 1), kernels.F32, Indexed(Access(0, 0, (0, 0)), (1, 19), (19, 21))),
        kernels.store(2, 1, (21, 1)),
    )
    buffers = (Buffer(kernels.F32, 399), Buffer(kernels.F32, 399, written=True))
    kernel = LoopKernel("turn", buffers, (19, 21), 1, (Stage(True, ops),), None, schedule)
    x = np.arange(399, dtype=np.float32)
    check_kernel((verify(kernel), [x, np.zeros(399, np.float32)]))


REDUCED = [(kind, name) for kind in ("sum", "prod", "max", "min") for name in DTYPES]
REDUCED += [("any", "bool"), ("all", "bool")]


@pytest.mark.parametrize(("kind", "name"), REDUCED)
def test_reductions_of_every_dtype(kind: str, name: str) -> None:
    """Over the last axis of (18, 2, 35), in every schedule."""
    dtype, extents = np.dtype(name), (18, 2, 35)
    values = np.random.default_rng(5).integers(0, 3, 18 * 70).astype(dtype)
    values[:70] = 1
    stages = (
        Stage(True, (kernels.load(0, (70, 35, 1), dtype=dtype), Op("reduce", (0,), dtype, kind))),
        Stage(False, (kernels.store(1, 1, (1, 0, 0), dtype=dtype),)),
    )
    buffers = (Buffer(dtype, 18 * 70), Buffer(dtype, 18, written=True))
    for schedule in (Schedule(), Schedule(0, 2), Schedule(1), Schedule(2), Schedule(2, 3)):
        kernel = LoopKernel("r", buffers, extents, 1, stages, None, schedule)
        check_kernel((verify(kernel), [values, np.zeros(18, dtype)]))


def test_functions_with_blocks_of_their_own() -> None:
    """sin of huge arguments branches inside the loops; every schedule gives the same bits."""
    row = (37, 1)
    stages = (
        Stage(
            True,
            (
                kernels.load(0, row),
                kernels.call("sin", 0),
                kernels.store(1, 1, row),
                kernels.reduce("max", 1),
            ),
        ),
        Stage(False, (kernels.store(3, 2, (1, 0)),)),
    )
    buffers = (
        Buffer(kernels.F32, 19 * 37),
        Buffer(kernels.F32, 19 * 37, written=True),
        Buffer(kernels.F32, 19, written=True),
    )
    x = (np.random.default_rng(6).standard_normal(19 * 37) * 3).astype(np.float32)
    x[::50] *= 1e30
    results = []
    for schedule in (Schedule(), Schedule(0, 2), Schedule(1), Schedule(1, 2)):
        kernel = LoopKernel("sines", buffers, (19, 37), 1, stages, None, schedule)
        y, top = np.zeros_like(x), np.zeros(19, np.float32)
        NativeKernel(verify(kernel), emit_loops)([x, y, top])
        np.testing.assert_allclose(y, np.sin(x.astype(np.float64)), rtol=1e-6, atol=1e-7)
        np.testing.assert_array_equal(top, y.reshape(19, 37).max(axis=1))
        results.append(y.tobytes())
    assert len(set(results)) == 1
