"""checkpoint: the same values and gradients in every transform, with less memory between them."""

from __future__ import annotations

import gc
import tracemalloc
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from tests.trace.test_random_programs import (
    EVERY,
    PROGRAMS,
    PURE,
    START,
    VIEWS,
    checked,
    run,
)

import backpass as bp
from backpass import errors, nn
from backpass.codegen import compile_graph
from backpass.passes import cse, live_peak, order, simplify
from backpass.prims.barrier import barrier
from backpass.tree import tree_leaves

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 4))
V = X[0]
W = [RNG.normal(size=(4, 4)) / 2 for _ in range(3)]


class Pair(NamedTuple):
    """A container of one's own kind."""

    first: Any
    second: Any


def plain(function: Any) -> Any:
    """What checkpoint is compared with."""
    return function


def layers(c: Any, x: Any, w: Any = W) -> Any:
    """A chain of blocks."""

    @c
    def block(w: Any, x: Any) -> Any:
        return x + np.tanh(np.sin(x @ w) * np.exp(-x))

    for one in w:
        x = block(one, x)
    return np.sum(x**2)


def containers(c: Any, x: Any) -> Any:
    """Nested containers in and out, keywords, None, strings, plain arrays and numbers."""

    @c
    def inside(p: Any, *, name: str, scale: Any, nothing: Any) -> Any:
        assert name == "n" and nothing is None and type(scale) is np.ndarray
        y = p["a"][0] * scale + p["b"].second
        return {"y": (y, y * y), "same": p["a"][0], "plain": scale, "text": name}

    found = inside({"a": [x], "b": Pair(1.0, x * 2)}, name="n", scale=np.arange(4.0), nothing=None)
    assert found["text"] == "n" and type(found["plain"]) is np.ndarray
    return np.sum(found["y"][0] * found["y"][1]) + np.sum(found["same"])


def closure(c: Any, x: Any) -> Any:
    """Traced values that are closed over, also ones computed inside from them alone."""
    z = x * 3
    f = c(lambda y: y * np.sin(z) * np.exp(x))
    return np.sum(f(x) * f(z))


def branch(c: Any, x: Any) -> Any:
    """Where values are known, Python may branch on them; else cond does."""
    f = c(lambda y: bp.cond(np.sum(y) > 0, np.sin, np.cos, y))
    return np.sum(f(x) * f(-x))


def stopped(c: Any, x: Any) -> Any:
    """A softmax with the usual stopped maximum, and integers and masks on the way."""

    @c
    def f(y: Any) -> Any:
        e = np.exp(y - bp.stop_gradient(np.max(y, -1, keepdims=True)))
        place = np.argmax(y, -1)
        return np.where(y > 0, e, y) / np.sum(e, -1, keepdims=True), place

    out, place = f(x)
    return np.sum(out**2) + np.sum(np.take(np.cumsum(out.ravel()), place))


def nested(c: Any, x: Any) -> Any:
    """A checkpoint in a checkpoint, and a gradient in one."""

    @c
    def outer(y: Any) -> Any:
        inner = c(lambda z: np.sin(z) * np.exp(z / 2))
        return inner(inner(y)) + bp.grad(lambda z: np.sum(np.cos(c(np.sin)(z) * y)))(y)

    return np.sum(outer(outer(x)))


def written(c: Any, x: Any) -> Any:
    """In-place code, on arrays of its own and on its argument."""

    @c
    def f(y: Any) -> Any:
        z = y.copy()
        z[..., 0] = y[..., 1] * 2
        y *= 2
        return np.sin(z * y)

    start = x * 1
    return np.sum(f(start) * start)


own = bp.custom_vjp(np.sin)
own.defvjp(lambda x: (np.sin(x), x), lambda x, ct: (3.0 * ct * np.cos(x),))


def own_rule(c: Any, x: Any) -> Any:
    """A rule of the user's own inside, and mapped code."""
    return np.sum(c(lambda y: own(y) * bp.vmap(np.exp)(y))(x))


FUNCTIONS = [layers, containers, closure, branch, stopped, nested, written, own_rule]
each = pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)


def both(function: Any) -> tuple[Any, Any]:
    """The function with checkpoints and without."""
    return (lambda x: function(bp.checkpoint, x)), (lambda x: function(plain, x))


@each
def test_values_and_gradients_are_the_same_bits(function: Any) -> None:
    with_it, without = both(function)
    assert with_it(X) == without(X)
    (value, gradient), (expected, slope) = (bp.value_and_grad(f)(X) for f in (with_it, without))
    assert value == expected
    if function in (layers, branch, own_rule):
        np.testing.assert_array_equal(gradient, slope)
    np.testing.assert_allclose(gradient, slope, rtol=1e-13, atol=1e-13)  # sums of other orders


@each
def test_every_transform(function: Any) -> None:
    with_it, without = both(function)
    row = lambda f: lambda v: f(v[None])  # noqa: E731
    a, b = row(with_it), row(without)
    for wrapped in (
        lambda f: bp.jit(bp.value_and_grad(f))(V),
        lambda f: bp.jvp(f, (V,), (V + 1,)),
        lambda f: bp.jit(lambda v: bp.jvp(f, (v,), (v + 1,)))(V),
        lambda f: bp.vmap(bp.value_and_grad(f))(X),
        lambda f: bp.jit(bp.vmap(bp.grad(f)))(X),
        lambda f: bp.grad(lambda x: np.sum(bp.vmap(f)(x) ** 2))(X),
        lambda f: bp.jacrev(bp.grad(f))(V),
        lambda f: bp.jacfwd(bp.grad(f))(V),
        lambda f: bp.jit(bp.hessian(f))(V),
        lambda f: bp.hvp(f)(V, V + 1),
        lambda f: bp.grad(lambda v: np.sum(bp.grad(f)(v) ** 2))(V),
        lambda f: bp.jit(bp.grad(lambda v: np.sum(bp.grad(f)(v) ** 2)))(V),
        lambda f: bp.grad(lambda v: np.sum(np.sin(bp.hvp(f)(v, v))))(V),
    ):
        got, want = tree_leaves(wrapped(a)), tree_leaves(wrapped(b))
        for g, w in zip(got, want, strict=True):
            np.testing.assert_allclose(g, w, rtol=1e-11, atol=1e-11)


def test_against_central_differences() -> None:
    for function in (layers, nested):
        bp.check_grads(lambda x, f=function: f(bp.checkpoint, x), (X,), order=2)


def test_it_is_the_function_itself_outside_of_the_transforms() -> None:
    seen: list[type] = []

    @bp.remat
    def f(x: Any) -> Any:
        """Its text."""
        seen.append(type(x))
        return x

    assert f(X) is X and seen == [np.ndarray] and f.__doc__ == "Its text."
    assert bp.remat is bp.checkpoint


def test_python_code_runs_once_and_may_branch_on_known_values() -> None:
    ran: list[bool] = []

    @bp.checkpoint
    def f(x: Any) -> Any:
        ran.append(bool(x[0] > 0))
        return np.sum(np.sin(x)) if x[0] > 0 else np.sum(x**2)

    for sign in (1.0, -1.0):
        x = np.array([sign, 2.0])
        expected = np.cos(x) if sign > 0 else 2 * x
        np.testing.assert_array_equal(bp.grad(f)(x), expected)
        np.testing.assert_array_equal(bp.jacrev(f)(x), expected)
    assert ran == [True, True, False, False]


def test_weak_numbers_and_scalars_stay_what_they_are() -> None:
    x = np.ones(2, np.float32)
    f = bp.checkpoint(lambda rate: rate * 2)
    assert bp.grad(lambda rate: np.sum(x * f(rate)).astype(np.float64))(0.5) == 4.0
    seen: list[Any] = []

    def loss(rate: Any) -> Any:
        y = f(rate) * x
        seen.append((y.dtype, isinstance(f(rate), float)))
        return np.sum(y)

    bp.jit(bp.grad(loss))(0.5)
    assert seen == [(np.float32, True)]


def inside(statement: Any) -> Any:
    """A statement of a random program, in a checkpoint."""
    return lambda arrays, i, j: bp.checkpoint(statement)(arrays, i, j)


@checked
@given(PROGRAMS)
def test_random_programs_with_views_and_writes(program: list[tuple[int, int, int]]) -> None:
    """Each statement in a checkpoint: the same gradient as without, or one of our errors."""
    with np.errstate(all="ignore"):
        try:
            value, gradient = bp.value_and_grad(lambda x: run(program, x, EVERY))(START)
        except (ValueError, IndexError):
            return
        try:
            got = bp.value_and_grad(lambda x: run(program, x, INSIDE))(START)
        except bp.BackpassError:
            assert views_and_writes(program), "nothing in it is written through a view"
            return
    np.testing.assert_array_equal(got[0], value)
    scale = max(1.0, float(np.max(np.abs(gradient))))
    np.testing.assert_allclose(got[1], gradient, rtol=0, atol=1e-13 * scale)


INSIDE = [inside(statement) for statement in EVERY]


def views_and_writes(program: list[tuple[int, int, int]]) -> bool:
    """Whether a program makes a view and writes in place."""
    kinds = {(w >= len(PURE)) + (w >= len(PURE) + len(VIEWS)) for w, _, _ in program}
    return kinds >= {1, 2}


def test_a_view_that_leaves_a_checkpoint_still_shares_memory() -> None:
    def of_the_argument(x: Any) -> Any:
        y = x * 1
        row = bp.checkpoint(lambda z: z[0])(y)
        y[0] = 5
        return np.sum(row)

    def of_another_result(x: Any) -> Any:
        y, row = bp.checkpoint(lambda z: ((z := z * 2), z[0]))(x)
        y[0] = 5
        return np.sum(row)

    def of_two_arguments(x: Any) -> Any:
        def f(z: Any, row: Any) -> Any:
            z[0] = 5
            return row * 2

        y = x * 1
        return np.sum(bp.checkpoint(f)(y, y[0]))

    for function in (of_the_argument, of_another_result, of_two_arguments):
        with pytest.raises(errors.AliasError):
            bp.grad(function)(X)


def test_what_comes_back_is_the_argument_itself() -> None:
    def loss(x: Any) -> Any:
        y = x * 1
        z = bp.checkpoint(lambda a: a)(y)
        z *= 3
        same, again = bp.checkpoint(lambda a: (b := a * 2, b))(y)
        same += 1
        assert z is y and same is again
        return np.sum(y * again)

    np.testing.assert_allclose(bp.grad(loss)(X), 36 * X + 3, rtol=1e-13)


# -- Modules


class Block(nn.Module):
    """Dropout, a batch norm with running statistics, and two weights."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.norm, self.drop = nn.BatchNorm1d(4), nn.Dropout(0.5)

    def forward(self, x: Any) -> Any:
        return x + self.second(self.drop(np.tanh(self.norm(self.first(x)))))


class Chain(nn.Module):
    """Blocks, each called by `how`."""

    def __init__(self, how: Any) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Block() for _ in range(3)])
        self.how = how

    def forward(self, x: Any) -> Any:
        for block in self.blocks:
            x = self.how(block, x)
        return x


HOW = {
    "the module itself": lambda block, x: bp.checkpoint(block)(x),
    "an argument": lambda block, x: bp.checkpoint(lambda b, x: b(x))(block, x),
    "closed over": lambda block, x: bp.checkpoint(lambda x: block(x))(x),
    "closed over, and no argument": lambda block, x: bp.checkpoint(lambda: block(x))(),
    "nested": lambda block, x: bp.checkpoint(lambda x: bp.checkpoint(block)(x) * 1)(x),
}


def trained(how: Any, jitted: bool) -> tuple[list[Any], dict[str, Any]]:
    """Losses and gradients of two steps, and the state behind them."""
    bp.manual_seed(3)
    model = Chain(how)
    loss = lambda model, x: np.sum(model(x) ** 2)  # noqa: E731
    step = bp.value_and_grad(loss)
    step = bp.jit(step) if jitted else step
    found: list[Any] = []
    for x in (X, X + 1):
        value, gradients = step(model, x)
        found += [value, *gradients.values()]
    return found, model.state_dict() | {"draws": [b.drop.rng.read() for b in model.blocks]}


@pytest.mark.parametrize("jitted", [False, True], ids=["eager", "jit"])
@pytest.mark.parametrize("name", HOW)
def test_modules_draw_the_same_bits_once_and_keep_their_statistics(name: str, jitted: bool) -> None:
    got, state = trained(HOW[name], jitted)
    want, expected = trained(lambda block, x: block(x), jitted)
    assert len(got) == 2 * (1 + 3 * 6)
    for g, w in zip(got, want, strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-12, atol=1e-12)
    assert state.keys() == expected.keys()
    for key in state:
        np.testing.assert_allclose(state[key], expected[key], rtol=1e-14, err_msg=key)
    assert [int(s[1]) for s in state["draws"]] == [2, 2, 2]


def test_a_jitted_checkpoint_of_a_module_that_is_no_argument_is_refused() -> None:
    model = nn.Linear(4, 4)
    with pytest.raises(TypeError, match="belongs to none of its arguments"):
        bp.jit(lambda x: bp.checkpoint(model)(x))(X)


# -- memory


DEEP = [[RNG.normal(size=(16, 16)) / 4 for _ in range(4)] for _ in range(16)]
WIDE = RNG.normal(size=(2000, 16))


def deep(c: Any) -> Any:
    """16 blocks of 4 layers; the widths are such that weights weigh nothing."""

    def block(ws: Any, x: Any) -> Any:
        for w in ws:
            x = np.tanh(x @ w) * np.exp(-(x**2))
        return x

    def loss(w: Any, x: Any) -> Any:
        for ws in w:
            x = c(block)(ws, x)
        return np.sum(x**2)

    return bp.value_and_grad(loss)


def twice(block: Any) -> Any:
    """A checkpoint of two checkpoints."""
    return bp.checkpoint(lambda ws, x: bp.checkpoint(block)(ws, bp.checkpoint(block)(ws, x)))


def eager_peak(function: Any) -> float:
    """The most memory of an eager call, in arrays of the size of the activations."""
    gc.collect()
    tracemalloc.start()
    try:
        function(DEEP, WIDE)
        return tracemalloc.get_traced_memory()[1] / WIDE.nbytes
    finally:
        tracemalloc.stop()


def test_memory_of_a_deep_chain_under_jit() -> None:
    """64 layers keep three arrays each; with checkpoints 16 inputs and the inside of one block."""
    graphs = (bp.jit(deep(c)).graph(DEEP, WIDE) for c in (plain, bp.checkpoint))
    without, with_it = (live_peak(order(graph)) / WIDE.nbytes for graph in graphs)
    assert 3 * 64 <= without <= 3 * 64 + 4
    assert 16 + 3 * 3 <= with_it <= 16 + 3 * 4 + 3


def test_memory_of_the_native_program() -> None:
    """No kernel of the forward pass computes for the backward pass what a barrier keeps from it."""
    arenas = [
        compile_graph(bp.jit(deep(c)).graph(DEEP, WIDE)).assembly.arena.size / WIDE.nbytes
        for c in (plain, bp.checkpoint)
    ]
    assert arenas[0] >= 3 * 63
    assert arenas[1] <= 16 + 3 * 4 + 3


def test_memory_of_a_deep_chain_eager() -> None:
    """Eager, every layer keeps its five values and the cotangent passes through."""
    without, with_it, deeper = (eager_peak(deep(c)) for c in (plain, bp.checkpoint, twice))
    assert without >= 5 * 64
    assert with_it <= 16 + 5 * 4 * 2
    assert deeper <= with_it + 6  # as many layers again: the inner ones are let go too


def test_no_pass_makes_both_computations_one() -> None:
    graph = bp.jit(deep(bp.checkpoint)).graph(DEEP, WIDE)
    products = [node for node in graph if node.primitive.name == "contract"]
    # forward, again, and two for each backward, but for the gradient in the data
    assert len(products) == 64 + 64 + 2 * 64 - 1
    assert all(node.primitive.name != "checkpoint" for node in graph)
    assert len([node for node in graph if node.primitive is barrier]) == 5 * 16
    assert len(cse(simplify(graph)).nodes) == len(graph.nodes)


def test_what_comes_out_of_a_jitted_checkpoint_is_the_callers_own() -> None:
    """The gradient of x * y in x is y, an argument."""
    product = bp.jit(bp.grad(lambda x, y: bp.checkpoint(lambda x: np.sum(x * y))(x)))
    y = X + 1
    gradient = product(X, y)
    gradient += 1
    np.testing.assert_array_equal(y, X + 1)


def test_a_value_instead_of_a_function_is_refused() -> None:
    with pytest.raises(TypeError, match=r"write bp.checkpoint\(f\)\(x\)"):
        bp.checkpoint(np.sin(X))  # type: ignore
