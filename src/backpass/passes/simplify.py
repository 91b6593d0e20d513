"""Algebraic simplification that keeps every bit, NaN and signed zeros where they matter."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from backpass.flow.custom import custom
from backpass.ir import Graph, Node, Primitive, Value, constant
from backpass.ir.show import splat
from backpass.passes.rewrite import rewrite
from backpass.prims import elementwise as el
from backpass.prims import shape as sh
from backpass.prims.rules import scale

FOLD_LIMIT = 4096  # bytes: larger constants are computed when the program runs, not stored in it

Answer = tuple[Value, ...] | None


def simplify(graph: Graph) -> Graph:
    """Drop what has no effect once derivatives are taken, and fold small constants.

    - `identity(x)`, `stop_gradient(x)`, `cast` to the same dtype, `reshape` to the same shape,
      `transpose` in order, and the outputs of `custom_vjp` become what they pass through.
    - `transpose(transpose(x))` and `reshape(reshape(x))` that end where they began become x.
    - `mul(x, 1)`, `scale(x, 1)`, `div(x, 1)`, `sub(x, 0)` become x; `neg(neg(x))` becomes x.
    - a node of constants becomes a constant if it is at most 4096 bytes.

    Before: `%1 = identity(%0); %2 = scale(%1, 1.0); return %2`. After: `return %0`.
    """
    return rewrite(graph, _rule)


def _rule(node: Node) -> Answer:
    if node.primitive is custom:
        return node.inputs[: node.params["count"]]
    rule = RULES.get(node.primitive)
    answer = rule(node) if rule is not None else None
    return _folded(node) if answer is None else answer


def _folded(node: Node) -> Answer:
    if any([v.node is not None or v.array is None for v in node.inputs]):
        return None
    if sum([t.nbytes for t in node.types]) > FOLD_LIMIT:
        return None
    with np.errstate(all="ignore"):
        found = node.primitive.reference(*[v.array for v in node.inputs], **node.params)
    return tuple(map(constant, (found,) if node.primitive.single else found))


def _through(node: Node) -> Answer:
    return (node.inputs[0],)


def _same_type(node: Node) -> Answer:
    return (node.inputs[0],) if node.types[0] == node.inputs[0].type else None


def is_number(v: Value, number: float) -> bool:
    """Whether v is a constant that repeats one number."""
    a = v.array
    if v.node is not None or a is None or not a.size or not (a.ndim == 0 or splat(a)):
        return False
    return bool(a[(0,) * a.ndim] == number)


def _neutral_right(number: float) -> Callable[[Node], Answer]:
    def rule(node: Node) -> Answer:
        return (node.inputs[0],) if is_number(node.inputs[1], number) else None

    return rule


def _mul(node: Node) -> Answer:
    x, y = node.inputs
    if is_number(y, 1.0):
        return (x,)
    return (y,) if is_number(x, 1.0) else None


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
    el.sub: _neutral_right(0.0),
    scale: _neutral_right(1.0),
    el.neg: _neg,
    sh.reshape: _reshape,
    sh.transpose: _transpose,
}
