"""What the compiler has no kernel of its own for, written with what it has.

- a product with one row, one column or a depth of one becomes multiplications and a sum, which fuse
  with what is around them; one of depth zero is zero;
- reading (or adding at) one place in each row becomes a comparison with the row's positions; a sum
  of nothing is zero;
- argmax and argmin become two folds;
- folds over axes of extent 1 become reshapes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from backpass.ir import Graph, Lowering, Node, Primitive, TensorType, Value, constant
from backpass.ir.graph import made
from backpass.passes.rewrite import rewrite
from backpass.prims import elementwise as el
from backpass.prims import index as ix
from backpass.prims import reduce as rd
from backpass.prims import rules as ru
from backpass.prims import shape as sh
from backpass.prims.contract import contract

Answer = tuple[Value, ...] | None
ONE_HOT = 4096  # positions of a row that are compared rather than read at an index


def expand(graph: Graph) -> Graph:
    """Before: `%2 = contract(%0, %1)` of a matrix and a vector. After: `broadcast`, `mul`,
    `sum`."""
    return rewrite(graph, _rule)


def _rule(node: Node) -> Answer:
    if node.primitive is contract:
        return _product(node)
    if node.primitive is ix.gather:
        return _gather(node)
    if node.primitive is ix.scatter_add:
        return _scatter(node)
    if node.primitive in (rd.argmax, rd.argmin):
        return _argument(node)
    if node.primitive.lower is Lowering.REDUCTION:
        return _fold(node)
    return None


def _spread(v: Value, shape: Sequence[int], own: Sequence[int], node: Node) -> Value:
    """v broadcast to `shape`, where its axes, in order, are axes `own`."""
    axes = tuple([i for i in range(len(shape)) if i not in own])
    if not axes:
        return v
    return made(ru.broadcast, (v,), node.source, shape=tuple(shape), axes=axes)


def _in_order(v: Value, order: Sequence[int], node: Node) -> Value:
    if tuple(order) == tuple(range(v.ndim)):
        return v
    return made(sh.transpose, (v,), node.source, order=tuple(order))


def _extent(v: Value, axes: Sequence[int]) -> int:
    count = 1
    for a in axes:
        count *= v.shape[a]
    return count


def _product(node: Node) -> Answer:
    """A product of few rows or columns, or of integers, by multiplications and a sum."""
    (x, y), p = node.inputs, node.params
    x_free = [i for i in range(x.ndim) if i not in (*p["x_batch"], *p["x_sum"])]
    y_free = [i for i in range(y.ndim) if i not in (*p["y_batch"], *p["y_sum"])]
    rows, columns, depth = _extent(x, x_free), _extent(y, y_free), _extent(x, p["x_sum"])
    if not depth:
        return (_zeros(node.types[0]),)
    if min(rows, columns, depth) > 1 and x.dtype.name in ("float32", "float64"):
        return None
    if not node.types[0].size or x.dtype.kind not in "fiu" or x.dtype.itemsize < 4:
        return None
    x = _in_order(x, (*p["x_batch"], *x_free, *p["x_sum"]), node)
    y = _in_order(y, (*p["y_batch"], *y_free, *p["y_sum"]), node)
    n_batch, n_out, n_sum = len(p["x_batch"]), len(node.types[0].shape), len(p["x_sum"])
    shape = (*node.types[0].shape, *x.shape[x.ndim - n_sum :])
    deep = range(n_out, n_out + n_sum)
    left = _spread(x, shape, (*range(n_batch + len(x_free)), *deep), node)
    right = _spread(y, shape, (*range(n_batch), *range(n_batch + len(x_free), n_out), *deep), node)
    multiplied = made(el.mul, (left, right), node.source)
    return (_folded(ru.reduce_sum, multiplied, tuple(deep), node),)


def _folded(primitive: Primitive, v: Value, axes: tuple[int, ...], node: Node) -> Value:
    if not axes:
        return v
    found = made(primitive, (v,), node.source, axes=axes)
    assert found.node is not None
    answer = _fold(found.node)
    return found if answer is None else answer[0]


def _fold(node: Node) -> Answer:
    """A fold over axes of extent 1 is a reshape."""
    x = node.inputs[0]
    if _extent(x, node.params["axes"]) != 1 or not x.type.size:
        return None
    if x.dtype != node.types[0].dtype:
        x = made(el.not_equal, (x, _number(0, x)), node.source)
    if x.shape == node.types[0].shape:
        return (x,)
    return (made(sh.reshape, (x,), node.source, shape=node.types[0].shape),)


def _number(number: Any, like: Value) -> Value:
    return constant(ru.full_like(like, number))


def _zeros(t: TensorType) -> Value:
    return constant(np.broadcast_to(np.zeros((), t.dtype), t.shape))


def _single_axis(indices: Sequence[Value], shape: Sequence[int]) -> int | None:
    """The only axis that is read at data, all others at their own position, once; else None."""
    if len(indices) != len(shape):
        return None
    found = None
    for axis, v in enumerate(indices):
        own = [1] * len(shape)
        own[axis] = shape[axis]
        if v.array is not None and v.node is None and v.ndim == len(shape):
            counted = np.arange(shape[axis]).reshape(own)
            if v.shape[axis] == shape[axis] and np.array_equal(
                v.array, np.broadcast_to(counted, v.shape)
            ):
                continue
        if found is not None or v.ndim != len(shape) or v.shape[axis] != 1:
            return None
        found = axis
    return found


def _at_index(node: Node, index: Value, shape: tuple[int, ...], axis: int) -> Value:
    """Whether each position along `axis` of `shape` is the one in `index` (extent 1 there)."""
    wrapped = made(ix.wrap_index, (index,), node.source, extent=shape[axis])
    row = tuple([i for i in range(len(shape)) if i != axis])
    flat = made(sh.reshape, (wrapped,), node.source, shape=tuple([shape[i] for i in row]))
    spread = _spread(flat, shape, row, node)
    own = constant(np.arange(shape[axis], dtype=wrapped.dtype))
    return made(el.equal, (spread, _spread(own, shape, (axis,), node)), node.source)


def _gather(node: Node) -> Answer:
    source, *indices = node.inputs
    axis = _single_axis(indices, source.shape)
    if (
        axis is None
        or source.shape[axis] > ONE_HOT
        or source.dtype.name not in ("float32", "float64")
    ):
        return None
    chosen = _at_index(node, indices[axis], source.shape, axis)
    kept = made(el.select, (chosen, source, _number(0, source)), node.source)
    total = _folded(ru.reduce_sum, kept, (axis,), node)
    return (made(sh.reshape, (total,), node.source, shape=node.types[0].shape),)


def _scatter(node: Node) -> Answer:
    updates, *indices = node.inputs
    shape = node.types[0].shape
    if not updates.type.size:
        return (_zeros(node.types[0]),)
    axis = _single_axis(indices, shape)
    if axis is None:
        return None
    chosen = _at_index(node, indices[axis], shape, axis)
    row = tuple([i for i in range(len(shape)) if i != axis])
    flat = made(sh.reshape, (updates,), node.source, shape=tuple([shape[i] for i in row]))
    spread = _spread(flat, shape, row, node)
    return (made(el.select, (chosen, spread, _number(0, spread)), node.source),)


def _argument(node: Node) -> Answer:
    """argmax: the first position that holds the maximum, or a NaN if there is one."""
    x, axis = node.inputs[0], int(node.params["axis"])
    if not x.type.size or x.dtype.name not in ("float32", "float64", "int64", "int32"):
        return None
    fold = rd.reduce_max if node.primitive is rd.argmax else rd.reduce_min
    best = _folded(fold, x, (axis,), node)
    others = tuple([i for i in range(x.ndim) if i != axis])
    hit = made(el.equal, (x, _spread(best, x.shape, others, node)), node.source)
    if x.dtype.kind == "f":
        hit = made(el.logical_or, (hit, made(el.isnan, (x,), node.source)), node.source)
    n: int = x.shape[axis]
    positions = _spread(constant(np.arange(n)), x.shape, (axis,), node)
    far = made(el.select, (hit, positions, _number(n, positions)), node.source)
    return (_folded(rd.reduce_min, far, (axis,), node),)
