"""Phases: in none does a thread touch what another writes, found by listing every element.

The list comes from the accesses alone. What a band writes is then seen in machine code: share b of
a banded kernel, run by itself, writes its rows and nothing else.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from tests.codegen.lower.lowering import REFERENCES
from tests.codegen.native import NativeKernel

import backpass as bp
from backpass import nn
from backpass.codegen.arrange import Step, arranged, reads, writes
from backpass.codegen.bands import band_height, band_rows, turned
from backpass.codegen.gemm import emit_gemm
from backpass.codegen.loopnest import emit_loops
from backpass.codegen.lower.elements import Named
from backpass.codegen.lower.lower import lower
from backpass.codegen.lower.schedule import Bound
from backpass.codegen.machine import Machine, host
from backpass.codegen.phases import Place, chained, is_parallel, placed
from backpass.loops import Access, Buffer, Gemm, Indexed, Op, ScatterAdd, Space, interpret, verify

R = np.random.default_rng(0)


def layered(*sizes: int, norm: bool = False) -> tuple[list[Any], Callable[..., Any]]:
    """Parameters of an MLP in float32, and its outputs."""
    shapes = [s for a, b in itertools.pairwise(sizes) for s in ((b, a), (b,))]
    parameters = [R.normal(size=s).astype(np.float32) for s in shapes]

    def outputs(x: Any, parameters: Any) -> Any:
        for i in range(0, len(parameters), 2):
            if norm:
                x = (x - np.mean(x, 1, keepdims=True)) / np.std(x, 1, keepdims=True)
            x = x @ parameters[i].T + parameters[i + 1]
            x = np.where(x <= 0, 0, x) if i + 2 < len(parameters) else x
        return x

    return parameters, outputs


def logistic(z: Any, y: Any) -> Any:
    return np.mean(np.logaddexp(0, z[:, 0]) - y * z[:, 0])


def squares(z: Any, y: Any) -> Any:
    return np.sum(np.square(z)) + np.sum(y)


CASES = {
    "cross entropy": (layered(64, 128, 64, 10), 64, nn.functional.cross_entropy),
    "logistic": (layered(30, 64, 64, 1), 256, logistic),
    "norm": (layered(64, 64, 64, 64, 8, norm=True), 128, squares),
    "no multiple of 16": (layered(64, 128, 64, 10), 72, nn.functional.cross_entropy),
    "square": (layered(64, 64, 64, 64), 64, squares),  # a row may be taken for a column
}


# Rows of a table with twelve columns: a last chunk of 4096 that is cut, whole chunks, a last chunk
# of one row, and too few rows for chunks, so that a sum is in halves.
TABLES = {"table": 20000, "even table": 32768, "one row more": 16385, "few rows": 16384}
BANDS = {"table": 5, "even table": 8, "one row more": 5, "few rows": 64}


def regression(rows: int) -> tuple[list[Step], list[Place], Any]:
    """The value and gradient of a logistic regression."""
    x, y = R.normal(size=(rows, 12)), R.normal(size=rows)

    def loss(w: Any, x: Any, y: Any) -> Any:
        z = x @ w
        return np.mean(np.logaddexp(0, z) - y * z)

    graph = bp.jit(bp.value_and_grad(loss)).graph(R.normal(size=12), x, y)
    steps = chained(arranged(lower(graph), {}))
    return list(steps.steps), placed(steps, lambda key: key, 4), lambda key: key


def training(name: str) -> tuple[list[Step], list[Place], Any]:
    """The steps of a training step, where they are, and the memory of an array."""
    if name in TABLES:
        return regression(TABLES[name])
    (parameters, outputs), batch, loss = CASES[name]
    x = R.normal(size=(batch, parameters[0].shape[1])).astype(np.float32)
    y = R.integers(0, 2, batch)

    def step(x: Any, y: Any, *parameters: Any) -> Any:
        value, grads = bp.value_and_grad(lambda p: loss(outputs(x, p), y))(list(parameters))
        return value, *[p - np.float32(0.1) * g for p, g in zip(parameters, grads, strict=True)]

    graph = bp.jit(step).graph(x, y, *parameters)
    steps = chained(arranged(lower(graph), {1 + i: 2 + i for i in range(len(parameters))}))

    def memory(key: Any) -> Any:
        return steps.in_place.get(key, key)

    for s in steps.steps:
        assert isinstance(s, Bound)
        verify(s.kernel)
    return list(steps.steps), placed(steps, memory, 4), memory


def elements(step: Bound, access: Access | Indexed, rows: range | None) -> np.ndarray:
    """The elements that an access touches, for some rows or for all."""
    kernel = step.kernel
    if isinstance(access, Indexed):
        return np.arange(kernel.buffers[access.access.buffer].size)
    if isinstance(kernel, Gemm):
        extents, axis = (kernel.batch, kernel.rows, kernel.columns, kernel.depth), 1
    elif isinstance(kernel, ScatterAdd):
        return np.arange(kernel.buffers[access.buffer].size)
    else:
        extents, axis = kernel.extents, 0
    found = np.array([access.offset])
    for i, stride in enumerate(access.strides):
        places = np.arange(extents[i]) if rows is None or i != axis else np.array(rows)
        found = (found[:, None] + stride * places[None, :]).reshape(-1)
        found = np.unique(found)
    return found


def accesses(step: Bound) -> list[tuple[Access | Indexed, bool]]:
    kernel = step.kernel
    found: list[tuple[Access | Indexed, bool]] = []
    if isinstance(kernel, Gemm):
        found += [(kernel.x, False), (kernel.y, False)]
        ops = list(kernel.epilogue)
    elif isinstance(kernel, ScatterAdd):
        return [(Access(i, 0, ()), b.written) for i, b in enumerate(kernel.buffers)]
    else:
        ops = [op for stage in kernel.stages for op in stage.ops]
    return found + [(op.param, op.code == "store") for op in ops if hasattr(op.param, "strides")]


def band(step: Bound, b: int) -> range:
    """The iterations of a band."""
    rows = step.kernel.rows if isinstance(step.kernel, Gemm) else step.kernel.extents[0]
    high = band_height(step)
    return range(b * high, min((b + 1) * high, rows))


def shares(step: Bound, place: Place, n: int) -> list[tuple[int, range | None]]:
    """(bits of the threads, rows) of what runs: a kernel that all share may be run by any."""
    if step.bands:
        first = [t * step.bands // n for t in range(n + 1)]
        owner = [t for t in range(n) for _ in range(first[t], first[t + 1])]
        return [(1 << owner[b], band(step, b)) for b in range(step.bands)]
    return [((1 << n) - 1 if is_parallel(step) else 1 << (place.lane % n), None)]


def races(steps: list[Step], places: list[Place], memory: Any, n: int) -> list[str]:
    """What two threads touch in one phase, one of them writing it."""
    found: list[str] = []
    touched: dict[Any, dict[bool, np.ndarray]] = {}
    for step, place, before in zip(steps, places, [None, *places], strict=False):
        if before is None or before.phase != place.phase:
            touched = {}
        assert isinstance(step, Bound)
        memories = [i for i, b in enumerate(step.kernel.buffers) if b.space is Space.MEMORY]
        keys = dict(zip(memories, map(memory, step.keys), strict=True))
        new: list[tuple[Any, bool, np.ndarray, int]] = []
        for access, stored in accesses(step):
            buffer = access.buffer if isinstance(access, Access) else access.access.buffer
            if buffer not in keys:
                continue
            size = 1 << 19
            empty = {s: np.zeros(size, int) for s in (True, False)}
            marks = touched.setdefault(keys[buffer], empty)
            for bits, rows in shares(step, place, n):
                at = elements(step, access, rows)
                others = marks[True][at] | (marks[False][at] if stored else 0)
                both = others | bits
                if ((others != 0) & ((both & (both - 1)) != 0)).any():
                    found.append(f"{step.kernel.name}: {keys[buffer]}")
                new.append((keys[buffer], stored, at, bits))
        for key, stored, at, bits in new:
            touched[key][stored][at] |= bits
    return found


@pytest.mark.parametrize("name", [*CASES, *TABLES])
def test_no_thread_touches_what_another_writes(name: str) -> None:
    steps, places, memory = training(name)
    for n in (2, 3, 5):
        assert races(steps, places, memory, n) == []
    one = [Place(0, p.lane) for p in places]
    assert races(steps, one, memory, 2), "without barriers there must be races"


def test_a_step_keeps_the_order_of_what_depends() -> None:
    """Every array is written before it is read, and read before it is replaced."""
    for name in (*CASES, *TABLES):
        steps, _, memory = training(name)
        made = {k for s in steps for k in writes(s)}
        done: set[Any] = set()
        for step in steps:
            assert all([k in done or k not in made for k in reads(step)])
            replaced = {memory(k) for k in writes(step)}
            later = [k for s in steps[steps.index(step) + 1 :] for k in reads(s)]
            assert not any([k in replaced and k not in done and k not in made for k in later])
            done.update(writes(step))


def test_a_network_of_small_layers_has_few_barriers() -> None:
    """Predicted: the last layer, its loss and the way back are one chain of bands.

    What is left are a barrier after each of two products whose weights are packed by columns, and
    one before the sums over the batch.
    """
    steps, places, _ = training("cross entropy")
    assert places[-1].phase == 3
    chain = [s for s, p in zip(steps, places, strict=True) if p.phase == 2]
    assert all([isinstance(s, Bound) and s.bands == 4 for s in chain]) and len(chain) >= 4


def test_a_network_whose_weights_are_turned_is_one_chain() -> None:
    """Copies of the weights, all of the batch in bands, what is summed over the batch."""
    steps, places, _ = training("logistic")
    assert places[-1].phase == 2
    copies = [s for s, p in zip(steps, places, strict=True) if p.phase == 0]
    chain = [s for s, p in zip(steps, places, strict=True) if p.phase == 1]
    assert all([isinstance(s, Bound) and s.bands == 0 for s in copies]) and len(copies) == 2
    assert all([isinstance(s, Bound) and s.bands == 16 for s in chain])
    assert len([s for s in chain if isinstance(s, Bound) and isinstance(s.kernel, Gemm)]) == 3


@pytest.mark.parametrize(("rows", "columns", "depth"), [(128, 7, 30), (256, 64, 64), (144, 2, 3)])
def test_a_product_reads_a_turned_copy(rows: int, columns: int, depth: int) -> None:
    x = R.normal(size=(rows, depth)).astype(np.float32)
    w = R.normal(size=(columns, depth)).astype(np.float32)
    kernel = Gemm(
        "k",
        (
            Buffer(x.dtype, x.size),
            Buffer(x.dtype, w.size),
            Buffer(x.dtype, rows * columns, written=True),
        ),
        1,
        rows,
        columns,
        depth,
        x.dtype,
        Access(0, 0, (0, depth, 0, 1)),
        Access(1, 0, (0, 0, depth, 1)),
        (Op("acc", (), x.dtype), Op("store", (0,), x.dtype, Access(2, 0, (0, columns, 1)))),
    )
    keys = tuple([Named("test", i) for i in range(3)])
    found = turned(Bound(kernel, keys, 0))
    assert found is not None
    memory = dict(zip(keys, (x.ravel(), w.ravel(), np.zeros(rows * columns, x.dtype)), strict=True))
    for step in found:
        new = {
            k: np.full(b.size, 77, b.dtype)
            for k, b in zip(step.keys, step.kernel.buffers, strict=True)
        }
        memory = new | memory
        assert interpret(verify(step.kernel), [memory[k] for k in step.keys], REFERENCES) == 0
    np.testing.assert_allclose(
        memory[keys[2]].reshape(rows, columns), x @ w.T, rtol=1e-4, atol=1e-4
    )
    assert turned(Bound(replace(kernel, rows=64), keys, 0)) is None  # the copy would not pay
    in_order = replace(kernel, y=Access(1, 0, (0, 0, 1, columns)))
    assert turned(Bound(in_order, keys, 0)) is None


@pytest.mark.parametrize("name", TABLES)
def test_a_table_comes_from_memory_once(name: str) -> None:
    """What makes the rows, and the sums over them, run in one phase, by bands of equal height."""
    steps, places, _ = training(name)
    table = [
        (s.bands, p.phase)
        for s, p in zip(steps, places, strict=True)
        if isinstance(s, Bound) and any([b.size == 12 * TABLES[name] for b in s.kernel.buffers])
    ]
    bands = BANDS[name]
    assert [b for b, _ in table] == [bands] * 2 and table[0][1] == table[1][1]
    chain = [s for s in steps if isinstance(s, Bound) and s.bands]
    assert len(chain) == 2 + (bands < 64)  # the rows, the gradient, the sum of the losses


@pytest.mark.parametrize("rows", [16385, 20000, 32768])
def test_chunks_give_the_same_bits_on_any_threads(
    rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y, w = R.normal(size=(rows, 12)), R.normal(size=rows), R.normal(size=12)

    def loss(w: Any, x: Any, y: Any) -> Any:
        z = x @ w
        return np.mean(np.logaddexp(0, z) - y * z)

    found: list[bytes] = []
    for n in ("1", "2", "3", "7"):
        monkeypatch.setenv("OMP_NUM_THREADS", n)
        value, slope = bp.jit(bp.value_and_grad(loss))(w, x, y)
        found.append(np.append(slope, value).tobytes())
        expected = x.T @ (1 / (1 + np.exp(-(x @ w))) - y) / rows
        np.testing.assert_allclose(slope, expected, rtol=1e-11, atol=1e-13)
        np.testing.assert_allclose(value, loss(w, x, y), rtol=1e-12)
    assert len(set(found)) == 1


def test_sums_over_rows_of_which_each_needs_all_are_no_chain() -> None:
    """The rows that are folded depend on a sum over all of them: another pass over the table."""
    x = R.normal(size=(20000, 12))

    def twice(x: Any, w: Any) -> Any:
        z = x @ w
        return x.T @ np.exp(z - np.max(z))

    steps = chained(arranged(lower(bp.jit(twice).graph(x, R.normal(size=12))), {}))
    places = placed(steps, lambda key: key, 4)
    own = [
        p.phase
        for s, p in zip(steps.steps, places, strict=True)
        if isinstance(s, Bound) and any([b.size == x.size for b in s.kernel.buffers])
    ]
    assert len(own) == 2 and own[0] < own[1]


@pytest.mark.parametrize(
    ("rows", "height"), [(16, 0), (32, 16), (64, 16), (72, 0), (1024, 16), (2048, 32), (40000, 0)]
)
def test_the_height_of_a_band(rows: int, height: int) -> None:
    assert band_rows(rows) == height


def _emitted(machine: Machine, module: Any, kernel: Gemm, name: str) -> Any:
    return emit_gemm(module, kernel, name, machine)


@pytest.mark.parametrize("name", [*CASES, *TABLES])
@pytest.mark.parametrize("cpu", [None, "haswell", "x86-64"])
def test_share_b_writes_the_rows_of_band_b(name: str, cpu: str | None) -> None:
    machine = host()
    if cpu is not None:
        features = "+avx2,+fma" if cpu == "haswell" else ""
        caches = {"l1": machine.l1, "l2": machine.l2, "l3": machine.l3}
        machine = Machine(cpu, features, 32 if features else 16, 16, **caches)
    steps, _, _ = training(name)
    chain = [s for s in steps if isinstance(s, Bound) and s.bands]
    assert chain or name == "no multiple of 16"
    for step in chain:
        emit: Any = emit_loops
        if isinstance(step.kernel, Gemm):
            emit = partial(_emitted, machine)
        native = NativeKernel(step.kernel, emit, cpu)
        memories = [b for b in step.kernel.buffers if b.space is Space.MEMORY]
        number = [i for i, b in enumerate(step.kernel.buffers) if b.space is Space.MEMORY]
        for b in range(step.bands):
            arrays = [
                np.full(m.size * m.dtype.itemsize, 77 * m.written, np.uint8).view(m.dtype)
                for m in memories
            ]
            native.share(arrays, b, step.bands)
            for m, array, i in zip(memories, arrays, number, strict=True):
                if m.written:
                    own = [
                        elements(step, a, band(step, b))
                        for a, stored in accesses(step)
                        if stored and isinstance(a, Access) and a.buffer == i
                    ]
                    raw = array.view(np.uint8).reshape(m.size, -1)
                    assert {*np.flatnonzero((raw != 77).any(1))} == {*np.concatenate(own)}


def test_a_middle_product_is_shared_only_where_threads_are_together_anyway() -> None:
    """Alone, 2^17 multiply-adds cost less than waking a thread."""
    x, big = R.normal(size=(96, 50)), R.normal(size=(300, 300))

    def middle(x: Any) -> Any:
        return np.sin(x.T @ x)

    def both(x: Any, big: Any) -> Any:
        return np.sin(x.T @ x), big @ big

    for function, args, expected in ((middle, (x,), [False]), (both, (x, big), [True, True])):
        found = chained(arranged(lower(bp.jit(function).graph(*args)), {}))
        products = [s for s in found.steps if isinstance(s, Bound) and isinstance(s.kernel, Gemm)]
        assert [is_parallel(s) for s in products] == expected
