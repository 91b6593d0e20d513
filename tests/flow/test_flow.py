"""custom_vjp and cond in every transform, and the errors they raise."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import numpy as np
import pytest

import backpass as bp
from backpass.errors import ShapeError, TreeError

X = np.array([0.5, 1.0, 2.0])
Kept = namedtuple("Kept", "x y")


def own(function: Any, fwd: Any, bwd: Any) -> Any:
    """A function with its rules."""
    made = bp.custom_vjp(function)
    made.defvjp(fwd, bwd)
    return made


exp = own(np.exp, lambda x: (np.exp(x), x), lambda x, ct: (ct * np.exp(x),))
exp_kept = own(np.exp, lambda x: (np.exp(x),) * 2, lambda y, ct: (ct * y,))
tripled = own(np.sin, lambda x: (np.sin(x), x), lambda x, ct: (3.0 * ct * np.cos(x),))
mixed = own(
    lambda x, p: {"a": x * p["w"], "b": x + 1},
    lambda x, p: ({"a": x * p["w"], "b": x + 1}, {"kept": Kept(x, p["w"]), "more": [2.0]}),
    lambda r, ct: (
        ct["a"] * r["kept"].y + ct["b"] * r["more"][0] / 2,
        {"w": ct["a"] * r["kept"].x},
    ),
)


@pytest.mark.parametrize("function", [exp, exp_kept], ids=["argument kept", "output kept"])
def test_every_derivative_of_exp_is_exp(function: Any) -> None:
    derivative: Any = function
    for _ in range(4):
        derivative = bp.grad(derivative)
        assert derivative(1.0) == pytest.approx(np.e)
        assert bp.jit(derivative)(1.0) == pytest.approx(np.e)
        np.testing.assert_allclose(bp.vmap(derivative)(X), np.exp(X))
    assert bp.jvp(function, (1.0,), (2.0,))[1] == pytest.approx(2 * np.e)
    total = lambda x: np.sum(function(x))  # noqa: E731
    np.testing.assert_allclose(bp.hessian(total)(X), np.diag(np.exp(X)))
    bp.check_grads(function, (X,), order=2)


def test_the_rule_is_used_and_not_the_functions_own() -> None:
    np.testing.assert_allclose(bp.grad(lambda x: np.sum(tripled(x)))(X), 3 * np.cos(X))
    np.testing.assert_allclose(bp.vmap(bp.grad(tripled))(X), 3 * np.cos(X))
    np.testing.assert_allclose(bp.grad(lambda x: np.sum(bp.vmap(tripled)(x)))(X), 3 * np.cos(X))
    np.testing.assert_allclose(bp.jit(bp.vmap(bp.grad(tripled)))(X), 3 * np.cos(X))
    assert bp.jvp(tripled, (0.5,), (1.0,))[1] == pytest.approx(3 * np.cos(0.5))
    np.testing.assert_array_equal(tripled(X), np.sin(X))
    np.testing.assert_array_equal(bp.jit(tripled)(X), np.sin(X))


def test_containers_of_arguments_outputs_and_residuals() -> None:
    def loss(x: Any, p: Any) -> Any:
        y = mixed(x, p)
        return np.sum(y["a"] * y["b"])

    bp.check_grads(loss, (X, {"w": X + 1}), order=2)
    gx, gp = bp.vmap(bp.grad(lambda x, w: loss(x, {"w": w}), (0, 1)))(X, X + 1)
    ex, ep = bp.grad(lambda x, w: loss(x, {"w": w}), (0, 1))(X, X + 1)
    np.testing.assert_allclose((gx, gp), (ex, ep))


def test_a_backward_rule_that_writes_in_place() -> None:
    """Its cotangent is its own; its residuals are read-only."""

    def doubling(x: Any, ct: Any) -> Any:
        ct *= 2
        return (ct,)

    def spoiling(x: Any, ct: Any) -> Any:
        x *= 2
        return (ct,)

    first = own(lambda x: x + 0.0, lambda x: (x + 0.0, x), doubling)
    np.testing.assert_array_equal(bp.grad(lambda x: np.sum(x + first(x)))(X), [3, 3, 3])
    second = own(lambda x: x + 0.0, lambda x: (x + 0.0, x), spoiling)
    with pytest.raises(ValueError, match="read-only"):
        bp.grad(lambda x: np.sum(second(x) * x))(X)


def test_none_is_a_cotangent_of_zero() -> None:
    f = own(lambda x, y: x * y, lambda x, y: (x * y, x), lambda x, ct: (None, ct * x))
    gx, gy = bp.grad(lambda x, y: np.sum(f(x, y)), (0, 1))(X, X + 1)
    np.testing.assert_array_equal(gx, np.zeros(3))
    np.testing.assert_array_equal(gy, X)


def test_a_closure_over_an_outer_traced_value() -> None:
    def outer(a: Any) -> Any:
        f = own(lambda x: x * a, lambda x: (x * a, ()), lambda r, ct: (ct * a,))
        return bp.grad(f)(2.0) * a

    assert bp.grad(outer)(3.0) == pytest.approx(6.0)


ERRORS = {
    "no tuple": (lambda x, ct: ct, TreeError, "one entry for each of 1"),
    "too many": (lambda x, ct: (ct, ct), TreeError, "one entry for each of 1"),
    "shape": (lambda x, ct: (ct[:2],), ShapeError, r"shape \(2,\) for an argument of shape \(3,\)"),
    "structure": (lambda x, ct: ((ct, ct),), TreeError, "structure"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_a_wrong_backward_rule_is_named(name: str) -> None:
    bwd, error, text = ERRORS[name]
    f = own(np.sin, lambda x: (np.sin(x), x), bwd)
    with pytest.raises(error, match=text) as caught:
        bp.grad(lambda x: np.sum(f(x)))(X)
    assert "sin" in str(caught.value)


def test_a_wrong_forward_rule_and_missing_rules() -> None:
    with pytest.raises(TypeError, match="defvjp"):
        bp.custom_vjp(np.sin)(1.0)
    f = own(np.sin, lambda x: np.sin(x), lambda x, ct: (ct,))
    with pytest.raises(TypeError, match="output, residuals"):
        bp.grad(f)(1.0)


def branch(x: Any) -> Any:
    """sqrt above one, square below."""
    return bp.cond(x > 1.0, np.sqrt, np.square, x)


def test_cond() -> None:
    derivative = bp.grad(branch)
    for x, expected in ((4.0, 0.25), (0.5, 1.0), (-2.0, -4.0), (0.0, 0.0)):
        assert derivative(x) == expected
        assert bp.jit(derivative)(x) == expected
        assert bp.jit(branch)(x) == branch(x)
    np.testing.assert_array_equal(bp.vmap(derivative)(np.array([4.0, 0.5, 0.0])), [0.25, 1, 0])
    assert bp.grad(derivative)(0.5) == 2.0
    assert bp.jit(bp.grad(derivative))(0.5) == 2.0


def test_cond_runs_one_branch_where_the_predicate_is_known() -> None:
    ran: list[str] = []

    def yes(x: Any) -> Any:
        ran.append("yes")
        return x

    def no(x: Any) -> Any:
        ran.append("no")
        return -x

    assert bp.grad(lambda x: bp.cond(x > 0, yes, no, x))(1.0) == 1.0
    assert ran == ["yes"]
    bp.jit(lambda x: bp.cond(x > 0, yes, no, x))(1.0)
    assert ran == ["yes", "yes", "no"]


def test_cond_refuses_what_does_not_fit() -> None:
    with pytest.raises(ShapeError, match="must be a scalar"):
        bp.cond(X > 0, np.sin, np.cos, X)
    with pytest.raises(TreeError, match="true_fn returns"):
        bp.jit(lambda x: bp.cond(x > 0, lambda x: (x, x), lambda x: x, x))(1.0)
    with pytest.raises(ShapeError, match="true_fn returns shape"):
        bp.jit(lambda x: bp.cond(x[0] > 0, lambda x: x[:1], lambda x: x, x))(X)
