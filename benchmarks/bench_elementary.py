"""What an element costs in the compiler's elementary functions, beside NumPy and SciPy.

All in the same run, on one thread, with arrays that stay in the second cache; the least of many
runs.
`python benchmarks/bench_elementary.py [name ...]`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.codegen.elementwise_loop import Loop

from backpass.codegen.arithmetic import ROWS
from backpass.prims import elementwise as el
from backpass.prims import special

COUNT, ROUNDS = 8192, 60
REFERENCES: dict[str, Callable[..., Any]] = {
    p.name: p.reference
    for p in (
        *(el.exp, el.expm1, el.log, el.log1p, el.tanh, el.logistic, el.sin, el.cos, el.tan),
        *(el.power, el.arctan, el.sqrt, el.div, el.add, special.erf, special.erfc),
    )
}


def nanoseconds(run: Callable[[], object]) -> float:
    """The least time of one run, for one element."""
    run()
    start = time.perf_counter()
    run()
    number = max(1, int(2e-4 / (time.perf_counter() - start)))
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(number):
            run()
        best = min(best, (time.perf_counter() - start) / number)
    return best / COUNT * 1e9


def row(name: str, dtype: np.dtype[Any]) -> tuple[float, float]:
    """Nanoseconds an element, here and by the reference."""
    rng = np.random.default_rng(0)
    arity = ROWS[name].arity
    xs = [rng.uniform(0.1, 3.0, COUNT).astype(dtype) for _ in range(arity)]
    out = np.empty(COUNT, dtype)
    loop = Loop(name, [dtype] * arity, dtype, 16 if dtype.itemsize == 4 else 8)
    addresses = [*[x.ctypes.data for x in xs], out.ctypes.data]
    reference = REFERENCES[name]
    with np.errstate(all="ignore"):
        return nanoseconds(lambda: loop.entry(COUNT, *addresses)), nanoseconds(
            lambda: reference(*xs)
        )


def main() -> None:
    """Print the table."""
    print(f"{'ns an element':14}" + "".join([f"{s:>22}" for s in ("float32", "float64")]))
    print(f"{'':14}" + "here   NumPy  ratio".rjust(22) * 2)
    for name in sys.argv[1:] or REFERENCES:
        line = f"{name:14}"
        for dtype in (np.dtype(np.float32), np.dtype(np.float64)):
            here, there = row(name, dtype)
            line += f"{here:>8.3f} {there:>7.3f} {there / here:>5.1f}"
        print(line)


if __name__ == "__main__":
    main()
