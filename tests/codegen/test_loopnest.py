"""Emitted loop kernels against the oracle, bit for bit, on any number of threads."""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, given, settings
from tests.codegen.native import NativeKernel, guarded
from tests.loops.random_kernels import REFERENCES, loop_kernels, map_kernels

from backpass.codegen.loopnest import emit_loops
from backpass.loops import LoopKernel, interpret, show

Case = tuple[LoopKernel, list[np.ndarray]]


def check_kernel(case: Case, cpu: str | None = None) -> None:
    """The oracle's bytes and status, for 1, 2 and 3 threads."""
    kernel, arrays = case
    expected = [a.copy() for a in arrays]
    status = interpret(kernel, expected, REFERENCES)
    native = NativeKernel(kernel, emit_loops, cpu)
    for n in (1, 2, 3) if kernel.schedule.parallel else (1,):
        found = [guarded(a) for a in arrays]
        assert native(found, n) == status
        for k, (a, b) in enumerate(zip(found, expected, strict=True)):
            same = a.view(np.uint8) == b.view(np.uint8)
            assert same.all(), f"array {k}, {n} threads\n{show(kernel)}\n{a}\n{b}"


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(loop_kernels())
def test_random_kernels_equal_the_oracle(case: Case) -> None:
    check_kernel(case)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(map_kernels())
def test_random_maps_equal_the_oracle(case: Case) -> None:
    check_kernel(case)
