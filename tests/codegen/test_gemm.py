"""Products as machine code: NumPy's result for any shape, stride and machine, the same for any n"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.codegen.native import NativeKernel, buffer_of, guarded

from backpass.codegen.gemm import emit_gemm
from backpass.codegen.gemm_choice import plan_gemm
from backpass.codegen.gemm_plan import transposed
from backpass.codegen.machine import Machine
from backpass.codegen.text import Module
from backpass.loops import Access, Buffer, Gemm, Indexed, Op
from backpass.loops.interpret import interpret
from backpass.loops.verify import verify

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)
CACHES = {"l1": 32 << 10, "l2": 1 << 20, "l3": 16 << 20}
AVX512 = Machine("znver4", "+avx512f,+avx512vl,+avx2,+fma", 64, 32, **CACHES)
AVX2 = Machine("haswell", "+avx2,+fma", 32, 16, **CACHES)
CRAMPED = replace(AVX512, l1=1 << 11, l2=1 << 14)  # everything is packed, and the depth is cut
NARROW = replace(AVX2, l1=1 << 11, l2=1 << 14)
SSE2 = Machine("x86-64", "", 16, 16, **CACHES)
MACHINES = {"znver4": None, "haswell": "haswell", "x86-64": "x86-64"}  # None: the host

sizes = st.one_of(st.integers(1, 70), st.sampled_from([1, 2, 3, 15, 16, 17, 31, 32, 33, 64]))


@dataclass(frozen=True)
class Layout:
    """Strides in elements of the three axes of an operand, and the size of its buffer."""

    strides: tuple[int, int, int]
    offset: int
    size: int


@st.composite
def layouts(draw: Any, shape: tuple[int, int, int]) -> Layout:
    """A dense layout in any order of the axes, with gaps, broadcast or reversed axes."""
    strides = [0, 0, 0]
    step = draw(st.sampled_from([1, 1, 1, 2]))
    for axis in draw(st.sampled_from([(2, 1, 0), (1, 2, 0), (0, 2, 1), (1, 0, 2)])):
        kind = draw(st.sampled_from(["plain"] * 6 + ["broadcast", "reversed"]))
        if kind != "broadcast":
            strides[axis] = -step if kind == "reversed" else step
            step *= shape[axis] + draw(st.sampled_from([0, 0, 0, 3]))
    spans = [s * max(0, n - 1) for s, n in zip(strides, shape, strict=True)]
    offset = -sum(span for span in spans if span < 0) + draw(st.sampled_from([0, 5]))
    end = offset + sum(span for span in spans if span > 0) + 1
    return Layout((strides[0], strides[1], strides[2]), offset, end)


def view(buffer: np.ndarray[Any, Any], layout: Layout, shape: tuple[int, ...]) -> Any:
    """The operand as an array."""
    strides = [s * buffer.itemsize for s in layout.strides]
    return np.lib.stride_tricks.as_strided(buffer[layout.offset :], shape, strides)


def run(kernel: NativeKernel, arrays: list[np.ndarray[Any, Any]], n: int) -> int:
    """Run on real threads, with a scratch full of NaN and a guard behind it."""
    team, status = np.zeros(64, np.int64), np.zeros(1, np.int64)
    size = kernel.workspace.size(n)
    scratch = buffer_of(size)
    scratch[:size] = 0xFF
    calls = [kernel.arguments(arrays, t, n, team, scratch, status) for t in range(n)]
    threads = [threading.Thread(target=kernel._function, args=call) for call in calls[1:]]
    for thread in threads:
        thread.start()
    kernel._function(*calls[0])
    for thread in threads:
        thread.join()
    assert (scratch[size:] == 0xAB).all(), "the kernel wrote behind its scratch"
    return int(status[0])


def compiled(gemm: Gemm, machine: Machine) -> NativeKernel:
    """The kernel as machine code for a machine, run on this one."""
    cpu = MACHINES[machine.cpu]
    return NativeKernel(gemm, lambda m, k, name: emit_gemm(m, k, name, machine), cpu)


def dense(
    rows: int,
    columns: int,
    depth: int,
    dtype: np.dtype[Any] = F32,
    transpose: str = "",
    batch: int = 1,
    parallel: bool = True,
) -> Gemm:
    """c = x @ y of dense arrays, of which those named in `transpose` (x, y, c) are stored so."""
    xs = (1, rows) if "x" in transpose else (depth, 1)
    ys = (depth, 1) if "y" in transpose else (1, columns)
    cs = (1, rows) if "c" in transpose else (columns, 1)
    return Gemm(
        "product",
        (
            Buffer(dtype, batch * rows * depth),
            Buffer(dtype, batch * depth * columns),
            Buffer(dtype, batch * rows * columns, written=True),
        ),
        batch,
        rows,
        columns,
        depth,
        dtype,
        Access(0, 0, (rows * depth, xs[0], 0, xs[1])),
        Access(1, 0, (depth * columns, 0, *ys)),
        (Op("acc", (), dtype), Op("store", (0,), dtype, Access(2, 0, (rows * columns, *cs)))),
        parallel,
    )


def close(got: Any, want: Any, scale: Any, depth: int) -> None:
    """Equal within the bound of a sum one by one (Higham 2002, section 4.2) and of the rest."""
    error = np.abs(got.astype(np.float64) - want)
    bound = (depth / 2 + 4) * np.finfo(got.dtype).eps * scale
    assert (error <= bound + 1e-30).all(), error.max()


@settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
@given(
    data=st.data(),
    batch=st.sampled_from([1, 1, 2, 3]),
    rows=sizes,
    columns=sizes,
    depth=st.one_of(sizes, st.just(0), st.sampled_from([300, 2050])),
    dtype=st.sampled_from([F32, F64]),
    machine=st.sampled_from([AVX512, CRAMPED, AVX2, SSE2]),
    parallel=st.booleans(),
)
def test_any_shape_and_stride(
    data: Any,
    batch: int,
    rows: int,
    columns: int,
    depth: int,
    dtype: np.dtype[Any],
    machine: Machine,
    parallel: bool,
) -> None:
    """out = bias + x @ y, touching nothing else; the bits of one thread on any number of them."""
    x = data.draw(layouts((batch, rows, depth)))
    y = data.draw(layouts((batch, depth, columns)))
    out = data.draw(layouts((batch, rows, columns)).filter(lambda a: 0 not in a.strides))
    bias = data.draw(layouts((batch, rows, columns)))
    gemm = Gemm(
        "product",
        (
            *(Buffer(dtype, each.size) for each in (x, y, bias)),
            Buffer(dtype, out.size, written=True),
        ),
        batch,
        rows,
        columns,
        depth,
        dtype,
        Access(0, x.offset, (x.strides[0], x.strides[1], 0, x.strides[2])),
        Access(1, y.offset, (y.strides[0], 0, y.strides[2], y.strides[1])),
        (
            Op("acc", (), dtype),
            Op("load", (), dtype, Access(2, bias.offset, bias.strides)),
            Op("add", (0, 1), dtype),
            Op("store", (2,), dtype, Access(3, out.offset, out.strides)),
        ),
        parallel,
    )
    rng = np.random.default_rng(0)
    buffers = [rng.standard_normal(b.size).astype(dtype) for b in gemm.buffers]
    a = view(buffers[0], x, (batch, rows, depth)).astype(np.float64)
    b = view(buffers[1], y, (batch, depth, columns)).astype(np.float64)
    c = view(buffers[2], bias, (batch, rows, columns)).astype(np.float64)
    kernel = compiled(gemm, machine)
    results: list[np.ndarray[Any, Any]] = []
    for n in (1, 2, 3, 7) if parallel else (1,):
        arrays = [guarded(buffer, front=n % 2 == 0) for buffer in buffers]
        assert run(kernel, arrays, n) == 0
        results.append(arrays[3])
    got = view(results[0], out, (batch, rows, columns))
    close(got, a @ b + c, np.abs(a) @ np.abs(b) + np.abs(c), depth)
    inside = np.zeros(out.size, bool)
    view(inside, out, (batch, rows, columns))[...] = True
    assert (results[0][~inside] == buffers[3][~inside]).all(), "wrote between the elements"
    assert all(np.array_equal(results[0], other) for other in results[1:])


LARGE = [(150, 512, 300), (130, 140, 1024), (300, 70, 33)]


@pytest.mark.parametrize("shape", LARGE, ids=str)
@pytest.mark.parametrize("transpose", ["", "y", "x", "xy", "c", "xc"])
@pytest.mark.parametrize("machine", [AVX512, CRAMPED, NARROW], ids=["wide", "cramped", "narrow"])
def test_large_products_are_packed_and_shared(
    machine: Machine, transpose: str, shape: tuple[int, int, int]
) -> None:
    rows, columns, depth = shape
    dtype = F64 if rows == 300 else F32
    kernel = compiled(dense(*shape, dtype, transpose), machine)
    rng = np.random.default_rng(1)
    x = rng.standard_normal((rows, depth)).astype(dtype)
    y = rng.standard_normal((depth, columns)).astype(dtype)
    flat_x = np.ascontiguousarray(x.T if "x" in transpose else x).ravel()
    flat_y = np.ascontiguousarray(y.T if "y" in transpose else y).ravel()
    results = []
    for n in (1, 2, 3, 7):
        out = np.full(rows * columns, np.nan, dtype)
        run(kernel, [flat_x, flat_y, out], n)
        results.append(out.reshape((columns, rows) if "c" in transpose else (rows, columns)))
    want = x.astype(np.float64) @ y.astype(np.float64)
    got = results[0].T if "c" in transpose else results[0]
    close(got, want, np.abs(x).astype(np.float64) @ np.abs(y), depth)
    assert all(np.array_equal(results[0], other) for other in results[1:])


def test_what_is_packed() -> None:
    """The rules, on the cases above and on the layers of a network."""
    long_rows = dense(130, 140, 1024)  # rows 4096 bytes apart
    assert plan_gemm(long_rows, AVX512).rows[0].size == 8
    copied = plan_gemm(long_rows, NARROW)
    assert copied.pack_x and copied.copies_rows and copied.padded_depth > 1024
    panels = plan_gemm(dense(150, 512, 300, transpose="x"), NARROW)
    assert panels.pack_x and not panels.copies_rows and panels.depth_chunks == 3
    assert plan_gemm(dense(1024, 1024, 1024, transpose="x"), AVX512).pack_x
    assert not plan_gemm(dense(900, 1024, 1024, transpose="x"), AVX512).pack_x
    tall = plan_gemm(dense(8192, 64, 64, transpose="y"), AVX512)
    assert tall.rows_first and tall.pack_y and not tall.pack_x
    first_layer = plan_gemm(dense(128, 512, 784), AVX512)
    assert not (first_layer.pack_x or first_layer.pack_y or first_layer.swapped)
    deep = plan_gemm(dense(50, 50, 100_000, F64, "x"), AVX512)
    assert deep.depth_chunks > 100 and not (deep.pack_x or deep.pack_y)


I64, BOOL = np.dtype(np.int64), np.dtype(np.bool_)
REFERENCES = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "maximum": np.maximum,
    "greater": np.greater,
    "tanh": np.tanh,
    "exp": np.exp,
}
Built = tuple[tuple[Buffer, ...], tuple[Op, ...]]


def _relu(b: int, m: int, n: int, t: Any) -> Built:
    """A bias along columns, and two results: relu and the mask of its derivative, a boolean."""
    full = (m * n, n, 1)
    ops = (
        Op("acc", (), t),
        Op("load", (), t, Access(3, 0, (0, 0, 1))),
        Op("add", (0, 1), t),
        Op("const", (), t, 0.0),
        Op("greater", (2, 3), BOOL),
        Op("store", (4,), BOOL, Access(4, 0, full)),
        Op("maximum", (2, 3), t),
        Op("store", (6,), t, Access(2, 0, full)),
    )
    return (Buffer(t, n), Buffer(BOOL, b * m * n, written=True)), ops


def _update(b: int, m: int, n: int, t: Any) -> Built:
    """out -= exp(rate) * acc in place: a uniform value that takes long, needed once."""
    full = (m * n, n, 1)
    ops = (
        Op("load", (), t, Access(3, 0, (0, 0, 0))),
        Op("exp", (0,), t),
        Op("acc", (), t),
        Op("mul", (1, 2), t),
        Op("load", (), t, Access(2, 0, full)),
        Op("sub", (4, 3), t),
        Op("store", (5,), t, Access(2, 0, full)),
    )
    return (Buffer(t, 1),), ops


def _rows_and_tanh(b: int, m: int, n: int, t: Any) -> Built:
    """A long epilogue with a value of each row: it runs row by row from memory."""
    ops = (
        Op("acc", (), t),
        Op("load", (), t, Access(3, 0, (m, 1, 0))),
        Op("tanh", (1,), t),
        Op("mul", (0, 2), t),
        Op("tanh", (3,), t),
        Op("store", (4,), t, Access(2, 0, (m * n, n, 1))),
    )
    return (Buffer(t, b * m),), ops


def _indices(b: int, m: int, n: int, t: Any) -> Built:
    """The place itself; the result is stored by columns."""
    ops = (
        Op("acc", (), t),
        Op("index", (), I64, 0),
        Op("index", (), I64, 1),
        Op("index", (), I64, 2),
        Op("mul", (2, 3), I64),
        Op("add", (4, 1), I64),
        Op("cast", (5,), t),
        Op("add", (0, 6), t),
        Op("store", (7,), t, Access(2, 0, (m * n, 1, m))),
    )
    return (), ops


def _labels(b: int, m: int, n: int, t: Any) -> Built:
    """A row of a table for each row, chosen by data: buffer 3 holds indices, buffer 4 the table."""
    rows = Indexed(Access(4, 0, (0, 0, 1)), (n,), (3,))
    ops = (
        Op("acc", (), t),
        Op("load", (), I64, Access(3, 0, (0, 1, 0))),
        Op("load_at", (1,), t, rows),
        Op("index", (), I64, 2),
        Op("load_at", (3,), t, Indexed(Access(4, 0, (0, 0, 0)), (1,), (3 * n,))),
        Op("add", (0, 2), t),
        Op("add", (5, 4), t),
        Op("store", (6,), t, Access(2, 0, (m * n, n, 1))),
    )
    return (Buffer(I64, m), Buffer(t, 3 * n)), ops


EPILOGUES = [_relu, _update, _rows_and_tanh, _indices, _labels]


@pytest.mark.parametrize("shape", [(2, 30, 37, 20), (1, 5, 70, 2100), (1, 301, 600, 9)], ids=str)
@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
@pytest.mark.parametrize("machine", [AVX512, AVX2, SSE2], ids=lambda m: m.cpu)
@pytest.mark.parametrize("epilogue", EPILOGUES, ids=lambda e: e.__name__)
def test_epilogues(
    epilogue: Any, machine: Machine, dtype: np.dtype[Any], shape: tuple[int, int, int, int]
) -> None:
    """As the interpreter says, for any n; short ones, long ones, and after partial sums."""
    batch, rows, columns, depth = shape
    gemm = dense(rows, columns, depth, dtype, batch=batch)
    buffers, ops = epilogue(batch, rows, columns, dtype)
    gemm = replace(gemm, buffers=gemm.buffers + buffers, epilogue=ops)
    verify(gemm)
    rng = np.random.default_rng(2)
    arrays: list[np.ndarray[Any, Any]] = []
    for buffer in gemm.buffers:
        values = rng.standard_normal(buffer.size) / 8
        if buffer.dtype == I64:
            values = rng.integers(-3, 3, buffer.size)
        arrays.append(values.astype(buffer.dtype))
    want = [array.copy() for array in arrays]
    assert interpret(gemm, want, REFERENCES) == 0
    kernel = compiled(gemm, machine)
    results = []
    for n in (1, 2, 3):
        got = [array.copy() for array in arrays]
        assert run(kernel, got, n) == 0
        results.append(got)
    for a, b in zip(results[0], want, strict=True):
        close = np.isclose(a, b, rtol=1e-5, atol=1e-5) if dtype == F32 else np.isclose(a, b)
        assert close.mean() >= (0.999 if a.dtype == BOOL else 1.0)  # a mask may flip at a rounding
    for other in results[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_an_index_out_of_range_is_reported() -> None:
    gemm = dense(20, 30, 4)
    buffers, ops = _labels(1, 20, 30, F32)
    kernel = compiled(replace(gemm, buffers=gemm.buffers + buffers, epilogue=ops), AVX512)
    arrays = [np.ones(b.size, b.dtype) for b in (*gemm.buffers, *buffers)]
    assert run(kernel, arrays, 1) == 0
    arrays[3][7] = 3
    assert run(kernel, arrays, 1) == 1


@pytest.mark.parametrize("shape", [(0, 3, 4, 5), (2, 0, 4, 5), (2, 3, 0, 5)])
def test_an_empty_product_does_nothing(shape: tuple[int, int, int, int]) -> None:
    batch, rows, columns, depth = shape
    kernel = compiled(dense(rows, columns, depth, batch=batch), AVX512)
    assert run(kernel, [np.ones(1, F32)] * 3, 2) == 0


def test_other_dtypes_are_refused() -> None:
    with pytest.raises(TypeError, match="int32"):
        emit_gemm(Module(), dense(4, 4, 4, np.dtype(np.int32)), "f", AVX512)


@pytest.mark.parametrize("rows", [1, 13, 128, 129, 500, 784, 1000])
@pytest.mark.parametrize("machine", [AVX512, AVX2, SSE2], ids=lambda m: m.cpu)
def test_panels_cover_rows_and_columns_once(rows: int, machine: Machine) -> None:
    plan = plan_gemm(dense(rows, rows + 7, 64), machine)
    for runs, total in ((plan.rows, plan.product.rows), (plan.columns, plan.product.columns)):
        assert runs[0].start == 0
        assert [a.stop for a in runs] == [*[b.start for b in runs[1:]], total]
    assert max(r.size for r in plan.rows) - min(r.size for r in plan.rows) <= 1


def test_the_plan_depends_on_shape_strides_and_machine_alone() -> None:
    gemm = dense(512, 10, 128, transpose="xy")
    assert plan_gemm(gemm, AVX512) == plan_gemm(replace(gemm), AVX512)
    assert "swapped" in str(plan_gemm(gemm, AVX512))
    assert transposed(transposed(gemm)) == gemm
