"""What a scatter's epilogue does to a row that no index names: nothing, if a number says so.

It stores `x - t` or `x + t`, where t depends on the sum and on single numbers alone. Where the sum
is +0.0, t is one number for all rows, known before any of them is visited. x - (+0.0) and
x + (-0.0) are x, to the bit, for every x (IEEE 754, 6.3: only so a zero keeps its sign); so a row
that no index names keeps its value if t is that zero, and must be visited if it is anything else: a
learning rate that is inf or NaN makes all of them NaN, a negative one turns -0.0 into +0.0.
"""

from __future__ import annotations

from dataclasses import dataclass

from backpass.loops.kernel import Access, Op, ScatterAdd


@dataclass(frozen=True, slots=True)
class Change:
    """`kept` is the op that loads x, `by` the op t; the row keeps its value where t is `zero`."""

    kept: int
    by: int
    zero: float


def change_of(kernel: ScatterAdd) -> Change | None:
    """How an epilogue changes rows; None if that is not of the form that is asked of it."""
    ops = kernel.epilogue
    stores = [op for op in ops if op.code == "store"]
    if len(stores) != 1 or not _is_element(stores[0].param, kernel):
        return None
    if stores[0].param.buffer != kernel.out:
        return None
    root = ops[stores[0].args[0]]
    if root.code not in ("add", "sub") or root.dtype.kind != "f":
        return None
    summed = _summed(ops)
    pairs = [root.args] if root.code == "sub" else [root.args, root.args[::-1]]
    for kept, by in pairs:
        load = ops[kept]
        plain = load.code == "load" and not load.args and _is_element(load.param, kernel)
        if plain and summed[by]:
            return Change(kept, by, 0.0 if root.code == "sub" else -0.0)
    return None


def _is_element(access: Access, kernel: ScatterAdd) -> bool:
    """Whether an access is of the element at (row, column) of an array like out."""
    return access.offset == 0 and access.strides == (0, kernel.width, 1)


def _summed(ops: tuple[Op, ...]) -> list[bool]:
    """Of each op whether it depends on the sum and, beside it, on single numbers alone."""
    single: list[bool] = []  # depends on the sum and single numbers at most
    found: list[bool] = []
    for op in ops:
        alone = all([single[a] for a in op.args])
        if op.code in ("load", "load_at", "index", "store"):
            alone = op.code == "load" and not op.args and not any(op.param.strides)
        single.append(alone)
        found.append(alone and (op.code == "acc" or any([found[a] for a in op.args])))
    return found
