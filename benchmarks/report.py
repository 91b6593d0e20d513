"""The results as JSON files, as lines on the terminal, and as docs/benchmarks.md.

The page is made of the files in the results folder alone, so a run of some workloads renews their
rows and keeps the others, each with its date. Nothing is left out: a row that backpass loses and a
peer that does not run stay, the latter with its reason.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.workloads import IMPLEMENTATIONS, PEERS, WORKLOADS
from benchmarks.workloads.definition import COMPILERS

Result = dict[str, Any]
AIM_FACTOR, AIM_FIXED = 8.0, 3e-6  # of a step in Trainer.fit: times its FLOP limit, and seconds
INTRODUCTION = """\
# Benchmarks

`make bench` measures and writes this page; nothing in it is written by hand. backpass runs beside
PyTorch eager, torch.compile and JAX jit on the same weights, data and number of threads, in one
process a workload, round robin, so that a slow phase of the machine meets all of them. A step is
called from Python as a user calls it, and its results are waited for.

- torch.compile takes forward, gradient and update as one graph through torch.func, its fastest
  way; JAX donates what is updated. Both have their data in arrays of their own before the clock
  starts.
- Times are milliseconds a call: the median of the rounds' medians, and in brackets the 95th
  percentile of all calls.
- The ratio is backpass's time by that of the fastest peer, the median of the ratios within the
  rounds: below 1, backpass is faster. Beside it stands the ratio of the fastest rounds, which tells
  more where other work on the machine held threads up; how much there was is in the last column,
  as a share of the CPUs. A peer whose numbers differ is no peer of that row.
- The limit is the least time by the measured FMA peak, or by the measured bandwidth of the cache
  level (or memory) that holds what a step must at least read and write.
- The numbers of the libraries are compared after 10 steps (of functions: value and gradient) with
  PyTorch's, relative to the largest.
"""


def judged(found: Result) -> dict[str, Any]:
    """The fastest peer that agrees, backpass's ratio to it, and its share of the limit."""
    rows = found["rows"]
    own = rows["backpass"].get("median_s")
    peers = {
        n: rows[n]["median_s"] for n in PEERS if rows[n].get("agrees") and "median_s" in rows[n]
    }
    best = min(peers, key=lambda n: peers[n]) if peers else None
    fastest = {n: min(rows[n]["round_medians_s"]) for n in rows if "round_medians_s" in rows[n]}
    both = own and peers
    limit = found["limit_s"]
    return {
        "ratio_of_fastest_rounds": fastest["backpass"] / min([fastest[n] for n in peers])
        if both
        else None,
        "best_peer": best,
        "ratio_to_best_peer": rows[best].get("ratio_of_backpass") if best else None,
        "percent_of_limit": 100 * limit / own if limit and own else None,
    }


def save(path: Path, found: Mapping[str, Any]) -> None:
    """Write a JSON file whole or not at all."""
    fresh = path.with_suffix(".tmp")
    fresh.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    os.replace(fresh, path)


# -- numbers as text


def milliseconds(seconds: float | None) -> str:
    """Three significant digits of milliseconds."""
    return "-" if seconds is None else _digits(1e3 * seconds)


def _digits(x: float) -> str:
    if x >= 100:
        return f"{x:,.0f}"
    return f"{x:#.3g}".rstrip(".")


def megabytes(size: Any) -> str:
    """Bytes as MB; a text as it is."""
    if isinstance(size, str):
        return size
    return "-" if size is None else f"{size / 1e6:,.2f}" if size < 1e7 else f"{size / 1e6:,.0f}"


def seconds_text(seconds: float | None) -> str:
    """Seconds with two decimals."""
    return "-" if seconds is None else f"{seconds:.2f}"


def gap_text(row: Mapping[str, Any]) -> str:
    """How far the numbers of a row differ."""
    if "difference" not in row:
        return "-"
    return f"{row['difference']:.1e}" + ("" if row["agrees"] else " **differs**")


def _optional(x: float | None, form: str) -> str:
    return "-" if x is None else form.format(x)


# -- tables


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return "\n".join([*lines, *[f"| {' | '.join(row)} |" for row in rows]])


def _time_cell(row: Mapping[str, Any]) -> str:
    if "median_s" not in row:
        return "fails"
    differs = "" if row.get("agrees", True) else " differs"
    return f"{milliseconds(row['median_s'])} ({milliseconds(row['p95_s'])}){differs}"


def table(results: Sequence[Result]) -> str:
    """Times, ratio to the best peer and share of the limit, one row a workload."""
    judged = ("best peer", "ratio", "fastest rounds", "limit ms", "% of limit", "limited by")
    head = ("step", *IMPLEMENTATIONS, *judged, "others' CPU")
    return _table(
        head,
        [
            (
                r["title"],
                *[_time_cell(r["rows"][n]) for n in IMPLEMENTATIONS],
                r["best_peer"] or "-",
                _optional(r["ratio_to_best_peer"], "{:.2f}"),
                _optional(r["ratio_of_fastest_rounds"], "{:.2f}"),
                milliseconds(r["limit_s"]),
                _optional(r["percent_of_limit"], "{:.1f}"),
                r["limit_by"] or "-",
                _optional(r["others_cpu"], "{:.0%}"),
            )
            for r in results
        ],
    )


def _compile_table(results: Sequence[Result]) -> str:
    head = ["step", *[f"{n} {kind}" for n in COMPILERS for kind in ("cold", "cached")]]
    keys = ("compile_cold_s", "compile_cached_s")
    return _table(
        head,
        [
            (r["title"], *[seconds_text(r["rows"][n].get(k)) for n in COMPILERS for k in keys])
            for r in results
        ],
    )


def _memory_table(results: Sequence[Result]) -> str:
    head = ("step", "backpass planned", *IMPLEMENTATIONS)
    return _table(
        head,
        [
            (
                r["title"],
                megabytes(r["rows"]["backpass"].get("planned_bytes")),
                *[megabytes(r["rows"][n].get("resident_growth_bytes")) for n in IMPLEMENTATIONS],
            )
            for r in results
        ],
    )


def _agreement_table(results: Sequence[Result]) -> str:
    head = ("step", "tolerance", "backpass", "torch.compile", "jax", "what it is")
    names = ("backpass", "torch.compile", "jax")
    return _table(
        head,
        [
            (
                r["title"],
                f"{r['tolerance']:.0e}",
                *[gap_text(r["rows"][n]) for n in names],
                r["about"],
            )
            for r in results
        ],
    )


def _failures(results: Sequence[Result]) -> list[str]:
    return [
        f"- {r['title']}, {name}: {row[key]}"
        for r in results
        for name, row in r["rows"].items()
        for key in ("failed", "alone_failed")
        if row.get(key)
    ]


def limits_text(bounds: Mapping[str, Any]) -> str:
    """The measured limits of one core and of all, as a table."""
    found = {k: v if isinstance(v, dict) else _as_dict(v) for k, v in bounds.items()}
    columns = ["one", "all"] if found["all"]["threads"] > 1 else ["one"]
    rows = [
        (f"FMA {dtype}, GFLOP/s", *[f"{found[k]['fma'][dtype] / 1e9:.1f}" for k in columns])
        for dtype in found["one"]["fma"]
    ]
    for level, loops in found["one"]["bandwidth"].items():
        for what in loops:
            cells = [f"{found[k]['bandwidth'][level][what] / 1e9:.1f}" for k in columns]
            rows.append((f"{what} in {level}, GB/s", *cells))
    names = ["1 core", f"{found['all']['threads']} cores"][: len(columns)]
    return _table(("measured", *names), rows)


def _as_dict(bounds: Any) -> dict[str, Any]:
    return {"threads": bounds.threads, "fma": bounds.fma, "bandwidth": bounds.bandwidth}


def _machine_text(about: Mapping[str, Any]) -> str:
    caches = ", ".join([f"{k} {v // 1024:,} KiB" for k, v in about["caches"].items()])
    versions = ", ".join([f"{k} {v or 'not installed'}" for k, v in about["versions"].items()])
    load = ", ".join(map(str, about["load"]))
    end = ", ".join(map(str, about.get("load_at_end", [])))
    memory = about["memory_bytes"]
    rows = (
        ("processor", f"{about['cpu']}, {about['llvm_cpu']} to LLVM"),
        ("cores", f"{about['cores']}; {about['threads']} used by every library"),
        ("caches", caches or "unknown"),
        ("memory", "unknown" if memory is None else f"{memory / 2**30:.0f} GiB"),
        ("system", f"{about['system']}, Python {about['python']}"),
        ("versions", versions),
        ("backpass", f"commit {about['commit']}"),
        ("date", about["date"]),
        ("measured", f"{about['seconds']} s an implementation in {about['rounds']} rounds"),
        ("load (1, 5, 15 min)", f"{load} at the start" + (f"; {end} at the end" if end else "")),
    )
    return _table(("the machine", ""), rows)


def fit_text(found: Mapping[str, Any]) -> str:
    """The cost of a step in Trainer.fit, and training on the digits."""
    if "process_failed" in found:
        return f"Trainer.fit: {found['process_failed']}"
    limit = found["fit_step_flops"] / found["limits"]["fma"]["float32"]
    aim, step = AIM_FACTOR * limit + AIM_FIXED, found["fit_step_s"]
    rows = [
        (
            f"{label}, {r['epochs']} epochs",
            f"{r['seconds']:.2f}",
            seconds_text(r.get("command_seconds")),
            f"{1e3 * r['seconds'] / r['epochs']:.1f}",
            f"{r['test_accuracy']:.4f}",
        )
        for label, r in (
            ("`backpass train digits`", found["digits_default"]),
            ("`backpass train digits`, as scikit-learn trains", found["digits_same"]),
            ("`Trainer.fit`, the same network, compiling", found["digits_fit_first"]),
            ("`Trainer.fit`, compiled before", found["digits_fit"]),
            ("scikit-learn MLPClassifier", found["digits_sklearn"]),
        )
    ]
    digits = _table(("training", "s", "s, whole command", "ms an epoch", "test accuracy"), rows)
    theirs = found["digits_sklearn"]["seconds"]
    whole, fit = (found[name]["seconds"] / theirs for name in ("digits_same", "digits_fit"))
    return (
        f"A step of MLP 16-32-32-3, batch 32, inside `Trainer.fit` costs {1e6 * step:.1f} us. Its "
        f"FLOP take {1e6 * limit:.2f} us at the measured peak; the aim, {AIM_FACTOR:.0f} times "
        f"that and {1e6 * AIM_FIXED:.0f} us, is {1e6 * aim:.1f} us: {step / aim:.1f} times the "
        "aim.\n\n"
        f"{digits}\n\nOf the same size and epochs, `Trainer.fit` takes {fit:.2f} times "
        "scikit-learn's time, and the command, which computes validation, metrics and the "
        f"gradient's flow too and writes a checkpoint each epoch, {whole:.2f} times. "
        f"Measured {found['machine']['date']} with {found['limits']['threads']} thread(s), load "
        f"{', '.join(map(str, found['machine']['load']))}."
    )


def lines(found: Result) -> str:
    """One workload for the terminal: a line for each implementation."""
    out = [found["title"]]
    for name in IMPLEMENTATIONS:
        row = found["rows"][name]
        if row.get("failed"):
            out.append(f"  {name:14} {row['failed']}")
            continue
        kinds = ("cold", "cached") if name in COMPILERS else ()
        compiling = [seconds_text(row.get(f"compile_{kind}_s")) for kind in kinds]
        grown = megabytes(row.get("resident_growth_bytes"))
        out.append(
            f"  {name:14} {milliseconds(row['median_s']):>8} ms"
            f"  p95 {milliseconds(row['p95_s']):>8}  compile {'/'.join(compiling) or '-':>13} s"
            f"  grown {grown:>7} MB  difference {gap_text(row)}"
        )
    ratio = _optional(found["ratio_to_best_peer"], "{:.2f}")
    fastest = _optional(found["ratio_of_fastest_rounds"], "{:.2f}")
    others = _optional(found["others_cpu"], "{:.0%}")
    share = _optional(found["percent_of_limit"], "{:.1f} %")
    out.append(
        f"  backpass / {found['best_peer']} = {ratio} (fastest rounds {fastest}); {share} of "
        f"the limit, {milliseconds(found['limit_s'])} ms by {found['limit_by']}; planned "
        f"{megabytes(found['rows']['backpass'].get('planned_bytes'))} MB; "
        f"others took {others} of the CPUs"
    )
    return "\n".join(out)


def page(folder: Path) -> str:
    """The whole page from the files of a folder."""
    results: list[Result] = []
    for workload in WORKLOADS:
        path = folder / f"{workload.name}.json"
        if path.is_file():
            results.append(json.loads(path.read_text(encoding="utf-8")))
    about = json.loads((folder / "machine.json").read_text(encoding="utf-8"))
    parts = [INTRODUCTION, "## The machine", _machine_text(about["machine"])]
    parts += ["Its limits, measured in the same run:", limits_text(about["limits"])]
    dates = sorted({r["machine"]["date"] for r in results} - {about["machine"]["date"]})
    older = [r["title"] for r in results if r["machine"]["date"] in dates]
    if older:
        parts.append(f"Measured in another run ({', '.join(dates)}): {'; '.join(older)}.")
    parts += ["## Times", table(results)]
    missing = [w.title for w in WORKLOADS if w.name not in {r["name"] for r in results}]
    if missing:
        parts.append(f"Not measured yet: {'; '.join(missing)}.")
    failures = _failures(results)
    if failures:
        parts += ["What did not run:", "\n".join(failures)]
    parts += ["## Do they compute the same?", _agreement_table(results)]
    parts += [
        "## Compile seconds",
        "The first call less a later one. Cold: with empty caches on disk. Cached: in a new "
        "process, after the cold run.",
        _compile_table(results),
        "## Memory, MB",
        "Planned: the arena of the compiled step (`step.plan(...).peak_bytes`). The others: growth "
        "of the resident set at its peak during steps, in a process of its own, over the library "
        "imported and nothing built: weights, state, data and what compiling left are in it.",
        _memory_table(results),
    ]
    fit = folder / "fit_step.json"
    if fit.is_file():
        found = json.loads(fit.read_text(encoding="utf-8"))
        parts += ["## Trainer.fit and the command line", fit_text(found)]
    return "\n\n".join(parts) + "\n"
