"""Products as machine code, in percent of the FMA peak that a loop of nothing else reaches here.

Run from the repository's root: `python -m benchmarks.bench_gemm [quick]`. Each figure is the
least time of many short samples, taken inside native code, so that a busy machine disturbs little;
the peak, NumPy's time and ours are measured one after the other. Percentages above 100 are noise.
"""

from __future__ import annotations

import ctypes
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from tests.codegen.native import NativeKernel

from backpass.codegen.gemm import emit_gemm
from backpass.codegen.gemm_choice import plan_gemm
from backpass.codegen.machine import host
from backpass.codegen.text import Module
from backpass.codegen.workspace import Workspace
from backpass.loops import Access, Buffer, Gemm, Op

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)
# rows, columns, depth: layers of 784-512-512-10 at batch 128, of 1024 at batch 512, of 16-32-32-3
TRAINING = [(128, 512, 784), (784, 512, 128), (128, 512, 512), (512, 512, 128)]
NARROW = [(128, 10, 512), (512, 10, 128), (8192, 64, 64), (64, 64, 8192)]
LARGE = [(512, 1024, 1024), (1024, 1024, 512)]
TINY = [(32, 32, 16), (32, 32, 32), (16, 32, 32), (32, 3, 32), (3, 32, 32)]

# Thread 0 keeps the least time of `calls` calls, all threads having come before and after.
DRIVER = """
declare i32 @clock_gettime(i32, ptr)
define i64 @now(i32 %clock) #0 {
  %t = alloca [2 x i64]
  call i32 @clock_gettime(i32 %clock, ptr %t)
  %s = load i64, ptr %t
  %p = getelementptr i64, ptr %t, i64 1
  %ns = load i64, ptr %p
  %b = mul i64 %s, 1000000000
  %r = add i64 %b, %ns
  ret i64 %r
}
define i64 @least(ptr %team, i64 %tid, i64 %n, ptr %scratch, ptr %status, ptr %b0, ptr %b1,
                  ptr %b2, i64 %samples, i64 %calls) #0 {
entry:
  br label %sample
sample:
  %i = phi i64 [ 0, %entry ], [ %i1, %end ]
  %best = phi i64 [ 1000000000000, %entry ], [ %better, %end ]
  call void @bp_barrier(ptr %team, i64 %n)
  %from = call i64 @now(i32 CLOCK)
  br label %call
call:
  %j = phi i64 [ 0, %sample ], [ %j1, %call ]
  call void @kernel(ptr %team, i64 %tid, i64 %n, ptr %scratch, ptr %status,
                    ptr %b0, ptr %b1, ptr %b2)
  call void @bp_barrier(ptr %team, i64 %n)
  %j1 = add i64 %j, 1
  %more = icmp slt i64 %j1, %calls
  br i1 %more, label %call, label %end
end:
  %to = call i64 @now(i32 CLOCK)
  %t = sub i64 %to, %from
  %less = icmp slt i64 %t, %best
  %better = select i1 %less, i64 %t, i64 %best
  %i1 = add i64 %i, 1
  %again = icmp slt i64 %i1, %samples
  br i1 %again, label %sample, label %out
out:
  ret i64 %better
}
"""
PEAK_LOOPS = 40000


def peak_text(dtype: np.dtype[Any], lanes: int) -> str:
    """`peak`: the least nanoseconds of PEAK_LOOPS rounds of 12 independent FMAs."""
    vector = f"<{lanes} x {'float' if dtype == F32 else 'double'}>"
    name = f"@llvm.fma.v{lanes}f{dtype.itemsize * 8}"
    phis = [f"  %a{k} = phi {vector} [ %v, %sample ], [ %n{k}, %loop ]" for k in range(12)]
    fmas = [
        f"  %n{k} = call {vector} {name}({vector} %a{k}, {vector} %v, {vector} %v)"
        for k in range(12)
    ]
    sums = [f"  %s{k} = fadd {vector} %s{k - 1}, %n{k}" for k in range(1, 12)]
    return "\n".join(
        [
            "define i64 @peak(i64 %samples, ptr %values) #0 {\nentry:",
            f"  %v = load {vector}, ptr %values, align 4",
            "  br label %sample\nsample:\n  %i = phi i64 [ 0, %entry ], [ %i1, %end ]",
            "  %best = phi i64 [ 1000000000000, %entry ], [ %better, %end ]",
            "  %from = call i64 @now(i32 1)\n  br label %loop\nloop:",
            "  %j = phi i64 [ 0, %sample ], [ %j1, %loop ]",
            *phis,
            *fmas,
            f"  %j1 = add i64 %j, 1\n  %more = icmp slt i64 %j1, {PEAK_LOOPS}",
            "  br i1 %more, label %loop, label %end\nend:\n  %to = call i64 @now(i32 1)",
            f"  %s0 = fadd {vector} %n0, %n0",
            *sums,
            f"  store {vector} %s11, ptr %values, align 4\n  %t = sub i64 %to, %from",
            "  %less = icmp slt i64 %t, %best\n  %better = select i1 %less, i64 %t, i64 %best",
            "  %i1 = add i64 %i, 1\n  %again = icmp slt i64 %i1, %samples",
            "  br i1 %again, label %sample, label %out\nout:\n  ret i64 %better\n}",
        ]
    )


def product(m: int, n: int, k: int, case: str, dtype: np.dtype[Any], parallel: bool) -> Gemm:
    """c = x @ y of dense arrays; case "TN" means that x is stored transposed and y is not."""
    xs = (k, 1) if case[0] == "N" else (1, m)
    ys = (1, n) if case[1] == "N" else (k, 1)
    buffers = Buffer(dtype, m * k), Buffer(dtype, k * n), Buffer(dtype, m * n, written=True)
    store = Op("store", (0,), dtype, Access(2, 0, (0, n, 1)))
    x, y = Access(0, 0, (0, xs[0], 0, xs[1])), Access(1, 0, (0, 0, *ys))
    return Gemm(
        "product", buffers, 1, m, n, k, dtype, x, y, (Op("acc", (), dtype), store), parallel
    )


def _emit(module: Module, gemm: Gemm, name: str) -> Workspace:
    return emit_gemm(module, gemm, name, host())


def _emit_all(lanes: int, module: Module, gemm: Gemm, name: str) -> Workspace:
    work = _emit(module, gemm, name)
    vector = f"<{lanes} x {'float' if gemm.dtype == F32 else 'double'}>"
    fma = f"@llvm.fma.v{lanes}f{gemm.dtype.itemsize * 8}"
    module.declare(f"declare {vector} {fma}({vector}, {vector}, {vector})")
    # Products that take longer than a time slice: the time of the thread itself, if it is alone.
    clock = "3" if not gemm.parallel and gemm.rows * gemm.columns * gemm.depth > 1e8 else "1"
    module.functions += [DRIVER.replace("CLOCK", clock), peak_text(gemm.dtype, lanes)]
    return work


def _cpu_time(function: Callable[[], object]) -> float:
    start = time.thread_time()
    function()
    return time.thread_time() - start


def measure(gemm: Gemm, n: int, samples: int) -> tuple[float, float, float, float]:
    """Seconds of a call, FLOP/s of the peak of one core, and milliseconds to emit and compile."""
    lanes = host().vector_bytes // gemm.dtype.itemsize
    emitting = _cpu_time(lambda: emit_gemm(Module(), gemm, "kernel", host()))
    compiling = _cpu_time(lambda: NativeKernel(gemm, _emit)) - emitting
    kernel = NativeKernel(gemm, partial(_emit_all, lanes))
    engine, work = kernel.engine, kernel.workspace
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(buffer.size).astype(gemm.dtype) for buffer in gemm.buffers]
    scratch = np.zeros(work.size(n) + 64, np.uint8)
    base = scratch.ctypes.data + -scratch.ctypes.data % 64
    team, status = np.zeros(64, np.int64), np.zeros(1, np.int64)
    kinds = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, *[ctypes.c_void_p] * 5]
    kinds += [ctypes.c_int64] * 2
    least = ctypes.CFUNCTYPE(ctypes.c_int64, *kinds)(engine.get_function_address("least"))
    flops = 2.0 * gemm.rows * gemm.columns * gemm.depth
    calls = max(1, int(2e7 / flops))
    found: list[int] = []

    def one(tid: int) -> None:
        pointers = [array.ctypes.data for array in arrays]
        ns = least(team.ctypes.data, tid, n, base, status.ctypes.data, *pointers, samples, calls)
        if tid == 0:
            found.append(ns)

    threads = [threading.Thread(target=one, args=(tid,)) for tid in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    address = engine.get_function_address("peak")
    peak = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)(address)
    values = np.full(lanes, 1e-3, gemm.dtype)
    peak_ns = peak(60, values.ctypes.data)
    top = 12 * PEAK_LOOPS * 2 * lanes / (peak_ns * 1e-9)
    return found[0] * 1e-9 / calls, top, emitting * 1e3, compiling * 1e3


def numpy_time(gemm: Gemm, case: str) -> float:
    """Seconds of NumPy's matmul on as many threads as it takes by itself."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((gemm.rows, gemm.depth)).astype(gemm.dtype)
    y = rng.standard_normal((gemm.depth, gemm.columns)).astype(gemm.dtype)
    x = x if case[0] == "N" else np.ascontiguousarray(x.T).T
    y = y if case[1] == "N" else np.ascontiguousarray(y.T).T
    best = np.inf
    for _ in range(15):
        start = time.perf_counter()
        np.matmul(x, y)
        best = min(best, time.perf_counter() - start)
    return best


def report(shape: tuple[int, int, int], case: str, dtype: np.dtype[Any], n: int) -> None:
    """One line of the table."""
    gemm = product(*shape, case, dtype, n > 1)
    flops = 2.0 * gemm.rows * gemm.columns * gemm.depth
    samples = max(5, min(400, int(4e9 / flops)))
    seconds, top, emitting, compiling = measure(gemm, n, samples)
    other = numpy_time(gemm, case)
    size = "x".join(map(str, shape))
    print(
        f"{size:>15} {case} {dtype.name} {n} thread{'s' * (n > 1)}: {seconds * 1e6:9.2f} us "
        f"{flops / seconds / 1e9:6.1f} GFLOP/s {flops / seconds / top / n * 100:5.1f} % of peak, "
        f"NumPy x {other / seconds:4.1f}, emit {emitting:3.0f} compile {compiling:3.0f} ms; "
        f"{str(plan_gemm(gemm, host())).split('; ', 1)[1]}",
        flush=True,
    )


def main() -> None:
    """All tables, or with `quick` the products of the training steps in float32 alone."""
    quick = "quick" in sys.argv[1:]
    cases = ("NN", "NT", "TN") if quick else ("NN", "NT", "TN", "TT")
    for n in (1, 2):
        for shape in TRAINING + LARGE + ([] if n > 1 else NARROW + TINY):
            for case in cases:
                report(shape, case, F32, n)
    if not quick:
        for shape in [*TRAINING, (512, 1024, 1024), *TINY, (100_000, 50, 50), (50, 50, 100_000)]:
            for case in ("NN", "NT", "TN"):
                report(shape, case, F64, 1)


if __name__ == "__main__":
    main()
