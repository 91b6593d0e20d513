"""What transforms take and give: argnums, aux, containers, odd arrays, and what they refuse."""

from __future__ import annotations

import gc
import math
import sys
import weakref
from collections import OrderedDict, namedtuple
from typing import Any, cast

import numpy as np
import pytest

import backpass as bp
from backpass.errors import (
    DTypeError,
    LeakedTracerError,
    ShapeError,
    TracingError,
    TreeError,
    UnsupportedError,
)
from backpass.ir import Scope
from backpass.tree import flatten

X = np.array([1.0, 2.0, 3.0])
Pair = namedtuple("Pair", "left right")


def test_argnums() -> None:
    def f(a: Any, b: Any, c: Any) -> Any:
        return a * b * b * c

    assert bp.grad(f)(2.0, 3.0, 5.0) == 45.0
    assert bp.grad(f, 1)(2.0, 3.0, 5.0) == 60.0
    assert bp.grad(f, -1)(2.0, 3.0, 5.0) == 18.0
    assert bp.grad(f, (2, 0))(2.0, 3.0, 5.0) == (18.0, 45.0)
    with pytest.raises(ValueError, match=r"argnums=3 but .* 3 positional"):
        bp.grad(f, 3)(2.0, 3.0, 5.0)
    with pytest.raises(ValueError, match=r"argnums=\(0, -3\) names argument 0 twice"):
        bp.grad(f, (0, -3))(2.0, 3.0, 5.0)
    unknown: Any = "b"
    with pytest.raises(TypeError, match="argnums='b' must be the position"):
        bp.grad(f, unknown)(2.0, 3.0, 5.0)


def test_aux_and_keywords() -> None:
    def f(x: Any, *, scale: float = 1.0) -> Any:
        y = x * scale
        return np.sum(y**2), {"y": y, "note": "kept", "n": 3}

    (value, aux), gradient = bp.value_and_grad(f, has_aux=True)(X, scale=2.0)
    assert (value, aux["note"], aux["n"]) == (56.0, "kept", 3)
    np.testing.assert_array_equal(aux["y"], 2 * X)
    assert type(aux["y"]) is np.ndarray
    np.testing.assert_array_equal(gradient, 8 * X)
    with pytest.raises(TypeError, match="must return \\(output, aux\\)"):
        bp.grad(np.sum, has_aux=True)(X)


CONTAINERS: dict[str, Any] = {
    "tuple": (X, 2.0),
    "list": [X, 2.0],
    "dict": {"w": X, "b": 2.0},
    "ordered dict": OrderedDict(w=X, b=2.0),
    "namedtuple": Pair(X, 2.0),
    "nested": {"a": [X, (2.0, None)], "b": Pair(X, {"c": 1.0})},
    "with None": (None, X),
    "one leaf": X,
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_gradients_have_the_structure_of_the_argument(name: str) -> None:
    given = CONTAINERS[name]

    def f(tree: Any) -> Any:
        return sum([np.sum(leaf**2) for leaf in flatten(tree)[0]])

    for transform in (bp.grad, lambda g: bp.jit(bp.grad(g))):
        leaves, structure = flatten(transform(f)(given))
        expected, own = flatten(given)
        assert structure == own
        for got, x in zip(leaves, expected, strict=True):
            np.testing.assert_array_equal(got, 2 * np.asarray(x))


def test_constant_functions_and_unused_arguments_give_zeros() -> None:
    np.testing.assert_array_equal(bp.grad(lambda x: 3.0)(X), np.zeros(3))
    np.testing.assert_array_equal(bp.grad(lambda x, y: np.sum(x), 1)(X, X), np.zeros(3))
    np.testing.assert_array_equal(bp.jit(bp.grad(lambda x: 3.0))(X), np.zeros(3))
    assert bp.jvp(lambda x: np.ones(2), (X,), (X,))[1].tolist() == [0.0, 0.0]
    assert bp.vmap(lambda x: 1.5)(X).tolist() == [1.5, 1.5, 1.5]


def test_integer_valued_steps_have_zero_derivative() -> None:
    assert bp.grad(lambda x: np.floor(x) + np.sign(x) + np.round(x))(2.3) == 0.0
    assert bp.grad(lambda x: x * np.argmax(np.stack([x, 2 * x])))(2.3) == 1.0
    assert bp.grad(lambda x: x * x.astype(np.int64))(np.float64(2.3)) == 2.0


def test_an_output_that_is_an_input() -> None:
    y, pull = bp.vjp(lambda x: x, X)
    np.testing.assert_array_equal(y, X)
    np.testing.assert_array_equal(pull(X)[0], X)
    y, t = bp.jvp(lambda x: x, (X,), (2 * X,))
    np.testing.assert_array_equal(t, 2 * X)
    a, b = bp.jit(lambda x: (x, x))(X)
    assert not np.shares_memory(a, X) and not np.shares_memory(a, b)


def test_results_are_the_callers_own() -> None:
    """Writable, and no two of them in one memory."""
    ga, gb = bp.grad(lambda a, b: np.sum(a + b), (0, 1))(X, X)
    ga += 5
    np.testing.assert_array_equal(gb, np.ones(3))
    ct = np.ones(3)
    (g,) = bp.vjp(lambda x: x + 0.0, X)[1](ct)
    g += 5
    np.testing.assert_array_equal(ct, np.ones(3))
    mapped = bp.vmap(lambda x: 1.0)(X)
    mapped[0] = 2.0
    np.testing.assert_array_equal(mapped, [2, 1, 1])


def test_pull_does_not_see_later_writes() -> None:
    x = X.copy()
    y, pull = bp.vjp(lambda x: np.exp(x) * x, x)
    x[:] = 0
    y[:] = 0
    np.testing.assert_allclose(pull(np.ones(3))[0], np.exp(X) * (1 + X))


REFUSED: dict[str, tuple[Any, type[Exception], str]] = {
    "integer": (3, DTypeError, "pass 3.0 instead of 3"),
    "integer array": (np.arange(3), DTypeError, "int64, which has no derivative"),
    "boolean": (np.array([True]), DTypeError, "bool, which has no derivative"),
    "complex": (np.array([1j]), DTypeError, "complex128"),
    "object": (np.array([1.0, None], object), DTypeError, "object"),
    "string": ("text", DTypeError, "pass an array of floats"),
    "masked": (np.ma.masked_greater(X, 2.0), UnsupportedError, "fill them first"),
    "matrix": (np.ones((1, 1)).view(np.matrix), UnsupportedError, "np.asarray"),
    "long double": (np.longdouble(1.0), DTypeError, "convert to float64"),
    "none": (object(), DTypeError, "object"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_arguments_without_a_derivative_are_refused(name: str) -> None:
    given, error, text = REFUSED[name]
    with pytest.raises(error, match=text):
        bp.grad(lambda x: np.sum(x))(given)


def test_outputs_that_are_no_scalar_are_refused() -> None:
    with pytest.raises(TypeError, match=r"scalar, it returned an array of shape \(3,\).*jacrev"):
        bp.grad(lambda x: x)(X)
    with pytest.raises(TypeError, match="one scalar"):
        bp.grad(lambda x: (x[0], x[1]))(X)
    with pytest.raises(TypeError, match="int64, which has no derivative"):
        bp.grad(lambda x: np.argmax(x))(X)


def test_complex_numbers_inside_are_refused() -> None:
    for f in (
        lambda x: np.sum(x * 1j),
        lambda x: np.sum(np.real(x.astype(complex))),
        lambda x: np.sum(x, dtype=complex),
        lambda x: np.sum(x + np.ones(3, complex)),
    ):
        with pytest.raises(DTypeError, match="complex"):
            bp.grad(f)(X)


ODD_ARRAYS = {
    "big-endian": X.astype(">f8"),
    "read-only": np.broadcast_to(X, X.shape),
    "negative stride": X[::-1].copy()[::-1],
    "unaligned": np.frombuffer(b"\0" + X.tobytes(), np.uint8)[1:].view(np.float64),
    "list of numbers": X.tolist(),
    "stride zero": np.broadcast_to(2.0, (3,)),
}


@pytest.mark.parametrize("name", ODD_ARRAYS)
@pytest.mark.parametrize("jitted", [False, True])
def test_odd_arrays_give_the_same(name: str, jitted: bool) -> None:
    x = ODD_ARRAYS[name]
    step = bp.grad(lambda x: np.sum(np.exp(x) * np.asarray([1.0, 2.0, 3.0])))
    if isinstance(x, list):
        got = np.stack((bp.jit(bp.grad(lambda v: np.sum(np.exp(np.stack(v)) * X))) if jitted else
                        bp.grad(lambda v: np.sum(np.exp(np.stack(v)) * X)))(x))  # fmt: skip
    else:
        got = (bp.jit(step) if jitted else step)(x)
    np.testing.assert_allclose(got, np.exp(np.asarray(x, float)) * X, rtol=1e-15)


def test_a_memory_map(tmp_path: Any) -> None:
    mapped = np.memmap(tmp_path / "x", np.float64, "w+", shape=(3,))
    mapped[:] = X
    got = bp.grad(lambda x: np.sum(x**2))(mapped)
    assert type(got) is np.ndarray
    np.testing.assert_array_equal(got, 2 * X)
    np.testing.assert_array_equal(mapped, X)


def test_an_exception_leaves_a_clean_state() -> None:
    def fails(x: Any) -> Any:
        raise RuntimeError("the user's own")

    for transform in (bp.grad, bp.jit, bp.vmap, bp.jacrev, bp.hessian):
        with pytest.raises(RuntimeError, match="the user's own"):
            transform(fails)(X)
    assert not Scope.any_open()
    assert type(bp.numpy.zeros(3)) is np.ndarray
    np.testing.assert_array_equal(bp.grad(np.sum)(X), np.ones(3))


@pytest.mark.parametrize("transform", [bp.jit, bp.vmap], ids=["jit", "vmap"])
def test_a_leaked_traced_value_is_named(transform: Any) -> None:
    kept: list[Any] = []
    transform(lambda x: kept.append(x * 2) or x)(X)
    with pytest.raises(LeakedTracerError, match=r"test_arguments\.py"):
        np.sum(kept[0] + 1)


def test_a_leaked_value_of_grad_is_its_array() -> None:
    kept: list[Any] = []
    bp.grad(lambda x: kept.append(x * 2) or np.sum(x))(X)
    np.testing.assert_array_equal(kept[0] + 0.0, 2 * X)


def test_python_branches_and_print_see_values(capsys: Any) -> None:
    def f(x: Any) -> Any:
        sys.stdout.write(f"{x:.1f}")
        while x < 10:
            x = x * x
        return x if x > 50 else -x

    assert bp.grad(f)(2.0) == -32.0
    assert "2.0" in capsys.readouterr().out


def test_a_branch_under_jit_names_the_line_and_cond() -> None:
    def f(x: Any) -> Any:
        if x > 0:
            return x
        return -x

    line = f.__code__.co_firstlineno + 1
    for transform, kind in ((bp.jit, "jit"), (lambda g: bp.vmap(g), "vmap")):
        with pytest.raises(TracingError, match=rf"test_arguments\.py:{line} .*{kind}.*bp\.cond"):
            transform(f)(X if kind == "vmap" else 1.0)


def test_a_float_under_grad_says_what_is_lost() -> None:
    with pytest.raises(TracingError, match="lose its derivative"):
        bp.grad(lambda x: math.sin(x))(1.0)
    with pytest.raises(TracingError, match="plain NumPy array"):
        bp.grad(lambda x: np.sum(np.asarray(x)))(X)


def test_a_chain_of_100_000_operations_and_its_memory() -> None:
    ends: list[Any] = []

    def chain(x: Any) -> Any:
        for _ in range(100_000):
            x = x * 1.00001
        ends.append(weakref.ref(x))
        return x

    got = bp.grad(chain)(1.0)
    assert got == pytest.approx(1.00001**100_000, rel=1e-9)
    gc.collect()
    assert ends[0]() is None


def test_vjp_checks_its_cotangents() -> None:
    _, pull = bp.vjp(lambda x: {"a": x, "b": x[0]}, X)
    np.testing.assert_array_equal(pull({"a": X, "b": 1.0})[0], [2.0, 2.0, 3.0])
    with pytest.raises(TreeError, match="structure"):
        pull([X, 1.0])
    with pytest.raises(ShapeError, match=r"shape \(2,\) for an output of shape \(3,\)"):
        pull({"a": np.ones(2), "b": 1.0})


def test_jvp_checks_its_tangents() -> None:
    with pytest.raises(TreeError, match="1 primals but 2"):
        bp.jvp(np.sum, (X,), (X, X))
    with pytest.raises(ShapeError, match=r"\(2,\) for a primal of shape \(3,\)"):
        bp.jvp(np.sum, (X,), (np.ones(2),))
    with pytest.raises(TypeError, match="tuples or lists"):
        bp.jvp(np.sum, *[X, X])  # pyright: ignore[reportArgumentType]


def test_deep_containers_and_many_leaves() -> None:
    tree: Any = X
    for _ in range(50):
        tree = [tree]
    flat = bp.grad(lambda t: np.sum(_innermost(t) ** 2))(tree)
    np.testing.assert_array_equal(_innermost(flat), 2 * X)
    many = {f"p{i}": float(i) for i in range(300)}
    assert bp.grad(lambda p: sum(v * v for v in p.values()))(many)["p299"] == 598.0


def _innermost(tree: Any) -> Any:
    while isinstance(tree, list):
        tree = tree[0]
    return tree


BEGINNERS = {
    "a value for the function": (
        lambda: bp.grad(cast(Any, 3.0)),
        r"takes a function, got float; write bp\.grad",
    ),
    "no return": (lambda: bp.grad(lambda x: None)(X), "it returned .*; return the loss alone"),
    "by keyword": (
        lambda: bp.grad(lambda x: x * x)(x=2.0),
        "pass what is differentiated by position",
    ),
    "backward": (lambda: bp.grad(lambda x: np.sum(x).backward())(X), "'backward'; value_and_grad"),
    "detach": (lambda: bp.grad(lambda x: x.detach())(X), r"'detach'; use bp\.stop_gradient\(x\)"),
    "no_grad": (lambda: bp.no_grad(), "'no_grad'; drop the line: nothing is recorded"),
    "tensor": (lambda: bp.tensor([1.0]), r"'tensor'; use np\.array"),
    "labels": (
        lambda: bp.nn.functional.cross_entropy(np.ones((2, 3)), np.array(["a", "b"])),
        r"classes, labels = np\.unique\(labels, return_inverse=True\) numbers them",
    ),
    "a model for its parameters": (
        lambda: bp.optim.SGD(bp.nn.Sequential(bp.nn.Linear(2, 2)), lr=0.1),
        r"was given a Linear; pass model\.parameters\(\)",
    ),
    "a list of layers": (
        lambda: bp.nn.Sequential(cast(Any, [bp.nn.Linear(2, 2)])),
        r"expected an nn\.Module or None, got list; unpack it: \*modules",
    ),
}


@pytest.mark.parametrize("mistake", BEGINNERS)
def test_what_beginners_write_is_answered_with_the_way_out(mistake: str) -> None:
    call, sentence = BEGINNERS[mistake]
    with pytest.raises((AttributeError, TypeError, ValueError), match=sentence):
        call()
