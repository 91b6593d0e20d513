"""Interleaved timing: all implementations of a workload in one process, round robin.

A round gives each implementation a slice of time, in turning order, so that a slow phase of the
machine meets all of them. A slice begins with calls that are not counted, for the caches that the
others emptied. The median is that of the rounds' medians, so that each round counts alike; the
95th percentile is over all calls; a ratio is the median of the ratios within rounds. Short calls
are measured in blocks of at least 20 us, so that reading the clock does not count.
"""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

PAUSE = 0.004  # seconds between slices, in which the spinning workers of the others go to sleep
BLOCK_SECONDS = 20e-6
WARM_SHARE = 0.2
LEAST_CALLS = 2
LEAST_ROUNDS, PATIENCE = 5, 3.0  # rounds end early where they take so many times their time


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds a call: the median of the rounds, the 95th percentile, and each round's median."""

    median: float
    p95: float
    calls: int
    rounds: tuple[float, ...]


def interleaved(
    steps: Mapping[str, Callable[[], Any]], seconds: float, rounds: int
) -> dict[str, Timing]:
    """Time all steps in `rounds` slices each, about `seconds` each in all.

    Where steps are long or the machine is busy, there are fewer rounds, but at least LEAST_ROUNDS.
    """
    names = list(steps)
    samples: dict[str, list[list[float]]] = {name: [] for name in names}
    calls = dict.fromkeys(names, 0)
    gc.collect()
    gc.freeze()
    end = time.perf_counter() + PATIENCE * seconds * len(names)
    for i in range(rounds):
        if i >= LEAST_ROUNDS and time.perf_counter() > end:
            break
        turn = i % len(names)
        for name in [*names[turn:], *names[:turn]]:
            time.sleep(PAUSE)
            found, counted = _slice(steps[name], seconds / rounds)
            samples[name].append(found)
            calls[name] += counted
    gc.unfreeze()
    return {name: _timing(samples[name], calls[name]) for name in names}


def _slice(step: Callable[[], Any], seconds: float) -> tuple[list[float], int]:
    """Seconds a call in one slice, and how many calls were counted."""
    clock = time.perf_counter
    begin = clock()
    step()
    warm_end, end = begin + WARM_SHARE * seconds, begin + seconds
    begin = clock()
    step()
    block = max(1, int(BLOCK_SECONDS / max(clock() - begin, 1e-9)))
    while clock() < warm_end:
        step()
    found: list[float] = []
    while len(found) < LEAST_CALLS or clock() < end:
        begin = clock()
        for _ in range(block):
            step()
        found.append((clock() - begin) / block)
    return found, len(found) * block


def _timing(rounds: list[list[float]], calls: int) -> Timing:
    every = np.concatenate(rounds)
    medians = tuple([statistics.median(r) for r in rounds])
    return Timing(
        median=statistics.median(medians),
        p95=float(np.percentile(every, 95)),
        calls=calls,
        rounds=medians,
    )


def ratio(one: Timing, other: Timing) -> float:
    """The median over the rounds of one's time by the other's."""
    return statistics.median([a / b for a, b in zip(one.rounds, other.rounds, strict=True)])


def difference(found: np.ndarray, reference: np.ndarray) -> float:
    """The largest difference, relative to the largest number of the reference."""
    if found.shape != reference.shape:
        return float("inf")
    scale = max(float(np.max(np.abs(reference))), 1e-300)
    gap = float(np.max(np.abs(found - reference))) / scale
    return gap if np.isfinite(gap) else float("inf")


class TooLong(BaseException):
    """A time limit has passed. Not an Exception, so that no library takes it for its own."""


@contextlib.contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Raise TooLong in the main thread after so many seconds."""

    def stop(*_: Any) -> None:
        raise TooLong

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def reason(error: BaseException) -> str:
    """One line that says why an implementation does not run."""
    if isinstance(error, ImportError):
        return f"not installed ({error.name or error})"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:160]


class OthersWatch:
    """What other processes take of the CPUs while a `with` block runs: `share`, from 0 to 1.

    None where the system does not say.
    """

    share: float | None = None

    def __enter__(self) -> OthersWatch:
        self._begin = _cpu_seconds()
        return self

    def __exit__(self, *_: Any) -> None:
        end = _cpu_seconds()
        if self._begin is None or end is None:
            return
        busy, idle, own = [b - a for a, b in zip(self._begin, end, strict=True)]
        self.share = max(0.0, busy - own) / max(busy + idle, 1e-9)


def _cpu_seconds() -> tuple[float, float, float] | None:
    """Seconds of all CPUs, busy and idle, and the busy ones of this process."""
    try:
        words = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()[1:9]
    except OSError:
        return None
    user, nice, system, idle, wait, irq, soft, steal = map(int, words)
    tick = os.sysconf("SC_CLK_TCK")
    own = os.times()
    busy = (user + nice + system + irq + soft + steal) / tick
    return busy, (idle + wait) / tick, own.user + own.system


def resident_bytes() -> int | None:
    """Bytes of this process in memory; None where the system does not say."""
    return _status("VmRSS")


def peak_bytes() -> int | None:
    """The most bytes in memory since `reset_peak`, or since the start."""
    found = _status("VmHWM")
    if found is None and sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return found


def reset_peak() -> bool:
    """Begin a new peak; False where the system cannot."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def _status(key: str) -> int | None:
    try:
        text = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return None
    found = [line.split()[1] for line in text.splitlines() if line.startswith(f"{key}:")]
    return int(found[0]) * 1024 if found else None
