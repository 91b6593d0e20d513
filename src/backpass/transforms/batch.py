"""vmap: the function is traced on one element, and each node then acts on the whole batch.

Only nodes that depend on a batched input are batched; the others run once. The batch is at axis 0
inside.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from backpass.errors import ShapeError, TracingError, TreeError
from backpass.ir import Graph, Node, Operand, Scope, ScopeKind, TensorType, Value, leaf, type_of
from backpass.ops.operand import axis_of, operand
from backpass.ops.shape import moveaxis
from backpass.prims.rules import lead
from backpass.trace import Tracer, bound, capture, to_result, unwrap
from backpass.transforms.arguments import flat_outputs
from backpass.transforms.results import distinct
from backpass.tree import Tree, flatten, unflatten

Function = Callable[..., Any]
Axes = Any


def vmap(function: Function, in_axes: Axes = 0, out_axes: Axes = 0) -> Function:
    """A function that applies `function` along an axis of its arguments, all at once.

    Args:
        function: a function of arrays or containers of them; it sees one element, without the axis.
        in_axes: the axis of every argument (an int), or one entry for each: an int, None (not
            mapped), or a container of these in the argument's structure.
        out_axes: where the axis goes in the outputs: an int, or a container of ints in the output's
            structure.

    Returns:
        The mapped function. Keyword arguments are not mapped.

    Raises:
        ValueError: the mapped axes differ in length, or nothing is mapped.

    >>> import numpy as np
    >>> vmap(np.dot)(np.ones((4, 3)), np.ones((4, 3)))
    array([3., 3., 3., 3.])
    """

    @functools.wraps(function)
    def wrapped(*args: Any, **options: Any) -> Any:
        axes = _argument_axes(in_axes, args)
        leaves, structure = flatten(args)
        operands = [
            operand(unwrap(x)) if a is not None else x for x, a in zip(leaves, axes, strict=True)
        ]
        mapped = [a is not None for a in axes]
        size = _size(operands, axes)
        moved = [_front(x, a) if a is not None else x for x, a in zip(operands, axes, strict=True)]
        outputs, out_structure = _mapped_outputs(function, moved, mapped, size, structure, options)
        places = _output_axes(out_axes, out_structure)
        placed = [_back(x, a) for x, a in zip(outputs, places, strict=True)]
        results = distinct([to_result(x) for x in placed], operands)
        return unflatten(out_structure, results)

    return wrapped


def _front(x: Operand, axis: int) -> Operand:
    return moveaxis(x, axis, 0) if axis_of(x, axis) else x


def _back(x: Operand, axis: int) -> Operand:
    return moveaxis(x, 0, axis) if axis else x


def _argument_axes(in_axes: Axes, args: tuple[Any, ...]) -> list[int | None]:
    """One axis or None for each leaf of the arguments."""
    if isinstance(in_axes, (tuple, list)):
        if len(in_axes) != len(args):
            raise TreeError(f"vmap: in_axes has {len(in_axes)} entries for {len(args)} arguments")
        given = list(in_axes)
    else:
        given = [in_axes] * len(args)
    found: list[int | None] = []
    for axis, argument in zip(given, args, strict=True):
        found.extend(_spread(axis, argument))
    return found


def _spread(axis: Any, x: Any) -> list[int | None]:
    """An axis specification over the leaves below x: one int or None holds for all of them."""
    if axis is None or isinstance(axis, int):
        return [axis] * len(flatten(x)[0])
    if isinstance(axis, dict):
        return [a for key in x for a in _spread(axis[key], x[key])]
    if isinstance(axis, (tuple, list)) and isinstance(x, (tuple, list)) and len(axis) == len(x):
        return [a for one, part in zip(axis, x, strict=True) for a in _spread(one, part)]
    raise TreeError(f"vmap: the axes {axis!r} do not fit the argument")


def _size(operands: Sequence[Any], axes: Sequence[int | None]) -> int:
    sizes: dict[int, tuple[int, ...]] = {}
    for x, axis in zip(operands, axes, strict=True):
        if axis is not None:
            shape = type_of(x).shape
            if not -len(shape) <= axis < len(shape):
                raise ShapeError(
                    f"vmap: axis {axis} does not exist in an argument of shape {shape}"
                )
            sizes[shape[axis]] = shape
    if not sizes:
        raise ValueError("vmap: at least one argument must be mapped, but in_axes is None for all")
    if len(sizes) > 1:
        raise ShapeError(
            f"vmap: the mapped axes have different lengths {sorted(sizes)}: shapes "
            f"{list(sizes.values())}"
        )
    return next(iter(sizes))


def _mapped_outputs(
    function: Function,
    operands: Sequence[Any],
    mapped: Sequence[bool],
    size: int,
    structure: Tree,
    options: dict[str, Any],
) -> tuple[list[Operand], Tree]:
    """Trace the function on one element, then apply its graph to the batch."""
    with Scope(ScopeKind.BATCH) as scope:
        inputs: list[Value] = []
        given: list[Any] = []
        for x, m in zip(operands, mapped, strict=True):
            if m:
                whole = type_of(x)
                inputs.append(leaf(TensorType(whole.shape[1:], whole.dtype), frozenset((scope,))))
                given.append(Tracer(inputs[-1]))
            else:
                given.append(x)
        with bound({}) as overlay:
            out = function(*unflatten(structure, given), **options)
        outputs, out_structure = flat_outputs(out)
        if overlay.written:
            names = ", ".join([cell.describe() for cell in overlay.written])
            raise TracingError(
                f"vmap: the function writes to {names}; a mapped function cannot change a Module"
            )
        captured = capture(inputs, outputs, scope)
    batch = [x for x, m in zip(operands, mapped, strict=True) if m]
    return apply_batched(captured.graph, [*batch, *captured.free], len(batch), size), out_structure


def apply_batched(
    graph: Graph, arguments: Sequence[Operand], mapped: int, size: int
) -> list[Operand]:
    """The outputs for a batch at axis 0 of the first `mapped` arguments; outputs all carry it."""
    values: dict[Value | Node, Any] = {}
    for i, (v, x) in enumerate(zip(graph.inputs, arguments, strict=True)):
        values[v] = ((x,), (i < mapped,))

    def read(v: Value) -> tuple[Operand, bool]:
        if v.node is None and v not in values:
            return v, False
        found, batched = values[v if v.node is None else v.node]
        return found[v.index], batched[v.index]

    with np.errstate(all="ignore"):
        for node in graph.nodes:
            inputs, flags = zip(*map(read, node.inputs), strict=True) if node.inputs else ((), ())
            if any(flags):
                values[node] = node.primitive.batch(inputs, flags, size, node.params)
            else:
                found: Any = node.primitive(*inputs, **node.params)
                results = (found,) if node.primitive.single else tuple(found)
                values[node] = (results, (False,) * len(results))
    return [lead(*read(v), size) for v in graph.outputs]


def _output_axes(out_axes: Axes, structure: Tree) -> list[int]:
    if isinstance(out_axes, int):
        return [out_axes] * structure.leaf_count
    axes, shape = flatten(out_axes)
    if shape == structure:
        return axes
    if isinstance(out_axes, (tuple, list)) and len(out_axes) == len(structure.children):
        return [
            a
            for a, child in zip(out_axes, structure.children, strict=True)
            for _ in range(child.leaf_count)
        ]
    raise TreeError(f"vmap: out_axes {out_axes!r} do not fit the output {structure}")
