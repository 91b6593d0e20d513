"""What the machine can do at most, measured: multiply-adds a second, bytes a second.

Loops in LLVM text, on one core and on all (Python threads in native calls, which release the
interpreter's lock). FMA: 12 independent accumulators of the widest vectors, and of half their
width, the better of both counts. Bytes: copy (8 bytes read, 8 written), triad a = b + s * c (16 and
8; McCalpin's STREAM, whose way of counting this is: what a store fetches is not counted) and a sum
(8 read). `profile.py` and the benchmarks hold kernels against them.
"""

from __future__ import annotations

import ctypes
import functools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from backpass.codegen import engine
from backpass.codegen.machine import host
from backpass.ir.graph import Array

ACCUMULATORS = 12
ITERATIONS = 100_000
REPEATS = 12  # of a measurement, at least
FLOAT_BYTES = {"float32": 4, "float64": 8}
LLVM_TYPE = {"float32": "float", "float64": "double"}
LANES, UNROLL = 8, 4  # of the loops over memory: 8 doubles a vector, 4 vectors an iteration
BLOCK = LANES * UNROLL
# How many arrays a loop touches, and how many of them count towards its bytes.
ARRAYS = {"copy": 2, "triad": 3, "sum": 1}


def fma_text(dtype: str, width: int) -> str:
    """@fma(rounds, m, a, out): 12 chains of x = x * 0.9 + 0.1 in vectors of `width` bytes."""
    kind, lanes = LLVM_TYPE[dtype], width // FLOAT_BYTES[dtype]
    vector, name = f"<{lanes} x {kind}>", f"llvm.fma.v{lanes}f{8 * FLOAT_BYTES[dtype]}"
    out = [f"declare {vector} @{name}({vector}, {vector}, {vector})"]
    out.append(f"define void @fma(i64 %rounds, {kind} %m, {kind} %a, ptr %out) {{\nentry:")
    for letter in "ma":
        out.append(f"%{letter}0 = insertelement {vector} poison, {kind} %{letter}, i32 0")
        out.append(
            f"%{letter}v = shufflevector {vector} %{letter}0, {vector} poison, "
            f"<{lanes} x i32> zeroinitializer"
        )
    out.append("br label %loop\nloop:\n%i = phi i64 [0, %entry], [%next, %loop]")
    chains = range(ACCUMULATORS)
    out += [f"%x{c} = phi {vector} [zeroinitializer, %entry], [%y{c}, %loop]" for c in chains]
    for c in chains:
        out.append(f"%y{c} = call {vector} @{name}({vector} %x{c}, {vector} %mv, {vector} %av)")
    out.append("%next = add i64 %i, 1\n%more = icmp ult i64 %next, %rounds")
    out.append("br i1 %more, label %loop, label %done\ndone:")
    for c in chains:
        out.append(f"%p{c} = getelementptr {vector}, ptr %out, i64 {c}")
        out.append(f"store {vector} %y{c}, ptr %p{c}, align 64")
    return "\n".join([*out, "ret void\n}\n"])


def memory_text(what: str) -> str:
    """@copy, @triad or @sum(rounds, n, a, b, c): passes over n doubles, a multiple of 32."""
    vector = f"<{LANES} x double>"
    out = [f"declare {vector} @llvm.fma.v{LANES}f64({vector}, {vector}, {vector})"]
    out.append(f"define void @{what}(i64 %rounds, i64 %n, ptr %a, ptr %b, ptr %c) {{")
    out.append("entry:\nbr label %outer\nouter:\n%r = phi i64 [0, %entry], [%again, %passed]")
    out.append("br label %loop\nloop:\n%i = phi i64 [0, %outer], [%next, %loop]")
    parts = range(UNROLL)
    if what == "sum":
        out += [f"%s{k} = phi {vector} [zeroinitializer, %outer], [%t{k}, %loop]" for k in parts]
    for k in parts:
        out.append(f"%o{k} = add i64 %i, {k * LANES}")
        out += [f"%{x}{k} = getelementptr double, ptr %{x}, i64 %o{k}" for x in "abc"]
        out.append(f"%x{k} = load {vector}, ptr %b{k}, align 64")
        out += _use(what, vector, k)
    out.append(f"%next = add i64 %i, {BLOCK}\n%more = icmp ult i64 %next, %n")
    out.append("br i1 %more, label %loop, label %passed\npassed:")
    if what == "sum":
        for k in parts:
            out.append(f"%q{k} = getelementptr {vector}, ptr %a, i64 {k}")
            out.append(f"store volatile {vector} %t{k}, ptr %q{k}, align 64")
    out.append("%again = add i64 %r, 1\n%yet = icmp ult i64 %again, %rounds")
    out.append("br i1 %yet, label %outer, label %done\ndone:")
    return "\n".join([*out, "ret void\n}\n"])


def _use(what: str, vector: str, k: int) -> list[str]:
    """What a loop does with vector %x{k}, read from b."""
    if what == "copy":
        return [f"store {vector} %x{k}, ptr %a{k}, align 64"]
    if what == "sum":
        return [f"%t{k} = fadd {vector} %s{k}, %x{k}"]
    scale = f"<{', '.join(['double 0.5'] * LANES)}>"
    fma = f"@llvm.fma.v{LANES}f64({vector} {scale}, {vector} %y{k}, {vector} %x{k})"
    return [
        f"%y{k} = load {vector}, ptr %c{k}, align 64",
        f"%z{k} = call {vector} {fma}",
        f"store {vector} %z{k}, ptr %a{k}, align 64",
    ]


class Native:
    """A function compiled from LLVM text for this machine; it lives as long as this object."""

    def __init__(self, text: str, name: str, *kinds: Any) -> None:
        self._library = engine.load(text.replace(") {\n", ") #0 {\n"), host())
        self.run: Callable[..., None] = ctypes.CFUNCTYPE(None, *kinds)(self._library.address(name))


def aligned(count: int) -> Array:
    """`count` doubles of 1.0 that start at a multiple of 64 bytes."""
    raw = np.ones(count + 8)
    start = (-raw.ctypes.data % 64) // 8
    return raw[start : start + count]


def fma_peak(dtype: str, threads: int, seconds: float) -> float:
    """FLOP a second of `threads` threads together (2 an FMA)."""
    best = 0.0
    for width in {host().vector_bytes, max(16, host().vector_bytes // 2)}:
        number = {"float32": ctypes.c_float, "float64": ctypes.c_double}[dtype]
        kinds = (ctypes.c_int64, number, number, ctypes.c_void_p)
        native = Native(fma_text(dtype, width), "fma", *kinds)
        outs = [aligned(ACCUMULATORS * 8) for _ in range(threads)]
        work = functools.partial(_run_fma, native, outs)
        flops = 2.0 * ACCUMULATORS * (width // FLOAT_BYTES[dtype]) * ITERATIONS * threads
        best = max(best, flops / fastest(work, threads, seconds))
    return best


def _run_fma(native: Native, outs: Sequence[Array], thread: int) -> None:
    native.run(ITERATIONS, 0.9, 0.1, outs[thread].ctypes.data)


def fastest(work: Callable[[int], None], threads: int, seconds: float) -> float:
    """The least seconds in which `threads` threads all did `work(thread)`.

    On a machine that others use too, all cores are free together for moments only: it looks for
    one for so many seconds.
    """
    best, end, repeats = float("inf"), time.perf_counter() + seconds, 0
    with ThreadPoolExecutor(threads) as pool:
        while repeats < REPEATS or time.perf_counter() < end:
            begin = time.perf_counter()
            if threads == 1:
                work(0)
            else:
                list(pool.map(work, range(threads)))
            best = min(best, time.perf_counter() - begin)
            repeats += 1
    return best


def bandwidth(what: str, total_bytes: int, threads: int, seconds: float) -> float:
    """Bytes a second of one of the loops over arrays of `total_bytes` together."""
    kinds = (ctypes.c_int64, ctypes.c_int64, *[ctypes.c_void_p] * 3)
    native = Native(memory_text(what), what, *kinds)
    share = max(BLOCK, total_bytes // (8 * ARRAYS[what] * threads) // BLOCK * BLOCK)
    arrays = [[aligned(share) for _ in range(ARRAYS[what])] for _ in range(threads)]
    sinks = [aligned(BLOCK) for _ in range(threads)]
    rounds = max(1, int(2e7 / (8 * share)))

    def work(t: int) -> None:
        touched = [sinks[t], *arrays[t]] if what == "sum" else arrays[t]
        a, b, c = [x.ctypes.data for x in (*touched, touched[-1])][:3]
        native.run(rounds, share, a, b, c)

    moved = 8.0 * ARRAYS[what] * share * threads * rounds
    return moved / fastest(work, threads, seconds)


@dataclass(frozen=True, slots=True)
class Peak:
    """What a number of threads can do together.

    Attributes:
        flops: floating-point operations a second by dtype, 2 a multiply-add.
        bandwidth: bytes a second of a copy through memory.
    """

    flops: dict[str, float]
    bandwidth: float


@functools.lru_cache(maxsize=8)
def measured_peak(threads: int, seconds: float = 0.1) -> Peak:
    """The peaks of this machine; each is looked for so many seconds, once in a process."""
    flops = {dtype: fma_peak(dtype, threads, seconds) for dtype in FLOAT_BYTES}
    return Peak(flops, bandwidth("copy", 4 * host().l3, threads, seconds))
