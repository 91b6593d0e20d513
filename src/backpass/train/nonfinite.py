"""NaN and infinity in a step: which operation made the first one, near which parameter, on which
line.

The step changed nothing, so its graph is run again on the same batch by the interpreter, every
value is kept, and the walk goes back from the loss (or the gradient's norm) through values that are
not finite to an operation whose inputs all are. Values that are not finite but reach neither, such
as an unselected branch of `np.where`, are not blamed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np

from backpass.errors import BackpassError, NonFiniteError
from backpass.ir import Graph, Node, Operand, Value
from backpass.sentence import Sentence
from backpass.trace import Cell
from backpass.trace.capture import apply_primitive, evaluate
from backpass.train.batches import Batch
from backpass.train.callback import TrainerView
from backpass.train.modules import cells_of
from backpass.train.step import TrainingStep
from backpass.train.step_result import Outcome

WAY_OUT = "Try a lower learning rate, gradient_clip_norm=1.0, or scaled inputs."


def non_finite_error(
    trainer: TrainerView, step: TrainingStep, batch: Batch, outcome: Outcome, last: bool
) -> NonFiniteError:
    """The error for a step whose loss or gradient is not finite."""
    loss_is_bad = not np.isfinite(outcome.loss)
    what = f"the loss became {outcome.loss}" if loss_is_bad else "the gradient is not finite"
    where = f"epoch {trainer.epoch}, step {trainer.step + 1}"
    cause = _cause(trainer.model, step, batch, last, 0 if loss_is_bad else 1)
    return NonFiniteError(
        Sentence(
            f"{what} in {where}. {cause} That step was not applied, so the model is as after step "
            f"{trainer.step}",
            trainer.way_to_resume(),
            f" {WAY_OUT}",
        )
    )


def _cause(model: Any, step: TrainingStep, batch: Batch, last: bool, output: int) -> str:
    """The sentence that says where it came from."""
    named = [("the inputs", x) for x in batch.inputs] + [("the targets", batch.targets)]
    for name, array in named:
        if not _is_finite(array):
            return f"The batch itself is to blame: {name} hold {_bad_count(array)}."
    for name, cell in cells_of(model).items():
        if not _is_finite(cell.read()):
            return (
                f"Parameter {name!r} holds {_bad_count(cell.read())} since the step before: its "
                "update overflowed."
            )
    try:
        graph, operands = step.graph(batch, last=last)
        return _first_bad(graph, operands, cells_of(model), output)
    except BackpassError as error:
        return f"The operation cannot be named, since the step cannot be traced: {error}."


def _first_bad(
    graph: Graph,
    operands: Sequence[tuple[Any, Cell | None]],
    names: dict[str, Cell],
    output: int,
) -> str:
    results: dict[Node, Sequence[Operand]] = {}
    inputs = {v: np.asarray(x) for v, (x, _) in zip(graph.inputs, operands, strict=True)}

    def keep(node: Node, arguments: tuple[Operand, ...]) -> Sequence[Operand]:
        results[node] = apply_primitive(node, arguments)
        return results[node]

    with np.errstate(all="ignore"):
        evaluate(graph, [x for x, _ in operands], keep)

    def array(v: Value) -> np.ndarray:
        if v.node is not None:
            return np.asarray(results[v.node][v.index])
        return inputs[v] if v in inputs else np.asarray(v.array)

    node = _origin(graph.outputs[output], array)
    if node is None:
        return "The value was not finite from the start."
    of_cell = {c: name for name, c in names.items()}
    parameters = {
        v: of_cell[cell]
        for v, (_, cell) in zip(graph.inputs, operands, strict=True)
        if cell is not None and cell in of_cell
    }
    return _sentence(node, array, parameters, list(names))


def _origin(output: Value, array: Any) -> Node | None:
    """The node on the way back from a bad value whose own inputs are finite, constants aside."""
    v = output
    found: Node | None = None
    while v.node is not None:
        found = v.node
        bad = [x for x in found.inputs if x.node is not None and not _is_finite(array(x))]
        if not bad:
            return found
        v = next((x for x in bad if np.isnan(array(x)).any()), bad[0])
    return found


def _sentence(node: Node, array: Any, parameters: dict[Value, str], order: list[str]) -> str:
    result = next((v for v in node.outputs() if not _is_finite(array(v))), node.outputs()[0])
    given = [_range(array(v)) for v in node.inputs]
    near = _nearest_parameter(node, parameters)
    place = "" if near is None else f", at parameter {near!r} (layer {layer_number(near, order)})"
    line = "" if node.source is None else f", {node.source}"
    return (
        f"The first bad operation is {node.primitive.name} of {' and '.join(given) or 'nothing'}, "
        "which gives "
        f"{_bad_count(array(result))}{place}{line}."
    )


def _nearest_parameter(node: Node, parameters: dict[Value, str]) -> str | None:
    """The parameter that fewest operations lie between, going back from a node."""
    pending, seen = deque([node]), {node}
    while pending:
        current = pending.popleft()
        for v in current.inputs:
            if v in parameters:
                return parameters[v]
        for v in current.inputs:
            if v.node is not None and v.node not in seen:
                seen.add(v.node)
                pending.append(v.node)
    return None


def layer_number(name: str, order: Sequence[str]) -> int:
    """The place, from 1, of a parameter's module among the modules that have parameters.

    >>> layer_number("2.bias", ["0.weight", "0.bias", "2.weight", "2.bias"])
    2
    """
    modules = list(dict.fromkeys(n.rpartition(".")[0] for n in order))
    return modules.index(name.rpartition(".")[0]) + 1


def _is_finite(x: Any) -> bool:
    return x is None or x.dtype.kind != "f" or bool(np.all(np.isfinite(x)))


def _bad_count(x: np.ndarray) -> str:
    nans, infinite = int(np.sum(np.isnan(x))), int(np.sum(np.isinf(x)))
    said = [f"{nans:,} NaN"] * (nans > 0) + [f"{infinite:,} infinite"] * (infinite > 0)
    return f"{' and '.join(said)} among {x.size:,} values"


def _range(x: np.ndarray) -> str:
    shape = f"{x.dtype.name}{list(x.shape)}"
    if x.dtype.kind != "f" or x.size == 0 or not np.all(np.isfinite(x)):
        return shape
    return f"{shape} from {float(x.min()):.6g} to {float(x.max()):.6g}"


__all__ = ["layer_number", "non_finite_error"]
