"""The gradient of the end of a trajectory in the parameters of its equation: Lotka-Volterra, 200
steps of the classical Runge-Kutta rule, written as a Python loop (with lax.scan in JAX).

Each operation waits for the one before it on two numbers, so neither FMA peak nor bandwidth is its
limit; no percentage is given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from benchmarks.workloads.definition import Workload
from benchmarks.workloads.functions import Function, Names, builders

STEPS, DT = 200, 0.05


def _rule(names: Names, p: Any, state: Any) -> Any:
    """One step of the fourth-order rule. (Kutta 1901)"""

    def field(s: Any) -> Any:
        return names.stack([s[0] * (p[0] - p[1] * s[1]), s[1] * (p[2] * s[0] - p[3])])

    k1 = field(state)
    k2 = field(state + 0.5 * DT * k1)
    k3 = field(state + 0.5 * DT * k2)
    k4 = field(state + DT * k3)
    return state + DT / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4)


def _loop(names: Names) -> Callable[..., Any]:
    def loss(p: Any, start: Any, target: Any) -> Any:
        state = start
        for _ in range(STEPS):
            state = _rule(names, p, state)
        return ((state - target) ** 2).sum()

    return loss


def _scan(names: Names) -> Callable[..., Any]:
    import jax

    def loss(p: Any, start: Any, target: Any) -> Any:
        def body(state: Any, _: Any) -> Any:
            return _rule(names, p, state), None

        state, _ = jax.lax.scan(body, start, None, length=STEPS)
        return ((state - target) ** 2).sum()

    return loss


def _arrays() -> tuple[np.ndarray, ...]:
    return np.array([1.1, 0.4, 0.1, 0.4]), np.array([10.0, 5.0]), np.array([3.0, 2.0])


WORKLOADS = (
    Workload(
        name="ode_lotka_volterra_200",
        title="ODE, 200 Runge-Kutta steps",
        about="Value and gradient of a final-state loss in 4 parameters, Lotka-Volterra, float64; "
        "lax.scan in JAX. A chain of dependent operations: no limit is given.",
        dtype="float64",
        flops=None,
        bytes=0.0,
        builders=builders(Function(_loop, _arrays), _scan),
        steps=0,
        tolerance=1e-9,
    ),
)
