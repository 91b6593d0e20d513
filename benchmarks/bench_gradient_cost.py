"""Cost of value_and_grad as a multiple of the function's own, by depth of the graph.

Reverse accumulation costs a constant multiple of the function, at any depth (Griewank & Walther
2008, section 3.4). A ratio that grows with depth is a fault. Two chains: on Python floats, where
the bookkeeping of an operation is all the cost, and on arrays of 1,000 numbers. What grows on deep
graphs is Python's cyclic garbage collector, which looks at all live nodes again and again: one
table is without it. The jitted ratio is that of compiled gradient to compiled function.

Run: python benchmarks/bench_gradient_cost.py [deepest]
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import backpass as bp

DEPTHS = (10, 100, 1_000, 10_000, 100_000)
SECONDS = 0.4
CALLS = 5
SHORTEST = 1e-3  # seconds that one measurement takes at least
HEAD = f"{'depth':>9} {'function':>12} {'value_and_grad':>15} {'ratio':>7}"
Chain = Callable[[int], Callable[[Any], Any]]


def chain(depth: int) -> Callable[[Any], Any]:
    """A chain of `depth` operations on a scalar, and nothing else that would take time."""

    def function(x: Any) -> Any:
        for _ in range(depth // 2):
            x = np.sin(x) * 1.01
        return x

    return function


def summed_chain(depth: int) -> Callable[[Any], Any]:
    """The same on an array, and the sum of it."""
    function = chain(depth)

    def summed(x: Any) -> Any:
        return np.sum(function(x))

    return summed


def seconds(function: Callable[[Any], Any], x: Any) -> float:
    """The least CPU time of a call, over a fraction of a second and at least CALLS measurements.

    The first call of a deep graph takes fresh memory from the system, the later ones find it there.
    A short call is measured many times over at once, so that reading the clock does not count.
    """
    gc.collect()
    number = max(1, int(SHORTEST / _cpu_time(function, x, 1)))
    best, end, measured = float("inf"), time.process_time() + SECONDS, 0
    while measured < CALLS or time.process_time() < end:
        best = min(best, _cpu_time(function, x, number) / number)
        measured += 1
    return best


def _cpu_time(function: Callable[[Any], Any], x: Any, number: int) -> float:
    begin = time.process_time()
    for _ in range(number):
        function(x)
    return time.process_time() - begin


def table(name: str, x: Any, of: Chain, depths: tuple[int, ...]) -> list[float]:
    """Print one line a depth; return the ratios."""
    print(f"\n{name}\n{HEAD} {'us/op':>7}")
    ratios = []
    for depth in depths:
        function = of(depth)
        plain = seconds(function, x)
        both = seconds(bp.value_and_grad(function), x)
        ratios.append(both / plain)
        print(
            f"{depth:>9,} {plain * 1e3:>9.3f} ms {both * 1e3:>12.3f} ms {both / plain:>7.1f} "
            f"{both / depth * 1e6:>7.1f}"
        )
    return ratios


def jitted_table(x: Any, depths: tuple[int, ...]) -> None:
    """The same, compiled: what a training step pays."""
    print(f"\narrays of 1,000, jit\n{HEAD}")
    for depth in depths:
        fast, both = bp.jit(summed_chain(depth)), bp.jit(bp.value_and_grad(summed_chain(depth)))
        for function in (fast, both):
            function(x)  # compiles
        plain, whole = seconds(fast, x), seconds(both, x)
        ratio = whole / plain
        print(f"{depth:>9,} {plain * 1e3:>9.3f} ms {whole * 1e3:>12.3f} ms {ratio:>7.1f}")


def main() -> None:
    """Print the tables."""
    deepest = int(sys.argv[1]) if len(sys.argv) > 1 else DEPTHS[-1]
    depths = tuple(d for d in DEPTHS if d <= deepest)
    for name, x, of in (
        ("scalars", 0.5, chain),
        ("arrays of 1,000", np.linspace(0.1, 1.0, 1000), summed_chain),
    ):
        ratios = table(name, x, of, depths)
        print(f"growth of the ratio from depth {depths[0]:,}: {ratios[-1] / ratios[0]:.2f}")
    gc.disable()
    table("scalars, garbage collector paused", 0.5, chain, depths)
    gc.enable()
    jitted_table(np.linspace(0.1, 1.0, 1000), tuple(d for d in depths if d <= 10_000))


if __name__ == "__main__":
    main()
