"""The text of one outer iteration of a LoopKernel: its stages, their loops, and their tasks.

A value is a tuple of registers: one scalar where it does not vary along the lanes, else one vector
for each of the `counts` of the visit. `counts` says how many lanes of each vector are alive: all
but in the last part of an extent that is no multiple of a block, which is emitted a second time
for exactly what is left. Pointers run: each loop adds its stride, nothing is multiplied in a loop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from backpass.codegen import access, arithmetic, reduction
from backpass.codegen.blocks import CountedLoop, add_constant, lane_counts
from backpass.codegen.nest import Key, Plan, StagePlan, Task, access_of, pointer_key
from backpass.codegen.text import INT64, Function, Reg, constant
from backpass.codegen.tile import ask_ahead, load_turned, square_size, store_turned
from backpass.loops import Space

Value = tuple[Reg, ...]


@dataclass(frozen=True, slots=True)
class Visit:
    """Where in the loops text is being written.

    Vector u works on the positions of the vector axis from `shift + u * width` on (of a tile: from
    `shift` on, at tile position u), counted from where the pointers and `multiples` (of the
    innermost loop, by stride) stand.
    """

    pointers: dict[Key, str]
    index: dict[int, Reg]
    counts: tuple[int, ...]
    multiples: dict[int, Reg]
    shift: int = 0


class Body:
    """One version of an outer iteration: `extents` with the clip applied, lanes as in `counts`.

    `index` are the outer axes' indices (of its first lane, for the vector axis); `buffers` are the
    addresses of all buffers of the kernel.
    """

    def __init__(
        self,
        f: Function,
        plan: Plan,
        extents: Sequence[int],
        counts: tuple[int, ...],
        index: dict[int, Reg],
        buffers: Sequence[str],
    ) -> None:
        self._f = f
        self._plan = plan
        self._extents = extents
        self._counts = counts
        self._index = index
        self._buffers = buffers
        self._values: list[Value] = [()] * len(plan.ops)
        self._offsets: dict[int, Value] = {}
        self._splats: dict[int, Reg] = {}
        self._partials: dict[int, list[Reg]] = {}
        self._bases: dict[Key, str] = {}
        self._products: dict[tuple[int, int], Reg] = {}
        self._lines: dict[int, Value] = {}  # of loads that were turned, at the position at hand

    def emit(self) -> None:
        """Write all stages."""
        for stage in self._plan.stages:
            pointers = {key: self._base(key) for key in stage.keys}
            visit = Visit(pointers, dict(self._index), self._counts, {})
            self._splats = {}
            for number in sorted(stage.splats):
                if self._values[number]:
                    self._spread(number)
            self._partials = {n: self._start(n) for n in stage.reductions}
            self._nest(stage, 0, visit)
            self._finish(stage)

    # ------------------------------------------------------------------------------ pointers

    def _scratch_lanes(self, buffer: int) -> int:
        """How many elements of memory one element of a buffer takes."""
        space = self._plan.kernel.buffers[buffer].space
        return self._plan.block if self._plan.rows and space is Space.SCRATCH else 1

    def _base(self, key: Key) -> str:
        """The pointer of an access in this outer iteration, without its constant offset."""
        if key in self._bases:
            return self._bases[key]
        buffer, strides, _ = key
        f, total = self._f, None
        for axis, x in self._index.items():
            if strides[axis] and self._extents[axis] > 1:
                part = self._product(axis, strides[axis], x)
                if total is not None:
                    part = f.let(f"add nsw i64 {total.name}, {part.name}", INT64, hint="i")
                total = part
        base = self._buffers[buffer]
        if total is not None:
            base = access.offset_pointer(f, self._plan.kernel.buffers[buffer].dtype, base, total)
        self._bases[key] = base
        return base

    def _product(self, axis: int, stride: int, x: Reg) -> Reg:
        if stride == 1:
            return x
        if (axis, stride) not in self._products:
            text = f"mul nsw i64 {x.name}, {stride}"
            self._products[axis, stride] = self._f.let(text, INT64, hint="i")
        return self._products[axis, stride]

    def _strides(self, keys: Sequence[Key], axis: int) -> list[int]:
        """The element strides of some pointers along an inner axis."""
        return [self._scratch_lanes(key[0]) * key[1][axis] for key in keys]

    # ------------------------------------------------------------------------------ loops

    def _nest(self, stage: StagePlan, depth: int, visit: Visit) -> None:
        """The tasks of a depth, then the loop inside it; depths are as few as axes."""
        self._tasks(stage, depth, visit)
        if depth == len(stage.order):
            return
        axis = stage.order[depth]
        if axis == self._plan.vector:
            self._vector_loop(stage, visit)
            return
        if stage.turned and depth + 1 == len(stage.order):
            self._turned_loop(stage, axis, visit)
            return
        if axis == len(self._extents) - 1:
            self._restart_scans(stage)
        strides = self._strides(stage.keys, axis)
        loop = self._open(stage, self._extents[axis], [s for s in strides if s], axis)
        moved = self._along(visit, strides, loop.multiples)
        index = moved.index | ({axis: loop.multiples[1]} if 1 in loop.multiples else {})
        self._nest(stage, depth + 1, replace(moved, index=index))
        loop.close(self._flat_partials(stage))

    def _turned_loop(self, stage: StagePlan, axis: int, visit: Visit) -> None:
        """The innermost loop by squares: rows are loaded along the axis and turned into lanes."""
        tile = square_size([self._plan.ops[n] for n in stage.turned])
        blocks, rest = divmod(self._extents[axis], tile)
        strides = self._strides(stage.keys, axis)
        if blocks > 1:
            asked = self._asked(stage, axis, tile)
            moves = [s * tile for s in strides if s] + list(asked.values())
            loop = self._open(stage, blocks, moves, axis, tile)
            for number, step in asked.items():
                self._ask(number, visit, loop.multiples[step], step)
            moved = self._along(visit, strides, {s: loop.multiples.get(s * tile) for s in strides})
            index = visit.index | {axis: loop.multiples[tile]} if tile in loop.multiples else None
            self._square(stage, axis, tile, replace(moved, index=index or visit.index))
            loop.close(self._flat_partials(stage))
        elif blocks:
            self._square(stage, axis, tile, visit)
        if rest:
            steps = {s: constant(s * tile * blocks, INT64) for s in strides}
            at = visit.index | {axis: constant(tile * blocks, INT64)}
            self._square(stage, axis, rest, replace(self._along(visit, strides, steps), index=at))

    def _along(self, visit: Visit, strides: Sequence[int], by: Mapping[int, Reg | None]) -> Visit:
        """The visit with each pointer moved by what its stride says."""
        pairs = zip(visit.pointers.items(), strides, strict=True)
        pointers = {key: self._moved(key, p, by[s] if s else None) for (key, p), s in pairs}
        return replace(visit, pointers=pointers)

    def _square(self, stage: StagePlan, axis: int, positions: int, visit: Visit) -> None:
        """The tasks at some positions of the innermost axis, whose turned loads come first."""
        lines: dict[int, list[list[Reg]]] = {}
        for task in stage.tasks[-1]:
            if task.number in stage.turned:
                op, stride = task.op, self._lane_stride(pointer_key(task.number, task.op))
                lines[task.number] = [
                    load_turned(self._f, op.dtype, place, stride, square_size([op]), positions, n)
                    for place, n in zip(self._places(task, visit), visit.counts, strict=True)
                ]
        strides = self._strides(stage.keys, axis)
        first = visit.index.get(axis, constant(0, INT64))
        for k in range(positions):
            self._lines = {n: tuple([x[k] for x in vectors]) for n, vectors in lines.items()}
            steps = {s: constant(s * k, INT64) if k else None for s in strides}
            at = visit.index | {axis: add_constant(self._f, first, k)}
            for task in stage.tasks[-1]:
                self._splats.pop(task.number, None)
            self._tasks(stage, -1, replace(self._along(visit, strides, steps), index=at))
        self._lines = {}

    def _asked(self, stage: StagePlan, axis: int, tile: int) -> dict[int, int]:
        """For each turned load how many elements of a later block are asked for at each square."""
        plan, extent = self._plan, self._extents[axis]
        strides = {n: self._lane_stride(pointer_key(n, plan.ops[n])) for n in stage.turned}
        near = [(n, s) for n, s in strides.items() if 0 < s <= 2 * extent]  # rows with small gaps
        return {n: -(-s * plan.block * tile // extent) for n, s in near}

    def _ask(self, number: int, visit: Visit, done: Reg, step: int) -> None:
        """Ask for the lines of a later block of rows that follow those asked for so far."""
        op = self._plan.ops[number]
        key = pointer_key(number, op)
        block = self._lane_stride(key) * self._plan.block
        ask_ahead(self._f, op, self._moved(key, visit.pointers[key], done), block, step)

    def _open(
        self, stage: StagePlan, count: int, strides: list[int], axis: int, step: int = 1
    ) -> CountedLoop:
        """A loop that carries the partial results; it counts by steps if the index is asked for."""
        ops = (task.op for tasks in stage.tasks for task in tasks)
        if any(op.code == "index" and op.param == axis for op in ops):
            strides = [*strides, step]
        loop = CountedLoop(self._f, count, strides, self._flat_partials(stage))
        self._set_partials(stage, loop.values)
        return loop

    def _moved(self, key: Key, pointer: str, multiple: Reg | None) -> str:
        if multiple is None:
            return pointer
        dtype = self._plan.kernel.buffers[key[0]].dtype
        return access.offset_pointer(self._f, dtype, pointer, multiple)

    def _vector_loop(self, stage: StagePlan, visit: Visit) -> None:
        """The innermost loop by blocks of vectors, then what is left of its extent."""
        plan = self._plan
        axis = stage.order[-1]
        blocks, rest = divmod(self._extents[axis], plan.block)
        if blocks:
            full = replace(visit, counts=self._counts)
            if blocks > 1:
                self._block_loop(stage, blocks, full, axis)
            else:
                self._tasks(stage, -1, full)
        if rest:
            if plan.tile is not None:
                counts = (rest,) * len(self._counts)
            else:
                counts = lane_counts(rest, plan.width)
            self._tasks(stage, -1, replace(visit, counts=counts, shift=blocks * plan.block))

    def _block_loop(self, stage: StagePlan, blocks: int, visit: Visit, axis: int) -> None:
        block = self._plan.block
        strides = [s * block for s in self._strides(stage.keys, axis) if s]
        indexed = any(t.op.code == "index" and t.op.param == axis for t in stage.tasks[-1])
        if indexed:
            strides.append(block)
        loop = CountedLoop(self._f, blocks, strides, self._flat_partials(stage))
        self._set_partials(stage, loop.values)
        multiples = {s // block: x for s, x in loop.multiples.items()}
        index = visit.index | {axis: multiples[1]} if indexed else visit.index
        self._tasks(stage, -1, replace(visit, multiples=multiples, index=index))
        loop.close(self._flat_partials(stage))

    # ------------------------------------------------------------------------------ reductions

    def _start(self, number: int) -> list[Reg]:
        op = self._plan.ops[number]
        plan = self._plan
        lanes = plan.vector is not None and (not plan.rows or plan.vector in plan.axes[number])
        if not lanes:
            return [reduction.identity(op.param, op.dtype, 1)]
        vectors = len(self._counts) if plan.rows else plan.unroll
        return [reduction.identity(op.param, op.dtype, plan.width)] * vectors

    def _restart_scans(self, stage: StagePlan) -> None:
        for number in stage.reductions:
            if self._plan.ops[number].code == "scan":
                self._partials[number] = self._start(number)

    def _flat_partials(self, stage: StagePlan) -> list[Reg]:
        return [x for number in stage.reductions for x in self._partials[number]]

    def _set_partials(self, stage: StagePlan, values: Sequence[Reg]) -> None:
        first = 0
        for number in stage.reductions:
            count = len(self._partials[number])
            self._partials[number] = list(values[first : first + count])
            first += count

    def _finish(self, stage: StagePlan) -> None:
        """The results of the reductions as row values."""
        for number in stage.reductions:
            op, partials = self._plan.ops[number], self._partials[number]
            if op.code == "scan":
                continue
            if self._plan.rows or self._plan.vector is None:
                self._values[number] = tuple(partials)
            else:
                used = [x for x in partials if x.name.startswith("%")]
                self._values[number] = (reduction.join(self._f, op.param, used),)

    def _reduce(self, task: Task, visit: Visit) -> None:
        op = task.op
        partials = self._partials[task.number]
        masked = task.vector and not self._plan.rows
        for u, count in enumerate(visit.counts if task.vector else (1,)):
            old = partials[u]
            new = reduction.combine(self._f, op.param, old, self._get(op.args[0], u, task.vector))
            partials[u] = reduction.keep_alive(self._f, count, new, old) if masked else new
        if op.code == "scan":
            self._values[task.number] = tuple(partials)

    # ------------------------------------------------------------------------------ values

    def _get(self, number: int, u: int, vector: bool) -> Reg:
        """The register of a value for vector u, or the scalar."""
        value = self._values[number]
        if not vector:
            return value[0]
        return value[u] if value[0].width > 1 else self._spread(number)

    def _spread(self, number: int) -> Reg:
        """A scalar in all lanes, made where it is defined or before the loops of the stage."""
        if number not in self._splats:
            x = self._values[number][0]
            self._splats[number] = access.splat(self._f, x, self._plan.width)
        return self._splats[number]

    def _tasks(self, stage: StagePlan, depth: int, visit: Visit) -> None:
        for task in stage.tasks[depth]:
            self._task(task, visit)
            if task.number in stage.splats and not task.offset:
                self._spread(task.number)

    def _task(self, task: Task, visit: Visit) -> None:
        op, number = task.op, task.number
        match op.code:
            case "load" if number in self._lines:
                self._values[number] = self._lines[number]
            case "load":
                self._values[number] = self._load(task, visit)
            case "load_at" if task.offset:
                self._offsets[number] = self._wrap(task, visit)
                self._advance(task, visit)
            case "load_at":
                self._values[number] = self._load_at(task, visit)
            case "store":
                self._store(task, visit)
            case "const":
                self._values[number] = (constant(op.param, op.dtype),)
            case "index":
                self._values[number] = self._indices(task, visit)
            case "reduce" | "scan":
                self._reduce(task, visit)
            case "wrap":
                self._values[number] = self._wrapped(task, visit)
            case _:
                counts = range(len(visit.counts)) if task.vector else (0,)
                self._values[number] = tuple(
                    arithmetic.emit(
                        self._f,
                        op.code,
                        tuple(self._get(a, u, task.vector) for a in op.args),
                        op.dtype,
                        op.param,
                    )
                    for u in counts
                )

    # ------------------------------------------------------------------------------ memory

    def _lane_stride(self, key: Key) -> int:
        """Elements from lane to lane."""
        if self._scratch_lanes(key[0]) > 1:
            return 1
        return 0 if self._plan.vector is None else key[1][self._plan.vector]

    def _place(self, task: Task, visit: Visit, u: int) -> str:
        """The address of the scalar, or of lane 0 of vector u."""
        key = pointer_key(task.number, task.op)
        dtype = self._plan.kernel.buffers[key[0]].dtype
        pointer = visit.pointers[key]
        constant_part = access_of(task.op).offset * self._scratch_lanes(key[0])
        if task.vector:
            stride = self._lane_stride(key)
            pointer = self._moved(key, pointer, visit.multiples.get(stride))
            constant_part += visit.shift * stride + u * self._vector_step(key)
        return access.offset_pointer(self._f, dtype, pointer, constant_part)

    def _places(self, task: Task, visit: Visit) -> list[str]:
        return [self._place(task, visit, u) for u in range(len(visit.counts))]

    def _vector_step(self, key: Key) -> int:
        """Elements from vector to vector."""
        tile = self._plan.tile
        return self._lane_stride(key) * self._plan.width if tile is None else key[1][tile]

    def _turned(self, key: Key) -> bool:
        """Whether a tile is moved by vectors along its tile axis."""
        tile = self._plan.tile
        return tile is not None and key[1][tile] == 1 and abs(self._lane_stride(key)) > 1

    def _alive(self, task: Task, count: int) -> int:
        """How many lanes of memory may be touched; scratch rows are whole vectors."""
        rows = self._scratch_lanes(access_of(task.op).buffer) > 1
        return self._plan.width if rows else count

    def _load(self, task: Task, visit: Visit) -> Value:
        f, dtype = self._f, task.op.dtype
        guard = task.op.args if task.op.code == "load" else ()
        if not task.vector:
            place = self._place(task, visit, 0)
            if guard:
                return (access.load_guarded(f, dtype, place, 0, self._get(guard[0], 0, False), 1),)
            return (access.load_scalar(f, dtype, place),)
        key = pointer_key(task.number, task.op)
        stride, counts = self._lane_stride(key), visit.counts
        if self._turned(key) and not guard:
            place, tile = self._place(task, visit, 0), self._plan.unroll
            return tuple(load_turned(f, dtype, place, stride, tile, len(counts), counts[0]))
        vectors: list[Reg] = []
        for u, count in enumerate(counts):
            place = self._place(task, visit, u)
            alive = self._alive(task, count)
            if guard:
                mask = self._get(guard[0], u, True)
                vectors.append(access.load_guarded(f, dtype, place, stride, mask, alive))
                continue
            vectors.append(access.load_vector(f, dtype, place, stride, self._plan.width, alive))
        return tuple(vectors)

    def _store(self, task: Task, visit: Visit) -> None:
        if not task.vector:
            x = self._get(task.op.args[0], 0, False)
            access.store_scalar(self._f, x, self._place(task, visit, 0))
            return
        key = pointer_key(task.number, task.op)
        stride, counts = self._lane_stride(key), visit.counts
        if self._turned(key):
            turned = [self._get(task.op.args[0], u, True) for u in range(len(counts))]
            place, tile = self._place(task, visit, 0), self._plan.unroll
            store_turned(self._f, turned, place, stride, tile, counts[0])
            return
        for u, count in enumerate(counts):
            x = self._get(task.op.args[0], u, True)
            place = self._place(task, visit, u)
            access.store_vector(self._f, x, place, stride, self._alive(task, count))

    def _indices(self, task: Task, visit: Visit) -> Value:
        axis = task.op.param
        base = visit.index.get(axis, constant(0, INT64))
        if not task.vector:
            return (base,)
        width = self._plan.width
        vectors: list[Reg] = []
        for u in range(len(visit.counts)):
            if axis == self._plan.tile:
                lanes = constant(u, INT64, width)
            else:
                between = 0 if self._plan.tile is not None else u * width
                lanes = access.lane_numbers(visit.shift + between, 1, width)
            if axis in visit.index:
                spread = access.splat(self._f, base, width)
                lanes = self._f.let(f"add nsw {spread}, {lanes.name}", INT64, width)
            vectors.append(lanes)
        return tuple(vectors)

    # ------------------------------------------------------------------------------ gathers

    def _wrap(self, task: Task, visit: Visit) -> Value:
        """The data-dependent part of an address, in elements; checks the indices."""
        counts = visit.counts if task.vector else (1,)
        offsets: list[Reg] = []
        for u, count in enumerate(counts):
            args = [self._get(a, u, task.vector) for a in task.op.args]
            offsets.append(access.wrap_indices(self._f, args, task.op.param, count))
        return tuple(offsets)

    def _wrapped(self, task: Task, visit: Visit) -> Value:
        """An index checked and counted from the end where it is negative."""
        arg, extent = task.op.args[0], task.op.param
        counts = visit.counts if task.vector else (1,)
        xs = [self._get(arg, u, task.vector) for u in range(len(counts))]
        pairs = zip(xs, counts, strict=True)
        return tuple([access.wrap_checked(self._f, x, extent, count) for x, count in pairs])

    def _advance(self, task: Task, visit: Visit) -> None:
        """Move the pointer of a load_at by an offset that all lanes share."""
        offset = self._offsets[task.number][0]
        if offset.width == 1:
            key = pointer_key(task.number, task.op)
            visit.pointers[key] = self._moved(key, visit.pointers[key], offset)

    def _load_at(self, task: Task, visit: Visit) -> Value:
        offsets = self._offsets[task.number]
        if not task.vector or offsets[0].width == 1:
            return self._load(task, visit)
        f, width = self._f, self._plan.width
        stride = self._lane_stride(pointer_key(task.number, task.op))
        vectors: list[Reg] = []
        for u, count in enumerate(visit.counts):
            total = offsets[u]
            if stride:
                lanes = access.lane_numbers(0, stride, width)
                total = f.let(f"add nsw {total}, {lanes.name}", INT64, width)
            place = self._place(task, visit, u)
            vectors.append(access.gather(f, task.op.dtype, place, total, count))
        return tuple(vectors)
