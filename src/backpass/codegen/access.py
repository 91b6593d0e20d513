"""Elements between memory and registers: whole vectors, parts of vectors, lane by lane.

A vector has LANES lanes of which the first `count` are alive; memory is touched for those alone.
The lanes of a unit stride are one vector instruction, masked where some are dead (with a constant
mask, so that machines without masks get a few scalar moves); a few elements apart, they are picked
from the runs that they lie in. Booleans are bytes in memory. The
masked intrinsics are written with their alignment as an argument, which every LLVM reads.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from backpass.codegen.blocks import branch
from backpass.codegen.text import BOOL, INT64, DType, Function, Reg, constant, llvm_type
from backpass.loops import Indexed

_BYTE = np.dtype(np.uint8)
_SUFFIX = {"half": "f16", "float": "f32", "double": "f64"}


def stored_type(dtype: DType) -> DType:
    """The dtype of an element in memory: a byte for a boolean."""
    return _BYTE if dtype == BOOL else dtype


def suffix(dtype: DType, width: int) -> str:
    """How the names of intrinsics spell a type: v16f32, i64."""
    element = llvm_type(stored_type(dtype) if dtype == BOOL else dtype)
    element = _SUFFIX.get(element, element)
    return element if width == 1 else f"v{width}{element}"


def mask_literal(alive: list[bool]) -> str:
    """A constant mask."""
    return "<" + ", ".join(f"i1 {'true' if a else 'false'}" for a in alive) + ">"


def offset_pointer(f: Function, dtype: DType, pointer: str, offset: Reg | int) -> str:
    """`pointer + offset` elements."""
    if isinstance(offset, int):
        if offset == 0:
            return pointer
        offset = constant(offset, INT64)
    element = llvm_type(stored_type(dtype))
    return f.let_raw(f"getelementptr {element}, ptr {pointer}, {offset}")


def splat(f: Function, x: Reg, width: int) -> Reg:
    """A scalar in every lane; a literal stays a literal."""
    if width == 1 or x.width == width:
        return x
    if not x.name.startswith("%"):
        return Reg(f"splat ({x})", x.dtype, width)
    one = f.let_raw(f"insertelement {llvm_type(x.dtype, width)} poison, {x}, i64 0", "s")
    kind = llvm_type(x.dtype, width)
    return f.let(
        f"shufflevector {kind} {one}, {kind} poison, <{width} x i32> zeroinitializer",
        x.dtype,
        width,
    )


def reverse(f: Function, x: Reg) -> Reg:
    """The lanes in the other order."""
    order = ", ".join(f"i32 {k}" for k in reversed(range(x.width)))
    return f.let(
        f"shufflevector {x}, {x.type} poison, <{x.width} x i32> <{order}>", x.dtype, x.width
    )


def from_memory(f: Function, x: Reg, dtype: DType) -> Reg:
    """What was loaded, as a register of a dtype: booleans become bits."""
    if dtype != BOOL:
        return x
    zero = "0" if x.width == 1 else "zeroinitializer"
    return f.let(f"icmp ne {x}, {zero}", BOOL, x.width)


def to_memory(f: Function, x: Reg) -> Reg:
    """A register as it is stored: booleans become bytes."""
    if x.dtype != BOOL:
        return x
    if not x.name.startswith("%"):
        return constant("true" in x.name, _BYTE, x.width)
    return f.let(f"zext {x} to {llvm_type(_BYTE, x.width)}", _BYTE, x.width)


def load_scalar(f: Function, dtype: DType, pointer: str) -> Reg:
    """One element."""
    kept = stored_type(dtype)
    x = f.let(f"load {llvm_type(kept)}, ptr {pointer}, align {kept.itemsize}", kept)
    return from_memory(f, x, dtype)


def store_scalar(f: Function, x: Reg, pointer: str) -> None:
    """One element."""
    x = to_memory(f, x)
    f.emit(f"store {x}, ptr {pointer}, align {x.dtype.itemsize}")


def load_vector(
    f: Function, dtype: DType, pointer: str, stride: int, width: int, count: int
) -> Reg:
    """`width` lanes, of which `count` are read, from elements `stride` apart; the rest are 0."""
    kept = stored_type(dtype)
    if stride == 0:
        return splat(f, load_scalar(f, dtype, pointer), width)
    if stride == 1:
        return from_memory(f, _load_run(f, kept, pointer, width, [True] * count), dtype)
    if stride == -1:
        low = offset_pointer(f, dtype, pointer, 1 - width)
        alive = [False] * (width - count) + [True] * count
        return from_memory(f, reverse(f, _load_run(f, kept, low, width, alive)), dtype)
    if _is_near(kept, stride):
        return from_memory(f, _load_near(f, kept, pointer, stride, width, count), dtype)
    lanes = "zeroinitializer"
    for k in range(count):
        element = offset_pointer(f, dtype, pointer, k * stride)
        x = f.let(f"load {llvm_type(kept)}, ptr {element}, align {kept.itemsize}", kept)
        lanes = f.let_raw(f"insertelement {llvm_type(kept, width)} {lanes}, {x}, i64 {k}", "v")
    return from_memory(f, Reg(lanes, kept, width), dtype)


def load_guarded(
    f: Function, dtype: DType, pointer: str, stride: int, guard: Reg, count: int
) -> Reg:
    """The lanes for which the guard holds, of the first `count`, `stride` apart; the rest are 0."""
    kept, width = stored_type(dtype), guard.width
    lane = f"<{width} x i1>"
    if width == 1:
        mask = f.let_raw(f"insertelement {lane} poison, {guard}, i64 0", "m")
    else:
        alive = mask_literal([k < count for k in range(width)])
        mask = guard.name if count >= width else f.let_raw(f"and {guard}, {alive}", "m")
    kind = f"<{width} x {llvm_type(kept)}>"
    suffixed = suffix(kept, width) if width > 1 else f"v1{suffix(kept, 1)}"
    if stride == 1 or width == 1:
        name = f"@llvm.masked.load.{suffixed}.p0"
        f.module.declare(f"declare {kind} {name}(ptr, i32, {lane}, {kind})")
        source = f"ptr {pointer}"
    else:
        places = lane_numbers(0, stride, width)
        source = f.let_raw(f"getelementptr {llvm_type(kept)}, ptr {pointer}, {places}", "p")
        name = f"@llvm.masked.gather.{suffixed}.v{width}p0"
        f.module.declare(f"declare {kind} {name}(<{width} x ptr>, i32, {lane}, {kind})")
        source = f"<{width} x ptr> {source}"
    call = (
        f"call {kind} {name}({source}, i32 {kept.itemsize}, {lane} {mask}, {kind} zeroinitializer)"
    )
    if width > 1:
        return from_memory(f, f.let(call, kept, width), dtype)
    vector = f.let_raw(call, "v")
    return from_memory(f, f.let(f"extractelement {kind} {vector}, i64 0", kept), dtype)


def store_vector(f: Function, x: Reg, pointer: str, stride: int, count: int) -> None:
    """The first `count` lanes, to elements `stride` apart."""
    dtype, width = x.dtype, x.width
    x = to_memory(f, x)
    if stride == 1:
        _store_run(f, x, pointer, [True] * count)
    elif stride == -1:
        low = offset_pointer(f, dtype, pointer, 1 - width)
        _store_run(f, reverse(f, x), low, [False] * (width - count) + [True] * count)
    elif _is_near(x.dtype, stride):
        _store_near(f, x, pointer, stride, count)
    else:
        for k in range(count):
            one = f.let(f"extractelement {x}, i64 {k}", x.dtype)
            element = offset_pointer(f, dtype, pointer, k * stride)
            f.emit(f"store {one}, ptr {element}, align {x.dtype.itemsize}")


def prefetch(f: Function, pointer: str, near: bool = False) -> None:
    """Ask for a line that will be read, `near` into the nearest cache; any address will do."""
    f.module.declare("declare void @llvm.prefetch.p0(ptr, i32, i32, i32)")
    f.emit(f"call void @llvm.prefetch.p0(ptr {pointer}, i32 0, i32 {3 if near else 1}, i32 1)")


def _is_near(dtype: DType, stride: int) -> bool:
    """Whether whole runs with the lanes in them are faster than lane by lane (measured, Zen 4)."""
    return abs(stride) <= 4 and dtype.itemsize <= 4


def _near_lanes(stride: int, count: int) -> tuple[int, list[int]]:
    """The lowest of some elements, and where each lane's element lies from there."""
    lowest = min(0, (count - 1) * stride)
    return lowest, [k * stride - lowest for k in range(count)]


def _load_near(f: Function, dtype: DType, pointer: str, stride: int, width: int, count: int) -> Reg:
    """Lanes a few elements apart: the whole run that they lie in, of which they are picked."""
    lowest, places = _near_lanes(stride, count)
    pointer = offset_pointer(f, dtype, pointer, lowest)
    found = constant(0, dtype, width)
    for first in range(0, max(places) + 1, width):
        alive = [True] * min(width, max(places) + 1 - first)
        place = offset_pointer(f, dtype, pointer, first)
        run = _load_run(f, dtype, place, width, alive)
        lanes = list(range(width))
        for k, at in enumerate(places):
            if first <= at < first + width:
                lanes[k] = width + at - first
        found = shuffled(f, found, run, lanes)
    return found


def _store_near(f: Function, x: Reg, pointer: str, stride: int, count: int) -> None:
    """Lanes a few elements apart: spread out, and stored under a mask."""
    lowest, places = _near_lanes(stride, count)
    pointer = offset_pointer(f, x.dtype, pointer, lowest)
    for first in range(0, max(places) + 1, x.width):
        lanes, alive = [0] * x.width, [False] * x.width
        for k, at in enumerate(places):
            if first <= at < first + x.width:
                lanes[at - first], alive[at - first] = k, True
        spread = shuffled(f, x, x, lanes)
        _store_run(f, spread, offset_pointer(f, x.dtype, pointer, first), alive)


def shuffled(f: Function, a: Reg, b: Reg, lanes: Sequence[int]) -> Reg:
    """Lanes of a, and of b from a.width on."""
    order = ", ".join(f"i32 {k}" for k in lanes)
    count = len(lanes)
    return f.let(f"shufflevector {a}, {b}, <{count} x i32> <{order}>", a.dtype, count)


def _load_run(f: Function, dtype: DType, pointer: str, width: int, alive: list[bool]) -> Reg:
    kind = llvm_type(dtype, width)
    alive = alive + [False] * (width - len(alive))
    if all(alive):
        return f.let(f"load {kind}, ptr {pointer}, align {dtype.itemsize}", dtype, width)
    name = f"@llvm.masked.load.{suffix(dtype, width)}.p0"
    f.module.declare(f"declare {kind} {name}(ptr, i32, <{width} x i1>, {kind})")
    mask = f"<{width} x i1> {mask_literal(alive)}"
    call = (
        f"call {kind} {name}(ptr {pointer}, i32 {dtype.itemsize}, {mask}, {kind} zeroinitializer)"
    )
    return f.let(call, dtype, width)


def _store_run(f: Function, x: Reg, pointer: str, alive: list[bool]) -> None:
    alive = alive + [False] * (x.width - len(alive))
    if all(alive):
        f.emit(f"store {x}, ptr {pointer}, align {x.dtype.itemsize}")
        return
    name = f"@llvm.masked.store.{suffix(x.dtype, x.width)}.p0"
    f.module.declare(f"declare void {name}({x.type}, ptr, i32, <{x.width} x i1>)")
    mask = f"<{x.width} x i1> {mask_literal(alive)}"
    f.emit(f"call void {name}({x}, ptr {pointer}, i32 {x.dtype.itemsize}, {mask})")


def gather(f: Function, dtype: DType, pointer: str, offsets: Reg, count: int) -> Reg:
    """Elements `pointer + offsets[lane]`, of which the first `count` are read."""
    kept = stored_type(dtype)
    lanes = "zeroinitializer"
    for k in range(count):
        offset = f.let(f"extractelement {offsets}, i64 {k}", INT64)
        element = offset_pointer(f, dtype, pointer, offset)
        x = f.let(f"load {llvm_type(kept)}, ptr {element}, align {kept.itemsize}", kept)
        lanes = f.let_raw(
            f"insertelement {llvm_type(kept, offsets.width)} {lanes}, {x}, i64 {k}", "v"
        )
    return from_memory(f, Reg(lanes, kept, offsets.width), dtype)


def lane_numbers(first: int, step: int, width: int) -> Reg:
    """first, first + step, ... as int64 lanes."""
    text = ", ".join(f"i64 {first + k * step}" for k in range(width))
    return Reg(f"<{text}>", INT64, width)


def wrap_indices(f: Function, indices: Sequence[Reg], param: Indexed, count: int) -> Reg:
    """The offset, in elements, of some indices: wrapped once; 0 and status 1 out of range."""
    width = indices[0].width
    valid: Reg | None = None
    total: Reg | None = None
    for x, extent, stride in zip(indices, param.extents, param.strides, strict=True):
        x, inside = wrapped(f, x, extent)
        x = f.let(f"select {inside}, {x}, {constant(0, INT64, width)}", INT64, width)
        if stride != 1:
            x = f.let(f"mul nsw {x}, {constant(stride, INT64, width).name}", INT64, width)
        total = x if total is None else f.let(f"add nsw {total}, {x.name}", INT64, width)
        if valid is not None:
            inside = f.let(f"and {valid}, {inside.name}", BOOL, width)
        valid = inside
    if valid is None or total is None:
        return constant(0, INT64)
    report_invalid(f, valid, count)
    return total


def wrapped(f: Function, x: Reg, extent: int) -> tuple[Reg, Reg]:
    """An index, counted from the end where it is negative, and whether it is within the extent."""
    end = constant(extent, INT64, x.width).name
    negative = f.let(f"icmp slt {x}, {constant(0, INT64, x.width).name}", BOOL, x.width)
    from_end = f.let(f"add {x}, {end}", INT64, x.width)
    x = f.let(f"select {negative}, {from_end}, {x}", INT64, x.width)
    return x, f.let(f"icmp ult {x}, {end}", BOOL, x.width)


def wrap_checked(f: Function, x: Reg, extent: int, count: int) -> Reg:
    """An index counted from the end where it is negative; 0 and status 1 where out of range."""
    x, inside = wrapped(f, x, extent)
    report_invalid(f, inside, count)
    return f.let(f"select {inside}, {x}, {constant(0, INT64, x.width)}", INT64, x.width)


def report_invalid(f: Function, valid: Reg, count: int) -> None:
    """Set the kernel's status to 1 unless the first `count` lanes are true."""
    if valid.width > 1:
        if count < valid.width:
            dead = mask_literal([k >= count for k in range(valid.width)])
            valid = f.let(f"or {valid}, {dead}", BOOL, valid.width)
        name = f"@llvm.vector.reduce.and.v{valid.width}i1"
        f.module.declare(f"declare i1 {name}(<{valid.width} x i1>)")
        valid = f.let(f"call i1 {name}({valid})", BOOL)
    good, bad = branch(f, valid)
    f.begin(bad)
    f.emit("store atomic i64 1, ptr %status monotonic, align 8")
    f.emit(f"br label %{good}")
    f.begin(good)
