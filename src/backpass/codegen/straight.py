"""Long scalar programs as a chain of functions of a few hundred operations each.

A kernel without axes is one block of straight code, for which LLVM's instruction selection,
schedulers and register allocation take more than linear time. So it is cut into pieces, each a
function of its own. What a piece makes and a later one reads lies in the piece's frame, a part of
the kernel's scratch memory: the register allocator would have put most of it there anyway. A
function knows frames by its parameters, so pieces that do the same on other frames share one; and
cuts are made where the code says, not after so many operations: in the equal steps of a simulation
they fall on equal places. Elementary functions that occur often are called, not written out.

Invariant: the operations and their order are those of the kernel.
"""

from __future__ import annotations

import zlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import TypeGuard

from backpass.codegen import elementary
from backpass.codegen.access import stored_type
from backpass.codegen.loopnest import emit_loops
from backpass.codegen.nest import access_of
from backpass.codegen.text import DType, Module
from backpass.codegen.workspace import Workspace, aligned
from backpass.loops import Access, Buffer, Indexed, Kernel, LoopKernel, Op, Space, Stage

LONG = 400  # operations from which a kernel is cut
LEAST, MOST = 100, 500  # operations of a piece
NEAR = 8  # operations that decide whether a piece ends with the last of them
OFTEN = 8  # elementary functions of a kernel from which they are called

CALLED = frozenset(
    {*elementary.NATIVE_1, *elementary.WIDE_1, *elementary.NATIVE_2, *elementary.WIDE_2}
    | {"power", "remainder", "fmod", "floor_divide", "nextafter", "spacing"}
)
_ACCESSES = ("load", "load_at", "store")
_MASK = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class Frame:
    """The kept values of one dtype of one piece."""

    piece: int
    dtype: DType


Place = int | Frame  # a buffer of the kernel, or a frame


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a kernel as a kernel of its own, and what each of its buffers is."""

    kernel: LoopKernel
    places: tuple[Place, ...]


def is_straight(kernel: Kernel) -> TypeGuard[LoopKernel]:
    """Whether a kernel is one run of scalar operations, in memory that the caller gives."""
    if not isinstance(kernel, LoopKernel):
        return False
    plain = not kernel.extents and len(kernel.stages) == 1 and not kernel.stages[0].loops
    return plain and all([b.space is Space.MEMORY for b in kernel.buffers])


def is_long(kernel: Kernel) -> bool:
    """Whether a kernel is straight and will be cut."""
    return is_straight(kernel) and len(kernel.stages[0].ops) >= LONG


def emit_straight(module: Module, kernel: LoopKernel, name: str) -> Workspace:
    """Add the function `name` of a straight kernel to a module; the scratch that it needs."""
    ops = kernel.stages[0].ops
    often = len([op for op in ops if op.code in CALLED]) >= OFTEN
    calls = CALLED if often else frozenset[str]()
    if not is_long(kernel):
        return emit_loops(module, kernel, name, calls=calls)
    pieces, sizes = cut_straight(kernel)
    known = "ptr %team, i64 %tid, i64 %n, ptr %scratch, ptr %status"
    own = "".join([f", ptr %b{i}" for i in range(len(kernel.buffers))])
    lines = [f"define void @{name}({known}{own}) #0 {{"]
    pointers: dict[Place, str] = {i: f"%b{i}" for i in range(len(kernel.buffers))}
    used = 0
    for i, (frame, count) in enumerate(sizes.items()):
        pointers[frame] = f"%f{i}"
        lines.append(f"  %f{i} = getelementptr i8, ptr %scratch, i64 {used}")
        used += count * stored_type(frame.dtype).itemsize
        used = -(-used // 8) * 8
    functions: dict[Hashable, str] = {}
    for piece in pieces:
        key = _key(piece.kernel)
        if key not in functions:
            functions[key] = f"{name}.{len(functions)}"
            emit_loops(module, piece.kernel, functions[key], linkage="internal ", calls=calls)
        given = "".join([f", ptr {pointers[p]}" for p in piece.places])
        lines.append(f"  call void @{functions[key]}({known}{given})")
    module.functions.append("\n".join([*lines, "  ret void", "}"]))
    return Workspace(0, aligned(used))


def cut_straight(kernel: LoopKernel) -> tuple[list[Piece], dict[Frame, int]]:
    """The pieces of a kernel, and how many values each frame holds.

    Constants are made again where they are needed. Before, with the cut at `|`:
    `%1 = load b0; %2 = sin(%1) | %3 = add(%2, %1); store b1 %3`.
    After: `%1 = load b0; store f0[0] %1; %2 = sin(%1); store f0[1] %2` and
    `%1 = load f0[1]; %2 = load f0[0]; %3 = add(%1, %2); store b1 %3`.
    """
    ops = kernel.stages[0].ops
    numbers = [n for n, op in enumerate(ops) if op.code != "const"]
    parts = _parts(ops, numbers)
    frames = _Frames(ops, parts)
    return [_Writer(kernel, frames, part).piece() for part in parts], frames.sizes


def _parts(ops: Sequence[Op], numbers: Sequence[int]) -> list[Sequence[int]]:
    """The numbers cut where a hash of the operations before is least, within MOST operations."""
    codes: dict[tuple[str, DType], int] = {}
    recent: list[int] = []
    hashes: list[int] = []
    for n in numbers:
        kind = ops[n].code, ops[n].dtype
        if kind not in codes:
            codes[kind] = zlib.crc32(f"{kind[0]} {kind[1].name}".encode())
        recent = [*recent[1 - NEAR :], codes[kind]]
        total = 0
        for code in recent:
            total = (total * 0x9E3779B1 + code) & _MASK
        hashes.append(total ^ total >> 15)
    parts: list[Sequence[int]] = []
    first = 0
    while len(numbers) - first > MOST:
        window = hashes[first + LEAST : first + MOST]
        end = first + LEAST + window.index(min(window)) + 1
        parts.append(numbers[first:end])
        first = end
    return [*parts, numbers[first:]]


class _Frames:
    """Which values are kept for later pieces, and where."""

    def __init__(self, ops: Sequence[Op], parts: Sequence[Sequence[int]]) -> None:
        self.piece_of = {n: p for p, part in enumerate(parts) for n in part}
        self.sizes: dict[Frame, int] = {}
        self.place: dict[int, tuple[Frame, int]] = {}
        kept: set[int] = set()
        for n, p in self.piece_of.items():
            kept.update([a for a in ops[n].args if self.piece_of.get(a, p) != p])
        for n in sorted(kept):
            frame = Frame(self.piece_of[n], ops[n].dtype)
            self.place[n] = frame, self.sizes.get(frame, 0)
            self.sizes[frame] = self.place[n][1] + 1


class _Writer:
    """One piece: what it reads from earlier ones is loaded at its first use."""

    def __init__(self, kernel: LoopKernel, frames: _Frames, part: Sequence[int]) -> None:
        self.kernel, self.frames, self.part = kernel, frames, part
        self.ops: list[Op] = []
        self.values: dict[int, int] = {}
        self.places: dict[Place, int] = {}
        self.buffers: list[Buffer] = []

    def piece(self) -> Piece:
        """The piece."""
        ops = self.kernel.stages[0].ops
        for n in self.part:
            for a in ops[n].args:
                if a not in self.values:
                    self.values[a] = self._add(self._known(ops[a], a))
            args = tuple([self.values[a] for a in ops[n].args])
            self.values[n] = self._add(self._own(ops[n], args))
            if n in self.frames.place:
                frame, at = self.frames.place[n]
                access = self._access(frame, at, written=True)
                self._add(Op("store", (self.values[n],), ops[n].dtype, access))
        stage = Stage(False, tuple(self.ops))
        kernel = replace(self.kernel, buffers=tuple(self.buffers), stages=(stage,))
        return Piece(kernel, tuple(self.places))

    def _add(self, op: Op) -> int:
        self.ops.append(op)
        return len(self.ops) - 1

    def _known(self, op: Op, number: int) -> Op:
        if op.code == "const":
            return op
        return Op("load", (), op.dtype, self._access(*self.frames.place[number]))

    def _own(self, op: Op, args: tuple[int, ...]) -> Op:
        if op.code not in _ACCESSES:
            return op if args == op.args else Op(op.code, args, op.dtype, op.param)
        old = access_of(op)
        if old.buffer not in self.places:
            self.places[old.buffer] = len(self.buffers)
            self.buffers.append(self.kernel.buffers[old.buffer])
        access = replace(old, buffer=self.places[old.buffer])
        param = replace(op.param, access=access) if isinstance(op.param, Indexed) else access
        return Op(op.code, args, op.dtype, param)

    def _access(self, frame: Frame, at: int, *, written: bool = False) -> Access:
        """A place in a frame, of which the piece knows what it touches."""
        if frame not in self.places:
            self.places[frame] = len(self.buffers)
            self.buffers.append(Buffer(frame.dtype, 0))
        number = self.places[frame]
        old = self.buffers[number]
        size = max(old.size, at + 1)
        self.buffers[number] = replace(old, size=size, written=old.written or written)
        return Access(number, at, ())


def _key(kernel: LoopKernel) -> Hashable:
    """Equal for two pieces that one function may do; constants by their text: 0.0 is not -0.0."""
    ops = kernel.stages[0].ops
    return kernel.buffers, tuple(
        [(op.code, op.args, op.dtype, op.param, str(op.param) * (op.code == "const")) for op in ops]
    )
