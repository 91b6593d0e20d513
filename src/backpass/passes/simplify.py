"""Algebraic simplification that keeps every bit, NaN and signed zeros where they matter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from backpass.flow.checkpoint import checkpointed
from backpass.flow.custom import custom
from backpass.ir import Graph, Node, Primitive, Value, constant
from backpass.ir.graph import Array, made, rebuild
from backpass.ir.show import splat
from backpass.passes.rewrite import rewrite
from backpass.prims import elementwise as el
from backpass.prims import shape as sh
from backpass.prims.rules import scale

SPLAT_FOLD_LIMIT = 1 << 24  # bytes: computed here once, to find that it repeats one number
FOLD_LIMIT = 4096  # bytes: larger constants are computed when the program runs, not stored in it

Answer = tuple[Value, ...] | None


def simplify(graph: Graph) -> Graph:
    """Drop what has no effect once derivatives are taken, and fold small constants.

    - `identity(x)`, `stop_gradient(x)`, `cast` to the same dtype, `reshape` to the same shape,
      `transpose` in order, and the outputs of `custom_vjp` and `checkpoint` become what they pass
      through.
    - `transpose(transpose(x))` and `reshape(reshape(x))` that end where they began become x.
    - `mul(x, 1)`, `scale(x, 1)`, `div(x, 1)`, `sub(x, 0)` become x; `neg(neg(x))` becomes x.
    - `scale(ct, d)` becomes `mul(ct, d)` where ct is a number but 0, or d a finite one: no product
      of a zero is NaN.
    - a node of constants becomes a constant if it is at most 4096 bytes or repeats one number; a
      constant array that repeats one number takes the memory of that number.

    Before: `%1 = identity(%0); %2 = scale(%1, 1.0); return %2`. After: `return %0`.
    """
    return rewrite(graph, _rule)


def _rule(node: Node) -> Answer:
    if node.primitive in (custom, checkpointed) and node.params["count"]:
        return node.inputs[: node.params["count"]]
    compact = _with_numbers(node)
    rule = RULES.get(node.primitive)
    answer = rule(compact) if rule is not None else None
    answer = _folded(compact) if answer is None else answer
    return compact.outputs() if answer is None and compact is not node else answer


def _with_numbers(node: Node) -> Node:
    """The node with constant arrays that repeat one number as splats: tracing computes such."""
    for v in node.inputs:
        if v.node is None and v.array is not None:
            break
    else:  # most nodes
        return node
    inputs = list(node.inputs)
    for i, v in enumerate(inputs):
        if v.node is None and v.array is not None:
            array = _compact(v.array)
            if array is not v.array:
                inputs[i] = constant(array)
    same = all([a is b for a, b in zip(inputs, node.inputs, strict=True)])
    return node if same else rebuild(node, tuple(inputs))


def _folded(node: Node) -> Answer:
    for v in node.inputs:
        if v.node is not None or v.array is None:
            return None
    known = [v.array for v in node.inputs if v.array is not None]
    limit = SPLAT_FOLD_LIMIT if all(map(splat, known)) else FOLD_LIMIT
    if sum([t.nbytes for t in node.types]) > limit:
        return None
    with np.errstate(all="ignore"):
        found = node.primitive.reference(*known, **node.params)
    folded = [_compact(np.asarray(x)) for x in ((found,) if node.primitive.single else found)]
    if sum([0 if splat(x) else x.nbytes for x in folded]) > FOLD_LIMIT:
        return None
    return tuple(map(constant, folded))


def _compact(array: Array) -> Array:
    """An array that repeats one number as a splat, which takes the memory of that number."""
    if array.size < 2 or splat(array):
        return array
    first, last = array[(0,) * array.ndim], array[(-1,) * array.ndim]
    if first != last:  # most arrays are no such, and may be large
        return array
    same = np.array_equal(array, np.broadcast_to(first, array.shape))
    signed = array.dtype.kind == "f" and bool(np.any(np.signbit(array) != np.signbit(first)))
    return np.broadcast_to(first, array.shape) if same and not signed else array


def _through(node: Node) -> Answer:
    return (node.inputs[0],)


def _same_type(node: Node) -> Answer:
    return (node.inputs[0],) if node.types[0] == node.inputs[0].type else None


def _number(v: Value) -> Any:
    """The number that a constant repeats; None if v is no such."""
    a = v.array
    if v.node is not None or a is None or not a.size or not (a.ndim == 0 or splat(a)):
        return None
    return a[(0,) * a.ndim]


def is_number(v: Value, number: float) -> bool:
    """Whether v is a constant that repeats one number."""
    found = _number(v)
    return found is not None and bool(found == number)


def _neutral_right(number: float) -> Callable[[Node], Answer]:
    def rule(node: Node) -> Answer:
        return (node.inputs[0],) if is_number(node.inputs[1], number) else None

    return rule


def _sub(node: Node) -> Answer:
    """x - 0 is x; but -0.0 - (-0.0) is 0.0."""
    x, y = node.inputs
    if not is_number(y, 0.0) or y.array is None:
        return None
    return None if np.signbit(y.array).any() else (x,)


def _mul(node: Node) -> Answer:
    x, y = node.inputs
    if is_number(y, 1.0):
        return (x,)
    return (y,) if is_number(x, 1.0) else None


def _scale(node: Node) -> Answer:
    ct, d = node.inputs
    if is_number(d, 1.0):
        return (ct,)
    if is_number(ct, 1.0):
        return (d,)
    finite, nonzero = _number(d), _number(ct)
    if (finite is not None and np.isfinite(finite)) or (nonzero is not None and nonzero != 0):
        return (made(el.mul, (ct, d), node.source),)
    return None


def _neg(node: Node) -> Answer:
    inner = node.inputs[0].node
    return (inner.inputs[0],) if inner is not None and inner.primitive is el.neg else None


def _made_by(node: Node, primitive: Primitive) -> Node | None:
    inner = node.inputs[0].node
    return inner if inner is not None and inner.primitive is primitive else None


def _transpose(node: Node) -> Answer:
    order = node.params["order"]
    if order == tuple(range(len(order))):
        return (node.inputs[0],)
    inner = _made_by(node, sh.transpose)
    if inner is None:
        return None
    joined = tuple([inner.params["order"][i] for i in order])
    return (inner.inputs[0],) if joined == tuple(range(len(order))) else None


def _reshape(node: Node) -> Answer:
    inner = _made_by(node, sh.reshape)
    if inner is not None and inner.inputs[0].type == node.types[0]:
        return (inner.inputs[0],)
    return _same_type(node)


RULES: dict[Primitive, Callable[[Node], Answer]] = {
    el.identity: _through,
    el.stop: _through,
    el.cast: _same_type,
    el.mul: _mul,
    el.div: _neutral_right(1.0),
    el.sub: _sub,
    scale: _scale,
    el.neg: _neg,
    sh.reshape: _reshape,
    sh.transpose: _transpose,
}
