"""Measures one workload in a fresh process and prints a JSON object. `run` starts it.

Two modes. `together`: every implementation is built, its first call timed (compilation with empty
caches), its numbers compared, and all are timed interleaved. `alone`: one implementation, with the
caches that the first process filled: the seconds of its first call, and the growth of resident
memory. Threads and cache folders come in the environment, which the libraries read when imported.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
import time
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from benchmarks import harness
from benchmarks.workloads import IMPLEMENTATIONS, WORKLOADS, Built, Workload

REFERENCE = "torch"  # whose numbers the others are compared with
WARM_CALLS = 3
MEMORY_CALLS = 5


@dataclass(slots=True)
class Row:
    """What is known of one implementation; None: not measured, or it does not run."""

    failed: str | None = None
    first_call_s: float | None = None
    numbers: np.ndarray | None = None
    built: Built | None = None


def prepare_libraries(threads: int, dtype: str) -> None:
    """Set the threads and precision that are no matter of the environment; import what is there.

    torch.compile loads its compiler at the first call; that import is no part of compiling.
    """
    if importlib.util.find_spec("torch"):
        import torch
        import torch._dynamo
        import torch._inductor.compile_fx

        torch.set_num_threads(threads)
        torch.set_num_interop_threads(1)
    if importlib.util.find_spec("jax"):
        import jax

        jax.config.update("jax_enable_x64", dtype == "float64")
        jax.numpy.zeros(1).block_until_ready()


def build(workload: Workload, name: str, exact: bool, limit: int) -> Row:
    """Build, and time the first call, within a limit of seconds."""
    row = Row()
    try:
        with harness.time_limit(limit):
            row.built = workload.builders[name](exact)
            begin = time.perf_counter()
            row.built.step()
            row.first_call_s = time.perf_counter() - begin
    except harness.TooLong:
        row.failed = f"the first call (compilation) took more than {limit} s"
    except Exception as error:
        row.failed = harness.reason(error)
    return row


def numbers_after(workload: Workload, built: Built) -> np.ndarray:
    """The numbers of the step after `steps` steps, of which the first was run already."""
    for _ in range(workload.steps - 1):
        built.step()
    return built.numbers(built.step())


def compared(workload: Workload, row: Row, name: str, limit: int) -> None:
    """Find the row's numbers; those of a random workload come from its exact variant."""
    if row.built is None or row.failed:
        return
    exact = build(workload, name, True, limit) if workload.random else row
    if exact.failed or exact.built is None:
        row.failed = exact.failed
        return
    try:
        row.numbers = numbers_after(workload, exact.built)
    except Exception as error:
        row.failed = harness.reason(error)


def planned_bytes(built: Built | None) -> int | str | None:
    """What the memory plan of a jitted function says; a text where there is no plan."""
    if built is None or built.jitted is None:
        return None
    function, arguments = built.jitted
    plan = getattr(function, "plan", None)
    if plan is None:
        return "not built"
    try:
        return int(plan(*arguments).peak_bytes)
    except Exception as error:
        return harness.reason(error)


def together(workload: Workload, seconds: float, rounds: int, limit: int) -> dict[str, Any]:
    """All implementations: compile, compare, time."""
    rows = {name: build(workload, name, False, limit) for name in IMPLEMENTATIONS}
    for name, row in rows.items():
        compared(workload, row, name, limit)
    reference = rows[REFERENCE].numbers
    running = {n: r.built.step for n, r in rows.items() if r.built is not None and not r.failed}
    with harness.OthersWatch() as others:
        timings = harness.interleaved(running, seconds, rounds) if running else {}
    found: dict[str, Any] = {}
    for name, row in rows.items():
        cells: dict[str, Any] = {"failed": row.failed}
        if row.numbers is not None:
            cells["first_number"] = float(row.numbers[0])
            if reference is not None:
                gap = harness.difference(row.numbers, reference)
                cells |= {"difference": gap, "agrees": gap <= workload.tolerance}
        if name in timings and row.first_call_s is not None:
            timing = timings[name]
            cells |= {
                "median_s": timing.median,
                "p95_s": timing.p95,
                "calls": timing.calls,
                "round_medians_s": timing.rounds,
                "compile_cold_s": max(0.0, row.first_call_s - timing.median),
            }
            if "backpass" in timings:
                cells["ratio_of_backpass"] = harness.ratio(timings["backpass"], timing)
        found[name] = cells
    found["backpass"]["planned_bytes"] = planned_bytes(rows["backpass"].built)
    return {"rows": found, "others_cpu": others.share}


def alone(workload: Workload, name: str, limit: int) -> dict[str, Any]:
    """One implementation with warm caches: seconds to compile, growth of memory."""
    before = harness.resident_bytes()
    row = build(workload, name, False, limit)
    if row.failed or row.built is None or row.first_call_s is None:
        return {"failed": row.failed}
    times = []
    for _ in range(WARM_CALLS):
        begin = time.perf_counter()
        row.built.step()
        times.append(time.perf_counter() - begin)
    found: dict[str, Any] = {"compile_cached_s": max(0.0, row.first_call_s - min(times))}
    if harness.reset_peak() and before is not None:
        for _ in range(MEMORY_CALLS):
            row.built.step()
        peak = harness.peak_bytes()
        found["resident_growth_bytes"] = None if peak is None else peak - before
    return found


def main() -> None:
    """Measure, and print the object as the last line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=[w.name for w in WORKLOADS])
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--limit", type=int, required=True)
    parser.add_argument("--alone", choices=IMPLEMENTATIONS)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    workload = next(w for w in WORKLOADS if w.name == options.name)
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not mix with the object
    prepare_libraries(options.threads, workload.dtype)
    if options.alone:
        found = alone(workload, options.alone, options.limit)
    else:
        found = together(workload, options.seconds, options.rounds, options.limit)
    out.write(json.dumps(found))
    out.flush()
    sys.stdout.flush()
    os._exit(0)  # compilers left in the background by a time limit are not waited for


if __name__ == "__main__":
    main()
