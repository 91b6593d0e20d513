"""Lowered graphs, run by the interpreter of the kernel language: no LLVM, no arena, no threads.

`interpreted` runs the steps of a Lowered in order over arrays of their own. Every array begins with
a pattern that no kernel writes, so an element that was never written is seen. `check` compares with
the graph's own evaluation, which knows nothing of kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

import backpass as bp
from backpass.codegen.arrange import Step, arranged, reads, writes
from backpass.codegen.lower import lower
from backpass.codegen.lower.elements import Key, key_of
from backpass.codegen.lower.groups import is_view
from backpass.codegen.lower.lower import Call, Lowered
from backpass.codegen.lower.schedule import Bound
from backpass.codegen.stored_sizes import bytes_of
from backpass.ir import Graph, Primitive, Value, array_of, verify
from backpass.loops import Gemm, LoopKernel, ScatterAdd, Space, interpret
from backpass.loops import verify as verify_kernel
from backpass.prims import elementwise, index, reduce, rules, special
from backpass.trace.capture import evaluate

Array = np.ndarray[Any, Any]
BOUNDS = {"float64": 1e-12, "float32": 1e-5}


def graph_of(function: Callable[..., Any], *args: Any) -> Graph:
    """The graph that jit makes of a function, after its passes."""
    return verify(bp.jit(function).graph(*args))


def _references() -> dict[str, Callable[..., Any]]:
    found = [vars(m).values() for m in (elementwise, index, reduce, rules, special)]
    return {p.name: p.reference for ps in found for p in ps if isinstance(p, Primitive)}


REFERENCES = _references()


def garbage(size: int, dtype: Any) -> Array:
    """Elements that stand for memory nobody wrote."""
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        return np.full(size, np.nan, dtype)
    return np.full(size, dtype.kind == "b" or -(1 << 30), dtype)


def filled(key: Key, step: Step) -> Array:
    """A new array for what a step writes."""
    if isinstance(step, Call):
        t = step.node.types[key[1] if isinstance(key, tuple) else 0]
        return garbage(t.size, t.dtype)
    memory = [b for b in step.kernel.buffers if b.space is Space.MEMORY]
    dtype = memory[step.keys.index(key)].dtype
    return garbage(bytes_of(key, step) // dtype.itemsize, dtype)


class Memory:
    """The arrays of a run, by key."""

    def __init__(self, lowered: Lowered, arguments: Sequence[Any]) -> None:
        self.lowered = lowered
        self.arrays: dict[Key, Array] = {}
        self.status = 0
        for v, x in zip(lowered.graph.inputs, arguments, strict=True):
            self.arrays[v] = np.array(x, v.dtype).reshape(-1)

    def at(self, key: Key) -> Array:
        """The array of a key that is read."""
        if key not in self.arrays:
            assert isinstance(key, Value), f"{key} is read before it is written"
            assert key.array is not None, "a leaf that is neither input nor constant"
            self.arrays[key] = np.array(key.array).reshape(-1)
        return self.arrays[key]

    def run(self, step: Step) -> None:
        """One step."""
        for key in writes(step):
            self.arrays.setdefault(key, filled(key, step))
        for key in reads(step):
            if not bytes_of(key, step):
                self.arrays.setdefault(key, filled(key, step))  # nobody has to write nothing
            self.at(key)
        if isinstance(step, Call):
            self._refer(step)
            return
        memory = [b for b in step.kernel.buffers if b.space is Space.MEMORY]
        given = [self.arrays[k] for k in step.keys]
        for b, x in zip(memory, given, strict=True):
            assert b.dtype == x.dtype and b.size <= x.size, f"{step.kernel.name}: {b} {x.size}"
        self.status |= interpret(step.kernel, given, REFERENCES)

    def value(self, v: Value) -> Array:
        """The array of a value, views included."""
        chain: list[Any] = []
        while v.node is not None and is_view(v.node):
            chain.append(v.node)
            v = v.node.inputs[0]
        array = self.at(key_of(v)).reshape(v.shape) if v.type.size else np.empty(v.shape, v.dtype)
        for node in reversed(chain):
            array = node.primitive.reference(array, **node.params)
        return array

    def _refer(self, step: Call) -> None:
        node = step.node
        found: Any = node.primitive.reference(*map(self.value, node.inputs), **node.params)
        for key, x in zip(writes(step), [found] if node.primitive.single else found, strict=True):
            self.arrays[key][...] = np.reshape(x, -1)


def interpreted(graph: Graph, arguments: Sequence[Any]) -> tuple[Lowered, list[Array], int]:
    """The lowered graph, its outputs by the interpreter, and the status."""
    lowered = lower(graph)
    verify(lowered.graph)
    memory = Memory(lowered, arguments)
    for step in arranged(lowered, {}).steps:
        if isinstance(step, Bound):
            verify_kernel(step.kernel)
        memory.run(step)
    return lowered, [memory.value(v) for v in lowered.graph.outputs], memory.status


def check(function: Callable[..., Any], *args: Any) -> Lowered:
    """Lower a function, verify each kernel, and compare the interpreter's results with NumPy's."""
    graph = graph_of(function, *args)
    arguments = [x for x, _ in bp.jit(function).operands(*args)]
    with np.errstate(all="ignore"):
        expected = [np.asarray(array_of(x)) for x in evaluate(graph, arguments)]
    lowered, found, status = interpreted(graph, arguments)
    assert status == 0
    for x, y in zip(found, expected, strict=True):
        assert (x.shape, x.dtype) == (y.shape, y.dtype)
        bound = BOUNDS.get(y.dtype.name)
        if bound is None:
            np.testing.assert_array_equal(x, y)
            continue
        finite = np.abs(y[np.isfinite(y)])
        scale = float(np.max(finite, initial=0.0))
        np.testing.assert_allclose(x, y, rtol=bound, atol=bound * scale)
    return lowered


def kinds(lowered: Lowered) -> list[str]:
    """What each step is: "loops", "gemm", "scatter" or "call NAME"."""
    names: Mapping[type, str] = {LoopKernel: "loops", Gemm: "gemm", ScatterAdd: "scatter"}
    return [
        f"call {s.node.primitive.name}" if isinstance(s, Call) else names[type(s.kernel)]
        for s in lowered.steps
    ]
