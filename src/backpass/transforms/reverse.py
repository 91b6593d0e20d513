"""The walk back: cotangents of outputs become cotangents of leaves.

Invariant: a Value belongs to a scope exactly if it depends on one of its leaves, so only those are
visited. When the scope is closed and no outer transform traces, its Values are plain arrays to the
rules, and the walk computes at once and builds no graph. A leaf of an outer transform enters
through an `identity` node of its own, which makes nesting right by construction: there is no
perturbation to confuse. (Griewank & Walther 2008, Evaluating Derivatives, section 3.2.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from backpass.ir import (
    Node,
    NotDifferentiable,
    Operand,
    Scope,
    TensorType,
    Value,
    is_live,
    leaf,
    type_of,
)
from backpass.ir.graph import Array, Partial, apply, array_of, live_scopes
from backpass.prims import elementwise as el
from backpass.prims.rules import refuse, zeros_like
from backpass.trace.capture import nodes_between

# Where cotangents of a Value are kept: under its node, with its index unless that is 0.
Slot = Node | Value | tuple[Node, int]


def fresh_leaf(x: Operand, scope: Scope, weak: type[float] | type[int] | None = None) -> Value:
    """A leaf of `scope` with x's value: concrete, or an identity over an outer one's Value."""
    if type(x) is Value and is_live(x):
        inner = apply(el.identity, (x,), {}, live_scopes((x,)) | {scope})[0]
        return replace(inner, weak=x.weak)
    array = np.asarray(array_of(x))
    return leaf(type_of(array), frozenset((scope,)), array, weak)


def _slot(v: Value) -> Slot:
    if v.node is None:
        return v
    return (v.node, v.index) if v.index else v.node


class Cotangents:
    """The sum of the cotangents that have arrived at each Value.

    A sum of arrays is collected in place in a buffer of its own from the first Partial on; nobody
    else sees a buffer before its node is reached, after which nothing is added to it.
    """

    __slots__ = ("buffers", "sums")

    def __init__(self) -> None:
        self.sums: dict[Slot, Operand] = {}
        self.buffers: dict[Slot, Array] = {}

    def add(self, v: Value, ct: Operand | Partial | None) -> None:
        """One more contribution."""
        if ct is None:
            return
        slot = _slot(v)
        if type(ct) is Partial:
            ct.add_to(self._buffer(slot, ct.type))
            return
        before = self.sums.get(slot)
        self.sums[slot] = ct if before is None else el.add(before, ct)

    def _buffer(self, slot: Slot, kind: TensorType) -> Array:
        if slot not in self.buffers:
            self.buffers[slot] = np.zeros(kind.shape, kind.dtype)
        return self.buffers[slot]

    def pop(self, slot: Slot) -> Operand | None:
        """The sum of what arrived there; it is forgotten here."""
        total = self.sums.pop(slot, None)
        buffer = self.buffers.pop(slot, None) if self.buffers else None
        if buffer is None or total is None:
            return buffer if total is None else total
        return el.add(total, buffer)

    def take(self, node: Node) -> tuple[Operand | None, ...] | None:
        """What arrived at a node's outputs; None where nothing did."""
        first = self.pop(node)
        if len(node.types) == 1:
            return None if first is None else (first,)
        found = (first, *[self.pop((node, i)) for i in range(1, len(node.types))])
        return None if all([ct is None for ct in found]) else found


def pull_back(
    outputs: Sequence[object], scope: Scope, leaves: Sequence[Value], cts: Sequence[Operand | None]
) -> list[Operand]:
    """Cotangents of `leaves` for cotangents of `outputs`; zeros where no output depends on it."""
    arrived = Cotangents()
    for output, ct in zip(outputs, cts, strict=True):
        if type(output) is Value and scope in output.scopes:
            arrived.add(output, ct)
    ends = {_slot(v) for v in leaves}
    with np.errstate(all="ignore"):
        for node in reversed(nodes_between(outputs, scope)):
            if node not in ends:
                _pull_node(node, scope, arrived)
    return [_or_zeros(arrived.pop(_slot(v)), v) for v in leaves]


def _or_zeros(ct: Operand | None, v: Value) -> Operand:
    return zeros_like(v) if ct is None else ct


def _pull_node(node: Node, scope: Scope, arrived: Cotangents) -> None:
    cts = arrived.take(node)
    if cts is None:
        return
    wanted = tuple([scope in v.scopes and v.type.dtype.kind == "f" for v in node.inputs])
    if True not in wanted:
        return
    rule = node.primitive.vjp
    if isinstance(rule, NotDifferentiable):
        raise refuse(node.primitive.name, rule)
    outputs, inputs = _as_the_rule_sees_them(node)
    pulled = rule(cts, wanted, outputs, inputs, node.params)
    for v, ct, want in zip(node.inputs, pulled, wanted, strict=True):
        if want:
            arrived.add(v, ct)


def _as_the_rule_sees_them(node: Node) -> tuple[tuple[Operand, ...], tuple[Operand, ...]]:
    """A node's outputs and inputs: their arrays where nothing traces them any more."""
    for scope in node.scopes:
        if scope.alive:
            return node.outputs(), node.inputs
    known = tuple([array for array in node.arrays if array is not None])
    if len(known) < len(node.arrays):  # made under jit, and leaked: reading one will say so
        return node.outputs(), node.inputs
    return known, tuple([array_of(v) for v in node.inputs])
