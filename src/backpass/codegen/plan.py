"""Plan: what a program will do, before it runs: its kernels, its memory, its arithmetic.

Counted from the kernels as they are: a product counts two operations a multiply-add, an elementwise
operation one. Bytes are those of the arrays that a kernel reads and writes, each once, so what
stays in a cache between kernels counts again. Of an array that is read or changed at indices they
are those of as many rows as there are indices, at most.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from backpass.codegen.arrange import Step
from backpass.codegen.lower.elements import Key
from backpass.codegen.lower.lower import Call
from backpass.codegen.lower.schedule import Bound
from backpass.codegen.phases import is_parallel
from backpass.codegen.program import Program
from backpass.ir import Value, show
from backpass.loops import Gemm, LoopKernel, Op, ScatterAdd, Space
from backpass.loops.change import change_of
from backpass.loops.show import show as show_kernel

_NO_WORK = frozenset({"load", "load_at", "store", "const", "index", "wrap", "acc", "cast"})


@dataclass(frozen=True, slots=True)
class KernelPlan:
    """One step of a program.

    Attributes:
        name: its name in this program; equal kernels share machine code (`function`).
        kind: "product", "loops", "scatter" or "reference" (a call of NumPy or SciPy).
        shape: of its domain; a product's is (batch, rows, columns, depth).
        flops: floating-point operations.
        bytes: bytes of what it reads and writes.
        parallel: whether threads share it.
        text: the kernel itself.
    """

    name: str
    kind: str
    function: str
    shape: tuple[int, ...]
    flops: int
    bytes: int
    parallel: bool
    text: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What one call of a jitted function does.

    Attributes:
        peak_bytes: memory that a call needs besides its arguments: arena, results, constants. Of
            results of 64 KiB and more a program may keep one set more, up to 64 MiB, to return it
            again (see `results`).
        arena_bytes, result_bytes, constant_bytes: its parts.
        flops, bytes: sums over the kernels.
        kernels: in the order in which they run.
        before, after: the graph as traced and simplified, and as it was lowered, as text.
    """

    peak_bytes: int
    arena_bytes: int
    result_bytes: int
    constant_bytes: int
    flops: int
    bytes: int
    kernels: tuple[KernelPlan, ...]
    before: str
    after: str

    def __str__(self) -> str:
        rows = [
            f"{len(self.kernels)} kernels, {_count(self.flops)}FLOP, {_count(self.bytes)}B moved",
            f"memory: {self.peak_bytes:,} bytes (arena {self.arena_bytes:,}, results "
            f"{self.result_bytes:,}, constants {self.constant_bytes:,})",
        ]
        for k in self.kernels:
            threads = "threads" if k.parallel else ""
            rows.append(
                f"  {k.name:<8} {k.kind:<10} {'x'.join(map(str, k.shape)) or 'scalar':<22} "
                f"{_count(k.flops):>8}FLOP {_count(k.bytes):>8}B  {threads}".rstrip()
            )
        return "\n".join(rows)


def plan_of(program: Program) -> Plan:
    """The plan of a program."""
    kernels = tuple([_kernel_plan(step, program) for step in program.arranged.steps])
    arena = program.assembly.arena.size
    results = sum([t.nbytes for t in program.result_types])
    constants = sum([a.nbytes for a in program.constants])
    return Plan(
        arena + results + constants,
        arena,
        results,
        constants,
        sum([k.flops for k in kernels]),
        sum([k.bytes for k in kernels]),
        kernels,
        show(program.graph),
        show(program.lowered.graph),
    )


def _kernel_plan(step: Step, program: Program) -> KernelPlan:
    if isinstance(step, Call):
        node = step.node
        types = [*[v.type for v in node.inputs], *node.types]
        moved = sum([t.nbytes for t in types])
        text = f"{node.primitive.name}({', '.join([str(v.type) for v in node.inputs])})"
        shape = node.types[0].shape
        return KernelPlan(node.primitive.name, "reference", "", shape, 0, moved, False, text)
    kernel = step.kernel
    moved = _moved(step, program.arranged.in_place)
    function, text = program.assembly.names[kernel.name], show_kernel(kernel)
    if isinstance(kernel, Gemm):
        shape = (kernel.batch, kernel.rows, kernel.columns, kernel.depth)
        flops = 2 * prod(shape) + prod(shape[:3]) * _operations(kernel.epilogue)
        kind = "product"
    elif isinstance(kernel, LoopKernel):
        shape, flops = kernel.extents, 0
        rows = prod(shape[: kernel.outer])
        for stage in kernel.stages:
            flops += (prod(shape) if stage.loops else rows) * _operations(stage.ops)
        kind = "loops"
    else:
        shape = (kernel.count, kernel.width)
        flops = prod(shape) * (1 + _operations(kernel.epilogue))
        kind = "scatter"
    return KernelPlan(kernel.name, kind, function, shape, flops, moved, is_parallel(step), text)


def _moved(step: Bound, in_place: Mapping[Key, Value]) -> int:
    """The bytes that a kernel reads and writes."""
    kernel = step.kernel
    most: dict[int, int] = {}  # of a buffer: the elements that are read at indices at most
    ops: list[Op] = []
    if isinstance(kernel, LoopKernel):
        ops = list(kernel.ops)
    elif isinstance(kernel, ScatterAdd) and (change := change_of(kernel)) is not None:
        source = kernel.epilogue[change.kept].param.buffer
        keys = dict(step.memory())
        if in_place.get(keys[kernel.out]) is keys[source]:
            most = dict.fromkeys((source, kernel.out), kernel.count * kernel.width)
    plain = {op.param.buffer for op in ops if op.code in ("load", "store")}
    for op in ops:
        if op.code == "load_at" and isinstance(kernel, LoopKernel):
            most[op.param.access.buffer] = prod(kernel.extents)
    total = 0
    for i, b in enumerate(kernel.buffers):
        if b.space is Space.MEMORY:
            size = b.size if i in plain else min(b.size, most.get(i, b.size))
            total += size * b.dtype.itemsize
    return total


def _operations(ops: tuple[Op, ...]) -> int:
    return len([op for op in ops if op.code not in _NO_WORK and op.dtype.kind == "f"])


def _count(n: float) -> str:
    for unit in ("", "K", "M", "G"):
        if n < 1000:
            return f"{n:.3g} {unit}"
        n /= 1000
    return f"{n:.3g} T"
