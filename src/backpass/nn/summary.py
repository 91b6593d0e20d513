"""summary: the layers of a Module with output shapes and parameter counts, as a table that prints.

The shapes come from one run: forward hooks note what each module gives. The run is in evaluation
mode and inside an overlay, so no state changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from backpass.nn.hooks import ForwardHook, RemovableHandle
from backpass.nn.parameter import Parameter
from backpass.trace import bound
from backpass.tree import flatten

HEADINGS = ("layer", "type", "output shape", "parameters")


@dataclass(frozen=True, slots=True)
class SummaryRow:
    """One module that ran: `parameters` are its own, not those of its children, and 0 where counted
    before.
    """

    name: str
    type: str
    output_shape: tuple[int, ...] | tuple[tuple[int, ...], ...]
    parameters: int


@dataclass(frozen=True, slots=True)
class Summary:
    """The table of `Module.summary`. `total` counts each parameter once; `nbytes` is their
    memory.
    """

    rows: tuple[SummaryRow, ...]
    total: int
    trainable: int
    nbytes: int

    def __str__(self) -> str:
        table: list[tuple[str, ...]] = [HEADINGS]
        for row in self.rows:
            table.append((row.name, row.type, str(row.output_shape), f"{row.parameters:,}"))
        widths = [max([len(line[i]) for line in table]) for i in range(len(HEADINGS))]
        lines = []
        for line in table:
            left = [cell.ljust(width) for cell, width in zip(line[:3], widths[:3], strict=True)]
            lines.append("  ".join([*left, line[3].rjust(widths[3])]))
        rule = "-" * len(lines[0])
        end = f"{self.total:,} parameters ({self.trainable:,} trainable), {self.nbytes:,} bytes"
        return "\n".join([lines[0], rule, *lines[1:], rule, end])

    __repr__ = __str__


class Summarized(Protocol):
    """What a summary needs of a Module."""

    training: bool

    def __call__(self, *args: Any) -> Any: ...

    def eval(self) -> object: ...

    def named_modules(self) -> Iterator[tuple[str, Summarized]]: ...

    def children(self) -> Iterator[Summarized]: ...

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]: ...

    def register_forward_hook(self, hook: ForwardHook) -> RemovableHandle: ...


def summarize(module: Summarized, inputs: Sequence[Any], dtype: Any) -> Summary:
    """Run the module on examples, or on zeros of shapes, and note what each part gives."""
    cells = list(module.parameters())
    kind = np.dtype(dtype) if dtype is not None else cells[0].dtype if cells else np.dtype("f4")
    examples = [np.zeros(x, kind) if _is_shape(x) else x for x in inputs]
    rows: list[SummaryRow] = []
    seen: set[int] = set()

    def note(name: str, part: Summarized) -> ForwardHook:
        def hook(_: object, args: object, output: Any) -> None:
            own = [p for p in part.parameters(recurse=False) if id(p) not in seen]
            seen.update(map(id, own))
            if own or not any(True for _ in part.children()):
                shape = _shapes(output)
                rows.append(SummaryRow(name, type(part).__name__, shape, _count(own)))

        return hook

    parts = list(module.named_modules())
    modes = [part.training for _, part in parts]
    handles = [part.register_forward_hook(note(name, part)) for name, part in parts]
    try:
        module.eval()
        with bound({}):
            module(*examples)
    finally:
        for handle in handles:
            handle.remove()
        for (_, part), mode in zip(parts, modes, strict=True):
            part.training = mode
    trainable = [p for p in cells if p.requires_grad]
    nbytes = sum([p.dtype.itemsize * _count([p]) for p in cells])
    return Summary(tuple(rows), _count(cells), _count(trainable), nbytes)


def _is_shape(x: Any) -> bool:
    return isinstance(x, (tuple, list)) and all([isinstance(n, (int, np.integer)) for n in x])


def _shapes(output: Any) -> Any:
    shapes = tuple([np.shape(x) for x in flatten(output)[0]])
    return shapes[0] if len(shapes) == 1 else shapes


def _count(cells: Sequence[Any]) -> int:
    return sum([int(np.prod(p.shape, dtype=int)) for p in cells])
