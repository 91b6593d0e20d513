"""Every workload of the benchmarks gives the same bits on 1, 2, 3 and 7 threads, and again.

100 steps of every network (40 of the largest), one call of every function. Each number of threads
is a process of its own that runs all workloads; after each step it hashes the loss, and at the end
all that the step updates.
"""

from __future__ import annotations

import json

import pytest
from benchmarks.workloads import WORKLOADS
from tests.codegen.native_steps import said

STEPS = 100
FEWER = {"mlp_4x1024": 40}  # of 60 ms each
RUNS = ("1", "2", "3", "7", "2")  # threads, as OMP_NUM_THREADS says; 2 once more

SCRIPT = f"""
    import hashlib, json
    import backpass as bp
    from benchmarks.workloads import WORKLOADS

    found = {{}}
    for workload in WORKLOADS:
        bp.manual_seed(11)  # of the dropout
        built = workload.builders["backpass"](False)
        sums = hashlib.sha256()
        steps = []
        for _ in range({FEWER}.get(workload.name, {STEPS}) if workload.steps else 1):
            sums.update(built.numbers(built.step()).tobytes())
            steps.append(sums.hexdigest()[:8])
        for part in built.jitted[1]:
            if hasattr(part, "__backpass_cells__"):
                for cell in part.__backpass_cells__().values():
                    sums.update(cell.array.tobytes())
        found[workload.name] = [*steps, sums.hexdigest()]
    print(json.dumps(found))
"""

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("benchmark_bits")]


@pytest.fixture(scope="module")
def runs() -> list[dict[str, list[str]]]:
    """For each run and workload a hash after each step, and one of all that was updated."""
    found: list[dict[str, list[str]]] = []
    for threads in RUNS:
        env = {"BACKPASS_NUM_THREADS": "", "OMP_NUM_THREADS": threads}
        found.append(json.loads(said(SCRIPT, timeout=240, env=env)))
    return found


@pytest.mark.parametrize("name", [w.name for w in WORKLOADS])
def test_threads_and_runs_do_not_change_a_bit(name: str, runs: list[dict[str, list[str]]]) -> None:
    first = runs[0][name]
    for threads, run in zip(RUNS[1:], runs[1:], strict=True):
        differing = [i for i, (a, b) in enumerate(zip(first, run[name], strict=True)) if a != b]
        assert not differing, f"{threads} threads differ from 1 after step {differing[0]}"
