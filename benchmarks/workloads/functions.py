"""Plain functions with their gradients in float64: Rosenbrock, a portfolio of options, logistic
regression. One formula, written over a namespace, serves the three libraries.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from benchmarks.workloads.definition import TRANSCENDENTAL, Builder, Built, Workload, flat


@dataclass(frozen=True, slots=True)
class Names:
    """What the formulas need of a library."""

    log: Any
    exp: Any
    sqrt: Any
    erf: Any
    softplus: Any
    stack: Any


@dataclass(frozen=True, slots=True)
class Function:
    """A scalar function: its formula over `Names`, its arguments, and those differentiated."""

    formula: Callable[[Names], Callable[..., Any]]
    arrays: Callable[[], tuple[np.ndarray, ...]]
    argnums: tuple[int, ...] = (0,)


def numpy_names() -> Names:
    """NumPy and SciPy, as a user of backpass writes."""
    from scipy.special import erf

    return Names(np.log, np.exp, np.sqrt, erf, lambda z: np.logaddexp(0.0, z), np.stack)


def torch_names() -> Names:
    """PyTorch."""
    import torch
    from torch.nn import functional as F

    return Names(torch.log, torch.exp, torch.sqrt, torch.erf, F.softplus, torch.stack)


def jax_names() -> Names:
    """JAX."""
    import jax
    import jax.numpy as jnp

    return Names(jnp.log, jnp.exp, jnp.sqrt, jax.scipy.special.erf, jax.nn.softplus, jnp.stack)


def build_backpass(function: Function) -> Built:
    """bp.jit of value_and_grad."""
    import backpass as bp

    arguments = function.arrays()
    both = bp.jit(bp.value_and_grad(function.formula(numpy_names()), function.argnums))
    return Built(lambda: both(*arguments), flat, (both, arguments))


def build_torch(function: Function) -> Built:
    """Eager: the function, then autograd.grad."""
    import torch

    formula = function.formula(torch_names())
    arguments = [torch.from_numpy(a) for a in function.arrays()]
    wanted = [arguments[i].requires_grad_() for i in function.argnums]

    def step() -> Any:
        value = formula(*arguments)
        return value, torch.autograd.grad(value, wanted)

    return Built(step, flat)


def build_torch_compile(function: Function) -> Built:
    """torch.compile of torch.func.grad_and_value."""
    import torch

    formula = function.formula(torch_names())
    arguments = [torch.from_numpy(a) for a in function.arrays()]
    both = torch.compile(torch.func.grad_and_value(formula, argnums=function.argnums))

    def step() -> Any:
        with torch.no_grad():
            grads, value = both(*arguments)
        return value, grads

    return Built(step, flat)


def build_jax(
    function: Function, formula: Callable[[Names], Callable[..., Any]] | None = None
) -> Built:
    """jax.jit of value_and_grad; `formula` where JAX has a better one."""
    import jax
    import jax.numpy as jnp

    own = (formula or function.formula)(jax_names())
    arguments = [jnp.asarray(a) for a in function.arrays()]
    both = jax.jit(jax.value_and_grad(own, argnums=function.argnums))

    def step() -> Any:
        return jax.block_until_ready(both(*arguments))

    return Built(step, flat)


def builders(
    function: Function, jax_formula: Callable[[Names], Callable[..., Any]] | None = None
) -> Mapping[str, Builder]:
    """The four builders of a function."""
    return {
        "backpass": lambda exact: build_backpass(function),
        "torch": lambda exact: build_torch(function),
        "torch.compile": lambda exact: build_torch_compile(function),
        "jax": lambda exact: build_jax(function, jax_formula),
    }


def _rosen(names: Names) -> Callable[..., Any]:
    def rosen(x: Any) -> Any:
        return (100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()

    return rosen


def rosenbrock(n: int) -> Workload:
    """The Rosenbrock function of n numbers. (Rosenbrock 1960)"""

    def arrays() -> tuple[np.ndarray, ...]:
        return (np.random.default_rng(0).uniform(-1.5, 1.5, n),)

    return Workload(
        name=f"rosen_{n}",
        title=f"Rosenbrock, n = {n:,}",
        about="value_and_grad, float64.",
        dtype="float64",
        flops=17.0 * n,
        bytes=16.0 * n,
        builders=builders(Function(_rosen, arrays)),
        steps=0,
        tolerance=1e-12,
    )


def _portfolio(names: Names) -> Callable[..., Any]:
    def normal(d: Any) -> Any:
        return 0.5 * (1.0 + names.erf(d / 1.4142135623730951))

    def value(spot: Any, volatility: Any, expiry: Any, strike: Any, amount: Any) -> Any:
        deviation = volatility * names.sqrt(expiry)
        d1 = names.log(spot / strike) + (0.03 + 0.5 * volatility**2) * expiry
        d1 = d1 / deviation
        discount = names.exp(-0.03 * expiry)
        call = spot * normal(d1) - strike * discount * normal(d1 - deviation)
        return (amount * call).sum()

    return value


def _portfolio_arrays() -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(0)
    low_high = ((50, 150), (0.1, 0.6), (0.1, 3.0), (50, 150), (-2, 2))
    return tuple([rng.uniform(a, b, 100_000) for a, b in low_high])


def _logistic(names: Names) -> Callable[..., Any]:
    def loss(w: Any, x: Any, y: Any) -> Any:
        z = x @ w
        return (names.softplus(z) - y * z).mean() + 0.005 * (w**2).sum()

    return loss


def _logistic_arrays() -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((100_000, 50))
    w = rng.standard_normal(50) / 7
    y = (rng.uniform(size=100_000) < 1 / (1 + np.exp(-x @ w))).astype(np.float64)
    return w * 0.5, x, y


WORKLOADS = (
    rosenbrock(1_000),
    rosenbrock(1_000_000),
    Workload(
        name="black_scholes_100000",
        title="Black-Scholes portfolio, n = 100,000",
        about="Value and gradient in spot, volatility and expiry of a sum of call prices (Black "
        f"and Scholes 1973), float64. A transcendental is counted as {TRANSCENDENTAL} FLOP.",
        dtype="float64",
        flops=100_000.0 * (7 * TRANSCENDENTAL + 60),
        bytes=100_000.0 * 8 * 8,
        builders=builders(Function(_portfolio, _portfolio_arrays, (0, 1, 2))),
        steps=0,
        tolerance=1e-10,
    ),
    Workload(
        name="logistic_100000x50",
        title="Logistic regression, 100,000 x 50",
        about="Value and gradient in the weights, float64. The least traffic is the table once.",
        dtype="float64",
        flops=100_000.0 * (4 * 50 + 3 * TRANSCENDENTAL),
        bytes=100_000.0 * 8 * 51,
        builders=builders(Function(_logistic, _logistic_arrays)),
        steps=0,
        tolerance=1e-10,
    ),
)
