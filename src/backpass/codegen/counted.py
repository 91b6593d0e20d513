"""Counted loops and byte addresses in LLVM text.

An `Index` is a Python integer where it is known when the text is written, else the name of an i64
register. Arithmetic on known indices happens in Python, a loop of one iteration leaves no loop, and
so small kernels come out as straight code.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from backpass.codegen.text import Function

Index = int | str


def plus(f: Function, a: Index, b: Index) -> Index:
    """a + b."""
    if isinstance(a, int) and isinstance(b, int):
        return a + b
    if a == 0:
        return b
    if b == 0:
        return a
    return f.let_raw(f"add nsw i64 {a}, {b}", "i")


def times(f: Function, a: Index, factor: Index) -> Index:
    """a * factor."""
    if isinstance(a, int) and isinstance(factor, int):
        return a * factor
    if a == 0 or factor == 0:
        return 0
    if factor == 1:
        return a
    if a == 1:
        return factor
    return f.let_raw(f"mul nsw i64 {a}, {factor}", "i")


def over(f: Function, a: Index, divisor: Index) -> Index:
    """a // divisor of non-negative numbers."""
    if isinstance(a, int) and isinstance(divisor, int):
        return a // divisor
    if divisor == 1:
        return a
    return f.let_raw(f"udiv i64 {a}, {divisor}", "i")


def rest(f: Function, a: Index, divisor: int) -> Index:
    """a % divisor of non-negative numbers."""
    if isinstance(a, int):
        return a % divisor
    if divisor == 1:
        return 0
    return f.let_raw(f"urem i64 {a}, {divisor}", "i")


def digits(f: Function, number: Index, extents: tuple[int, ...]) -> list[Index]:
    """Where element `number` of an array lies along each axis; the last one is the fastest."""
    found: list[Index] = []
    for axis in reversed(range(len(extents))):
        if extents[axis] == 1:
            found.append(0)
        elif all(extent == 1 for extent in extents[:axis]):
            found.append(number)
        else:
            found.append(rest(f, number, extents[axis]))
            number = over(f, number, extents[axis])
    return found[::-1]


def least(f: Function, a: Index, b: Index) -> Index:
    """min(a, b)."""
    if isinstance(a, int) and isinstance(b, int):
        return min(a, b)
    return _select(f, "slt", a, b)


def greatest(f: Function, a: Index, b: Index) -> Index:
    """max(a, b)."""
    if isinstance(a, int) and isinstance(b, int):
        return max(a, b)
    return _select(f, "sgt", a, b)


def _select(f: Function, order: str, a: Index, b: Index) -> Index:
    first = f.let_raw(f"icmp {order} i64 {a}, {b}", "c")
    return f.let_raw(f"select i1 {first}, i64 {a}, i64 {b}", "i")


def address(f: Function, pointer: str, offset: Index) -> str:
    """The pointer `offset` bytes on."""
    if offset == 0:
        return pointer
    return f.let_raw(f"getelementptr i8, ptr {pointer}, i64 {offset}", "p")


@contextmanager
def counted(f: Function, start: Index, stop: Index, step: int = 1) -> Generator[Index]:
    """Emit the body of a loop over range(start, stop, step), which must not be empty."""
    if isinstance(start, int) and isinstance(stop, int) and stop - start <= step:
        yield start
        return
    before = f.block
    head, latch, done = f.label("loop"), f.label("next"), f.label("done")
    index, following = f.fresh("i"), f.fresh("i")
    f.emit(f"br label %{head}")
    f.begin(head)
    f.emit(f"{index} = phi i64 [ {start}, %{before} ], [ {following}, %{latch} ]")
    yield index
    f.emit(f"br label %{latch}")
    f.begin(latch)
    f.emit(f"{following} = add nsw i64 {index}, {step}")
    again = f.let_raw(f"icmp slt i64 {following}, {stop}", "c")
    f.emit(f"br i1 {again}, label %{head}, label %{done}")
    f.begin(done)


@contextmanager
def counted_or_empty(f: Function, start: Index, stop: Index, step: int = 1) -> Generator[Index]:
    """The same for a range that may be empty; a range known to be empty must not come here."""
    if isinstance(start, int) and isinstance(stop, int):
        with counted(f, start, stop, step) as index:
            yield index
        return
    any_left = f.let_raw(f"icmp slt i64 {start}, {stop}", "c")
    with when(f, any_left), counted(f, start, stop, step) as index:
        yield index


@contextmanager
def when(f: Function, condition: str) -> Generator[None]:
    """Emit the body under a condition, an i1 register."""
    inside, after = f.label("then"), f.label("after")
    f.emit(f"br i1 {condition}, label %{inside}, label %{after}")
    f.begin(inside)
    yield
    f.emit(f"br label %{after}")
    f.begin(after)
