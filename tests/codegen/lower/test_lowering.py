"""What graphs become: few kernels, every one of them sound, which compute what the graph says.

The interpreter runs the kernels, so these tests know nothing of LLVM.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tests.codegen.lower.lowering import check, graph_of, interpreted, kinds
from tests.codegen.random_graphs import generate
from tests.codegen.test_random_graphs import BOUND

import backpass as bp
from backpass import nn
from backpass.codegen.lower import lower
from backpass.codegen.lower.build import kernels_of
from backpass.codegen.lower.schedule import Bound
from backpass.loops import Gemm, LoopKernel, show

F = nn.functional
R = np.random.default_rng(0)


def normal(*shape: int) -> Any:
    return R.normal(size=shape)


def rosen(x: Any) -> Any:
    return np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def layer_norm(x: Any, w: Any, b: Any) -> Any:
    return np.sum(F.layer_norm(x, (7,), w, b) ** 3)


def attention(q: Any, k: Any, v: Any) -> Any:
    scores = F.softmax(np.einsum("bihd,bjhd->bhij", q, k), -1)
    return np.sum(np.einsum("bhij,bjhd->bihd", scores, v) ** 2)


Case = tuple[Callable[..., Any], tuple[Any, ...], list[str] | None]
CASES: dict[str, Case] = {
    "softmax": (lambda x: F.softmax(x, -1), (normal(5, 7),), ["loops"]),
    "log sum exp of columns": (
        lambda x: np.log(np.sum(np.exp(x - np.max(x, 0)), 0)),
        (normal(30, 17),),
        ["loops"],
    ),
    "rosen": (bp.value_and_grad(rosen), (normal(9),), ["loops"] * 2),
    "cross entropy": (
        bp.value_and_grad(F.cross_entropy),
        (normal(6, 10), R.integers(0, 10, 6)),
        ["loops"] * 4,
    ),
    "layer norm": (
        bp.value_and_grad(layer_norm, argnums=(0, 1, 2)),
        (normal(5, 7), normal(7), normal(7)),
        ["loops"] * 4,
    ),
    "standardized columns": (
        lambda x: (x - np.mean(x, 0)) / np.sqrt(np.var(x, 0) + 1e-5),
        (normal(50, 9),),
        ["loops"],
    ),
    "long sum": (np.sum, (normal(40_000),), ["loops"] * 2),
    "long product": (lambda x, y: x @ y, (normal(40_000), normal(40_000)), ["loops"] * 2),
    "long rows": (lambda x: np.sum(x * x, 1), (normal(3, 20_000),), ["loops"] * 2),
    "long columns": (lambda x: np.sum(x, 0), (normal(20_000, 17),), ["loops"] * 2),
    "long inside": (lambda x: np.sum(x, (0, 2)), (normal(200, 17, 101),), ["loops"] * 2),
    "bias and tanh": (
        lambda x, w, b: np.tanh(x @ w.T + b),
        (normal(5, 9), normal(6, 9), normal(6)),
        ["gemm"],
    ),
    "matrix and vector": (lambda w, x: np.tanh(w @ x), (normal(40, 50), normal(50)), ["loops"]),
    "shifted reads": (
        lambda x: np.pad(x, 1)[2:, :-2] + np.pad(x, 1)[:-2, 2:],
        (normal(5, 9),),
        ["loops"],
    ),
    "long rosen": (bp.value_and_grad(rosen), (normal(400),), ["loops"] * 4),
    "halves": (
        bp.grad(lambda x: np.sum(x[:100] ** 3) * np.sum(np.sin(x[100:]))),
        (normal(300),),
        None,
    ),
    "shifted reads of more": (
        lambda x: np.pad(x, 1)[2:, :-2] + np.pad(x, 1)[:-2, 2:],
        (normal(20, 30),),
        ["loops"] * 5,
    ),
    "shifted reads backwards": (
        lambda x: np.pad(x, ((2, 1),))[::-1] * np.pad(np.exp(x), ((0, 3),))[::-1],
        (normal(301),),
        None,
    ),
    "reshaped shifted reads": (
        lambda x: np.pad(x, ((3, 2), (0, 0))).reshape(-1) * 2.0,
        (normal(20, 15),),
        None,
    ),
    "many slices": (
        bp.grad(lambda x: sum([np.sum(x[k : k + 50] ** (2 + k % 3)) for k in range(0, 300, 50)])),
        (normal(300),),
        None,
    ),
    "chains that meet": (
        lambda x, y: np.sum(np.exp(x) * np.sqrt(np.exp(y) + np.log1p(x * x)), 1) ** 2,
        (normal(6, 10), normal(6, 10)),
        ["loops"],
    ),
    "chains that meet behind a sum": (
        lambda x, y: (np.exp(x) - np.sum(np.exp(x))) * np.tanh(y) + np.exp(y),
        (normal(60), normal(60)),
        None,
    ),
    "differences": (bp.grad(lambda x: np.sum(np.diff(x) ** 2)), (normal(5, 9),), ["loops"]),
    "padded gather": (
        lambda x, i: np.pad(np.sin(x)[i], ((1, 0), (0, 2))),
        (normal(6, 3), np.array([0, -1, 2])),
        None,
    ),
    "one place a row": (
        lambda x, i: np.take_along_axis(x, i[:, None], 1),
        (normal(5, 9), R.integers(-9, 9, 5)),
        ["loops"] * 2,
    ),
    "embedding": (
        bp.grad(lambda w, i: np.sum(w[i] ** 2)),
        (normal(10, 4), R.integers(-10, 10, (3, 5))),
        ["loops", "scatter"],
    ),
    "argmax": (lambda x: (np.argmax(x, 1), np.argmin(x, 0)), (normal(5, 9),), None),
    "joined": (
        lambda x, y: np.concatenate([x, np.exp(y), x * 2], 1),
        (normal(5, 9), normal(5, 2)),
        None,
    ),
    "running sums": (
        lambda x: np.cumsum(x * 2, 1) + np.cumsum(x, 0)[::-1],
        (normal(5, 9),),
        None,
    ),
    "a running sum of a number": (
        lambda x: np.cumsum(np.broadcast_to(x * 0 + 2.0, (5,))) + np.cumsum(np.full(5, 3.0)),
        (np.float64(1.0),),
        None,
    ),
    "reshaped": (lambda x: np.sum(np.exp(x).reshape(6, 20).T * 2, 1), (normal(10, 12),), None),
    "reshaped out of order": (lambda x: np.exp(x.T.reshape(7, 5)), (normal(7, 5),), None),
    "attention": (
        bp.value_and_grad(attention, argnums=(0, 1, 2)),
        (normal(2, 5, 3, 4), normal(2, 6, 3, 4), normal(2, 6, 3, 4)),
        None,
    ),
    "batched product": (
        lambda x, y: np.einsum("abij,abjk->aibk", x, y),
        (normal(2, 3, 5, 9), normal(2, 3, 9, 4)),
        None,
    ),
    "reference call": (
        lambda a, b: np.linalg.solve(a, b) * 2,
        (normal(4, 4), normal(4)),
        ["call solve", "loops"],
    ),
    "read back in a later stage": (
        bp.grad(lambda x: np.sum(np.max(x[np.array([1, 3, 0])], 0) ** 3)),
        (normal(8, 33),),
        None,
    ),
    "empty": (lambda x: (x * 2, np.concatenate([x, x])), (normal(0, 5),), []),
    "depth zero": (lambda x, y: np.exp(x @ y), (normal(3, 0), normal(0, 4)), ["loops"]),
    "adding nothing": (
        bp.grad(lambda x, i: np.sum(x[i]) + np.sum(x)),
        (normal(3, 2), np.zeros(0, np.int64)),
        None,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_kernels_are_sound_and_right(name: str) -> None:
    function, args, expected = CASES[name]
    lowered = check(function, *args)
    if expected is not None:
        assert kinds(lowered) == expected


@pytest.mark.parametrize("first", range(0, 120, 20))
def test_random_programs(first: int) -> None:
    """Each kernel of each program is verified; values as near as NumPy's own."""
    for seed in range(first, first + 20):
        program = generate(seed)
        for function in (program.__call__, program.gradient):
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)
                check(function, *program.inputs, bound=BOUND[np.dtype(np.float32)])


@pytest.mark.parametrize("wrong", [6, -7])
def test_an_index_out_of_range_sets_the_status(wrong: int) -> None:
    x, i = normal(6, 3), np.array([0, wrong, 2])
    for function in (lambda x, i: x[i] * 2, bp.grad(lambda x, i: np.sum(x[i] ** 2))):
        assert interpreted(graph_of(function, x, i), [x, i])[2] == 1
        assert interpreted(graph_of(function, x, i), [x, i * 0])[2] == 0


def kernel_texts(function: Callable[..., Any], *args: Any) -> list[str]:
    steps = lower(graph_of(function, *args)).steps
    return [show(s.kernel) for s in steps if isinstance(s, Bound)]


def test_the_text_of_a_softmax() -> None:
    assert kernel_texts(CASES["softmax"][0], normal(5, 7)) == [
        """loops k0 (i<5) vector=j:
  b0: float64[35]
  b1: float64[7] scratch written
  b2: float64[35] written
  for j<7:
    %0: float64 = load b0[7*i + j]
    %1: float64 = reduce(%0) max
  for j<7:
    %2: float64 = load b0[7*i + j]
    %3: float64 = sub(%2, %1)
    %4: float64 = exp(%3)
    %5: float64 = reduce(%4) sum
    store b1[j], %4
  for j<7:
    %7: float64 = load b1[j]
    %8: float64 = div(%7, %5)
    store b2[7*i + j], %8""",
    ]


def test_the_text_of_a_long_sum() -> None:
    """In chunks of 4,096, the last of which is cut, and then the chunks."""
    assert kernel_texts(np.sum, normal(40_000)) == [
        """loops k0 (i<10) vector=j unroll=4:
  b0: float64[40000]
  b1: float64[10] written
  clip 4096*i + j < 40000
  for j<4096:
    %0: float64 = load b0[4096*i + j]
    %1: float64 = reduce(%0) sum
  once:
    store b1[i], %1""",
        """loops k0j (once) vector=i:
  b0: float64[10]
  b1: float64[1] written
  for i<10:
    %0: float64 = load b0[i]
    %1: float64 = reduce(%0) sum
  once:
    store b1[0], %1""",
    ]


def test_the_text_of_a_padded_read() -> None:
    """A guard, and no array of the padded one; the buffer is not longer than what is there."""
    assert kernel_texts(lambda x: np.pad(x, (0, 1)) * 2.0, normal(4)) == [
        """loops k0 (once) vector=i:
  b0: float64[4]
  b1: float64[5] written
  once:
    %0: float64 = const 0.0
    %1: int64 = const 4
    %2: float64 = const 2.0
  for i<5:
    %3: int64 = const 0
    %4: int64 = index i
    %5: int64 = add(%3, %4)
    %6: bool = less(%5, %1)
    %7: float64 = load b0[i] if %6
    %8: float64 = select(%6, %7, %0)
    %9: float64 = mul(%8, %2)
    store b1[i], %9""",
    ]


def test_the_text_of_column_sums() -> None:
    assert kernel_texts(lambda x: np.sum(x, 0), normal(9, 20)) == [
        """loops k0 (i<20) vector=i unroll=2:
  b0: float64[180]
  b1: float64[20] written
  for j<9:
    %0: float64 = load b0[i + 20*j]
    %1: float64 = reduce(%0) sum
  once:
    store b1[i], %1""",
    ]


def test_the_update_of_weights_is_the_epilogue_of_their_gradient() -> None:
    def step(w: Any, x: Any, ct: Any) -> Any:
        return w - 0.1 * (x.T @ ct)

    assert kernel_texts(step, normal(9, 6), normal(32, 9), normal(32, 6)) == [
        """gemm k0 1 x (9, 6, 32) float64:
  b0: float64[288]
  b1: float64[192]
  b2: float64[54]
  b3: float64[54] written
  x = b0[j + 9*l], y = b1[k + 6*l]
  %0: float64 = acc
  %1: float64 = const 0.1
  %2: float64 = mul(%1, %0)
  %3: float64 = load b2[6*j + k]
  %4: float64 = sub(%3, %2)
  store b3[6*j + k], %4""",
    ]


def test_a_network_has_three_products_a_layer_but_the_first() -> None:
    """Forward, and backward into weights and input; no gradient of weights is stored."""

    def step(w1: Any, w2: Any, x: Any, y: Any) -> Any:
        def loss(w1: Any, w2: Any) -> Any:
            return F.cross_entropy(F.relu(x @ w1) @ w2, y)

        g1, g2 = bp.grad(loss, argnums=(0, 1))(w1, w2)
        return w1 - 0.1 * g1, w2 - 0.1 * g2

    args = (normal(20, 16), normal(16, 10), normal(32, 20), R.integers(0, 10, 32))
    lowered = check(step, *args)
    products = [s for s in lowered.steps if isinstance(s, Bound) and isinstance(s.kernel, Gemm)]
    assert len(products) == 5
    stored = [sum([b.written for b in s.kernel.buffers]) for s in products]
    assert stored == [1, 1, 1, 1, 1]  # where the first was cut off is asked of its result


def test_an_update_with_moments_is_in_the_epilogue_of_its_product() -> None:
    """Predicted: one kernel writes weight and moments, and no gradient is stored."""

    def step(w: Any, m: Any, v: Any, rates: Any, x: Any, ct: Any) -> Any:
        g = x.T @ ct
        first, second = rates[0], rates[1]
        m, v = first * m + (1 - first) * g, second * v + (1 - second) * np.square(g)
        return w - 0.1 * m / (np.sqrt(v) + 1e-8), m, v

    weights = [normal(20, 16), normal(20, 16), np.abs(normal(20, 16))]
    lowered = check(step, *weights, np.array([0.9, 0.99]), normal(32, 20), normal(32, 16))
    large = [
        s
        for s in lowered.steps
        if isinstance(s, Bound) and any([b.size == 320 and b.written for b in s.kernel.buffers])
    ]
    assert len(large) == 1 and isinstance(large[0].kernel, Gemm)


def test_a_layer_norm_keeps_a_mean_and_a_deviation() -> None:
    """Predicted: what its derivative needs is computed again from x and two numbers a row."""

    def step(w: Any, x: Any, y: Any) -> Any:
        def loss(w: Any) -> Any:
            h = np.tanh(x @ w)
            h = (h - np.mean(h, 1, keepdims=True)) / np.sqrt(np.var(h, 1, keepdims=True) + 1e-5)
            return np.sum(np.square(h @ w - y))

        return bp.grad(loss)(w)

    lowered = check(step, normal(64, 64), normal(48, 64), normal(48, 64))
    forward = next(
        s
        for s in lowered.steps
        if isinstance(s, Bound)
        and isinstance(s.kernel, LoopKernel)
        and any([op.code == "sqrt" for stage in s.kernel.stages for op in stage.ops])
    )
    sizes = sorted([b.size for b in forward.kernel.buffers if b.written])
    assert sizes == [48, 48, 48 * 64]  # mean, deviation, and what the next product reads


def test_the_last_map_of_short_rows_is_a_kernel_of_its_own() -> None:
    """A logistic output is best with a row in each lane; its way back lies along the row."""

    def back(x: Any, w: Any, y: Any) -> Any:
        d = np.exp(-np.logaddexp(0, -x @ w)) - y
        return np.where(x <= 0, 0, d[:, None] * w)

    arrays = (normal(256, 64), normal(64), R.integers(0, 2, 256).astype(float))
    check(back, *arrays)
    steps = lower(graph_of(back, *arrays)).steps
    rows, last = [s.kernel for s in steps if isinstance(s, Bound)]
    assert isinstance(rows, LoopKernel) and isinstance(last, LoopKernel)
    assert rows.schedule.vector == 0 and any([op.code == "reduce" for op in rows.stages[1].ops])
    assert last.schedule.vector == 1 and last.outer == 1
    assert {b.size for b in rows.buffers if b.written} == {256}  # a number a row is between them


def test_a_mask_whose_answer_is_kept_is_not_stored() -> None:
    """Of a ReLU before a layer of one output, too, which is no product but a sum of each row."""

    def loss(w: Any, v: Any, x: Any) -> Any:
        h = x @ w.T
        h = np.where(h <= 0, 0, h)
        return np.sum((h @ v) ** 2)

    arrays = (normal(64, 30), normal(64, 1), normal(256, 30))
    steps = lower(graph_of(bp.value_and_grad(loss, argnums=(0, 1)), *arrays)).steps
    kernels = [s.kernel for s in steps if isinstance(s, Bound)]
    assert not [b for k in kernels for b in k.buffers if b.written and b.dtype == np.bool_]


def waves(x: Any, steps: int) -> Any:
    """A wave equation whose rows are written in place."""
    z = np.zeros_like(x, shape=(steps, len(x)))
    z[0], z[1] = x, 0.9 * x
    for i in range(2, steps):
        bend = z[i - 1, 2:] - 2 * z[i - 1, 1:-1] + z[i - 1, :-2]
        z[i, 1:-1] = 2 * z[i - 1, 1:-1] - z[i - 2, 1:-1] + 0.1 * bend
    return np.sum(z[-1] ** 2)


def test_what_is_stored_late_builds_few_groups_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each round of mending built all groups: 40 such steps took 23 s."""
    module = sys.modules["backpass.codegen.lower.lower"]
    built: list[int] = []

    def counted(group: Any, stored: Any, heights: Any) -> Any:
        built.append(group.number)
        return kernels_of(group, stored, heights)

    monkeypatch.setattr(module, "kernels_of", counted)
    graph = graph_of(bp.grad(lambda x: waves(x, 16)), normal(31))
    lower(graph)
    assert len(built) < 6 * len(set(built))  # 4.1; it was 77


@pytest.mark.parametrize("seed", [-1, *range(40)])
def test_groups_that_are_kept_are_what_they_would_be(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    module: Any = sys.modules["backpass.codegen.lower.lower"]
    made: list[Any] = []

    class Watched(module._Building):
        def __init__(self, graph: Any) -> None:
            super().__init__(graph)
            made.append(self)

    monkeypatch.setattr(module, "_Building", Watched)
    if seed < 0:
        graph = graph_of(bp.grad(lambda x: waves(x, 8)), normal(31))
    else:
        program = generate(seed)
        graph = graph_of(program.gradient, *program.inputs)
    found = [step for step in lower(graph).steps if isinstance(step, Bound)]
    stored, groups, heights = set(made[-1].stored), made[-1].groups, made[-1].heights
    anew = [step for g in groups for step in module._steps_of(g, stored, heights)]
    assert [s.kernel for s in found] == [s.kernel for s in anew if isinstance(s, Bound)]
