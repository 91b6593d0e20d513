"""In which order steps run, and which results are written in place of the arrays they replace.

An update (a parameter's new value) is written straight into the old array where nobody needs the
old
value later: its other readers are put before, and its own kernel reads it at the same element only.
Otherwise it is kept apart and copied at the end. What can fail (an index out of range, a reference
call) comes before the first write into a caller's array, so that a failed step has changed nothing.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from backpass.codegen.lower.elements import Entry, Key, Named, Spot, key_of
from backpass.codegen.lower.groups import core
from backpass.codegen.lower.index import Form, domain_of, linear
from backpass.codegen.lower.lower import Call, Lowered
from backpass.codegen.lower.schedule import Bound, scheduled
from backpass.ir import Node, Value
from backpass.loops import Access, Gemm, Kernel, LoopKernel, Op, ScatterAdd

Step = Bound | Call


@dataclass(frozen=True, slots=True)
class Arranged:
    """Steps in their order; `in_place` maps a result to the input whose memory it takes.

    `commit` is the first step that writes to memory of the caller, len(steps) if none does.
    """

    steps: tuple[Step, ...]
    in_place: Mapping[Key, Value]
    commit: int


def reads(step: Step) -> list[Key]:
    """What a step reads, from memory."""
    if isinstance(step, Call):
        return [key_of(core(v)) for v in step.node.inputs]
    used = _read_buffers(step.kernel)
    return [k for b, k in step.memory() if b in used]


def writes(step: Step) -> list[Key]:
    """What a step writes."""
    if isinstance(step, Call):
        node = step.node
        return [node] if len(node.types) == 1 else [(node, i) for i in range(len(node.types))]
    return [k for b, k in step.memory() if step.kernel.buffers[b].written]


def _ops(kernel: Kernel) -> list[Op]:
    if not isinstance(kernel, LoopKernel):
        return list(kernel.epilogue)
    return list(kernel.ops)


def _buffer(op: Op) -> int | None:
    if op.code not in ("load", "load_at", "store"):
        return None
    return op.param.buffer if isinstance(op.param, Access) else op.param.access.buffer


def _operands(kernel: Kernel) -> set[int]:
    """The buffers that are read but not by ops."""
    if isinstance(kernel, Gemm):
        return {kernel.x.buffer, kernel.y.buffer}
    return {kernel.updates.buffer, *kernel.indices} if isinstance(kernel, ScatterAdd) else set()


def _read_buffers(kernel: Kernel) -> set[int | None]:
    return {_buffer(op) for op in _ops(kernel) if op.code != "store"} | _operands(kernel)


def bytes_of(key: Key, step: Step) -> int:
    """The bytes of an array that a step reads or writes."""
    if isinstance(key, Node):
        return key.types[0].nbytes
    if isinstance(key, Value):
        return key.type.nbytes
    if not isinstance(key, Named):
        node, index = key
        return node.types[index].nbytes
    assert not isinstance(step, Call)
    buffer = step.kernel.buffers[dict((k, b) for b, k in step.memory())[key]]
    return buffer.size * buffer.dtype.itemsize


def can_fail(step: Step) -> bool:
    """Whether a step may end the program with an error."""
    if isinstance(step, Call):
        return True
    if isinstance(step.kernel, ScatterAdd) and not step.kernel.epilogue:
        return True
    return any([op.code in ("load_at", "wrap") for op in _ops(step.kernel)])


def overwrites(step: Bound, old: Key, new: Key) -> bool:
    """Whether a kernel may write `new` into the memory of `old`.

    It may if it reads `old` only where it writes, and not after.
    """
    kernel = step.kernel
    places = {k: b for b, k in step.memory()}
    if old not in places:
        return True
    b, target = places[old], places[new]
    if b in _operands(kernel):
        return False
    if isinstance(kernel, LoopKernel):
        stages = [s.ops for s in kernel.stages]
    else:
        stages = [kernel.epilogue]
    store: Access | None = None
    for ops in stages:
        if store is not None and any([_buffer(op) == b for op in ops]):
            return False
        for op in ops:
            if op.code == "store" and op.param.buffer == target:
                if store is not None:
                    return False
                store = op.param
    loads = [op for ops in stages for op in ops if _buffer(op) == b]
    return store is not None and all(
        [
            op.code == "load"
            and not op.args
            and (op.param.offset, op.param.strides) == (store.offset, store.strides)
            for op in loads
        ]
    )


class _Order:
    """The steps and what must come before what."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self.steps = steps
        self.after: list[set[int]] = [set() for _ in steps]
        self.readers: dict[Key, list[int]] = {}
        self.writers: dict[Key, list[int]] = {}
        for i, step in enumerate(steps):
            for k in writes(step):  # the parts of one array are written in order
                for w in self.writers.get(k, ()):
                    self._edge(w, i)
                self.writers.setdefault(k, []).append(i)
        for i, step in enumerate(steps):
            for k in reads(step):
                self.readers.setdefault(k, []).append(i)
                for w in self.writers.get(k, ()):
                    self._edge(w, i)

    def _edge(self, first: int, then: int) -> None:
        if first != then:
            self.after[first].add(then)

    def leads(self, start: int, goals: set[int]) -> bool:
        """Whether a step must come before any of some others."""
        seen, pending = {start}, [start]
        while pending:
            for n in self.after[pending.pop()]:
                if n in goals:
                    return True
                if n not in seen:
                    seen.add(n)
                    pending.append(n)
        return False

    def ancestors(self, goals: set[int]) -> set[int]:
        """The goals and all that must come before them."""
        before: list[list[int]] = [[] for _ in self.steps]
        for i, later in enumerate(self.after):
            for n in later:
                before[n].append(i)
        seen, pending = set(goals), list(goals)
        while pending:
            for n in before[pending.pop()]:
                if n not in seen:
                    seen.add(n)
                    pending.append(n)
        return seen

    def take_place(self, old: Key, new: Key) -> bool:
        """Put the readers of `old` before the writer of `new`, if that can be."""
        made = self.writers.get(new, [])
        if len(made) != 1:
            return False
        (writer,) = made
        step = self.steps[writer]
        if isinstance(step, Call) or not overwrites(step, old, new):
            return False
        others = {r for r in self.readers.get(old, []) if r != writer}
        if others and self.leads(writer, others):
            return False
        for r in others:
            self._edge(r, writer)
        return True

    def sorted(self, first: set[int]) -> list[int]:
        """A topological order: `first` as early as can be, else as given."""
        waiting = [0] * len(self.steps)
        for later in self.after:
            for n in later:
                waiting[n] += 1
        ready = [(i not in first, i) for i, count in enumerate(waiting) if not count]
        heapq.heapify(ready)
        order: list[int] = []
        while ready:
            _, i = heapq.heappop(ready)
            order.append(i)
            for n in self.after[i]:
                waiting[n] -= 1
                if not waiting[n]:
                    heapq.heappush(ready, (n not in first, n))
        return order


def arranged(lowered: Lowered, updates: Mapping[int, int]) -> Arranged:
    """The order of a program.

    Args:
        lowered: its kernels and calls.
        updates: for an output of the graph (by number) the input that it replaces.
    """
    graph = lowered.graph
    pairs = [(graph.inputs[i], key_of(graph.outputs[o])) for o, i in updates.items()]
    pairs = [(old, new) for old, new in pairs if old.type.size]
    refused: set[Key] = set()
    while True:
        order = _Order(lowered.steps)
        kept: dict[Key, Value] = {}
        for old, new in pairs:
            if new not in refused and order.take_place(old, new):
                kept[new] = old
        fallible = {i for i, step in enumerate(lowered.steps) if can_fail(step)}
        steps = [lowered.steps[i] for i in order.sorted(order.ancestors(fallible))]
        last = max([i for i, step in enumerate(steps) if can_fail(step)], default=-1)
        early = {k for step in steps[: last + 1] for k in writes(step) if k in kept}
        if not early:
            break
        refused |= early
    copies = [_copy(old, new, i) for i, (old, new) in enumerate(pairs) if new not in kept]
    steps.extend(copies)
    commit = [i for i, s in enumerate(steps) if any([k in kept or _is_leaf(k) for k in writes(s)])]
    return Arranged(tuple(steps), kept, min(commit, default=len(steps)))


def _is_leaf(key: Key) -> bool:
    return isinstance(key, Value)


def _copy(old: Value, new: Key, number: int) -> Bound:
    """A kernel that copies a result into the input that it replaces."""
    extents, place = domain_of(old.shape)
    form: Form = linear(place, old.shape, len(extents))
    entries = [
        Entry("load", (), old.dtype, Spot(new, form)),
        Entry("store", (0,), old.dtype, Spot(old, form)),
    ]
    return scheduled(f"u{number}", extents, entries, None)
