"""Loops and branches of a function under construction.

A `Loop` runs its body at least once, so what the body last computed is seen after it, without
further phis. The phis of its head are written when it closes, because only then are the values
known that its end hands back.
"""

from __future__ import annotations

from collections.abc import Sequence

from backpass.codegen.text import BOOL, INT64, Function, Reg, constant


class Loop:
    """A loop that carries registers; `values` are those of the current iteration."""

    def __init__(self, f: Function, carried: Sequence[Reg]) -> None:
        self._f = f
        self._first = list(carried)
        self._before = f.block
        self._label = f.label("loop")
        f.emit(f"br label %{self._label}")
        f.begin(self._label)
        self._line = len(f.lines)
        self.values = [Reg(f.fresh("x"), r.dtype, r.width) for r in carried]
        f.lines += [""] * len(self.values)

    def close(self, carried: Sequence[Reg], again: Reg) -> None:
        """Go round with `carried` while `again`; then go on in a new block."""
        f = self._f
        parts = zip(self.values, self._first, carried, strict=True)
        for k, (value, first, later) in enumerate(parts):
            f.lines[self._line + k] = (
                f"  {value.name} = phi {value.type} "
                f"[ {first.name}, %{self._before} ], [ {later.name}, %{f.block} ]"
            )
        end = f.label("end")
        f.emit(f"br i1 {again.name}, label %{self._label}, label %{end}")
        f.begin(end)


class CountedLoop:
    """`count` iterations with running multiples: `multiples[s]` is s times the iteration.

    `carried` are further registers, whose values of this iteration are `values`.
    """

    def __init__(
        self, f: Function, count: int, strides: Sequence[int], carried: Sequence[Reg]
    ) -> None:
        self._f = f
        self._count = count
        self._strides = list(dict.fromkeys(strides)) or [1]
        zeros = [constant(0, INT64)] * len(self._strides)
        self._loop = Loop(f, [*zeros, *carried])
        running = self._loop.values[: len(zeros)]
        self.multiples = dict(zip(self._strides, running, strict=True))
        self.values = self._loop.values[len(zeros) :]

    def close(self, carried: Sequence[Reg]) -> None:
        """End the body."""
        later = [add_constant(self._f, self.multiples[s], s) for s in self._strides]
        stop = self._strides[0] * self._count
        again = self._f.let(f"icmp ne i64 {later[0].name}, {stop}", BOOL)
        self._loop.close([*later, *carried], again)


def add_constant(f: Function, x: Reg, number: int) -> Reg:
    """x + number for an i64."""
    if not x.name.startswith("%"):
        return constant(int(x.name) + number, INT64)
    return x if number == 0 else f.let(f"add nsw i64 {x.name}, {number}", INT64, hint="i")


def lane_counts(positions: int, width: int) -> tuple[int, ...]:
    """How many lanes of each vector are alive for some positions in a row."""
    full, some = divmod(positions, width)
    return (width,) * full + ((some,) if some else ())


def branch(f: Function, condition: Reg) -> tuple[str, str]:
    """Branch on a condition: the labels for where it holds and where not."""
    yes, no = f.label("yes"), f.label("no")
    f.emit(f"br i1 {condition.name}, label %{yes}, label %{no}")
    return yes, no


def share(f: Function, total: int) -> tuple[Reg, Reg]:
    """This thread's range of `total` iterations: [tid * total / n, (tid + 1) * total / n)."""
    low = f.let(f"mul nuw i64 %tid, {total}", INT64, hint="i")
    high = add_constant(f, low, total)
    return (
        f.let(f"udiv i64 {low.name}, %n", INT64, hint="i"),
        f.let(f"udiv i64 {high.name}, %n", INT64, hint="i"),
    )
