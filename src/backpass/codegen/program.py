"""Program: a Graph as native code, with its memory, ready to be called.

A call gives the arrays of the graph's inputs and takes those of its outputs; results that replace
an input are written into it and not returned. Invariant: a program writes to no other argument, and
returns only arrays that are the caller's own. If an index is out of range, nothing has been
written, and the reference says which it was.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NoReturn, cast

import numpy as np

from backpass import config
from backpass.codegen import engine, image
from backpass.codegen.entry import ArgumentSpec, Context, Entry, fitting, make_entry
from backpass.codegen.image import ARENA, SegmentImage
from backpass.codegen.machine import host
from backpass.codegen.once import process_lock
from backpass.codegen.results import Results
from backpass.errors import AliasError
from backpass.ir import Graph, show
from backpass.ir.graph import Array
from backpass.passes import clean
from backpass.trace.capture import evaluate

if TYPE_CHECKING:
    from backpass.codegen.arrange import Arranged
    from backpass.codegen.assemble import Assembly
    from backpass.codegen.build import Built
    from backpass.codegen.lower import Lowered

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
        graph: a verified graph, or one that was `traced`.
        updates: for an output of the graph (by number) the input (by number) that it replaces.
        apart: make a native function of every step, to be run by itself.
        traced: `passes.clean` comes before the graph is compiled.

    Attributes:
        image: what it needs to run.
        result_types: of the outputs that are returned.
        runs: functions of a `Running` state, to be called in order: `__call__` does.
        input_slots, output_slots: of the graph's inputs, and of the outputs that are returned.
    """

    def __init__(
        self,
        graph: Graph,
        updates: Mapping[int, int] | None = None,
        *,
        apart: bool = False,
        traced: bool = False,
    ) -> None:
        self._graph, self._traced = graph, traced
        self.updates = dict(updates or {})
        self._apart = apart
        self._threads = config.num_threads()
        self._built: Built | None = None
        self.image, self._library = self._loaded() or self._compiled()
        types = self.image.types
        self.input_slots, self.output_slots = self.image.inputs, self.image.outputs
        self.result_types = [types[s] for s in self.output_slots]
        self._results = Results(self.result_types)
        self._arena = aligned_bytes(types[ARENA].size)
        segments = self.image.segments
        natives = [self._native(s, len(segments) == 1) for s in segments if s.name]
        self._only = natives[0] if len(segments) == len(natives) == 1 else None
        self._chosen = self._chooser()
        waiting = iter(natives)
        self.runs: list[Callable[[Running], None]] = [
            partial(self._enter, next(waiting)) if s.name else partial(self._refer, i)
            for i, s in enumerate(segments)
        ]

    # -- where it comes from

    @property
    def graph(self) -> Graph:
        """What it computes, after the passes: they run when somebody asks for it."""
        if self._traced:
            self._graph, self._traced = clean(self._graph), False
        return self._graph

    def _loaded(self) -> tuple[image.Image, engine.Library] | None:
        """Image and code from the disk, if this graph was compiled before.

        A graph as it was traced has a key of its own, so that nothing but its trace is needed. One
        that no text stands for may have one after the passes.
        """
        self._key = None
        if self._apart:
            return None
        if self._traced:
            self._key = self._key_of(self._graph, traced=True)
        if self._key is None:
            self._key = self._key_of(self.graph, traced=False)
        return None if self._key is None else image.read(self._key)

    def _key_of(self, graph: Graph, *, traced: bool) -> str | None:
        return image.key_of(graph, self.updates, host(), self._threads, traced=traced)

    def _compiled(self) -> tuple[image.Image, engine.Library]:
        """Image and code made now, and kept."""
        built, text = self.built, self.built.assembly.text
        library = engine.load(text, host())
        if self._key is not None:
            image.write(self._key, built.image, engine.key_of(text, host()))
        return built.image, library

    @property
    def built(self) -> Built:
        """What the stations of the compiler gave; they run now if the program came from the disk.

        They are imported here, when something is compiled: a process whose programs are all on
        disk never needs them, and their import takes as long as loading a program.
        """
        found = self._built
        if found is None:
            with process_lock():  # a child forked meanwhile would find the import's lock taken
                stations = importlib.import_module("backpass.codegen.build")
            found = self._built = cast(
                "Built",
                stations.build(self.graph, self.updates, host(), self._threads, apart=self._apart),
            )
        return found

    @property
    def lowered(self) -> Lowered:
        """The kernels, and the graph that they compute."""
        return self.built.lowered

    @property
    def arranged(self) -> Arranged:
        """The kernels in their order."""
        return self.built.arranged

    @property
    def assembly(self) -> Assembly:
        """The text of the code, and where everything lies."""
        return self.built.assembly

    @property
    def constants(self) -> list[Array]:
        """The constant arrays that it holds."""
        return list(self.image.constants.values())

    def _native(self, segment: SegmentImage, single: bool) -> _Native:
        """The entry of a segment; what never changes is bound once."""
        constants = self.image.constants
        fixed = {*constants, *([ARENA] if single else [])}
        specs: list[ArgumentSpec] = []
        for slot in segment.slots:
            if slot not in fixed:
                t = self.image.types[slot]
                specs.append(ArgumentSpec(slot, t.dtype, t.shape, slot in segment.written))
        context = Context(
            len(self.image.types),
            tuple(specs),
            parallel=segment.parallel,
            short=self.work() < SHORT_WORK,
            threads_at_most=self._threads,
        )
        for slot in segment.slots:
            if slot in constants:
                context.bind(slot, constants[slot])
            elif slot == ARENA and single:
                context.bind(slot, self._arena)
        entry = make_entry(self._library, segment.name, context)
        inputs = frozenset(self.input_slots) & frozenset(segment.written)
        return _Native(entry, tuple(specs), inputs)

    def work(self) -> int:
        """Operations of one call, weighed: what it takes grows with it."""
        return self.image.work

    # -- running

    def enter(self, arguments: Sequence[Array], others: Sequence[Array] = ()) -> list[Array] | None:
        """The outputs, if the program is one native function and all arguments fit as they are.

        Args:
            arguments, others: the arrays of the graph's inputs, in two parts.
        """
        run = self._only
        if run is None:
            return None
        results = self._results.fresh()
        code = run.entry(*self._chosen([*arguments, *others, *results]))
        if code is None:
            return results
        if code >= 0:
            return None
        self._fail(code, [*arguments, *others])

    @property
    def single(self) -> bool:
        """Whether it is one native function, without reference calls."""
        return self._only is not None

    def uses(self, slot: int) -> bool:
        """Whether the one native function has the array of a slot as an argument."""
        return self._only is not None and slot in [spec.slot for spec in self._only.specs]

    def enter_series(self, inputs: list[Array], firsts: list[Array], table: Array) -> None:
        """Run the one native function as `table` says; `firsts` are the first batch's results.

        What ends the run early, or an array that does not fit as it is, is no error here: the
        caller sees in the table how far it came, and a single call does or says the rest.
        """
        assert self._only is not None
        self._only.entry(*self._chosen([*inputs, *firsts]), table)

    def _chooser(self) -> Callable[[list[Array]], Sequence[Array]]:
        """Of the arrays of inputs and outputs, those that the one native function takes."""
        slots = [*self.input_slots, *self.output_slots]
        taken = [slots.index(spec.slot) for spec in self._only.specs] if self._only else []
        if taken == list(range(len(slots))):
            return lambda arrays: arrays
        if len(taken) < 2:
            return lambda arrays: [arrays[i] for i in taken]
        return itemgetter(*taken)

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
        results = self._results.fresh()
        table: dict[int, Any] = dict(self.image.constants)
        table.update(zip(self.input_slots, arguments, strict=True))
        table.update(zip(self.output_slots, results, strict=True))
        if len(self.runs) > 1:
            table[ARENA] = aligned_bytes(self._arena.size)
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
            own = state.arguments[self.input_slots.index(slot)]
            if table[slot] is not own:
                np.copyto(own, table[slot])

    def _refer(self, segment: int, state: Running) -> None:
        """Evaluate a node by its reference on views of the program's memory."""
        self.built.refer(segment, {ARENA: self._arena, **state.table})

    def __str__(self) -> str:
        return show(self.graph)


def aligned_bytes(size: int) -> Array:
    """Memory whose first byte lies at a multiple of 64."""
    block = np.empty(size + ALIGNMENT, BYTE)
    start = -block.ctypes.data % ALIGNMENT
    return block[start : start + size]


def compile_graph(graph: Graph, updates: Mapping[int, int] | None = None) -> Program:
    """The program of a traced graph; `updates` maps outputs to the inputs that they replace."""
    return Program(graph, updates, traced=True)
