"""The limits of a run of the benchmarks: what the machine can do, for data of each cache's size.

The loops are those of `backpass.codegen.limits`; here they run over data that fill half of L2, half
of L3, and four times L3.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.machine import cache_bytes

from backpass.codegen.limits import ARRAYS, FLOAT_BYTES, bandwidth, fma_peak


@dataclass(frozen=True, slots=True)
class Limits:
    """FLOP and bytes a second for a number of threads.

    Args:
        threads: how many.
        fma: by dtype.
        bandwidth: by level (L2, L3, memory) and loop (copy, triad, sum).
        capacity: bytes of the caches L2 (of all threads together) and L3.
    """

    threads: int
    fma: dict[str, float]
    bandwidth: dict[str, dict[str, float]]
    capacity: dict[str, int]

    def level_of(self, size: float) -> str:
        """The first level whose cache holds `size` bytes."""
        for level in ("L2", "L3"):
            if size <= self.capacity.get(level, 0):
                return level
        return "memory"

    def seconds(self, dtype: str, flops: float | None, size: float) -> tuple[float, str] | None:
        """The least time of a step and what sets it; None without a count of FLOP."""
        if flops is None:
            return None
        level = self.level_of(size)
        arithmetic = flops / self.fma[dtype]
        traffic = size / max(self.bandwidth[level].values())
        return (arithmetic, "FMA") if arithmetic >= traffic else (traffic, f"{level} bandwidth")


def measure(threads: int, seconds: float = 0.7) -> Limits:
    """All limits for a number of threads; each is looked for so many seconds."""
    caches = cache_bytes()
    l2, l3 = caches.get("L2", 2**20), caches.get("L3", 2**25)
    sizes = {"L2": l2 * threads // 2, "L3": l3 // 2, "memory": 4 * l3}
    return Limits(
        threads=threads,
        fma={dtype: fma_peak(dtype, threads, seconds) for dtype in FLOAT_BYTES},
        bandwidth={
            level: {what: bandwidth(what, size, threads, seconds) for what in ARRAYS}
            for level, size in sizes.items()
        },
        capacity={"L2": l2 * threads, "L3": l3},
    )
