"""A step length that satisfies the strong Wolfe conditions, by cubic interpolation: torch's and
minFunc's.

Bracketing first (steps grow until the interval surely holds a good point), then zooming in.
Everything here is Python floats and flat arrays; the branches depend on values, so none of it can
be traced.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Vector = np.ndarray[Any, Any]
ARMIJO, CURVATURE = 1e-4, 0.9


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """One point on the line: step length, loss, gradient, and the derivative along the line."""

    step: float
    loss: float
    gradient: Vector
    slope: float


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """The line to search: where it starts, its direction, and how to evaluate a step on it."""

    start: Trial
    direction: Vector
    evaluate: Callable[[float], tuple[float, Vector]]

    def at(self, step: float) -> Trial:
        """Evaluate a step."""
        loss, gradient = self.evaluate(step)
        return Trial(step, loss, gradient, float(np.dot(gradient, self.direction)))

    def too_high(self, x: Trial) -> bool:
        """Armijo's condition fails: the loss fell too little."""
        return x.loss > self.start.loss + ARMIJO * x.step * self.start.slope

    def flat_enough(self, x: Trial) -> bool:
        """The curvature condition holds."""
        return abs(x.slope) <= -CURVATURE * self.start.slope


def cubic_minimum(a: Trial, b: Trial, bounds: tuple[float, float] | None = None) -> float:
    """The step that minimizes the cubic through two trials and their slopes, kept within the
    bounds.

    Nocedal, Wright 2006, equation 3.59. The middle of the bounds where the cubic has no minimum.
    """
    low, high = bounds or (min(a.step, b.step), max(a.step, b.step))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        width = np.float64(a.step) - b.step
        d1 = a.slope + b.slope - 3.0 * (a.loss - b.loss) / width
        square = d1 * d1 - a.slope * b.slope
        if not square >= 0:
            return (low + high) / 2.0
        near, far = (a, b) if a.step <= b.step else (b, a)
        d2 = np.sqrt(square)
        share = (far.slope + d2 - d1) / (far.slope - near.slope + 2.0 * d2)
        best = float(far.step - (far.step - near.step) * share)
    return min(max(best, low), high)


def strong_wolfe(
    line: Line, step: float, *, tolerance: float = 1e-9, max_trials: int = 25
) -> tuple[Trial, int]:
    """A trial that satisfies the strong Wolfe conditions, or the lowest one found.

    Args:
        line: start, direction and loss.
        step: the first step length to try.
        tolerance: smallest change of any parameter that a narrower interval could still make.
        max_trials: how many more evaluations there may be after the first.

    Returns:
        (the trial, number of evaluations).

    Nocedal, Wright 2006, algorithms 3.5 and 3.6.
    """
    bracket, used, done = _bracket(line, step, max_trials)
    if done:
        return bracket[0], used + 1
    if used >= max_trials:
        lowest = bracket[0] if bracket[0].loss <= bracket[1].loss else bracket[1]
        return lowest, used + 1
    return _zoom(line, bracket, used, tolerance, max_trials)


def _bracket(line: Line, step: float, max_trials: int) -> tuple[list[Trial], int, bool]:
    """Two trials with a good point between them; or one that is good, and True."""
    previous, new = line.start, line.at(step)
    used = 0
    while used < max_trials:
        if line.too_high(new) or (used > 1 and new.loss >= previous.loss):
            return [previous, new], used, False
        if line.flat_enough(new):
            return [new], used, True
        if new.slope >= 0:
            return [previous, new], used, False
        bounds = (new.step + 0.01 * (new.step - previous.step), new.step * 10.0)
        previous, new = new, line.at(cubic_minimum(previous, new, bounds))
        used += 1
    return [line.start, new], used, False


def _zoom(
    line: Line, bracket: list[Trial], used: int, tolerance: float, max_trials: int
) -> tuple[Trial, int]:
    """Narrow the bracket down to a point that satisfies the conditions."""
    low, high = (0, 1) if bracket[0].loss <= bracket[1].loss else (1, 0)
    largest = float(np.abs(line.direction).max())
    crowded = done = False
    while not done and used < max_trials:
        if abs(bracket[1].step - bracket[0].step) * largest < tolerance:
            break
        step, crowded = _away_from_ends(cubic_minimum(bracket[0], bracket[1]), bracket, crowded)
        new = line.at(step)
        used += 1
        if line.too_high(new) or new.loss >= bracket[low].loss:
            bracket[high] = new
            low, high = (0, 1) if bracket[0].loss <= bracket[1].loss else (1, 0)
            continue
        done = line.flat_enough(new)
        if not done and new.slope * (bracket[high].step - bracket[low].step) >= 0:
            bracket[high] = bracket[low]
        bracket[low] = new
    return bracket[low], used + 1


def _away_from_ends(step: float, bracket: list[Trial], crowded: bool) -> tuple[float, bool]:
    """A step at an end of the bracket, or near one twice in a row, moves a tenth inside."""
    first, last = sorted([x.step for x in bracket])
    margin = 0.1 * (last - first)
    if min(last - step, step - first) >= margin:
        return step, False
    if crowded or step >= last or step <= first:
        moved = last - margin if abs(step - last) < abs(step - first) else first + margin
        return moved, False
    return step, True
