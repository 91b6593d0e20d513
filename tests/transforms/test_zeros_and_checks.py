"""The strong zero in every transform, stop_gradient, and check_grads finding planted faults."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import backpass as bp
from backpass.errors import GradientCheckError

P = np.array([-1.0, 0.0, 4.0])
# name: (function, its gradient at P by hand, with 0 where the other branch is taken)
GUARDED = {
    "sqrt": (lambda x: np.where(x > 0, np.sqrt(x), 0.0), [0, 0, 0.25]),
    "log": (lambda x: np.where(x > 0, np.log(x), -1.0), [0, 0, 0.25]),
    "reciprocal": (lambda x: np.where(x != 0, 1 / x, 0.0), [-1, 0, -1 / 16]),
    "power": (lambda x: np.where(x > 0, x**0.3, x), [1, 1, 0.3 * 4**-0.7]),
    "x log x": (lambda x: np.where(x > 0, x * np.log(x), 0.0), [0, 0, 1 + np.log(4)]),
    "arccos": (lambda x: np.where(np.abs(x) < 1, np.arccos(x), 0.0), [0, -1, 0]),
    "sinc by hand": (lambda x: np.where(x == 0, 1.0, np.sin(x) / x),
                     [0 - (np.cos(1) - np.sin(1)), 0, (4 * np.cos(4) - np.sin(4)) / 16]),
    "division": (lambda x: np.where(x == 0, x, x / x), [0, 1, 0]),
    "overflow": (lambda x: np.where(x < 2, np.exp(x * 400), x), [400 * np.exp(-400), 400, 1]),
    "norm": (lambda x: np.where(x > 5, np.sqrt(x - 9), x), [1, 1, 1]),
    "slice left out": (lambda x: np.concatenate([x[:1], np.sqrt(x)[2:]]), [1, 0, 0.25]),
    "clip": (lambda x: np.clip(np.sqrt(np.maximum(x, 1e-300)), 0.5, 9), [0, 0, 0.25]),
    "nan_to_num": (lambda x: np.nan_to_num(np.log(x), neginf=0.0), [0, 0, 0.25]),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _quiet() -> Any:
    with np.errstate(all="ignore"):
        yield


@pytest.mark.parametrize("name", GUARDED)
def test_the_branch_not_taken_adds_exactly_nothing(name: str) -> None:
    function, expected = GUARDED[name]
    total = lambda x: np.sum(function(x))  # noqa: E731
    basis = np.eye(3)
    found = {
        "rev": bp.grad(total)(P),
        "fwd": np.array([bp.jvp(total, (P,), (e,))[1] for e in basis]),
        "jit": bp.jit(bp.grad(total))(P),
        "jit fwd": bp.jit(bp.jacfwd(total))(P),
        "vmap": bp.vmap(bp.grad(total))(P[None])[0],
        "jacrev": bp.jacrev(total)(P),
    }
    for mode, got in found.items():
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-13, err_msg=mode)


@pytest.mark.parametrize("name", ["sqrt", "log", "reciprocal", "power", "x log x", "norm"])
def test_second_order_is_finite_and_right(name: str) -> None:
    function = GUARDED[name][0]
    total = lambda x: np.sum(function(x))  # noqa: E731
    got = bp.hessian(total)(P)
    assert np.isfinite(got).all()
    gradient = bp.grad(total)
    slope = (gradient(P + 1e-5) - gradient(P - 1e-5)) / 2e-5
    expected = np.where(P == 4.0, slope, np.diag(got))
    np.testing.assert_allclose(np.diag(got), expected, rtol=1e-6)
    np.testing.assert_allclose(bp.jit(bp.hessian(total))(P), got, rtol=1e-12)
    np.testing.assert_allclose(bp.jacrev(bp.jacrev(total))(P), got, rtol=1e-12)


CONVENTIONS = {
    "abs": (np.abs, 0.0, 0.0),
    "sign": (np.sign, 0.0, 0.0),
    "relu": (lambda x: np.maximum(x, 0.0), 0.0, 0.5),
    "hypot": (lambda x: np.hypot(x, 0.0 * x), 0.0, 0.0),
    "std": (lambda x: np.std(x * np.array([1.0, 1.0])), 0.5, 0.0),
    "x**0": (lambda x: x**0.0, 0.0, 0.0),
    "x**1": (lambda x: x**1.0, 0.0, 1.0),
    "x**2": (lambda x: x**2.0, 0.0, 0.0),
    "clip end": (lambda x: np.clip(x, 0.0, 1.0), 0.0, 1.0),
    "max tie": (lambda x: np.max(np.stack([x, 2 * x])), 0.0, 1.5),
    "sinc": (np.sinc, 0.0, 0.0),
}


@pytest.mark.parametrize("name", CONVENTIONS)
def test_conventions_at_kinks(name: str) -> None:
    function, at, expected = CONVENTIONS[name]
    assert bp.grad(function)(at) == expected
    assert bp.jvp(function, (at,), (1.0,))[1] == expected
    assert bp.jit(bp.grad(function))(at) == expected


def test_stop_gradient() -> None:
    assert bp.grad(lambda x: x * bp.stop_gradient(x))(3.0) == 3.0
    assert bp.grad(lambda x: bp.stop_gradient(x))(3.0) == 0.0
    tree = bp.grad(lambda x: x * bp.stop_gradient({"a": x, "b": (x, 2.0)})["b"][0])(3.0)
    assert tree == 3.0
    assert bp.jvp(lambda x: bp.stop_gradient(x) + x, (3.0,), (1.0,))[1] == 1.0
    assert bp.grad(bp.grad(lambda x: bp.stop_gradient(x) * x**3))(2.0) == 24.0
    assert bp.jit(bp.grad(lambda x: x * bp.stop_gradient(x)))(3.0) == 3.0
    np.testing.assert_array_equal(bp.stop_gradient(np.ones(2)), np.ones(2))


def planted(wrong: Any) -> Any:
    """The square, with a backward rule that is off."""
    function = bp.custom_vjp(lambda x: x**2)
    function.defvjp(lambda x: (x**2, x), wrong)
    return function


def test_check_grads_finds_a_planted_fault_and_names_it() -> None:
    bad = planted(lambda x, ct: (ct * (2 * x + np.array([0.0, 0.0, 1e-3])),))
    with pytest.raises(GradientCheckError) as caught:
        bp.check_grads(bad, (np.array([1.0, 2.0, 3.0]),))
    text = str(caught.value)
    assert "element (2,)" in text and "1 of 3" in text and "order 1" in text
    numbers = [
        float(w.rstrip(",;")) for w in text.split() if w.startswith(("4.", "5.", "6.", "3."))
    ]
    assert any(abs(a - b) > 1e-4 for a in numbers for b in numbers)


@pytest.mark.parametrize("mode", ["rev", "fwd"])
def test_check_grads_in_each_mode(mode: str) -> None:
    right = planted(lambda x, ct: (ct * 2 * x,))
    bp.check_grads(right, (np.array([1.0, 2.0]),), order=2, modes=mode)
    with pytest.raises(GradientCheckError, match=f"mode {mode}"):
        bp.check_grads(planted(lambda x, ct: (ct * x,)), (np.array([1.0, 2.0]),), modes=mode)


def test_check_grads_finds_a_fault_of_second_order_only() -> None:
    hidden = planted(lambda x, ct: (ct * (2 * bp.stop_gradient(x)),))
    bp.check_grads(hidden, (np.array([1.0, 2.0]),), order=1)
    with pytest.raises(GradientCheckError, match="order 2"):
        bp.check_grads(hidden, (np.array([1.0, 2.0]),), order=2)


def test_check_grads_takes_containers_and_refuses_nonsense() -> None:
    bp.check_grads(lambda t: {"y": t["a"] * t["b"][0]}, ({"a": P, "b": [P + 1]},), order=2)
    with pytest.raises(ValueError, match="'fwd' or 'rev'"):
        bp.check_grads(np.sin, (P,), modes="sideways")
    with pytest.raises(ValueError, match="order must be 1 or 2"):
        bp.check_grads(np.sin, (P,), order=3)
