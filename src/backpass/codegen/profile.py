"""Profile: how long each kernel of a program takes, and how near that is to the machine's limit.

The program is built once more with every step as a function of its own, and runs on copies of the
arguments, so nothing of the caller changes. Each kernel's time is the median of its runs; all run
in their order each time, so the caches are as in a real call. The limits are measured here, on as
many
threads: multiply-adds in registers, and a copy through memory.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backpass import config
from backpass.codegen.limits import Peak, measured_peak
from backpass.codegen.plan import KernelPlan, plan_of
from backpass.codegen.program import Program
from backpass.errors import ConfigError
from backpass.ir.graph import Array


@dataclass(frozen=True, slots=True)
class KernelProfile:
    """One kernel and its time.

    Attributes:
        plan: what it does.
        seconds: median time of a run.
        percent: of the machine's limit: for a product of the peak of multiply-adds, for any other
            of the bandwidth of memory, which is above 100 where the data stay in a cache.
    """

    plan: KernelPlan
    seconds: float
    percent: float

    @property
    def gflops(self) -> float:
        """10^9 floating-point operations a second."""
        return self.plan.flops / self.seconds / 1e9

    @property
    def gbytes(self) -> float:
        """10^9 bytes a second."""
        return self.plan.bytes / self.seconds / 1e9


@dataclass(frozen=True, slots=True)
class Profile:
    """The kernels of a program in their order, and the peaks they are held against."""

    kernels: tuple[KernelProfile, ...]
    seconds: float
    peak: Peak

    def __str__(self) -> str:
        head = (
            f"{self.seconds * 1e6:.1f} us in {len(self.kernels)} kernels; peak "
            f"{self.peak.flops['float32'] / 1e9:.0f} GFLOP/s float32, "
            f"{self.peak.flops['float64'] / 1e9:.0f} float64, "
            f"{self.peak.bandwidth / 1e9:.0f} GB/s copied"
        )
        rows = [
            f"  {k.plan.name:<8} {k.plan.kind:<10} {'x'.join(map(str, k.plan.shape)):<22} "
            f"{k.seconds * 1e6:>9.2f} us {k.gflops:>8.1f} GFLOP/s {k.gbytes:>7.1f} GB/s "
            f"{k.percent:>5.0f} %"
            for k in self.kernels
        ]
        return "\n".join([head, *rows])


def profile_of(program: Program, arguments: Sequence[Array], repeats: int) -> Profile:
    """Time the kernels of a program on copies of these arguments.

    Args:
        repeats: runs of each kernel.

    Raises:
        ConfigError: there are none.
    """
    if repeats < 1:
        raise ConfigError(f"profile: repeats={repeats!r}; a median needs at least one run.")
    apart = Program(program.graph, program.updates, apart=True)
    own = [np.array(x) for x in arguments]
    times: list[list[float]] = [[] for _ in apart.arranged.steps]
    for _ in range(repeats):
        state = apart.start(own)
        for spent, run in zip(times, apart.runs, strict=True):
            begin = time.perf_counter()
            run(state)
            spent.append(time.perf_counter() - begin)
    peak = measured_peak(config.num_threads())
    plans = plan_of(apart).kernels
    medians = [statistics.median(spent) for spent in times]
    kernels = [_kernel(p, s, peak) for p, s in zip(plans, medians, strict=True)]
    return Profile(tuple(kernels), sum(medians), peak)


def _kernel(plan: KernelPlan, seconds: float, peak: Peak) -> KernelProfile:
    kind = "float64" if "float64" in plan.text else "float32"
    share = plan.bytes / peak.bandwidth
    if plan.kind == "product":
        share = plan.flops / peak.flops[kind]
    return KernelProfile(plan, seconds, 100.0 * share / seconds)
