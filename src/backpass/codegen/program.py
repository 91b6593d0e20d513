"""Program: a Graph as native code, with its memory, ready to be called.

A call gives the arrays of the graph's inputs and takes those of its outputs; results that replace
an input are written into it and not returned. Invariant: a program writes to no other argument, and
returns only arrays that are the caller's own. If an index is out of range, nothing has been
written, and the reference says which it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

import numpy as np

from backpass import config
from backpass.codegen import engine
from backpass.codegen.arrange import Arranged, arranged, reads, writes
from backpass.codegen.assemble import ARENA, Assembler, Assembly, Home, Segment
from backpass.codegen.entry import ArgumentSpec, Context, Entry, fitting, make_entry
from backpass.codegen.lower import Call, lower
from backpass.codegen.lower.elements import Key, key_of
from backpass.codegen.lower.groups import is_view
from backpass.codegen.lower.schedule import Bound
from backpass.codegen.machine import host
from backpass.errors import AliasError
from backpass.ir import Graph, TensorType, Value, show
from backpass.ir.graph import Array, array_of
from backpass.trace.capture import evaluate

OUT_OF_RANGE = -1
ALIGNMENT = 64
SHORT_WORK = 2_000_000  # operations of a step for which the interpreter's lock is kept
BYTE = np.dtype(np.uint8)


@dataclass(slots=True)
class Running:
    """One call: what lies in each slot, the arguments as they were given, the results."""

    table: dict[int, Any]
    arguments: Sequence[Array]
    results: list[Array]


@dataclass(frozen=True, slots=True)
class _Native:
    """A segment of kernels: its entry, the slots of the entry's arguments, the inputs it writes."""

    entry: Entry
    specs: tuple[ArgumentSpec, ...]
    written: frozenset[int]


class Program:
    """A compiled function of arrays.

    Args:
        graph: a verified graph.
        updates: for an output of the graph (by number) the input (by number) that it replaces.
        apart: make a native function of every step, to be run by itself.

    Attributes:
        lowered, arranged, assembly: what the stations of the compiler gave.
        result_types: of the outputs that are returned.
        runs: functions of a `Running` state, to be called in order: `__call__` does.
    """

    def __init__(
        self, graph: Graph, updates: Mapping[int, int] | None = None, *, apart: bool = False
    ) -> None:
        self.graph = graph
        self.updates = dict(updates or {})
        self.lowered = lower(graph)
        self.arranged = arranged(self.lowered, self.updates)
        self._types: dict[int, TensorType] = {ARENA: TensorType((0,), BYTE)}
        self._constants: dict[int, Array] = {}
        slots = self._slots(self.arranged)
        assembler = Assembler(self.arranged, slots, host(), config.num_threads(), apart)
        self.assembly: Assembly = assembler.build()
        self._arena = aligned_bytes(self.assembly.arena.size)
        self._library = engine.load(self.assembly.text, host())
        self.result_types = [self._types[s] for s in self._outputs]
        segments = self.assembly.segments
        natives = [self._native(s, len(segments) == 1) for s in segments if s.call is None]
        self._only = natives[0] if len(segments) == len(natives) == 1 else None
        self._all_used = self._only is not None and [spec.slot for spec in self._only.specs] == [
            *self._inputs,
            *self._outputs,
        ]
        waiting = iter(natives)
        self.runs: list[Callable[[Running], None]] = [
            partial(self._enter, next(waiting)) if s.call is None else partial(self._refer, s.call)
            for s in segments
        ]

    @property
    def constants(self) -> list[Array]:
        """The constant arrays that it holds."""
        return list(self._constants.values())

    # -- slots

    def _slots(self, steps: Arranged) -> dict[Key, int]:
        """A slot for each input, each output that is returned, and each constant."""
        found: dict[Key, int] = {}

        def add(key: Key, kind: TensorType) -> int:
            found[key] = len(self._types)
            self._types[found[key]] = kind
            return found[key]

        inputs = self.lowered.graph.inputs
        self._inputs = [add(v, v.type) for v in inputs]
        self._outputs: list[int] = []
        for number, v in enumerate(self.lowered.graph.outputs):
            if number not in self.updates:
                self._outputs.append(add(key_of(v), v.type))
        for step in steps.steps:
            for key in reads(step):
                if isinstance(key, Value) and key not in found:
                    slot = add(key, key.type)
                    self._constants[slot] = _plain(array_of(key))
        return found

    def _native(self, segment: Segment, single: bool) -> _Native:
        """The entry of a segment; what never changes is bound once."""
        fixed = {*self._constants, *([ARENA] if single else [])}
        written = {self.assembly.homes[k].slot for step in segment.steps for k in writes(step)}
        specs: list[ArgumentSpec] = []
        for slot in segment.slots:
            if slot not in fixed:
                t = self._types[slot]
                if slot == ARENA:
                    t = TensorType(self._arena.shape, BYTE)
                specs.append(ArgumentSpec(slot, t.dtype, t.shape, slot in written))
        short = self.work() < SHORT_WORK
        context = Context(
            len(self._types),
            tuple(specs),
            parallel=segment.parallel,
            short=short,
            threads_at_most=config.num_threads(),
        )
        for slot in segment.slots:
            if slot in self._constants:
                context.bind(slot, self._constants[slot])
            elif slot == ARENA and single:
                context.bind(slot, self._arena)
        entry = make_entry(self._library, segment.name, context)
        inputs = frozenset(self._inputs) & written
        return _Native(entry, tuple(specs), frozenset(inputs))

    def work(self) -> int:
        """Operations of one call, weighed: what it takes grows with it."""
        return sum([step.work for step in self.arranged.steps if isinstance(step, Bound)])

    # -- running

    def enter(self, arguments: list[Array]) -> list[Array] | None:
        """The outputs, if the program is one native function and all arguments fit as they are."""
        run = self._only
        if run is None:
            return None
        results = [np.empty(t.shape, t.dtype) for t in self.result_types]
        if self._all_used:
            code = run.entry(*arguments, *results)
        else:
            table = dict(zip([*self._inputs, *self._outputs], [*arguments, *results], strict=True))
            code = run.entry(*[table[s.slot] for s in run.specs])
        if code is None:
            return results
        if code >= 0:
            return None
        self._fail(code, arguments)

    def _fail(self, code: int, arguments: Sequence[Array]) -> NoReturn:
        """Raise what the reference raises, where an index is out of range."""
        if code == OUT_OF_RANGE:
            with np.errstate(all="ignore"):
                evaluate(self.graph, list(arguments))
        raise RuntimeError(f"a program left with status {-code}")

    def __call__(self, arguments: Sequence[Array]) -> list[Array]:
        """Run on arrays of exactly the types of the graph's inputs."""
        state = self.start(arguments)
        for run in self.runs:
            run(state)
        return state.results

    def start(self, arguments: Sequence[Array]) -> Running:
        """The state of a call in which nothing has run."""
        results = [np.empty(t.shape, t.dtype) for t in self.result_types]
        table: dict[int, Any] = dict(self._constants)
        table.update(zip(self._inputs, arguments, strict=True))
        table.update(zip(self._outputs, results, strict=True))
        if len(self.runs) > 1:
            table[ARENA] = aligned_bytes(self.assembly.arena.size)
        return Running(table, arguments, results)

    def _enter(self, run: _Native, state: Running) -> None:
        """Run a native segment, on copies of arguments that do not fit."""
        table = state.table
        while (code := run.entry(*[table[s.slot] for s in run.specs])) is not None:
            if code < 0:
                self._fail(code, state.arguments)
            spec = run.specs[code % len(run.specs)]
            given = np.asarray(table[spec.slot])
            if code < len(run.specs):
                if spec.writeable and not given.flags.writeable:
                    raise ValueError(
                        f"an array that the program updates is read-only: {given.dtype} "
                        f"{list(given.shape)}; set its flags.writeable, or give a copy"
                    )
                table[spec.slot] = fitting(spec, given)
            elif spec.writeable:
                raise AliasError(
                    f"two arguments that the program writes to share memory: {given.dtype} "
                    f"{list(given.shape)}; give each its own array"
                )
            else:
                table[spec.slot] = given.copy()
        for slot in run.written:
            own = state.arguments[self._inputs.index(slot)]
            if table[slot] is not own:
                np.copyto(own, table[slot])

    def _refer(self, call: Call, state: Running) -> None:
        """Evaluate a node by its reference on views of the program's memory."""
        node, table = call.node, state.table
        with np.errstate(all="ignore"):
            operands = [self._read(v, table) for v in node.inputs]
            found: Any = node.primitive.reference(*operands, **node.params)
        outputs = [found] if node.primitive.single else list(found)
        for i, array in enumerate(outputs):
            v = Value(node.types[i], node, i, None, frozenset())
            home = self.assembly.homes.get(key_of(v))
            if home is not None:
                self._array(home, v.type, table)[...] = array

    def _read(self, v: Value, table: dict[int, Any]) -> Array:
        chain: list[Any] = []
        while v.node is not None and is_view(v.node):
            chain.append(v.node)
            v = v.node.inputs[0]
        if v.type.size:
            array = self._array(self.assembly.homes[key_of(v)], v.type, table)
        else:
            array = np.empty(v.shape, v.dtype)
        for node in reversed(chain):
            reference: Callable[..., Any] = node.primitive.reference
            array = reference(array, **node.params)
        return array

    def _array(self, home: Home, t: TensorType, table: dict[int, Any]) -> Array:
        if home.slot != ARENA:
            return table[home.slot]
        arena = table.get(ARENA, self._arena)
        return arena[home.offset : home.offset + t.nbytes].view(t.dtype).reshape(t.shape)

    def __str__(self) -> str:
        return show(self.graph)


def aligned_bytes(size: int) -> Array:
    """Memory whose first byte lies at a multiple of 64."""
    block = np.empty(size + ALIGNMENT, BYTE)
    start = -block.ctypes.data % ALIGNMENT
    return block[start : start + size]


def _plain(array: Array) -> Array:
    """A constant as kernels read it."""
    return np.asarray(array, array.dtype.newbyteorder("="), order="C")


def compile_graph(graph: Graph, updates: Mapping[int, int] | None = None) -> Program:
    """The program of a graph; `updates` maps outputs to the inputs that they replace."""
    return Program(graph, updates)
