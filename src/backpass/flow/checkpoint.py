"""checkpoint: what lies inside a function is computed again in the backward pass, not kept.

The function runs once, in a scope of its own, and is captured as a graph: what it reads of outer
transforms (arguments, values it closes over, Cells of Modules) are the graph's inputs. Its results
then leave through a `checkpoint` node of those inputs, whose vjp evaluates the graph again and
walks back through it. Where values are known (eager), nothing refers to what is inside any more.
Under jit and vmap the node is the identity on the results, `simplify` drops it, and a `barrier`
keeps the two computations apart. Python code runs once: branches, prints and draws of random bits
are those of the forward pass.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from backpass.ir import (
    Graph,
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
from backpass.ir.graph import Params, apply, live_scopes
from backpass.prims.barrier import barrier
from backpass.prims.rules import INTERPRETED, lead
from backpass.trace import Tracer, bound, capture, evaluate, to_result
from backpass.trace.capture import apply_primitive
from backpass.trace.shared import share, share_memory
from backpass.transforms.batch import apply_batched
from backpass.transforms.reverse import fresh_leaf, pull_back
from backpass.tree import flatten, unflatten

Function = Callable[..., Any]


def _result_types(*types: TensorType, count: int, graph: Graph) -> tuple[TensorType, ...]:
    return tuple([v.type for v in graph.outputs])


def _results(*xs: Any, count: int, graph: Graph) -> tuple[Any, ...]:
    return xs[:count] if count else tuple(evaluate(graph, xs))


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
        again = evaluate(graph, entered, _again)
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
    return [barrier(x, *triggers) for x in inputs]


def _again(node: Node, inputs: tuple[Operand, ...]) -> Sequence[Operand]:
    """Evaluate a node. Where values are not known, a checkpoint within gives up its results too."""
    if node.primitive is not checkpointed or node.params["count"] or _known(inputs):
        return apply_primitive(node, inputs)
    graph = node.params["graph"]
    results = evaluate(graph, inputs, _again)
    return checkpointed(*results, *inputs, count=len(results), graph=graph)


def _known(xs: Sequence[Operand]) -> bool:
    return all([type(x) is not Value or x.array is not None for x in xs])


def _batch(
    inputs: tuple[Operand, ...], batched: tuple[bool, ...], size: int, params: Params
) -> tuple[tuple[Operand, ...], tuple[bool, ...]]:
    count = params["count"]
    results = [lead(x, b, size) for x, b in zip(inputs[:count], batched, strict=False)]
    graph = _batched_graph(params["graph"], batched[count:], size)
    found = checkpointed(*results, *inputs[count:], count=count, graph=graph)
    return tuple(found), (True,) * len(graph.outputs)


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


# checkpoint(x, ..., count=0, graph) = graph(x, ...), and checkpoint(y, ..., x, ..., count, graph) =
# (y, ...), where the first `count` inputs are the results of `graph` for the others.
checkpointed = Primitive(
    name="checkpoint",
    shape=_result_types,
    reference=_results,
    vjp=_pull,
    batch=_batch,
    lower=INTERPRETED,
    single=False,
)


class _Inside:
    """One run of the function: traced values become leaves of its scope as they enter.

    An argument that comes back is itself, also where it was written to in place; and what would
    share memory in NumPy is known to do so on both sides.
    """

    __slots__ = ("arguments", "inner", "scope")

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.inner: dict[Tracer, Tracer] = {}  # the Tracer inside, for one of the arguments
        self.arguments: dict[
            Tracer, tuple[Tracer, Value]
        ] = {}  # the other way, and its first Value

    def argument(self, x: Any) -> Any:
        """A leaf of the arguments; the same Tracer stays one, however often it is passed."""
        if type(x) is not Tracer or not is_live(x.value):
            return x
        if x not in self.inner:
            inner = self.entered(x)
            for other, its in self.inner.items() if share_memory(x, x) else ():
                if share_memory(x, other):
                    share(inner, its)
            self.inner[x] = inner
            self.arguments[inner] = x, inner.value
        return self.inner[x]

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

    def leave(self, found: Sequence[Any]) -> list[Any]:
        """What the function returns or writes, outside: through one node where it is traced."""
        written = [
            x for x, (_, start) in self.arguments.items() if not x.is_stale and x.value is not start
        ]
        made = [x for x in found if type(x) is Tracer and x not in self.arguments]
        through = list(dict.fromkeys([*written, *filter(self._traced_outside, made)]))
        values = _checkpointed([x.value for x in through], self.scope)
        outside = {x: outer for x, (outer, _) in self.arguments.items()}
        for x, v in zip(through, values, strict=True):
            if x in outside:
                outside[x].rebind(v)
            else:
                outside[x] = Tracer(replace(v, weak=x.value.weak), scalar=x.is_scalar)
        shared = [x for x in outside if share_memory(x, x)]
        for x, y in itertools.combinations(shared, 2):
            if share_memory(x, y):
                share(outside[y], outside[x])
        return [self._left(x, outside) for x in found]

    def _traced_outside(self, x: Tracer) -> bool:
        return self.scope in x.value.scopes and is_live(x.value)

    def _left(self, x: Any, outside: dict[Tracer, Tracer]) -> Any:
        if type(x) is not Tracer:
            return x
        if x in outside:
            return outside[x]
        return to_result(x.value) if self.scope in x.value.scopes else x


def checkpoint(function: Function) -> Function:
    """The same function, whose inside is computed again in the backward pass instead of kept.

    Between the forward and the backward pass only its inputs are in memory: traced arguments,
    traced values and Modules' parameters that it uses. A chain of n blocks, each in a checkpoint,
    keeps n inputs and, at a time, the inside of one block; the cost is one more forward pass.

    Args:
        function: of arrays, nested containers and Modules; it may close over others. What it
            computes from closed-over traced values alone is kept, so pass those as arguments.

    Returns:
        A function with the same arguments, results and gradients (up to the order of sums where a
        value is used several times). Outside of the transforms it is the function itself.
        `bp.remat` is another name of it.

    Raises:
        TypeError: `function` cannot be called.

    >>> from backpass.transforms import grad
    >>> block = checkpoint(lambda x: np.sum(np.sin(np.exp(x))))
    >>> grad(block)(np.zeros(2))
    array([0.54030231, 0.54030231])

    Griewank and Walther 2000, Algorithm 799: revolve; Chen, Xu, Zhang and Guestrin 2016, Training
    deep nets with sublinear memory cost.
    """
    if not callable(function):
        raise TypeError(
            f"checkpoint: takes a function, got {type(function).__name__}; write "
            "bp.checkpoint(f)(x), not bp.checkpoint(f(x))"
        )

    @functools.wraps(function, updated=())
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
        left = inside.leave([*results, *[overlay.values[cell] for cell in overlay.written]])
        for cell, new in zip(overlay.written, left[len(results) :], strict=True):
            cell.write(new)
        return unflatten(out_structure, left[: len(results)])

    return wrapped


def _checkpointed(results: Sequence[Value], scope: Scope) -> Sequence[Value]:
    """The node of these results. If they are known it keeps them, and not what they came from."""
    if not results:
        return ()
    captured = capture([], results, scope)
    graph, inputs = captured.graph, captured.free
    if _known(results):
        arrays = tuple([v.array for v in results])
        params = {"count": 0, "graph": graph}
        return apply(checkpointed, inputs, params, live_scopes(inputs), arrays)
    return checkpointed(*results, *inputs, count=len(results), graph=graph)
