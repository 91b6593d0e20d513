"""Sums that change only the rows which they name: the same bits as all rows, on any threads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.codegen.native import NativeKernel, guarded
from tests.codegen.steps import graph_from, stations

from backpass.codegen.lower.schedule import Bound
from backpass.codegen.plan import plan_of
from backpass.codegen.program import Program
from backpass.codegen.scatter_rows import emit_rows
from backpass.errors import VerificationError
from backpass.ir import Graph, Value
from backpass.ir.graph import made
from backpass.loops import Access, Buffer, Op, ScatterAdd, interpret, verify
from backpass.loops.change import change_of
from backpass.prims import elementwise as el
from backpass.prims import index as ix
from backpass.prims import reduce as rd
from backpass.prims import rules as ru
from backpass.prims import shape as sh

I64, F64 = np.dtype(np.int64), np.dtype(np.float64)
REFERENCES = {"mul": np.multiply, "sub": np.subtract, "add": np.add, "neg": np.negative}
RATES = [0.1, 0.0, -0.0, -0.1, np.inf, -np.inf, np.nan]


# ------------------------------------------------------------------------------- the kernel alone


def kernel_of(
    extents: tuple[int, ...], counts: tuple[int, ...], width: int, dtype: Any, root: str
) -> ScatterAdd:
    """Buffers: rate, x, out, updates (repeated along the last of `counts`), then the indices."""
    dtype, rows = np.dtype(dtype), int(np.prod(extents))
    spread = counts[-1] if len(counts) > 1 else 1
    given = int(np.prod(counts)) // spread * width
    buffers = [Buffer(dtype, 1), Buffer(dtype, rows * width)]
    buffers += [Buffer(dtype, rows * width, written=True), Buffer(dtype, given)]
    buffers += [Buffer(I64, int(np.prod(counts)))] * len(extents)
    strides = (width, 0, 1) if len(counts) > 1 else (width, 1)
    place = (0, width, 1)
    ops = (
        Op("acc", (), dtype),
        Op("load", (), dtype, Access(0, 0, (0, 0, 0))),
        Op("mul", (0, 1), dtype),
        Op("load", (), dtype, Access(1, 0, place)),
        Op(root, (3, 2), dtype),
        Op("store", (4,), dtype, Access(2, 0, place)),
    )
    numbers = tuple(range(4, len(buffers)))
    return verify(
        ScatterAdd(
            "s",
            tuple(buffers),
            2,
            Access(3, 0, strides),
            numbers,
            extents,
            counts,
            width,
            True,
            ops,
        )
    )


def same(found: np.ndarray, expected: np.ndarray) -> bool:
    """Bits, but for those of a NaN."""
    nan = np.isnan(expected)
    equal = np.array_equal(np.isnan(found), nan)
    return equal and found[~nan].tobytes() == expected[~nan].tobytes()


def arrays_of(kernel: ScatterAdd, rate: float, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    found = [rng.standard_normal(b.size).astype(b.dtype) for b in kernel.buffers[:4]]
    found[0][0] = rate
    found[1][::3], found[1][1::7] = -0.0, 0.0
    found[1][5::31], found[3][::11] = np.inf, -0.0
    found += [rng.integers(0, max(1, n - 1), kernel.count) for n in kernel.extents]
    return found


def check(
    kernel: ScatterAdd, rate: float, seed: int, in_place: bool, cpu: str | None = None
) -> None:
    arrays = arrays_of(kernel, rate, seed)
    expected = [a.copy() for a in arrays]
    with np.errstate(all="ignore"):
        assert interpret(kernel, expected, REFERENCES) == 0
    native = NativeKernel(kernel, emit_rows, cpu)
    for n in (1, 2, 3, 7):
        found = [guarded(a) for a in arrays]
        if in_place:
            found[2] = found[1]
        else:
            found[2][:] = 99.0
        assert native(found, n) == 0
        assert same(found[2], expected[2]), (n, rate)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=2),
    st.lists(st.integers(1, 9), min_size=1, max_size=2),
    st.sampled_from([1, 2, 15, 16, 17, 64, 100, 130]),
    st.sampled_from([np.float32, np.float64]),
    st.sampled_from(["sub", "add"]),
    st.sampled_from(RATES),
    st.booleans(),
    st.integers(0, 1000),
)
def test_random_updates_equal_the_oracle(
    extents: list[int],
    counts: list[int],
    width: int,
    dtype: type,
    root: str,
    rate: float,
    in_place: bool,
    seed: int,
) -> None:
    check(kernel_of(tuple(extents), tuple(counts), width, dtype, root), rate, seed, in_place)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("root", ["sub", "add"])
@pytest.mark.parametrize("in_place", [True, False])
def test_every_rate(rate: float, root: str, in_place: bool) -> None:
    check(kernel_of((150,), (6, 5), 20, np.float32, root), rate, 3, in_place)


@pytest.mark.parametrize("cpu", ["haswell", "x86-64"])
@pytest.mark.parametrize("width", [1, 20, 64])
def test_older_machines(cpu: str, width: int) -> None:
    check(kernel_of((150,), (6, 5), width, np.float32, "sub"), 0.1, 3, True, cpu)


def test_rows_that_no_index_names_are_not_touched_in_place() -> None:
    kernel = kernel_of((100,), (3,), 16, np.float32, "sub")
    arrays = arrays_of(kernel, 0.5, 0)
    signalling = np.array([0x7F800001], np.uint32).view(np.float32)  # quieted by any arithmetic
    arrays[1][50 * 16] = signalling[0]
    arrays[4][:] = [3, 7, 3]
    arrays[2] = arrays[1]
    NativeKernel(kernel, emit_rows)(arrays, 2)
    assert arrays[1].view(np.uint32)[50 * 16] == 0x7F800001


def test_sums_are_in_the_order_of_the_indices() -> None:
    kernel = kernel_of((64,), (300,), 3, np.float32, "sub")
    arrays = arrays_of(kernel, 1.0, 5)
    arrays[1][:] = 0
    arrays[4][:] = 9
    total = np.zeros(3, np.float32)
    for row in arrays[3].reshape(-1, 3):
        total = total + row
    assert not np.array_equal(total, arrays[3].reshape(-1, 3)[::-1].cumsum(0)[-1])
    arrays[2] = arrays[1]
    NativeKernel(kernel, emit_rows)(arrays, 3)
    assert arrays[1].reshape(-1, 3)[9].tobytes() == (0 - total).tobytes()


def changed(kernel: ScatterAdd, number: int, op: Op) -> ScatterAdd:
    ops = list(kernel.epilogue)
    ops[number] = op
    return replace(kernel, epilogue=tuple(ops))


def test_only_epilogues_that_keep_rows_are_sound() -> None:
    kernel = kernel_of((8,), (4,), 4, np.float32, "sub")
    f4, place = np.dtype(np.float32), (0, 4, 1)
    assert change_of(kernel) is not None
    for broken in (
        changed(kernel, 4, Op("sub", (2, 3), f4)),  # t - x
        changed(kernel, 4, Op("mul", (3, 2), f4)),
        changed(kernel, 2, Op("mul", (0, 0), f4, None)),
        changed(kernel, 1, Op("load", (), f4, Access(1, 0, place))),  # t depends on x: a decay
        changed(kernel, 3, Op("load", (), f4, Access(1, 0, (0, 0, 1)))),  # another element
        changed(kernel, 4, Op("sub", (3, 1), f4)),  # no sum in it
    ):
        kept = broken.epilogue[2].args == (0, 0)
        assert (change_of(broken) is not None) == kept
        if not kept:
            with pytest.raises(VerificationError, match="changes rows without a sum"):
                verify(broken)


# ------------------------------------------------------------------------------- the rule

TABLE, INDEX, UPDATES = np.zeros((400, 32)), np.zeros((5, 8), np.int64), np.zeros((5, 8, 32))
RATE = np.float64(0.25)


def summed(u: Value, i: Value) -> Value:
    return made(ix.scatter_add, (u, i), shape=TABLE.shape)


def spread(x: Value) -> Value:
    return made(ru.broadcast, (x,), shape=TABLE.shape, axes=(0, 1))


def scaled(g: Value, rate: Value) -> Value:
    return made(el.mul, (spread(rate), g))


def descent(x: Value, u: Value, i: Value, rate: Value) -> Value:
    return made(el.sub, (x, scaled(summed(u, i), rate)))


def decayed(x: Value, u: Value, i: Value, rate: Value) -> Value:
    return made(el.sub, (x, scaled(made(el.add, (summed(u, i), x)), rate)))


def with_momentum(x: Value, u: Value, i: Value, rate: Value) -> list[Value]:
    moment = made(el.add, (scaled(x, rate), summed(u, i)))
    return [made(el.sub, (x, scaled(moment, rate)))]


def clipped(x: Value, u: Value, i: Value, rate: Value) -> list[Value]:
    g = summed(u, i)
    norm = made(rd.reduce_sum, (made(el.mul, (g, g)),), axes=(0, 1))
    return [made(el.sub, (x, scaled(scaled(g, rate), norm)))]


def bounded(x: Value, u: Value, i: Value, rate: Value) -> list[Value]:
    g = made(el.minimum, (summed(u, i), spread(rate)))
    return [made(el.sub, (x, scaled(g, rate)))]


def returned(x: Value, u: Value, i: Value, rate: Value) -> list[Value]:
    g = summed(u, i)
    return [made(el.sub, (x, scaled(g, rate))), g]


SPARSE: dict[str, Callable[..., list[Value]]] = {
    "descent": lambda *v: [descent(*v)],
    "ascent": lambda x, u, i, r: [made(el.add, (scaled(summed(u, i), r), x))],
    "bounded element by element": bounded,
    "no rate": lambda x, u, i, r: [made(el.sub, (x, summed(u, i)))],
    "read and changed": lambda x, u, i, r: [descent(x, made(ix.gather, (x, i)), i, r)],
}
DENSE: dict[str, Callable[..., list[Value]]] = {
    "weight decay": lambda *v: [decayed(*v)],
    "momentum": with_momentum,
    "clipped by its norm": clipped,
    "the sum is returned": returned,
    "the sum from the array": lambda x, u, i, r: [made(el.sub, (scaled(summed(u, i), r), x))],
}
DENSE["an array that is computed"] = lambda x, u, i, r: [
    made(el.sub, (made(el.mul, (x, x)), scaled(summed(u, i), r)))
]
DENSE["a turned argument"] = lambda x, u, i, r: [
    made(el.sub, (made(sh.flip, (x,), axes=(0,)), scaled(summed(u, i), r)))
]
ARGUMENTS = (TABLE, UPDATES, INDEX, RATE)


def scatters(graph: Graph) -> list[ScatterAdd]:
    _, steps = stations(graph, {0: 0})
    kernels = [s.kernel for s in steps.steps if isinstance(s, Bound)]
    assert all(verify(k) is k for k in kernels)
    return [k for k in kernels if isinstance(k, ScatterAdd)]


@pytest.mark.parametrize("name", [*SPARSE, *DENSE])
def test_where_the_rule_holds(name: str) -> None:
    rule = (SPARSE | DENSE)[name]
    (kernel,) = scatters(graph_from(rule, *ARGUMENTS))
    assert bool(kernel.epilogue) == (name in SPARSE)


@pytest.mark.parametrize("rows", [20, 39, 40])
def test_many_positions_for_few_rows_are_summed_for_all(rows: int) -> None:
    def rule(x: Value, u: Value, i: Value, rate: Value) -> list[Value]:
        g = made(ix.scatter_add, (u, i), shape=(rows, 32))
        wide = made(ru.broadcast, (rate,), shape=(rows, 32), axes=(0, 1))
        return [made(el.sub, (x, made(el.mul, (wide, g))))]

    graph = graph_from(rule, np.zeros((rows, 32)), UPDATES, INDEX, RATE)
    (kernel,) = scatters(graph)
    assert bool(kernel.epilogue) == (rows == 40)


def test_updates_are_read_through_views() -> None:
    def rule(x: Value, u: Value, i: Value, rate: Value) -> list[Value]:
        return [descent(x, made(ru.broadcast, (u,), shape=(5, 8, 32), axes=(1,)), i, rate)]

    (kernel,) = scatters(graph_from(rule, TABLE, np.zeros((5, 32)), INDEX, RATE))
    assert (kernel.counts, kernel.updates.strides) == ((5, 8), (32, 0, 1))


# ------------------------------------------------------------------------------- whole programs


def arguments(seed: int, high: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    table = rng.standard_normal(TABLE.shape)
    table[::3] = -0.0
    index = rng.integers(-high, high, INDEX.shape)
    return [table, rng.standard_normal(UPDATES.shape), index, np.array(0.25)]


def expected(table: np.ndarray, u: np.ndarray, i: np.ndarray, rate: np.ndarray) -> np.ndarray:
    g = np.zeros_like(table)
    np.add.at(g, i, u)
    with np.errstate(all="ignore"):
        return table - rate * g


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("updated", [True, False])
def test_a_program_gives_the_bits_of_all_rows(
    threads: int, rate: float, updated: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", str(threads))
    graph = graph_from(SPARSE["descent"], *ARGUMENTS)
    program = Program(graph, {0: 0} if updated else {})
    for seed in (1, 2):  # the second time over what the first left in the arena
        given = arguments(seed, 400 if seed == 1 else 4)
        given[3][...] = rate
        want, before = expected(*given), given[0].copy()
        results = program(given)
        assert same(given[0] if updated else results[0], want)
        if not updated:
            assert given[0].tobytes() == before.tobytes()


@pytest.mark.parametrize("bad", [400, -401])
def test_a_wrong_index_changes_nothing(bad: int) -> None:
    graph = graph_from(SPARSE["descent"], *ARGUMENTS)
    program = Program(graph, {0: 0})
    given = arguments(1, 400)
    given[2][4, 7] = bad
    before = given[0].copy()
    with pytest.raises(IndexError):
        program(given)
    assert given[0].tobytes() == before.tobytes()


def test_the_plan_counts_the_rows_that_are_touched() -> None:
    graph = graph_from(SPARSE["descent"], *ARGUMENTS)
    own = {
        updated: next(k for k in plan_of(Program(graph, u)).kernels if k.kind == "scatter").bytes
        for updated, u in ((True, {0: 0}), (False, {}))
    }
    rows = INDEX.size * 32 * 8
    assert own[True] == 8 + rows + INDEX.nbytes + 2 * rows
    assert own[False] == 8 + rows + INDEX.nbytes + 2 * TABLE.nbytes
