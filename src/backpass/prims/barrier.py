"""barrier: the identity, at a place and a time that the passes must keep.

What is computed again in the backward pass has the same graph as in the forward pass, and cse would
make them one. So its inputs pass a barrier, which nothing merges or drops. A barrier takes the
cotangents that it waits for as well: neither it nor what follows it can run, or become part of a
kernel that runs, before the backward pass has come there. In memory it is a view.
"""

from __future__ import annotations

from backpass.ir import Lowering, Operand, Primitive, TensorType
from backpass.ir.graph import Array, Params
from backpass.prims.rules import jointly


def _pull(
    ct: Operand, wanted: tuple[bool, ...], inputs: tuple[Operand, ...], params: Params
) -> list[Operand | None]:
    return [ct, *[None] * (len(inputs) - 1)]


def _batch(
    inputs: tuple[Operand, ...], batched: tuple[bool, ...], size: int, params: Params
) -> tuple[tuple[Operand, ...], tuple[bool, ...]]:
    return (barrier(*inputs),), batched[:1]


def _type(x: TensorType, *triggers: TensorType) -> tuple[TensorType, ...]:
    return (x,)


def _itself(x: Array, *triggers: Array) -> Array:
    return x


# barrier(x, t, ...) = x, when all of t are there.
barrier = Primitive(
    name="barrier",
    shape=_type,
    reference=_itself,
    vjp=jointly(_pull),
    batch=_batch,
    lower=Lowering.VIEW,
    single=True,
)
