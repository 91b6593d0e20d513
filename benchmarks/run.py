"""Runs the suite: every workload side by side with its peers, and writes the report.

    python -m benchmarks.run [--only NAME ...] [--quick [--keep]] [--threads N]

Writes benchmarks/results/<workload>.json and docs/benchmarks.md; `--quick` measures for a moment
each and, without `--keep`, writes to a folder of its own, so that a look never replaces a
measurement. Each workload runs in a fresh process, with the same threads and the same CPUs for all
libraries, and empty compile caches; then each implementation once more in a process of its own,
with those caches full.
"""

from __future__ import annotations

import argparse
import compileall
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import limits, machine, report
from benchmarks.workloads import IMPLEMENTATIONS, WORKLOADS, Workload

ROOT = machine.ROOT
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "benchmarks.md"
SURPLUS = 600  # seconds that a process may take beyond its time limits


@dataclasses.dataclass(frozen=True, slots=True)
class Effort:
    """How long is measured."""

    seconds: float  # for each implementation
    rounds: int
    limit: int  # seconds of a first call
    limit_seconds: float  # for each figure of the machine
    repeats: int  # of fit
    alone: tuple[str, ...]


FULL = Effort(4.0, 25, 150, 0.7, 5, IMPLEMENTATIONS)
QUICK = Effort(0.4, 5, 60, 0.1, 2, ("backpass",))


def environment(threads: int, cache: Path) -> dict[str, str]:
    """The variables that every library reads when it is imported."""
    n = str(threads)
    names = ("OMP", "OPENBLAS", "MKL", "BACKPASS", "NUMEXPR", "VECLIB_MAXIMUM")
    eigen = str(threads > 1).lower()
    paths = [str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")]
    inherited = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return {
        **inherited,
        **{f"{name}_NUM_THREADS": n for name in names},
        "NPROC": n,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_cpu_multi_thread_eigen={eigen} intra_op_parallelism_threads={n}",
        "BACKPASS_CACHE_DIR": str(cache / "backpass"),
        "TORCHINDUCTOR_CACHE_DIR": str(cache / "inductor"),
        "JAX_COMPILATION_CACHE_DIR": str(cache / "jax"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }


def child(module: str, arguments: list[str], env: dict[str, str], limit: int) -> dict[str, Any]:
    """Run a module in a fresh process; what it prints last is an object."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *arguments]
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=limit, check=False
        )
    except subprocess.TimeoutExpired:
        return {"process_failed": f"the process took more than {limit} s"}
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        words = done.stderr.strip().splitlines()[-1:] or [""]
        return {"process_failed": f"exit status {done.returncode}: {words[0]}"[:200]}
    return json.loads(lines[-1])


def measured(workload: Workload, threads: int, effort: Effort) -> dict[str, Any]:
    """The rows of a workload by implementation, and the CPU share of other processes."""
    arguments = [workload.name, "--threads", str(threads), "--limit", str(effort.limit)]
    arguments += ["--seconds", str(effort.seconds), "--rounds", str(effort.rounds)]
    patience = len(IMPLEMENTATIONS) * 2 * effort.limit + SURPLUS
    with tempfile.TemporaryDirectory(prefix="backpass-bench-") as folder:
        env = environment(threads, Path(folder))
        whole = child("measure", arguments, env, patience)
        if "process_failed" in whole:
            rows = {name: {"failed": whole["process_failed"]} for name in IMPLEMENTATIONS}
            return {"rows": rows, "others_cpu": None}
        rows = whole["rows"]
        for name in effort.alone:
            if not rows[name]["failed"]:
                found = child("measure", [*arguments, "--alone", name], env, patience)
                rows[name]["alone_failed"] = found.pop("failed", found.pop("process_failed", None))
                rows[name].update(found)
    return whole


def result(
    workload: Workload, whole: dict[str, Any], bounds: limits.Limits, about: dict[str, Any]
) -> dict[str, Any]:
    """What is written of a workload: its rows, and what follows from the limits."""
    limit = bounds.seconds(workload.dtype, workload.flops, workload.bytes)
    plain = ("name", "title", "about", "dtype", "flops", "bytes", "steps", "tolerance")
    found = {field: getattr(workload, field) for field in plain}
    found |= {"machine": about, "limits": dataclasses.asdict(bounds), **whole}
    found["limit_s"], found["limit_by"] = limit or (None, None)
    return found | report.judged(found)


def better(one: limits.Limits, other: limits.Limits) -> limits.Limits:
    """The larger of two measurements of each limit: the machine can do at least that."""
    fma = {k: max(v, other.fma[k]) for k, v in one.fma.items()}
    bandwidth = {
        level: {what: max(v, other.bandwidth[level][what]) for what, v in loops.items()}
        for level, loops in one.bandwidth.items()
    }
    return dataclasses.replace(one, fma=fma, bandwidth=bandwidth)


def both_limits(threads: int, seconds: float) -> dict[str, limits.Limits]:
    """The limits of one core and of all that are used."""
    one = limits.measure(1, seconds)
    return {"one": one, "all": limits.measure(threads, seconds) if threads > 1 else one}


def run(chosen: list[Workload], threads: int, effort: Effort, folder: Path, page: Path) -> bool:
    """Measure, write and print; False where backpass fails or its numbers differ."""
    folder.mkdir(parents=True, exist_ok=True)
    compileall.compile_dir(ROOT / "src", quiet=1)  # as pip does where it installs a package
    about = machine.describe()
    about |= {"threads": threads, "seconds": effort.seconds, "rounds": effort.rounds}
    bounds = both_limits(threads, effort.limit_seconds)
    print(report.limits_text(bounds), flush=True)
    wholes = {}
    for workload in chosen:
        begin = time.perf_counter()
        wholes[workload.name] = measured(workload, threads, effort)
        now = result(workload, wholes[workload.name], bounds["all"], about)
        report.save(folder / f"{workload.name}.json", now)  # what is measured is not lost
        print(f"\n{report.lines(now)}\n  ({time.perf_counter() - begin:.0f} s)", flush=True)
    again = both_limits(threads, effort.limit_seconds)
    bounds = {k: better(v, again[k]) for k, v in bounds.items()}
    about["load_at_end"] = machine.load()
    results = [result(w, wholes[w.name], bounds["all"], about) for w in chosen]
    for found in results:
        report.save(folder / f"{found['name']}.json", found)
    report.save(
        folder / "machine.json",
        {"machine": about, "limits": {k: dataclasses.asdict(v) for k, v in bounds.items()}},
    )
    page.write_text(report.page(folder), encoding="utf-8")
    print(f"\n{report.table(results)}\n\nresults: {folder}\nreport:  {page}")
    return all([r["rows"]["backpass"].get("agrees", False) for r in results])


def fit(threads: int, effort: Effort, folder: Path) -> None:
    """Measure what training costs around the step, and write fit_step.json."""
    with tempfile.TemporaryDirectory(prefix="backpass-bench-") as cache:
        env = environment(threads, Path(cache))
        found = child("fit_step", ["--repeats", str(effort.repeats)], env, 2 * SURPLUS)
    bounds = limits.measure(threads, effort.limit_seconds)
    found |= {"machine": machine.describe(), "limits": dataclasses.asdict(bounds)}
    folder.mkdir(parents=True, exist_ok=True)
    report.save(folder / "fit_step.json", found)
    print(f"\n{report.fit_text(found)}", flush=True)


def _names(part: str, names: list[str]) -> list[str]:
    """The name itself, or all that contain it."""
    return [part] if part in names else [n for n in names if part in n]


def main() -> None:
    """Read the command line and run."""
    names = [w.name for w in WORKLOADS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run")
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", help=f"of: {', '.join([*names, 'fit_step'])}"
    )
    parser.add_argument("--quick", action="store_true", help="a moment each, results not kept")
    parser.add_argument("--keep", action="store_true", help="keep the results of --quick too")
    parser.add_argument("--threads", type=int, default=machine.available_cpus())
    options = parser.parse_args()
    only = options.only or [*names, "fit_step"]
    unknown = [n for n in only if not _names(n, [*names, "fit_step"])]
    if unknown or not 1 <= options.threads <= machine.available_cpus():
        parser.error(f"no workload {unknown}" if unknown else "more threads than CPUs")
    if hasattr(os, "sched_setaffinity"):  # children inherit it, and with it all libraries
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    effort = QUICK if options.quick else FULL
    folder, page = RESULTS, PAGE
    if options.quick and not options.keep:
        folder = Path(tempfile.mkdtemp(prefix="backpass-bench-quick-"))
        page = folder / "benchmarks.md"
    only = [part for name in only for part in _names(name, [*names, "fit_step"])]
    if "fit_step" in only:
        fit(options.threads, effort, folder)
    chosen = [w for w in WORKLOADS if w.name in only]
    sys.exit(0 if run(chosen, options.threads, effort, folder, page) else 1)


if __name__ == "__main__":
    main()
