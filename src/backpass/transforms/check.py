"""check_grads: derivatives against central differences, in float64.

First and second order, forward and reverse mode.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from backpass.errors import GradientCheckError
from backpass.transforms.forward import jvp
from backpass.transforms.grad import grad, vjp
from backpass.tree import flatten, unflatten

Function = Callable[..., Any]
Array = np.ndarray[Any, np.dtype[Any]]
# Steps and bounds: the error of a central difference is O(h^2) + O(eps/h), least near
# h = eps^(1/3).
STEP = 6e-6
TOLERANCE = {1: 1e-6, 2: 1e-5}


def check_grads(
    function: Function,
    args: Sequence[Any],
    order: int = 1,
    modes: Sequence[str] | str = ("fwd", "rev"),
    atol: float | None = None,
    rtol: float | None = None,
    eps: float | None = None,
    seed: int = 0,
) -> None:
    """Compare derivatives of `function` at `args` with central differences.

    The outputs are weighted by fixed random numbers into one scalar, whose gradient is compared
    element by element; forward mode is compared along each input direction. Order 2 does the same
    for the gradient of that scalar.

    Args:
        function: takes floating arrays (or containers of them) and returns such.
        args: its arguments; they are converted to float64.
        order: 1, or 2 for first and second derivatives.
        modes: "fwd", "rev" or both.
        atol, rtol: an element passes if |got - expected| <= atol + rtol |expected|. Default 1e-6
            for the first order, 1e-5 for the second.
        eps: the step of the difference, relative to max(1, |x|); default 6e-6.
        seed: of the random weights.

    Raises:
        AssertionError: (GradientCheckError) naming the mode, the order, the worst element, the
            expected and the got value.

    >>> check_grads(np.sin, (np.array([0.1, 0.2]),), order=2)
    """
    leaves, structure = flatten(tuple(args))
    start = [np.array(x, dtype=np.float64) for x in leaves]
    chosen = _checked_modes(modes)
    if order not in (1, 2):
        raise ValueError(f"check_grads: order must be 1 or 2, not {order!r}")
    rng = np.random.default_rng(seed)

    def flat_function(*xs: Any) -> list[Any]:
        return flatten(function(*unflatten(structure, xs)))[0]

    weights = [rng.uniform(0.5, 1.5, np.shape(y)) for y in flat_function(*start)]

    def scalar(*xs: Any) -> Any:
        return _dot(weights, flat_function(*xs))

    step = STEP if eps is None else eps
    _check_order(scalar, start, 1, chosen, atol, rtol, step)
    if order == 2:
        directions = [rng.uniform(0.5, 1.5, x.shape) for x in start]

        def slope(*xs: Any) -> Any:
            return _dot(directions, grad(scalar, argnums=tuple(range(len(xs))))(*xs))

        _check_order(slope, start, 2, chosen, atol, rtol, step)


def _dot(weights: Sequence[Array], xs: Sequence[Any]) -> Any:
    """The sum of products over all elements of all arrays."""
    total = 0.0
    for w, x in zip(weights, xs, strict=True):
        total = total + np.sum(w * x)
    return total


def _checked_modes(modes: Sequence[str] | str) -> tuple[str, ...]:
    chosen = (modes,) if isinstance(modes, str) else tuple(modes)
    for mode in chosen:
        if mode not in ("fwd", "rev"):
            raise ValueError(f"check_grads: mode must be 'fwd' or 'rev', not {mode!r}")
    return chosen


def _check_order(
    function: Function,
    start: list[Array],
    order: int,
    modes: Sequence[str],
    atol: float | None,
    rtol: float | None,
    step: float,
) -> None:
    expected = _differences(function, start, step)
    bounds = [TOLERANCE[order] if b is None else b for b in (atol, rtol)]
    if "rev" in modes:
        value, pull = vjp(function, *start)
        got = list(pull(np.ones(np.shape(value))))
        _compare(got, expected, f"order {order}, mode rev", bounds[0], bounds[1])
    if "fwd" in modes:
        _compare(
            _along_axes(function, start), expected, f"order {order}, mode fwd", bounds[0], bounds[1]
        )


def _differences(function: Function, start: list[Array], step: float) -> list[Array]:
    found = []
    for i, x in enumerate(start):
        slope = np.zeros(x.shape)
        for index in np.ndindex(x.shape):
            h = step * max(1.0, abs(float(x[index])))
            moved = []
            for sign in (1.0, -1.0):
                point = x.copy()
                point[index] += sign * h
                moved.append(float(function(*start[:i], point, *start[i + 1 :])))
            slope[index] = (moved[0] - moved[1]) / (2 * h)
        found.append(slope)
    return found


def _along_axes(function: Function, start: list[Array]) -> list[Array]:
    found = []
    for i, x in enumerate(start):
        slope = np.zeros(x.shape)
        for index in np.ndindex(x.shape):
            tangents = [np.zeros(v.shape) for v in start]
            tangents[i][index] = 1.0
            slope[index] = jvp(function, start, tangents)[1]
        found.append(slope)
    return found


def _compare(
    got: Sequence[Any], expected: Sequence[Array], what: str, atol: float, rtol: float
) -> None:
    for i, (g, e) in enumerate(zip(got, expected, strict=True)):
        g = np.asarray(g)
        if g.size == 0:
            continue
        excess = np.abs(g - e) - (atol + rtol * np.abs(e))
        excess = np.where(np.isfinite(excess), excess, np.inf)
        worst = np.unravel_index(int(np.argmax(excess)), g.shape)
        if excess[worst] > 0:
            where = f"array {i}" + (f", element {tuple(map(int, worst))}" if g.shape else "")
            raise GradientCheckError(
                f"check_grads ({what}): {where}: expected {float(e[worst])!r} (central "
                f"difference), got {float(g[worst])!r}; {int(np.sum(excess > 0))} of {g.size} "
                f"elements are out of bounds (atol={atol:g}, rtol={rtol:g})"
            )
