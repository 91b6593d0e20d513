"""From a Graph to an Image and the text of its code: all stations of the compiler in their order.

Entered only when a graph is compiled that no image on disk stands for, when somebody asks for a
plan, or when a program has reference calls: those run here, on views of the program's memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from backpass.codegen.arrange import Arranged, arranged, reads, writes
from backpass.codegen.assemble import Assembler, Assembly, Segment
from backpass.codegen.image import ARENA, Image, SegmentImage
from backpass.codegen.lower import Call, Lowered, lower
from backpass.codegen.lower.elements import Key, key_of
from backpass.codegen.lower.groups import is_view
from backpass.codegen.lower.schedule import Bound
from backpass.codegen.machine import Machine
from backpass.codegen.phases import chained
from backpass.codegen.step_text import Home
from backpass.ir import Graph, TensorType, Value
from backpass.ir.graph import Array, array_of

BYTE = np.dtype(np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class Built:
    """What the stations gave for a graph, and the image that comes of it."""

    lowered: Lowered
    arranged: Arranged
    assembly: Assembly
    image: Image

    def refer(self, segment: int, table: Mapping[int, Any]) -> None:
        """Run a segment that is a reference call, on the arrays in the slots."""
        call = self.assembly.segments[segment].call
        assert call is not None
        node = call.node
        with np.errstate(all="ignore"):
            operands = [self._read(v, table) for v in node.inputs]
            found: Any = node.primitive.reference(*operands, **node.params)
        outputs = [found] if node.primitive.single else list(found)
        for i, array in enumerate(outputs):
            v = Value(node.types[i], node, i, None, frozenset())
            home = self.assembly.homes.get(key_of(v))
            if home is not None:
                _array(home, v.type, table)[...] = array

    def _read(self, v: Value, table: Mapping[int, Any]) -> Array:
        chain: list[Any] = []
        while v.node is not None and is_view(v.node):
            chain.append(v.node)
            v = v.node.inputs[0]
        if v.type.size:
            array = _array(self.assembly.homes[key_of(v)], v.type, table)
        else:
            array = np.empty(v.shape, v.dtype)
        for node in reversed(chain):
            reference: Callable[..., Any] = node.primitive.reference
            array = reference(array, **node.params)
        return array


def build(
    graph: Graph, updates: Mapping[int, int], machine: Machine, threads: int, *, apart: bool
) -> Built:
    """All stations.

    Args:
        graph: a verified graph.
        updates: for an output of the graph (by number) the input (by number) that it replaces.
        machine: what code is made for.
        threads: as many as may ever run it.
        apart: make a native function of every step.
    """
    lowered = lower(graph)
    steps = chained(arranged(lowered, updates))
    slots = _Slots(lowered.graph, steps, updates)
    assembly = Assembler(steps, slots.of, machine, threads, apart).build()
    types = [TensorType((assembly.arena.size,), BYTE), *slots.types]
    image = Image(
        tuple(types),
        tuple(slots.inputs),
        tuple(slots.outputs),
        slots.constants,
        tuple([_segment(s, assembly) for s in assembly.segments]),
        sum([step.work for step in steps.steps if isinstance(step, Bound)]),
    )
    return Built(lowered, steps, assembly, image)


class _Slots:
    """A slot for each input, each output that is returned, and each constant."""

    def __init__(self, graph: Graph, steps: Arranged, updates: Mapping[int, int]) -> None:
        self.of: dict[Key, int] = {}
        self.types: list[TensorType] = []  # from slot 1 on
        self.constants: dict[int, Array] = {}
        self.inputs = [self._add(v, v.type) for v in graph.inputs]
        self.outputs = [
            self._add(key_of(v), v.type)
            for number, v in enumerate(graph.outputs)
            if number not in updates
        ]
        for step in steps.steps:
            for key in reads(step):
                if isinstance(key, Value) and key not in self.of:
                    self.constants[self._add(key, key.type)] = _plain(array_of(key))

    def _add(self, key: Key, kind: TensorType) -> int:
        self.types.append(kind)
        self.of[key] = len(self.types)
        return len(self.types)


def _segment(segment: Segment, assembly: Assembly) -> SegmentImage:
    if isinstance(segment.call, Call):
        return SegmentImage("", segment.slots, (), False)
    written = {assembly.homes[k].slot for step in segment.steps for k in writes(step)}
    return SegmentImage(segment.name, segment.slots, tuple(sorted(written)), segment.parallel)


def _array(home: Home, t: TensorType, table: Mapping[int, Any]) -> Array:
    if home.slot != ARENA:
        return table[home.slot]
    return table[ARENA][home.offset : home.offset + t.nbytes].view(t.dtype).reshape(t.shape)


def _plain(array: Array) -> Array:
    """A constant as kernels read it."""
    return np.asarray(array, array.dtype.newbyteorder("="), order="C")
