"""Program: a Graph made ready to run many times, by the NumPy reference of each primitive.

Invariant: a value is dropped as soon as its last reader has run, so the peak is that of the order
of the graph. A Program never writes to its arguments and never returns an argument or a constant
itself, only arrays of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backpass.ir import Graph, Node, Value, show
from backpass.ir.graph import Array, array_of


@dataclass(frozen=True, slots=True)
class Step:
    """One node with its operands and results as places in a table."""

    run: Callable[..., Any]
    params: dict[str, Any]
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    drops: tuple[int, ...]
    single: bool
    node: Node


class Program:
    """A compiled function of arrays.

    Args:
        graph: a verified graph.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._places: dict[object, int] = {}
        self._table: list[Array | None] = []
        inputs = [self._place(v, None) for v in graph.inputs]
        self._inputs = tuple(inputs)
        self._steps = self._scheduled()
        places = [self._read_place(v) for v in graph.outputs]
        # Each output's place, and whether it was asked for before.
        self._outputs = tuple([(p, p in places[:i]) for i, p in enumerate(places)])

    def _place(self, key: object, array: Array | None) -> int:
        self._places[key] = len(self._table)
        self._table.append(array)
        return len(self._table) - 1

    def _read_place(self, v: Value) -> int:
        key = v if v.node is None else (v.node, v.index)
        return self._places[key] if key in self._places else self._place(key, array_of(v))

    def _scheduled(self) -> tuple[Step, ...]:
        last: dict[tuple[Node, int], int] = {}
        for i, node in enumerate(self.graph.nodes):
            for v in node.inputs:
                if v.node is not None:
                    last[v.node, v.index] = i
        kept = {(v.node, v.index) for v in self.graph.outputs if v.node is not None}
        drops: dict[int, list[tuple[Node, int]]] = {}
        for key, i in last.items():
            if key not in kept:
                drops.setdefault(i, []).append(key)
        steps: list[Step] = []
        for i, node in enumerate(self.graph.nodes):
            reads = tuple(map(self._read_place, node.inputs))
            writes = tuple([self._place((node, k), None) for k in range(len(node.types))])
            dropped = tuple([self._places[key] for key in drops.get(i, ())])
            steps.append(
                Step(
                    node.primitive.reference,
                    dict(node.params),
                    reads,
                    writes,
                    dropped,
                    node.primitive.single,
                    node,
                )
            )
        return tuple(steps)

    def __call__(self, arguments: Sequence[Array]) -> list[Array]:
        """Run on arrays of exactly the types of the graph's inputs."""
        table = list(self._table)
        for place, x in zip(self._inputs, arguments, strict=True):
            table[place] = x
        with np.errstate(all="ignore"):
            for step in self._steps:
                result = step.run(*[table[i] for i in step.reads], **step.params)
                if step.single:
                    table[step.writes[0]] = np.asarray(result)
                else:
                    for place, part in zip(step.writes, result, strict=True):
                        table[place] = np.asarray(part)
                for place in step.drops:
                    table[place] = None
        return [self._owned(p, table, again) for p, again in self._outputs]

    def _owned(self, place: int, table: list[Array | None], again: bool) -> Array:
        """An output as the caller's own array: a copy where anything else may hold its memory."""
        array = table[place]
        if array is None:
            raise RuntimeError("an output of the program was dropped before its end")
        if (
            again
            or place in self._inputs
            or self._table[place] is not None
            or array.base is not None
            or not array.flags.writeable
        ):
            return np.array(array)
        return array

    def __str__(self) -> str:
        return show(self.graph)


def compile_graph(graph: Graph) -> Program:
    """The program of a graph."""
    return Program(graph)
