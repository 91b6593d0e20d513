"""backpass's derivatives in SciPy's optimizers: Rosenbrock's function in 1,000 dimensions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.optimize

import backpass as bp

Array = np.ndarray[Any, np.dtype[np.float64]]


def rosen(x: Array) -> Any:
    return np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


@pytest.fixture
def start() -> Array:
    return np.random.default_rng(0).uniform(-1.0, 1.5, 1000)


def test_the_gradient_equals_scipys(start: Array) -> None:
    np.testing.assert_allclose(bp.grad(rosen)(start), scipy.optimize.rosen_der(start), rtol=1e-12)


def test_the_second_derivatives_equal_scipys() -> None:
    x = np.random.default_rng(1).normal(size=40)
    v = np.random.default_rng(2).normal(size=40)
    np.testing.assert_allclose(bp.hessian(rosen)(x), scipy.optimize.rosen_hess(x), atol=1e-10)
    np.testing.assert_allclose(
        bp.hvp(rosen)(x, v), scipy.optimize.rosen_hess_prod(x, v), rtol=1e-10
    )


@pytest.mark.parametrize("compiled", [False, True])
def test_trust_krylov_converges_in_a_thousand_dimensions(start: Array, compiled: bool) -> None:
    start = start if compiled else start / 8 + 0.9
    jac, hessp = bp.grad(rosen), bp.hvp(rosen)
    if compiled:
        jac, hessp = bp.jit(jac), bp.jit(hessp)
    found = scipy.optimize.minimize(
        rosen, start, jac=jac, hessp=hessp, method="trust-krylov", options={"gtol": 1e-8}
    )
    assert found.success, found.message
    np.testing.assert_allclose(found.x, np.ones(1000), atol=1e-6)


@pytest.mark.parametrize("method", ["BFGS", "L-BFGS-B", "CG", "Newton-CG"])
def test_value_and_gradient_drive_the_other_methods(method: str) -> None:
    start = np.random.default_rng(3).uniform(0.5, 1.5, 30)
    fast = bp.jit(bp.value_and_grad(rosen))
    found = scipy.optimize.minimize(fast, start, jac=True, method=method)
    np.testing.assert_allclose(found.x, np.ones(30), atol=1e-3)
