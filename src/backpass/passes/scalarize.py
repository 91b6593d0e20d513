"""Arrays of a few elements as that many scalars.

A simulation written as a Python loop takes its state apart and puts it together again in every
step: each slice, stack and sum of three numbers would be a kernel of its own. As scalars they are
operations of one straight line of code, and what only moves elements is nothing at all. Invariant:
a value is that of the reference; a sum of few is in the order of its elements; a zero that `pad`
puts there is the neutral element of addition (a sum of -0.0 and it is -0.0, not 0.0).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import numpy as np

from backpass.ir import Graph, Lowering, Node, Primitive, Value, constant
from backpass.ir.graph import made, rebuild
from backpass.prims import elementwise as el
from backpass.prims import rules as ru
from backpass.prims import shape as sh
from backpass.prims.contract import contract

SMALL = 16  # elements of an array that is taken apart: a matrix of 4 x 4
LEAST = 64  # kernels that it saves, or it is not done
WORTH = 40  # scalar operations that cost as much as one small kernel
MOVES = frozenset(
    {sh.reshape, sh.transpose, ru.broadcast, sh.flip, sh.slice_, sh.pad, sh.concatenate}
    | {sh.slice_set}
)
KERNELS = frozenset({sh.slice_, sh.pad, sh.concatenate, sh.slice_set, ru.reduce_sum, contract})
NUMBERS = ("float32", "float64", "int32", "int64")


def scalarize(graph: Graph, native: Callable[[Node], bool]) -> Graph:
    """Chains of operations on tiny arrays, element by element, where there are many.

    Before: `%1: float64[2] = concatenate(%a, %b); %2 = mul(%1, %1); %3: float64[] = sum(%2)`.
    After: `%1 = reshape(%a); %2 = mul(%1, %1); %3 = reshape(%b); %4 = mul(%3, %3);
    %5 = add(%2, %4)`, all of rank 0. An element of a larger array is a slice of it, and what larger
    operations or the caller read is put together by `concatenate`.

    Args:
        graph: any.
        native: whether the compiler has code of its own for an elementwise node.
    """
    chosen = _worthwhile([node for node in graph.nodes if _is_small(node, native)])
    return _Scalars(graph, chosen).run() if chosen else graph


def _is_small(node: Node, native: Callable[[Node], bool]) -> bool:
    """Whether a node can be done by scalars."""
    if len(node.types) != 1 or not 1 <= node.types[0].size <= SMALL:
        return False
    if not all([1 <= v.type.size <= SMALL for v in node.inputs]):
        return False
    if node.primitive in MOVES:
        return True
    if node.primitive in (ru.reduce_sum, contract):
        dtypes = {t.dtype for t in (*node.types, *[v.type for v in node.inputs])}
        return len(dtypes) == 1 and next(iter(dtypes)).name in NUMBERS
    return node.primitive.lower is Lowering.ELEMENTWISE and native(node)


def _worthwhile(small: list[Node]) -> set[Node]:
    """The nodes of those connected parts that save more kernels than they cost operations."""
    parent = {node: node for node in small}

    def root(node: Node) -> Node:
        while parent[node] is not node:
            parent[node] = node = parent[parent[node]]
        return node

    for node in small:
        for v in node.inputs:
            if v.node in parent:
                parent[root(v.node)] = root(node)
    gain: dict[Node, list[int]] = {}
    for node in small:
        counts = gain.setdefault(root(node), [0, 0])
        counts[0] += node.primitive in KERNELS
        counts[1] += 0 if node.primitive in MOVES else _operations(node)
    return {node for node in small if (c := gain[root(node)])[0] >= LEAST and c[1] <= WORTH * c[0]}


def _operations(node: Node) -> int:
    if node.primitive is contract:
        return node.types[0].size * SMALL
    return max([v.type.size for v in node.inputs], default=0)


class _Scalars:
    """The rewriting of a graph, `chosen` nodes of which are done by scalars."""

    def __init__(self, graph: Graph, chosen: set[Node]) -> None:
        self.graph, self.chosen = graph, chosen
        self.nodes: list[Node] = []
        self.elements: dict[Hashable, list[Value]] = {}  # of an array, in memory order
        self.arrays: dict[Node, Value] = {}  # chosen nodes whose arrays were put together
        self.instead: dict[Node, tuple[Value, ...]] = {}  # kept nodes with other inputs
        self.zeros: dict[np.dtype[Any], Value] = {}
        self.tables: dict[Hashable, Any] = {}

    def run(self) -> Graph:
        """The new graph."""
        for node in self.graph.nodes:
            if node in self.chosen:
                self.elements[node, 0] = self._apart(node)
            else:
                self._kept(node)
        outputs = tuple(map(self._whole, self.graph.outputs))
        return Graph(self.graph.inputs, tuple(self.nodes), outputs)

    def _kept(self, node: Node) -> None:
        inputs = tuple(map(self._whole, node.inputs))
        if any([a is not b for a, b in zip(inputs, node.inputs, strict=True)]):
            kept = rebuild(node, inputs)
            self.instead[node] = kept.outputs()
            node = kept
        self.nodes.append(node)

    def _made(self, primitive: Primitive, inputs: tuple[Value, ...], like: Node, **p: Any) -> Value:
        v = made(primitive, inputs, like.source, **p)
        assert v.node is not None
        self.nodes.append(v.node)
        return v

    # -- between arrays and elements

    def _of(self, v: Value) -> list[Value]:
        """The elements of an array."""
        key: Hashable = v if v.node is None else (v.node, v.index)
        found = self.elements.get(key)
        if found is None:
            found = self.elements[key] = self._taken(v)
        return found

    def _taken(self, v: Value) -> list[Value]:
        """The elements of an array that is kept."""
        if v.node is None and v.array is not None:
            return [constant(x) for x in np.asarray(v.array).reshape(-1)]
        if v.node is not None and v.node in self.instead:
            v = self.instead[v.node][v.index]
        if not v.ndim:
            return [v]
        found: list[Value] = []
        for place in np.ndindex(*v.shape):
            stops = tuple([i + 1 for i in place])
            one = made(sh.slice_, (v,), starts=place, stops=stops, steps=(1,) * v.ndim)
            scalar = made(sh.reshape, (one,), shape=())
            assert one.node is not None and scalar.node is not None
            self.nodes += [one.node, scalar.node]
            found.append(scalar)
        return found

    def _whole(self, v: Value) -> Value:
        """A value as one array."""
        if v.node is None or v.node in self.instead:
            return v if v.node is None else self.instead[v.node][v.index]
        if v.node not in self.chosen:
            return v
        if v.node not in self.arrays:
            self.arrays[v.node] = self._together(v.node)
        return self.arrays[v.node]

    def _together(self, node: Node) -> Value:
        parts, shape = self.elements[node, 0], node.types[0].shape
        if not shape:
            return parts[0]
        if len(parts) == 1:
            return self._made(sh.reshape, (parts[0],), node, shape=shape)
        ones = [self._made(sh.reshape, (x,), node, shape=(1,)) for x in parts]
        flat = self._made(sh.concatenate, tuple(ones), node, axis=0)
        return flat if len(shape) == 1 else self._made(sh.reshape, (flat,), node, shape=shape)

    # -- nodes

    def _apart(self, node: Node) -> list[Value]:
        """The elements of what a node computes."""
        operands = [self._of(v) for v in node.inputs]
        if node.primitive in MOVES:
            pool = [self._zero(node), *[x for xs in operands for x in xs]]
            return [pool[i] for i in self._table(node, _moved)]
        if node.primitive is ru.reduce_sum:
            rows = self._table(node, _folded)
            return [self._sum([operands[0][i] for i in row], node) for row in rows]
        if node.primitive is contract:
            x, y = operands
            pairs: list[list[tuple[int, int]]] = self._table(node, _products)
            return [
                self._sum([self._made(el.mul, (x[i], y[j]), node) for i, j in row], node)
                for row in pairs
            ]
        return [self._scalar(node, args) for args in zip(*operands, strict=True)]

    def _table(self, node: Node, make: Callable[[Node], Any]) -> Any:
        """`make(node)`, once for nodes that are alike."""
        key = node.primitive, tuple([v.shape for v in node.inputs]), repr(node.params)
        if key not in self.tables:
            self.tables[key] = make(node)
        return self.tables[key]

    def _zero(self, node: Node) -> Value:
        dtype = node.types[0].dtype
        if dtype not in self.zeros:
            self.zeros[dtype] = constant(np.zeros((), dtype))
        return self.zeros[dtype]

    def _sum(self, terms: list[Value], node: Node) -> Value:
        zero = self._zero(node)
        total: Value | None = None
        for x in terms:
            if x is not zero:
                total = x if total is None else self._made(el.add, (total, x), node)
        return zero if total is None else total

    def _scalar(self, node: Node, args: tuple[Value, ...]) -> Value:
        """An elementwise node of one element."""
        primitive, zero = node.primitive, self._zero(node)
        first, last = args[0], args[-1]
        if primitive in (el.identity, el.stop):
            return first
        if primitive is el.add and (first is zero or last is zero):
            return last if first is zero else first
        if primitive is el.sub and last is zero:
            return first
        if primitive in (el.neg, ru.scale) and first is zero:
            return zero
        if primitive is ru.scale and _is_finite(last):  # then 0 times it is no NaN
            primitive = el.mul
        return self._made(primitive, args, node, **node.params)


def _is_finite(v: Value) -> bool:
    return v.node is None and v.array is not None and bool(np.all(np.isfinite(v.array)))


def _numbers(node: Node, first: int) -> list[Any]:
    """The elements of all inputs, counted from `first`, in arrays of their shapes."""
    found: list[Any] = []
    for v in node.inputs:
        found.append(np.arange(first, first + v.type.size).reshape(v.shape))
        first += v.type.size
    return found


def _moved(node: Node) -> list[int]:
    """Which element of the inputs each is, counted from 1; 0 is a zero."""
    moved: Any = node.primitive.reference(*_numbers(node, 1), **node.params)
    return np.asarray(moved).reshape(-1).tolist()


def _folded(node: Node) -> list[list[int]]:
    """The elements that each sum adds, in their order."""
    (numbers,) = _numbers(node, 0)
    axes = tuple(node.params["axes"])
    last = np.moveaxis(numbers, axes, range(numbers.ndim - len(axes), numbers.ndim))
    return last.reshape(node.types[0].size, -1).tolist()


def _products(node: Node) -> list[list[tuple[int, int]]]:
    """The pairs of elements whose products each element of a product adds."""
    rows: list[Any] = []
    for side, v in zip("xy", node.inputs, strict=True):
        batch, summed = node.params[f"{side}_batch"], node.params[f"{side}_sum"]
        free = [i for i in range(v.ndim) if i not in (*batch, *summed)]
        numbers = np.arange(v.type.size).reshape(v.shape).transpose(*batch, *free, *summed)
        count = [int(np.prod([v.shape[i] for i in axes])) for axes in (batch, free, summed)]
        rows.append(numbers.reshape(count).tolist())
    return [
        list(zip(one, other, strict=True))
        for left, right in zip(*rows, strict=True)
        for one in left
        for other in right
    ]


__all__ = ["scalarize"]
