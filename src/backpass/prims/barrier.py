"""barrier: the identity, at a place and a time that the passes must keep.

What is computed again in the backward pass has the same graph as in the forward pass, and cse would
make them one. So the inputs of what is computed again pass a barrier, which nothing merges or drops
before the order is settled (`passes/barriers.py` drops it then). The cotangents that it waits for
are inputs as well: it cannot run, nor what follows it, before the backward pass has come there.
"""

from __future__ import annotations

from typing import Any

from backpass.ir import Lowering, Operand, Primitive, TensorType
from backpass.ir.graph import Array, Params


def _first_types(*types: TensorType, count: int) -> tuple[TensorType, ...]:
    return types[:count]


def _first(*xs: Array, count: int) -> tuple[Array, ...]:
    return xs[:count]


def _pull(
    cts: tuple[Operand | None, ...],
    wanted: tuple[bool, ...],
    outputs: tuple[Operand, ...],
    inputs: tuple[Operand, ...],
    params: Params,
) -> list[Operand | None]:
    return [*cts, *[None] * (len(inputs) - len(cts))]


def _batch(
    inputs: tuple[Operand, ...], batched: tuple[bool, ...], size: int, params: Params
) -> tuple[tuple[Any, ...], tuple[bool, ...]]:
    return tuple(barrier(*inputs, **params)), batched[: params["count"]]


# barrier(x, y, ..., t, u, ..., count) = (x, y, ...), the first `count` of its inputs, when all of
# them are there.
barrier = Primitive(
    name="barrier",
    shape=_first_types,
    reference=_first,
    vjp=_pull,
    batch=_batch,
    lower=Lowering.ALIAS,
    single=False,
)
