"""What it costs to call a native program that does nothing: the price of one training step's call.

The native entry with 0, 12 and 100 arrays, with the interpreter's lock kept ("short") and released,
beside a Python function of as many arguments and the same entry by ctypes. Then what a parallel
region and a barrier cost on two threads, which only means something on a machine with two idle
processors.

Run: python benchmarks/bench_native_call.py
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from backpass.codegen import engine, entry, threads
from backpass.codegen.entry import ArgumentSpec, Context, make_entry
from backpass.codegen.machine import host
from backpass.codegen.runtime import CONTEXT

NOTHING = "define void @step(ptr %context, i64 %tid, i64 %n) #0 { ret void }\n"
BARRIERS = 300
BARRIER = f"""
define void @step(ptr %context, i64 %tid, i64 %n) #0 {{
entry:
  %team.at = getelementptr i8, ptr %context, i64 {CONTEXT["team"]}
  %team = load ptr, ptr %team.at
  br label %loop
loop:
  %i = phi i64 [0, %entry], [%i1, %loop]
  call void @bp_barrier(ptr %team, i64 %n)
  %i1 = add i64 %i, 1
  %more = icmp ult i64 %i1, {BARRIERS}
  br i1 %more, label %loop, label %exit
exit:
  ret void
}}
"""


def nanoseconds(function: Callable[..., Any], arguments: list[Any], number: int = 1000) -> float:
    """The least time of a call over 200 measurements of `number` calls."""
    best = float("inf")
    for _ in range(200):
        begin = time.perf_counter()
        for _ in range(number):
            function(*arguments)
        best = min(best, (time.perf_counter() - begin) / number)
    return best * 1e9


def calls(count: int) -> None:
    """One row of the table: `count` arrays."""
    specs = [ArgumentSpec(i, np.dtype(np.float32), (3, 4)) for i in range(count)]
    library = engine.load(NOTHING, host())
    arrays: list[Any] = [np.zeros((3, 4), np.float32) for _ in range(count)]

    def python(*_: Any) -> None:
        return None

    functions: list[Callable[..., Any]] = [python]
    for short in (True, False):
        functions.append(make_entry(library, "step", Context(count, specs, short=short)))
    fast, entry.fast_entries_work = entry.fast_entries_work, lambda: False
    functions.append(make_entry(library, "step", Context(count, specs)))
    entry.fast_entries_work = fast
    times = [nanoseconds(function, arrays) for function in functions]
    print(f"{count:>7}" + "".join(f"{t:>12.0f}" for t in times))


def main() -> None:
    """Print both tables."""
    print(f"{'arrays':>7}{'python':>12}{'short':>12}{'released':>12}{'ctypes':>12}   ns a call")
    for count in (0, 12, 100):
        calls(count)
    library = engine.load(BARRIER, host())
    alone, together = [
        nanoseconds(make_entry(library, "step", Context(0, parallel=parallel)), [], 5) / BARRIERS
        for parallel in (False, True)
    ]
    region = make_entry(engine.load(NOTHING, host()), "step", Context(0, parallel=True))
    print(f"\nthreads {threads.team().size}")
    print(f"region  {nanoseconds(region, [], 100):.0f} ns a call")
    print(f"barrier {together:.0f} ns (on one thread {alone:.1f})")


if __name__ == "__main__":
    main()
