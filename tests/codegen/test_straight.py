"""Long scalar programs in pieces: the bits of the whole, few functions for what repeats itself."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from tests.codegen.native import NativeKernel
from tests.codegen.native_steps import said
from tests.loops.kernels import load, store
from tests.loops.random_kernels import REFERENCES

import backpass as bp
from backpass.codegen import straight
from backpass.codegen.loopnest import emit_loops
from backpass.codegen.straight import cut_straight, emit_straight, is_straight
from backpass.codegen.text import Module
from backpass.loops import Access, Buffer, Indexed, LoopKernel, Op, Space, Stage, interpret, verify

F64, F32, I64, BOOL = map(np.dtype, (np.float64, np.float32, np.int64, np.bool_))
DTYPES = [F64, F32, I64, BOOL]
SIZE = 12  # elements of a buffer


def kernel_of(ops: list[Op], buffers: list[Buffer]) -> LoopKernel:
    return LoopKernel("straight", tuple(buffers), (), 0, (Stage(False, tuple(ops)),))


def random_kernel(seed: int, length: int) -> tuple[LoopKernel, list[np.ndarray]]:
    """Operations on earlier values, near and far, of four dtypes; results stored at the end."""
    rng = np.random.default_rng(seed)
    arrays = [rng.integers(-3, 4, SIZE).astype(d) for d in DTYPES]
    buffers = [Buffer(d, SIZE) for d in DTYPES] + [Buffer(d, SIZE, written=True) for d in DTYPES]
    ops: list[Op] = []
    made: dict[Any, list[int]] = {d: [] for d in DTYPES}

    def add(op: Op) -> int:
        ops.append(op)
        made[op.dtype].append(len(ops) - 1)
        return len(ops) - 1

    def pick(dtype: Any) -> int:
        known = made[dtype]
        near = rng.random() < 0.7
        return int(known[rng.integers(max(0, len(known) - 5), len(known)) if near else
                         rng.integers(len(known))])  # fmt: skip

    for b, dtype in enumerate(DTYPES):
        add(Op("load", (), dtype, Access(b, int(rng.integers(SIZE)), ())))
        add(Op("const", (), dtype, [-0.0, 0.5, 3, True][b]))
    for _ in range(length):
        dtype = DTYPES[rng.integers(3)]
        match rng.integers(8):
            case 0:
                b = int(rng.integers(4))
                add(Op("load", (), DTYPES[b], Access(b, int(rng.integers(SIZE)), ())))
            case 1:
                add(Op("less", (pick(dtype), pick(dtype)), BOOL))
            case 2:
                add(Op("select", (pick(BOOL), pick(dtype), pick(dtype)), dtype))
            case 3:
                wrapped = Indexed(Access(1, 0, ()), (1,), (SIZE,))
                add(Op("load_at", (pick(I64),), F32, wrapped))
            case k:
                code = ("add", "sub", "mul", "maximum")[k - 4]
                add(Op(code, (pick(dtype), pick(dtype)), dtype))
    stores = [
        Op("store", (pick(d),), d, Access(4 + b, at, ()))
        for b, d in enumerate(DTYPES)
        for at in range(SIZE)
    ]
    results = [np.zeros(SIZE, d) for d in DTYPES]
    return verify(kernel_of([*ops, *stores], buffers)), [*arrays, *results]


def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("LONG", 2), ("LEAST", 3), ("MOST", 12)):
        monkeypatch.setattr(straight, name, value)


@pytest.mark.parametrize("seed", range(25))
def test_random_programs_equal_the_oracle(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    small_pieces(monkeypatch)
    kernel, arrays = random_kernel(seed, 10 + 12 * seed)
    assert is_straight(kernel)
    expected = [a.copy() for a in arrays]
    with np.errstate(all="ignore"):
        status = interpret(kernel, expected, REFERENCES)
    pieces, _ = cut_straight(kernel)
    assert len(pieces) > 3
    for piece in pieces:
        verify(piece.kernel)
    for emit in (emit_straight, emit_loops):
        found = [a.copy() for a in arrays]
        assert NativeKernel(kernel, emit)(found) == status
        for a, b in zip(found, expected, strict=True):
            assert a.tobytes() == b.tobytes()


def test_every_operation_is_in_one_piece_and_in_order() -> None:
    kernel, _ = random_kernel(3, 3000)
    pieces, _ = cut_straight(kernel)
    kept = [
        op.code
        for piece in pieces
        for op in piece.kernel.stages[0].ops
        if op.code != "const" and not in_frame(piece, op)
    ]
    assert kept == [op.code for op in kernel.stages[0].ops if op.code != "const"]
    sizes = [len(p.kernel.stages[0].ops) for p in pieces]
    assert max(sizes) < 3 * straight.MOST and len(sizes) >= 3000 / straight.MOST


def in_frame(piece: Any, op: Op) -> bool:
    if op.code not in ("load", "store"):
        return False
    return not isinstance(piece.places[op.param.buffer], int)


def simulation(steps: int) -> LoopKernel:
    """x, y = x + 0.1 y, y - 0.1 x, with some work between, again and again."""
    ops = [load(0, (), 0, F64), load(0, (), 1, F64), Op("const", (), F64, 0.1)]
    x, y = 0, 1
    for _ in range(steps):
        n = len(ops)
        ops += [
            Op("mul", (y, 2), F64),
            Op("mul", (x, 2), F64),
            Op("mul", (n, n + 1), F64),
            Op("add", (x, n), F64),
            Op("sub", (y, n + 1), F64),
            Op("add", (n + 3, n + 2), F64),
            Op("maximum", (n + 5, n + 4), F64),
        ]
        x, y = n + 6, n + 4
    ops += [store(x, 1, (), 0, F64), store(y, 1, (), 1, F64)]
    return kernel_of(ops, [Buffer(F64, 2), Buffer(F64, 2, written=True)])


@pytest.mark.parametrize("steps", [100, 1000])
def test_steps_that_are_alike_share_a_few_functions(steps: int) -> None:
    module = Module()
    emit_straight(module, simulation(steps), "kernel")
    text = str(module)
    assert len(re.findall(r"call void @kernel\.\d+", text)) >= 7 * steps / straight.MOST
    assert len(re.findall(r"define internal void @kernel\.\d+", text)) <= 6
    arrays = [np.array([1.0, 2.0]), np.zeros(2)]
    NativeKernel(simulation(steps), emit_straight)(arrays)
    whole = [np.array([1.0, 2.0]), np.zeros(2)]
    NativeKernel(simulation(steps), emit_loops)(whole)
    assert arrays[1].tobytes() == whole[1].tobytes()


def test_constants_that_are_equal_but_not_the_same_are_kept_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Pieces alike but for 0.0 and -0.0, which is a difference once it is divided by."""
    small_pieces(monkeypatch)
    ops = [load(0, (), 0, F64)]
    stores: list[Op] = []
    for i in range(40):
        zero = -0.0 if i % 3 else 0.0
        n = len(ops)
        ops += [Op("const", (), F64, zero), Op("add", (0, n), F64), Op("mul", (n + 1, n), F64)]
        stores.append(store(n + 2, 1, (), i, F64))
    kernel = kernel_of([*ops, *stores], [Buffer(F64, 1), Buffer(F64, 40, written=True)])
    found = [np.array([2.0]), np.zeros(40)]
    NativeKernel(kernel, emit_straight)(found)
    assert np.array_equal(np.signbit(found[1]), [bool(i % 3) for i in range(40)])


def test_a_result_may_lie_where_an_input_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loads come before the stores, however it is cut: two numbers change places."""
    small_pieces(monkeypatch)
    ops = [load(0, (), 0, F64), load(1, (), 0, F64), *[Op("neg", (0,), F64)] * 30]
    ops += [store(1, 2, (), 0, F64), store(0, 3, (), 0, F64)]
    buffers = [Buffer(F64, 1)] * 2 + [Buffer(F64, 1, written=True)] * 2
    x, y = np.array([1.0]), np.array([2.0])
    NativeKernel(kernel_of(ops, buffers), emit_straight)([x, y, x, y])
    assert (x[0], y[0]) == (2.0, 1.0)


def test_what_is_not_straight_is_not_cut() -> None:
    stage = Stage(True, (load(0, (1,)), store(0, 1, (1,))))
    buffers = (Buffer(F32, 4), Buffer(F32, 4, written=True))
    assert not is_straight(LoopKernel("k", buffers, (4,), 0, (stage,)))
    scratch = (Buffer(F64, 1), Buffer(F64, 1, Space.SCRATCH, True))
    own = Stage(False, (load(0, (), 0, F64), store(0, 1, (), 0, F64)))
    assert not is_straight(LoopKernel("k", scratch, (), 0, (own,)))


# -- elementary functions


CODES = ["sin", "exp", "tanh", "log1p", "erf", "power", "arctan2", "cbrt", "logaddexp"]


@pytest.mark.parametrize("dtype", [F64, F32])
@pytest.mark.parametrize("code", CODES)
def test_called_functions_give_the_bits_of_written_ones(code: str, dtype: Any) -> None:
    arity = 2 if code in ("power", "arctan2", "logaddexp") else 1
    count = 24
    ops: list[Op] = []
    for i in range(count):
        n = len(ops)
        ops += [load(j, (), i, dtype) for j in range(arity)]
        ops.append(Op(code, tuple(range(n, n + arity)), dtype))
    made = [n for n, op in enumerate(ops) if op.code == code]
    ops += [store(n, arity, (), i, dtype) for i, n in enumerate(made)]
    buffers = [Buffer(dtype, count)] * arity + [Buffer(dtype, count, written=True)]
    kernel = kernel_of(ops, buffers)
    module = Module()
    emit_straight(module, kernel, "kernel")
    calls = re.findall(rf"call \w+ @op\.{code}\.", str(module))
    assert len(calls) == count and str(module).count(f" @op.{code}.") == count + 1
    rng = np.random.default_rng(0)
    given = [np.abs(rng.normal(size=count)).astype(dtype) for _ in range(arity)]
    given[0][:4] = [0.0, np.inf, np.nan, 1e-30]
    results: list[bytes] = []
    for emit in (emit_straight, emit_loops):
        out = np.zeros(count, dtype)
        NativeKernel(kernel, emit)([*given, out])
        results.append(out.tobytes())
    assert results[0] == results[1]


# -- the whole way


def rule(p: Any, state: Any) -> Any:
    def field(s: Any) -> Any:
        return np.stack([s[0] * (p[0] - p[1] * s[1]), s[1] * (p[2] * s[0] - np.sin(p[3]))])

    k1 = field(state)
    k2 = field(state + 0.025 * k1)
    return state + 0.05 * k2


def loss(p: Any, start: Any) -> Any:
    state = start
    for _ in range(60):
        state = rule(p, state)
    return np.sum(state**2)


def test_a_simulation_and_its_gradient_equal_eager() -> None:
    p, start = np.array([1.1, 0.4, 0.1, 0.4]), np.array([10.0, 5.0])
    fast = bp.jit(bp.value_and_grad(loss))
    value, gradient = fast(p, start)
    expected, its = bp.value_and_grad(loss)(p, start)
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    np.testing.assert_allclose(gradient, its, rtol=1e-9)
    plan = fast.plan(p, start)
    assert sum([k.text.count("\n") for k in plan.kernels]) > 1500  # operations, most of them alike


def test_many_scalar_functions_are_few_lines_of_machine_code() -> None:
    def chain(x: Any) -> Any:
        for _ in range(500):
            x = np.sin(x) + 0.5 * np.tanh(x)
        return x

    both = bp.jit(bp.value_and_grad(chain))
    value, gradient = both(0.3)
    expected, its = bp.value_and_grad(chain)(0.3)
    np.testing.assert_allclose([value, gradient], [expected, its], rtol=1e-11, atol=1e-300)


def test_another_process_makes_the_same_text() -> None:
    """The cuts do not follow Python's hashes, so code kept on disk is found again."""
    script = """
        import hashlib
        from tests.codegen.test_straight import random_kernel
        from backpass.codegen.straight import emit_straight
        from backpass.codegen.text import Module
        module = Module()
        emit_straight(module, random_kernel(5, 2000)[0], "kernel")
        print(hashlib.sha256(str(module).encode()).hexdigest())
    """
    assert len({said(script, env={"PYTHONHASHSEED": seed}) for seed in ("1", "2")}) == 1
