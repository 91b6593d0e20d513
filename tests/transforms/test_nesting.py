"""Transforms inside transforms: no perturbation is confused, and every order of nesting agrees."""

from __future__ import annotations

import itertools
import threading
from typing import Any

import numpy as np
import pytest

import backpass as bp

X = np.array([0.3, 0.7, 1.1])


def f(x: Any) -> Any:
    """A smooth scalar function."""
    return np.sum(np.sin(x) * np.exp(x))


def df(x: Any) -> Any:
    """Its derivative, by hand."""
    return np.exp(x) * (np.sin(x) + np.cos(x))


def d2f(x: Any) -> Any:
    """Its second derivative, by hand: the Hessian is diagonal."""
    return 2 * np.exp(x) * np.cos(x)


def derivative(function: Any) -> Any:
    """Forward mode of a function of a number."""
    return lambda x: bp.jvp(function, (x,), (1.0,))[1]


@pytest.mark.parametrize("inner", [bp.grad, derivative], ids=["rev", "fwd"])
@pytest.mark.parametrize("outer", [bp.grad, derivative], ids=["rev", "fwd"])
class TestPerturbations:
    """Siskind & Pearlmutter 2005, "Perturbation confusion and referential transparency"."""

    def test_the_inner_derivative_does_not_see_the_outer(self, inner: Any, outer: Any) -> None:
        assert outer(lambda x: x * inner(lambda y: x + y)(1.0))(3.0) == 1.0

    def test_the_same_name_in_both(self, inner: Any, outer: Any) -> None:
        assert outer(lambda x: x * inner(lambda y: x * y)(x))(3.0) == 6.0

    def test_a_product_of_both(self, inner: Any, outer: Any) -> None:
        assert outer(lambda x: inner(lambda y: x * y**2)(4.0) * x)(3.0) == 48.0

    def test_the_outer_value_passes_through(self, inner: Any, outer: Any) -> None:
        assert outer(lambda x: inner(lambda y: x)(2.0) + x)(3.0) == 1.0

    def test_three_levels(self, inner: Any, outer: Any) -> None:
        def level(x: Any) -> Any:
            return inner(lambda y: inner(lambda z: x * y * z**2)(y) * x)(x)

        # d/dz (x y z^2) at z = y is 2 x y^2; times x, d/dy at y = x is 4 x^3
        assert outer(level)(2.0) == pytest.approx(48.0)


def test_a_curried_function_keeps_its_levels_apart() -> None:
    """The bug of Manzyuk et al. 2019, section 1: the derivative of a function-valued function."""

    def shift(u: Any) -> Any:
        return lambda g: lambda x: g(x + u)

    made = bp.grad(lambda u: shift(u)(lambda y: bp.grad(np.sin)(y))(0.4))(0.0)
    assert made == pytest.approx(-np.sin(0.4))


@pytest.mark.parametrize("modes", list(itertools.product("rf", repeat=5)), ids="".join)
def test_the_fifth_derivative_in_every_mixture_of_modes(modes: tuple[str, ...]) -> None:
    function: Any = lambda x: np.sin(2.0 * x) * x  # noqa: E731
    for mode in modes:
        function = bp.grad(function) if mode == "r" else derivative(function)
    expected = 32 * 0.7 * np.cos(1.4) + 5 * 16 * np.sin(1.4)
    assert function(0.7) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("order", range(1, 6))
def test_derivatives_of_a_power(order: int) -> None:
    function: Any = lambda x: x**7.0  # noqa: E731
    expected = 1.0
    for k in range(order):
        function = bp.grad(function)
        expected *= 7 - k
    assert function(1.3) == pytest.approx(expected * 1.3 ** (7 - order), rel=1e-12)


COMBINATIONS = {
    "jit grad": bp.jit(bp.grad(f)),
    "grad jit": bp.grad(bp.jit(f)),
    "jit grad jit": bp.jit(bp.grad(bp.jit(f))),
    "jacrev": bp.jacrev(f),
    "jacfwd": bp.jacfwd(f),
    "vmap of one": lambda x: bp.vmap(bp.grad(f))(x[None])[0],
    "grad of vmap": bp.grad(lambda x: np.sum(bp.vmap(f)(x[None]))),
    "jit vmap grad": lambda x: bp.jit(bp.vmap(bp.grad(f)))(x[None])[0],
    "vmap jit grad": lambda x: bp.vmap(bp.jit(bp.grad(f)))(x[None])[0],
    "vmap vmap": lambda x: bp.vmap(bp.vmap(bp.grad(f)))(x[None, None])[0, 0],
    "vjp": lambda x: bp.vjp(f, x)[1](1.0)[0],
    "jit vjp": bp.jit(lambda x: bp.vjp(f, x)[1](1.0)[0]),
    "jvp by basis": lambda x: np.array([bp.jvp(f, (x,), (e,))[1] for e in np.eye(3)]),
    "vmap jvp": lambda x: bp.vmap(lambda e: bp.jvp(f, (x,), (e,))[1])(np.eye(3)),
    "jit vmap jvp": bp.jit(lambda x: bp.vmap(lambda e: bp.jvp(f, (x,), (e,))[1])(np.eye(3))),
    "elementwise": lambda x: bp.vmap(bp.grad(f))(x),
}
SECOND = {
    "hessian": bp.hessian(f),
    "jit hessian": bp.jit(bp.hessian(f)),
    "jacrev jacrev": bp.jacrev(bp.jacrev(f)),
    "jacfwd jacfwd": bp.jacfwd(bp.jacfwd(f)),
    "jacrev jacfwd": bp.jacrev(bp.jacfwd(f)),
    "hvp by basis": lambda x: bp.vmap(lambda e: bp.hvp(f)(x, e))(np.eye(3)),
    "jacobian of a jitted gradient": bp.jacrev(bp.jit(bp.grad(f))),
    "grad of jvp": lambda x: np.stack(
        [bp.grad(lambda v, e=e: bp.jvp(f, (v,), (e,))[1])(x) for e in np.eye(3)]
    ),
    "vmap hessian": lambda x: bp.vmap(bp.hessian(f))(x[None])[0],
}


@pytest.mark.parametrize("name", COMBINATIONS)
def test_first_order(name: str) -> None:
    np.testing.assert_allclose(COMBINATIONS[name](X), df(X), rtol=1e-13)


@pytest.mark.parametrize("name", SECOND)
def test_second_order(name: str) -> None:
    np.testing.assert_allclose(SECOND[name](X), np.diag(d2f(X)), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("inside", [bp.grad, bp.jit, bp.vmap], ids=["grad", "jit", "vmap"])
def test_closures_over_an_outer_traced_value(inside: Any) -> None:
    def outer(a: Any) -> Any:
        given = X if inside is bp.vmap else np.float64(2.0)
        return np.sum(inside(lambda x: x * x * a)(given))

    expected = {bp.grad: 4.0, bp.jit: 4.0, bp.vmap: np.sum(X**2)}[inside]
    assert bp.grad(outer)(3.0) == pytest.approx(expected)
    assert bp.jit(bp.grad(outer))(3.0) == pytest.approx(expected)
    np.testing.assert_allclose(bp.vmap(bp.grad(outer))(np.ones(2)), [expected, expected])


def test_threads_give_the_bits_of_a_serial_run() -> None:
    rng = np.random.default_rng(0)
    points = [rng.normal(size=3) for _ in range(8)]
    jitted = bp.jit(bp.value_and_grad(f))
    plain = bp.value_and_grad(f)
    expected = [plain(x) for x in points]
    found: dict[int, list[Any]] = {}

    def work(k: int) -> None:
        found[k] = [(plain(points[k]), jitted(points[k])) for _ in range(20)]

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for k, (value, gradient) in enumerate(expected):
        for (v, g), (jv, jg) in found[k]:
            assert (v, g.tobytes()) == (value, gradient.tobytes())
            assert (jv, jg.tobytes()) == (found[0][0][1][0] if k == 0 else jv, jg.tobytes())
            np.testing.assert_allclose(jg, gradient, rtol=1e-13)
