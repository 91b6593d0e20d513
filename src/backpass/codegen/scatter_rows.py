"""A scatter with an epilogue to LLVM text: only the rows that an index names are read and written.

A thread owns some blocks of rows, spread by a hash so that frequent rows lie with different
threads. It lists the positions whose rows are its own, links the positions of one row from the
last to the first (`heads[row]` is the first in its list), and then goes through its list: where a
position is the first of its row, the chain of its updates is summed in registers, in their order
from +0.0, the epilogue runs, and the row is written once. `heads` is not cleared before: an entry
counts only if the position that it names is of this row, as in Briggs and Torczon's sparse sets
(1993). Rows that no index names are visited only if that would change them, or if out is another
array than what it was made from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from backpass.codegen import access, arithmetic
from backpass.codegen.blocks import CountedLoop, Loop, add_constant, branch
from backpass.codegen.gemm_epilogue import Epilogue
from backpass.codegen.scatter import columns, lanes_of, load_update, row_pointer, update_pointer
from backpass.codegen.text import BOOL, INT64, Function, Module, Reg, constant
from backpass.codegen.workspace import Workspace, aligned
from backpass.loops import ScatterAdd
from backpass.loops.change import Change, change_of

_BLOCK = 4  # log2 of the rows of a block: their heads are a cache line
_SPREAD = 0x9E3779B1  # Knuth's multiplicative hash, The Art of Computer Programming 3, 6.4
_AHEAD = 8  # positions: their rows are asked for before they are read
_LINE = 64
_LINES = 8  # of a row that are asked for; the rest the machine foresees
_NUMBER = np.dtype(np.uint32)  # positions and rows in scratch


def emit_rows(module: Module, kernel: ScatterAdd, name: str) -> Workspace:
    """Add the function `name` of a verified kernel with an epilogue to a module."""
    parameters = "".join(f", ptr %b{i}" for i in range(len(kernel.buffers)))
    head = (
        f"define void @{name}(ptr %team, i64 %tid, i64 %n, ptr %scratch, ptr %status"
        f"{parameters}) #0"
    )
    change = change_of(kernel)
    if change is None:
        raise ValueError(f"{kernel.name}: its epilogue changes rows without a sum")
    f = Function(module, head)
    heads, own = aligned(4 * kernel.rows), aligned(4 * kernel.count)
    rows = _Rows(f, kernel, change, heads, own)
    mine = rows.collect()
    some, done = branch(f, f.let(f"icmp ne {mine}, 0", BOOL))
    f.begin(some)
    rows.link(mine)
    rows.change(mine)
    f.emit(f"br label %{done}")
    f.begin(done)
    rows.others(mine)
    f.emit("ret void")
    f.close()
    return Workspace(heads, 3 * own)


@dataclass(slots=True)
class _Rows:
    """The four parts of the function, in their order, and what they share."""

    f: Function
    kernel: ScatterAdd
    how: Change
    heads_size: int
    own_size: int
    epilogue: Epilogue = field(init=False)
    lists: tuple[str, str, str] = field(init=False)  # this thread's positions, rows, next ones

    def __post_init__(self) -> None:
        f, size = self.f, self.own_size
        start = f.let(f"mul nsw i64 %tid, {3 * size}", INT64, hint="i")
        start = add_constant(f, start, self.heads_size)
        first = f.let_raw(f"getelementptr i8, ptr %scratch, {start}")
        second = f.let_raw(f"getelementptr i8, ptr {first}, i64 {size}")
        third = f.let_raw(f"getelementptr i8, ptr {first}, i64 {2 * size}")
        self.lists = (first, second, third)
        self.epilogue = Epilogue(f, self.kernel, lanes_of(self.kernel))
        self.epilogue.uniform()

    # -- numbers in scratch

    def _read(self, pointer: str, place: Reg) -> Reg:
        f = self.f
        x = access.load_scalar(f, _NUMBER, access.offset_pointer(f, _NUMBER, pointer, place))
        return f.let(f"zext {x} to i64", INT64)

    def _write(self, pointer: str, place: Reg, x: Reg) -> None:
        f = self.f
        short = f.let(f"trunc {x} to i32", _NUMBER)
        access.store_scalar(f, short, access.offset_pointer(f, _NUMBER, pointer, place))

    def _least(self, x: Reg, limit: int | Reg) -> Reg:
        f = self.f
        bound = constant(limit, INT64) if isinstance(limit, int) else limit
        f.module.declare("declare i64 @llvm.umin.i64(i64, i64)")
        return f.let(f"call i64 @llvm.umin.i64({x}, {bound})", INT64)

    def _is_own(self, block: Reg) -> Reg:
        """Whether a block of rows is this thread's."""
        f = self.f
        spread = f.let(f"mul {block}, {_SPREAD}", INT64)
        spread = f.let(f"and {spread}, 4294967295", INT64)
        owner = f.let(f"lshr {f.let(f'mul {spread}, %n', INT64)}, 32", INT64)
        return f.let(f"icmp eq {owner}, %tid", BOOL)

    def _named(self, row: Reg, beyond: Reg | None, mine: Reg) -> tuple[Reg, Reg]:
        """The entry of a row in heads, and whether it is a position of the row.

        It lies behind `beyond`, if that is given, and before `mine`.
        """
        f = self.f
        head = self._read("%scratch", row)
        there = self._read(self.lists[1], self._least(head, self.kernel.count - 1))
        same = f.let(f"icmp eq {there}, {row.name}", BOOL)
        inside = f.let(f"icmp ult {head}, {mine.name}", BOOL)
        if beyond is not None:
            behind = f.let(f"icmp ugt {head}, {beyond.name}", BOOL)
            inside = f.let(f"and {inside}, {behind.name}", BOOL)
        return head, f.let(f"and {inside}, {same.name}", BOOL)

    # -- the parts

    def collect(self) -> Reg:
        """List the positions of own rows; how many they are."""
        f, kernel = self.f, self.kernel
        loop = CountedLoop(f, kernel.count, [1], [constant(0, INT64)])
        position, (found,) = loop.multiples[1], loop.values
        row = constant(0, INT64)
        for buffer, extent in zip(kernel.indices, kernel.extents, strict=True):
            place = access.offset_pointer(f, INT64, f"%b{buffer}", position)
            x = access.load_scalar(f, INT64, place)
            row = f.let(f"mul nsw {row}, {extent}", INT64) if row.name != "0" else row
            row = f.let(f"add nsw {row}, {x.name}", INT64)
        self._write(self.lists[0], found, position)
        self._write(self.lists[1], found, row)
        own = self._is_own(f.let(f"lshr {row}, {_BLOCK}", INT64))
        more = f.let(f"zext {own} to i64", INT64)
        later = f.let(f"add nsw {found}, {more.name}", INT64)
        loop.close([later])
        return later

    def link(self, mine: Reg) -> None:
        """From the last own position to the first: the next of its row, and the row's head."""
        f = self.f
        loop = Loop(f, [mine])
        (after,) = loop.values
        at = add_constant(f, after, -1)
        row = self._read(self.lists[1], at)
        head, valid = self._named(row, at, mine)
        following = f.let(f"select {valid}, {head}, {constant(self.kernel.count, INT64)}", INT64)
        self._write(self.lists[2], at, following)
        self._write("%scratch", row, at)
        loop.close([at], f.let(f"icmp ne {at}, 0", BOOL))

    def change(self, mine: Reg) -> None:
        """Each own row that an index names, once."""
        f = self.f
        last = add_constant(f, mine, -1)
        loop = Loop(f, [constant(0, INT64)])
        (at,) = loop.values
        ahead = self._least(add_constant(f, at, _AHEAD), last)
        self._ask_for(self._read(self.lists[1], ahead))
        row = self._read(self.lists[1], at)
        head = self._read("%scratch", row)
        first, after = branch(f, f.let(f"icmp eq {head}, {at.name}", BOOL))
        f.begin(first)

        def write(column: Reg, counts: Sequence[int]) -> None:
            self._store(row, column, counts, self._sums(at, column, counts))

        columns(f, self.kernel.width, None, write)
        f.emit(f"br label %{after}")
        f.begin(after)
        later = add_constant(f, at, 1)
        loop.close([later], f.let(f"icmp ne {later}, {mine.name}", BOOL))

    def _ask_for(self, row: Reg) -> None:
        f, kernel = self.f, self.kernel
        buffer: int = kernel.epilogue[self.how.kept].param.buffer
        pointer = row_pointer(f, kernel, buffer, row)
        nbytes = kernel.width * kernel.buffers[buffer].dtype.itemsize
        for line in range(min(_LINES, -(-nbytes // _LINE))):
            place = f.let_raw(f"getelementptr i8, ptr {pointer}, i64 {line * _LINE}")
            access.prefetch(f, place, near=True)

    def _sums(self, first: Reg, column: Reg, counts: Sequence[int]) -> list[Reg]:
        """The sums of a chain of updates, in order."""
        f, kernel = self.f, self.kernel
        zeros = self._zeros(counts)
        loop = Loop(f, [first, *zeros])
        at, *sums = loop.values
        source = update_pointer(f, kernel, self._read(self.lists[0], at))
        found: list[Reg] = []
        for u, (total, count) in enumerate(zip(sums, counts, strict=True)):
            x = load_update(f, kernel, source, column, u, count)
            found.append(arithmetic.emit(f, "add", (total, x), total.dtype))
        following = self._read(self.lists[2], at)
        more = f.let(f"icmp ne {following}, {kernel.count}", BOOL)
        loop.close([following, *found], more)
        return found

    def _zeros(self, counts: Sequence[int]) -> list[Reg]:
        dtype = self.kernel.buffers[self.kernel.updates.buffer].dtype
        return [constant(0, dtype, lanes_of(self.kernel))] * len(counts)

    def _store(self, row: Reg, column: Reg, counts: Sequence[int], sums: Sequence[Reg]) -> None:
        """The epilogue for some columns of a row."""
        self.epilogue.row(0, row.name)
        at = column.name if column.name.startswith("%") else int(column.name)
        for u, (total, count) in enumerate(zip(sums, counts, strict=True)):
            place = at + u * lanes_of(self.kernel) if isinstance(at, int) else at
            if u and not isinstance(at, int):
                place = add_constant(self.f, column, u * lanes_of(self.kernel)).name
            self.epilogue.vector(total, place, count)

    def others(self, mine: Reg) -> None:
        """All own rows that no index names, if they change or lie elsewhere."""
        f, kernel = self.f, self.kernel
        some, done = branch(f, self._others_change())
        f.begin(some)
        blocks = CountedLoop(f, -(-kernel.rows >> _BLOCK), [1], [])
        block = blocks.multiples[1]
        own, next_block = branch(f, self._is_own(block))
        f.begin(own)
        first = f.let(f"shl nsw {block}, {_BLOCK}", INT64)
        end = self._least(add_constant(f, first, 1 << _BLOCK), kernel.rows)
        loop = Loop(f, [first])
        (row,) = loop.values
        _, named = self._named(row, None, mine)
        after, alone = branch(f, named)
        f.begin(alone)

        def write(column: Reg, counts: Sequence[int]) -> None:
            self._store(row, column, counts, self._zeros(counts))

        columns(f, kernel.width, None, write)
        f.emit(f"br label %{after}")
        f.begin(after)
        later = add_constant(f, row, 1)
        loop.close([later], f.let(f"icmp ne {later}, {end.name}", BOOL))
        f.emit(f"br label %{next_block}")
        f.begin(next_block)
        blocks.close([])
        f.emit(f"br label %{done}")
        f.begin(done)

    def _others_change(self) -> Reg:
        """Whether rows without a sum are to be written, too."""
        f, kernel = self.f, self.kernel
        by = self._at_zero()
        size = 8 * by.dtype.itemsize
        bits = f.let_raw(f"bitcast {by} to i{size}", "v")
        zero = int(np.array(self.how.zero, by.dtype).view(f"u{by.dtype.itemsize}"))
        changed = f.let(f"icmp ne i{size} {bits}, {zero}", BOOL)
        source = kernel.epilogue[self.how.kept].param.buffer
        apart = f.let(f"icmp ne ptr %b{source}, %b{kernel.out}", BOOL)
        return f.let(f"or {changed}, {apart.name}", BOOL)

    def _at_zero(self) -> Reg:
        """What a row changes by where its sum is +0.0."""
        f, ops = self.f, self.kernel.epilogue
        needed = {self.how.by}
        for number in range(self.how.by, -1, -1):
            if number in needed:
                needed.update(ops[number].args)
        values: dict[int, Reg] = {}
        for number in sorted(needed):
            op = ops[number]
            match op.code:
                case "acc":
                    values[number] = constant(0, op.dtype)
                case "const":
                    values[number] = constant(op.param, op.dtype)
                case "load":
                    pointer = f"%b{op.param.buffer}"
                    place = access.offset_pointer(f, op.dtype, pointer, op.param.offset)
                    values[number] = access.load_scalar(f, op.dtype, place)
                case _:
                    args = [values[a] for a in op.args]
                    values[number] = arithmetic.emit(f, op.code, args, op.dtype, op.param)
        return values[self.how.by]
