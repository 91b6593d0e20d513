"""Every elementwise operation as machine code gives what its NumPy reference gives.

Over random bit patterns of each dtype, special values and dense ranges; with 1 lane (by LLVM's
code generator alone) and 16 lanes (with LLVM's passes too); on this machine, on one with AVX2 only
and on one without FMA. The errors in units in the last place are held by docs/accuracy.md.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from docs.generate_accuracy import CASES, PAGE, error
from docs.generate_coverage import names
from tests.codegen.elementwise_loop import Loop

from backpass.codegen.arithmetic import ROWS, can_emit, emit
from backpass.codegen.text import Function, Module, Reg
from backpass.ir import Primitive
from backpass.prims import elementwise, rules, special

Array = np.ndarray[Any, Any]
DType = np.dtype[Any]
FLOATS = [np.dtype(c) for c in "efd"]
INTEGERS = [np.dtype(c) for c in "bBhHiIlL"]
BOOL, INT32 = np.dtype(bool), np.dtype(np.int32)
WIDTHS = (1, 16)
PRIMITIVES: dict[str, Primitive] = {
    p.name: p
    for module in (rules, elementwise, special)
    for p in vars(module).values()
    if isinstance(p, Primitive)
}
FLOAT_ROWS = [name for name, row in ROWS.items() if row.real]
# The same bits as NumPy; all others within TOLERANCE.
EXACT = names(
    """
    add sub mul div neg abs square sqrt sign reciprocal floor ceil trunc rint maximum minimum
    copysign nextafter spacing exponent floor_divide remainder fmod identity stop_gradient
    equal not_equal less less_equal greater greater_equal logical_and logical_or logical_xor
    logical_not isfinite isinf isnan signbit
    """
)
TOLERANCE = {2: 2e-3, 4: 6e-7, 8: 1e-12}
# SciPy's are 0 where these are subnormal; and its cosm1 cancels where cos is near 1 again.
VANISHING = {"cosm1": 1e-15, "exp10": 1e-307, "erfc": 1e-307, "ndtr": 1e-307, "log_ndtr": 1e-307}
# Its zeros have one sign in SciPy's float32 and the other in its float64.
EITHER_ZERO = frozenset({"cosm1"})
# Their results may cancel: the error is measured against the operands.
CANCELLING = frozenset({"logaddexp", "logaddexp2"})
# No row of the table, on purpose: NumPy's references run them.
LEFT_TO_NUMPY = names(
    """
    broadcast sum gcd lcm gammaln psi erfinv erfi dawsn erfcinv ndtri ndtri_exp loggamma gamma
    expi exp1 sindg cosdg tandg cotdg i0 i1 i0e i1e j0 j1 y0 y1 k0 k1 k0e k1e gammasgn
    polygamma jv yv iv kv ive kve hyp0f1 hyp1f1 hyp2f1 gammainc gammaincc betainc betaincc
    beta betaln rel_entr kl_div boxcox boxcox1p
    """
)


def special_values(dtype: DType) -> Array:
    """What most often goes wrong."""
    if dtype.kind != "f":
        info = np.iinfo(dtype)
        numbers = {0, 1, 2, 3, 7, 8, 31, 32, 63, 64, info.max, info.max - 1, info.min, info.min + 1}
        if info.min < 0:
            numbers |= {-1, -2, -3, -64}
        return np.array(sorted(numbers), dtype)
    info = np.finfo(dtype)
    ends = [float(info.max), float(info.tiny), float(info.smallest_subnormal), np.inf]
    plain = [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 1 - float(info.epsneg), 1 + float(info.eps)]
    values = np.array([*ends, *plain], dtype)
    return np.concatenate([values, -values, np.array([np.nan], dtype)])


def samples(dtype: DType, rng: np.random.Generator) -> Array:
    """Random bit patterns, and numbers near 0 and 1."""
    if dtype == BOOL:
        return rng.integers(0, 2, 300).astype(bool)
    if dtype.kind != "f":
        info = np.iinfo(dtype)
        every = rng.integers(info.min, info.max, 1000, dtype, endpoint=True)
        return np.concatenate([every, rng.integers(max(info.min, -20), 20, 1000).astype(dtype)])
    bits = rng.integers(0, 2 ** (8 * dtype.itemsize), 3000, dtype=f"u{dtype.itemsize}").view(dtype)
    bits = np.where(np.isnan(bits), dtype.type(np.nan), bits)  # no signalling NaN
    parts = [rng.normal(size=1500), rng.normal(size=1500) * 20, rng.uniform(-800, 800, 1500)]
    parts += [1 + 1e-3 * rng.normal(size=1500), rng.uniform(-1, 1, 1500)]
    return np.concatenate([bits, *[part.astype(dtype) for part in parts]])


def operands(dtype: DType, arity: int) -> list[Array]:
    """`arity` arrays: all pairs of the special values, then samples."""
    rng = np.random.default_rng(7)
    if dtype == BOOL:
        return [samples(dtype, rng) for _ in range(arity)]
    pairs = np.array(list(itertools.product(special_values(dtype), repeat=arity)), dtype).T
    return [np.concatenate([p, rng.permutation(samples(dtype, rng))]) for p in pairs]


def reference(name: str, *xs: Array, **params: Any) -> Array:
    with np.errstate(all="ignore"):
        return np.asarray(PRIMITIVES[name].reference(*xs, **params))


def native(name: str, dtype: DType, width: int, **machine: Any) -> Callable[..., Array]:
    row = ROWS[name]
    passes = machine.pop("passes", width > 1)
    return Loop(name, [dtype] * row.arity, row.result or dtype, width, passes=passes, **machine)


def differing(y: Array, expected: Array) -> Array:
    """Where two arrays differ in their bits; one NaN is as good as another."""
    if y.dtype.kind != "f":
        return y != expected
    return ((y != expected) | (np.signbit(y) != np.signbit(expected))) & ~(
        np.isnan(y) & np.isnan(expected)
    )


def assert_close(name: str, y: Array, expected: Array, xs: list[Array]) -> None:
    """Within the tolerance; infinities, NaN and the signs of zeros exactly."""
    dtype = y.dtype
    wide, exact = y.astype(np.longdouble), expected.astype(np.longdouble)
    with np.errstate(all="ignore"):
        size = np.abs(exact)
        if name in CANCELLING:
            size = np.maximum(size, np.maximum(*[np.abs(x).astype(np.longdouble) for x in xs]))
        slack = max(2 * float(np.finfo(dtype).smallest_subnormal), VANISHING.get(name, 0.0))
        near = np.abs(wide - exact) <= TOLERANCE[dtype.itemsize] * size + slack
    sign = (np.signbit(y) == np.signbit(expected)) | (size > 0) | (name in EITHER_ZERO)
    bad = ~(near & sign) & differing(y, expected)
    assert not bad.any(), [
        (*[x[bad][:5] for x in xs], "gives", y[bad][:5], "not", expected[bad][:5])
    ]


def assert_as_numpy(name: str, dtype: DType, run: Callable[..., Array]) -> None:
    xs = operands(dtype, ROWS[name].arity)
    y, expected = run(*xs), reference(name, *xs)
    assert y.dtype == expected.dtype
    if name in EXACT or dtype.kind != "f":
        bad = differing(y, expected)
        assert not bad.any(), (*[x[bad][:5] for x in xs], y[bad][:5], expected[bad][:5])
    else:
        assert_close(name, y, expected, xs)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", FLOAT_ROWS)
def test_floats(name: str, width: int) -> None:
    for dtype in FLOATS:
        if name not in ("scale", "gate"):
            assert_as_numpy(name, dtype, native(name, dtype, width))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.integer])
def test_integers(name: str, width: int) -> None:
    for dtype in INTEGERS:
        if ROWS[name].emitter(dtype):
            assert_as_numpy(name, dtype, native(name, dtype, width))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.boolean])
def test_booleans(name: str, width: int) -> None:
    assert_as_numpy(name, BOOL, native(name, BOOL, width))


def test_can_emit_refuses_what_numpy_refuses() -> None:
    """Where the reference raises or has another dtype, there is no native code."""
    for name, row in ROWS.items():
        for dtype in (*INTEGERS, *FLOATS, BOOL):
            if can_emit(name, [dtype] * row.arity, row.result or dtype):
                xs = [np.ones(1, dtype)] * row.arity
                assert reference(name, *xs).dtype == (row.result or dtype), (name, dtype)
    float64, int64 = np.dtype(np.float64), np.dtype(np.int64)
    assert not can_emit("sub", [BOOL, BOOL], BOOL)
    assert not can_emit("power", [int64, int64], int64)
    assert not can_emit("exp", [int64], int64)
    assert not can_emit("add", [float64, int64], float64)
    assert not can_emit("add", [float64], float64)
    assert not can_emit("add", [float64, float64], BOOL)
    assert not can_emit("nonsense", [float64], float64)
    assert not can_emit("select", [float64] * 3, float64)
    with pytest.raises(NotImplementedError, match="exp of int64"):
        emit(Function(Module(), "define void @f()"), "exp", [Reg("%x", int64, 1)], int64)


def test_every_primitive_is_emitted_or_left_to_numpy_on_purpose() -> None:
    assert set(PRIMITIVES) == {*ROWS, "select", "cast", "ldexp", *LEFT_TO_NUMPY}


@pytest.mark.parametrize("source", [*INTEGERS, *FLOATS, BOOL], ids=str)
@pytest.mark.parametrize("fused", [True, False])
def test_cast(source: DType, fused: bool) -> None:
    rng = np.random.default_rng(3)
    x = samples(source, rng)
    if source.kind == "f":
        ends = [s * (2.0**n + d) for s in (1, -1) for n in (7, 15, 31, 32, 63, 64) for d in (0, 1)]
        halves = [
            65519.99,
            65520.0,
            2.0**-25,
            2.0**-24 * 1.5,
            1 + 2.0**-11,
            1 + 2.0**-11 + 2.0**-40,
        ]
        spread = rng.normal(size=2000) * 10.0 ** rng.uniform(-9, 20, 2000)
        with np.errstate(over="ignore"):
            x = np.concatenate([x, np.array([*ends, *halves, *spread]).astype(source)])
        # zeros last: at an array's end NumPy's own casts of NaN to uint32 are others than before it
        x = np.concatenate([x, special_values(source), np.zeros(64, source)])
    for target, width in itertools.product([*INTEGERS, *FLOATS, BOOL], WIDTHS):
        cpu = None if fused else "x86-64"
        run = Loop("cast", [source], target, width, cpu=cpu, fused=fused, passes=width > 1)
        bad = differing(run(x), reference("cast", x, dtype=target))
        assert not bad.any(), (target, width, x[bad][:5], run(x)[bad][:5])


@pytest.mark.parametrize("width", WIDTHS)
def test_select_takes_one_of_two_as_it_is(width: int) -> None:
    rng = np.random.default_rng(0)
    for dtype in (*INTEGERS, *FLOATS, BOOL):
        x, y = samples(dtype, rng), samples(dtype, rng)
        c = rng.integers(0, 2, len(x)).astype(bool)
        run = Loop("select", [BOOL, dtype, dtype], dtype, width)
        assert run(c, x, y).tobytes() == np.where(c, x, y).tobytes()


@pytest.mark.parametrize("integer", [np.int8, np.int32, np.int64])
def test_ldexp_rounds_once(integer: type[np.signedinteger[Any]]) -> None:
    rng = np.random.default_rng(0)
    for dtype, width in itertools.product(FLOATS, WIDTHS):
        x = np.concatenate([special_values(dtype), samples(dtype, rng)])
        n = rng.integers(-120, 120, len(x)).astype(integer)
        if integer is not np.int8:
            n[::2] = rng.integers(-2200, 2200, len(n[::2]))
            n[:4] = [np.iinfo(np.int32).max, np.iinfo(np.int32).min, 2, -2]
        bad = differing(
            Loop("ldexp", [dtype, np.dtype(integer)], dtype, width)(x, n), reference("ldexp", x, n)
        )
        assert not bad.any(), (dtype, width, x[bad][:5], n[bad][:5])


@pytest.mark.parametrize("name", ["scale", "gate"])
def test_the_strong_zero(name: str) -> None:
    """A zero times infinity or NaN is 0; NaN comes from nowhere else."""
    for dtype, width in itertools.product(FLOATS, WIDTHS):
        x, y = operands(dtype, 2)
        found = native(name, dtype, width)(x, y)
        with np.errstate(all="ignore"):
            product = x * y
        zero = (x == 0) if name == "scale" else (x == 0) | (y == 0)
        assert (found[zero] == 0).all()
        assert not differing(found, product)[~zero].any()


def test_huge_angles_beside_small_ones() -> None:
    """Lanes that need the long reduction do not disturb the others, nor the other way round."""
    small, huge = np.linspace(-3.0, 3.0, 32), np.geomspace(1e6, 1e308, 32)
    mixed = np.where(np.arange(32) % 3 == 0, huge, small)
    for name in ("sin", "cos", "tan"):
        run = native(name, np.dtype(np.float64), 16)
        whole = np.concatenate([run(small)[:32], run(huge)[:32]])
        expected = np.where(np.arange(32) % 3 == 0, whole[32:], whole[:32])
        assert run(mixed).tobytes() == expected.tobytes()


@pytest.mark.parametrize("fused", [True, False])
def test_close_to_the_zeros_of_sine_and_cosine(fused: bool) -> None:
    """There all bits of pi count: up to the limit of the short reduction and beyond it."""
    k = np.random.default_rng(0).integers(0, 2**40, 4000) >> np.arange(4000) % 40
    pi = np.arctan(np.longdouble(1.0)) * 4
    dtype = np.dtype(np.float64)
    for name, shift in (("sin", 0.0), ("tan", 0.0), ("cos", 0.5)):
        x = ((k + shift) * pi).astype(dtype)
        y = native(name, dtype, 16, cpu=None if fused else "x86-64", fused=fused)(x)
        exact = CASES[name].oracle(x.astype(np.longdouble))
        assert (np.abs(y - exact) <= 4 * np.spacing(np.abs(y))).all(), name


def library_calls(assembly: str) -> list[str]:
    """The functions that are called, but for the module's own: those of huge angles are turns."""
    names = re.findall(r"\b(?:callq?|movabsq)\s+\$?([A-Za-z_][\w.@]*)", assembly)
    return [name for name in names if not name.startswith("turns.")]


@pytest.mark.parametrize("cpu", ["haswell", "x86-64"])
@pytest.mark.parametrize("name", FLOAT_ROWS)
def test_other_machines(name: str, cpu: str) -> None:
    """AVX2 alone; and SSE2 without FMA: the same results within the tolerance, and no call."""
    for dtype in FLOATS[1:]:
        run = Loop(
            name,
            [dtype] * ROWS[name].arity,
            ROWS[name].result or dtype,
            16,
            cpu=cpu,
            fused=cpu == "haswell",
            passes=False,
        )
        assert not library_calls(run.assembly)
        if name not in ("scale", "gate"):
            assert_as_numpy(name, dtype, run)


@pytest.mark.parametrize("name", FLOAT_ROWS)
def test_vectors_stay_vectors(name: str) -> None:
    """No call of a library, in any dtype."""
    for dtype, width in itertools.product(FLOATS, WIDTHS):
        run = native(name, dtype, width, passes=True)
        assert isinstance(run, Loop)
        assert not library_calls(run.assembly), (dtype, width)


def stated() -> dict[str, tuple[float, float]]:
    """The errors of docs/accuracy.md."""
    rows = re.findall(r"^\| `(\w+)` \| ([\d.]+) \| ([\d.]+) \|$", PAGE.read_text("utf-8"), re.M)
    return {name: (float(single), float(double)) for name, single, double in rows}


@pytest.mark.parametrize("name", CASES)
def test_the_stated_accuracy(name: str) -> None:
    found = tuple([error(name, np.dtype(d)) for d in (np.float32, np.float64)])
    assert found[0] <= stated()[name][0]
    assert found[1] <= stated()[name][1]


def test_the_page_states_every_function_without_exact_results() -> None:
    assert set(stated()) == set(CASES)
    inexact = set(FLOAT_ROWS) - EXACT - CANCELLING - {"scale", "gate"}
    assert inexact == set(CASES)
