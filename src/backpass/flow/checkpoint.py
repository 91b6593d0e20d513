"""checkpoint: what lies inside a function is computed again in the backward pass, not kept.

The function runs once, in a scope of its own, and is captured as a graph: what it reads of outer
transforms (arguments, values it closes over, Cells of Modules) are the graph's inputs. Its results
then pass a `checkpoint` node, the identity on them, which takes those inputs too and whose vjp
evaluates the graph again and walks back through it. Where values are known (eager), the node holds
the results as plain arrays, so nothing refers to what is inside any more; under jit and vmap it
refers to the nodes, `simplify` drops it, and a `barrier` keeps both computations apart. Python code
runs once: branches, prints and draws of random bits are those of the forward pass.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from backpass.ir import (
    Graph,
    Lowering,
    Node,
    Operand,
    Primitive,
    Scope,
    ScopeKind,
    TensorType,
    Value,
    is_live,
    leaf,
)
from backpass.ir.graph import Params
from backpass.prims.barrier import barrier
from backpass.prims.rules import lead
from backpass.trace import Tracer, bound, capture, evaluate, to_result
from backpass.trace.capture import apply_primitive
from backpass.transforms.batch import apply_batched
from backpass.transforms.reverse import fresh_leaf, pull_back
from backpass.tree import flatten, unflatten

Function = Callable[..., Any]


def _first_types(*types: TensorType, count: int, graph: Graph) -> tuple[TensorType, ...]:
    return types[:count]


def _first(*xs: Any, count: int, graph: Graph) -> tuple[Any, ...]:
    return xs[:count]


def _pull(
    cts: tuple[Operand | None, ...],
    wanted: tuple[bool, ...],
    outputs: tuple[Operand, ...],
    inputs: tuple[Operand, ...],
    params: Params,
) -> list[Operand | None]:
    """Cotangents of the graph's inputs, by computing it again; none for the results kept."""
    count, graph = params["count"], params["graph"]
    given, want = _behind_barrier(inputs[count:], cts), wanted[count:]
    with Scope(ScopeKind.DERIVATIVE) as scope:
        entered = [fresh_leaf(x, scope) if w else x for x, w in zip(given, want, strict=True)]
        again = evaluate(graph, entered, _without_nested)
    leaves = [v for v, w in zip(entered, want, strict=True) if w and type(v) is Value]
    pulled = iter(pull_back(again, scope, leaves, cts))
    return [*[None] * count, *[next(pulled) if w else None for w in want]]


def _behind_barrier(inputs: Sequence[Operand], cts: Sequence[Operand | None]) -> Sequence[Operand]:
    """The inputs, once the cotangents are there.

    In forward mode there is no pass to wait for: the cotangents are the unknowns of a linear map,
    and what is computed again is what the forward pass has computed.
    """
    triggers = [ct for ct in cts if type(ct) is Value and is_live(ct)]
    kinds = {s.kind for ct in triggers for s in ct.scopes if s.alive}
    if ScopeKind.LINEAR in kinds:
        return inputs
    return barrier(*inputs, *triggers, count=len(inputs))


def _without_nested(node: Node, inputs: tuple[Operand, ...]) -> Sequence[Operand]:
    """Evaluate a node; a checkpoint within lets go of its own inside once more."""
    if node.primitive is checkpointed:
        count = node.params["count"]
        inputs = (*map(_let_go, inputs[:count]), *inputs[count:])
    return apply_primitive(node, inputs)


def _let_go(x: Operand) -> Operand:
    """A known value as a constant, which refers to nothing that it was computed from."""
    if type(x) is Value and x.array is not None:
        return leaf(x.type, frozenset(), x.array)
    return x


def _batch(
    inputs: tuple[Operand, ...], batched: tuple[bool, ...], size: int, params: Params
) -> tuple[tuple[Operand, ...], tuple[bool, ...]]:
    count = params["count"]
    results = [lead(x, b, size) for x, b in zip(inputs[:count], batched, strict=False)]
    graph = _batched_graph(params["graph"], batched[count:], size)
    found = checkpointed(*results, *inputs[count:], count=count, graph=graph)
    return tuple(found), (True,) * count


def _batched_graph(graph: Graph, batched: Sequence[bool], size: int) -> Graph:
    """The graph over a batch at axis 0 of those inputs that carry it, and of all outputs."""
    with Scope(ScopeKind.BATCH) as scope:
        own = frozenset((scope,))
        inputs: list[Value] = []
        for v, b in zip(graph.inputs, batched, strict=True):
            shape = (size, *v.type.shape) if b else v.type.shape
            inputs.append(leaf(TensorType(shape, v.type.dtype), own))
        order = sorted(range(len(inputs)), key=lambda i: not batched[i])
        first = Graph(tuple([graph.inputs[i] for i in order]), graph.nodes, graph.outputs)
        outputs = apply_batched(first, [inputs[i] for i in order], sum(batched), size)
        return capture(inputs, outputs, scope).graph


# checkpoint(y, ..., x, ..., count, graph) = (y, ...): the first `count` inputs are the results of
# `graph` for the others.
checkpointed = Primitive(
    name="checkpoint",
    shape=_first_types,
    reference=_first,
    vjp=_pull,
    batch=_batch,
    lower=Lowering.ALIAS,
    single=False,
)


class _Inside:
    """One run of the function: traced values become leaves of its scope as they enter."""

    __slots__ = ("arguments", "scope")

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.arguments: dict[Tracer, tuple[Tracer, Value]] = {}

    def argument(self, x: Any) -> Any:
        """A leaf of the arguments; the same Tracer stays one, however often it is passed."""
        if type(x) is not Tracer or not is_live(x.value):
            return x
        if x not in self.arguments:
            inner = self.entered(x)
            self.arguments[x] = inner, inner.value
        return self.arguments[x][0]

    def entered(self, x: Tracer) -> Tracer:
        """An outer traced value as one of this scope."""
        return Tracer(fresh_leaf(x.value, self.scope), scalar=x.is_scalar)

    def cell(self, current: Any) -> Any:
        """What a Cell reads: its traced value, or a counter of random draws, enters the scope.

        Counters and flags are traced although no transform asks for it: what is drawn from them is
        then computed again instead of kept. They are known, so that Python can use them.
        """
        if type(current) is Tracer:
            return self.entered(current) if is_live(current.value) else current
        if current.dtype.kind == "f":
            return current
        kind = TensorType(current.shape, current.dtype)
        return Tracer(leaf(kind, frozenset((self.scope,)), np.array(current)), scalar=False)

    def rebound(self) -> dict[Tracer, Tracer]:
        """The arguments that the function wrote to in place: the outer Tracer and the inner one."""
        return {x: i for x, (i, start) in self.arguments.items() if i.value is not start}


def checkpoint(function: Function) -> Function:
    """The same function, whose inside is computed again in the backward pass instead of kept.

    Between the forward and the backward pass only its inputs are in memory: traced arguments,
    traced values and Modules' parameters that it uses. A chain of n blocks, each in a checkpoint,
    keeps n inputs and, at a time, the inside of one block; the cost is one more forward pass.

    Args:
        function: of arrays, nested containers and Modules; it may close over others. What it
            computes from closed-over traced values alone is kept, so pass those as arguments.

    Returns:
        A function with the same arguments, results and gradients. Outside of the transforms it is
        the function itself. `bp.remat` is another name of it.

    >>> from backpass.transforms import grad
    >>> block = checkpoint(lambda x: np.sum(np.sin(np.exp(x))))
    >>> grad(block)(np.zeros(2))
    array([0.54030231, 0.54030231])

    Griewank and Walther 2000, Algorithm 799: revolve; Chen, Xu, Zhang and Guestrin 2016, Training
    deep nets with sublinear memory cost.
    """

    @functools.wraps(function)
    def wrapped(*args: Any, **options: Any) -> Any:
        if not Scope.any_open():
            return function(*args, **options)
        given, structure = flatten((args, options))
        with Scope(ScopeKind.DERIVATIVE) as scope:
            inside = _Inside(scope)
            own_args, own_options = unflatten(structure, [inside.argument(x) for x in given])
            with bound({}, entering=inside.cell) as overlay:
                out = function(*own_args, **own_options)
        results, out_structure = flatten(out)
        rebound = inside.rebound()
        news: list[Any] = [overlay.values[cell] for cell in overlay.written]
        passed = _passed([*results, *news, *rebound.values()], scope)
        for cell, new in zip(overlay.written, passed[len(results) :], strict=False):
            cell.write(new)
        for outer, new in zip(rebound, passed[len(results) + len(news) :], strict=True):
            outer.rebind(new.value)
        return unflatten(out_structure, passed[: len(results)])

    return wrapped


def _passed(found: Sequence[Any], scope: Scope) -> list[Any]:
    """What leaves the function: through one node where an outer transform traces it."""
    through = [x for x in found if _made_inside(x, scope) and is_live(x.value)]
    captured = capture([], [x.value for x in through], scope)
    kept = [_let_go(x.value) for x in through]
    values = checkpointed(*kept, *captured.free, count=len(kept), graph=captured.graph)
    outer = iter(
        [
            Tracer(replace(v, weak=x.value.weak), scalar=x.is_scalar)
            for v, x in zip(values, through, strict=True)
        ]
    )
    return [
        x
        if not _made_inside(x, scope)
        else next(outer)
        if is_live(x.value)
        else to_result(x.value)
        for x in found
    ]


def _made_inside(x: Any, scope: Scope) -> bool:
    return type(x) is Tracer and scope in x.value.scopes

