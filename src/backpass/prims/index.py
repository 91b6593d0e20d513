"""Reading and writing at integer positions: gather, scatter_add (its adjoint), scatter_set.

All act on the leading axes: k index arrays of one shape address the first k axes of x, the other
axes come whole. Indices may be negative and are checked: an index out of range raises IndexError,
as in NumPy.
"""

from __future__ import annotations

import numpy as np

from backpass.errors import ShapeError
from backpass.ir import (
    Lowering,
    NotDifferentiable,
    Operand,
    Primitive,
    TensorType,
    array_of,
    is_live,
    type_of,
)
from backpass.ir.graph import Array, Params, Partial, Pulled, tensor_type
from backpass.prims.elementwise import equal, select
from backpass.prims.rules import (
    INTERPRETED,
    batch_one,
    broadcast,
    jointly,
    lead,
    no_gradient,
    zeros_like,
)

Ints = tuple[int, ...]
INTEGER_INDEX = NotDifferentiable("integer index")


def _index_shape(indices: tuple[TensorType, ...]) -> Ints:
    for i in indices[1:]:
        if i.shape != indices[0].shape:
            raise ShapeError(f"index arrays have shapes {indices[0]} and {i}")
    return indices[0].shape


def _gather_shape(x: TensorType, *indices: TensorType) -> tuple[TensorType, ...]:
    return (tensor_type((*_index_shape(indices), *x.shape[len(indices) :]), x.dtype),)


def _pull_gather(
    ct: Operand, wanted: tuple[bool, ...], inputs: tuple[Operand, ...], params: Params
) -> Pulled:
    rest = [None] * (len(inputs) - 1)
    if any(map(is_live, (ct, *inputs[1:]))):
        return [scatter_add(ct, *inputs[1:], shape=type_of(inputs[0]).shape), *rest]
    piece, index = array_of(ct), tuple(map(array_of, inputs[1:]))
    return [Partial(type_of(inputs[0]), lambda buffer: np.add.at(buffer, index, piece)), *rest]


def _row_numbers(size: int, index_shape: Ints) -> Operand:
    """For each element of an index array its place in the batch."""
    rows = np.arange(size)
    return broadcast(rows, shape=(size, *index_shape), axes=tuple(range(1, 1 + len(index_shape))))


def _lead_all(
    inputs: tuple[Operand, ...], batched: tuple[bool, ...], size: int, arrays: int
) -> list[Operand]:
    """The inputs batched, with the row numbers as the first of the indices, behind `arrays`."""
    led = [lead(x, b, size) for x, b in zip(inputs, batched, strict=True)]
    rows = _row_numbers(size, type_of(led[arrays]).shape[1:])
    return [*led[:arrays], rows, *led[arrays:]]


def _gather_batch(
    inputs: tuple[Operand, ...], batched: tuple[bool, ...], size: int, params: Params
) -> tuple[tuple[Operand, ...], tuple[bool, ...]]:
    return (gather(*_lead_all(inputs, batched, size, 1)),), (True,)


def _gather_reference(x: Array, *indices: Array) -> Array:
    return x[tuple(indices)]


def _wrap_reference(index: Array, extent: int) -> Array:
    """A negative index counted from the end; IndexError beyond the extent, as NumPy says it."""
    index = np.asarray(index)
    bad = (index < -extent) | (index >= extent)
    if np.any(bad):
        first = index[bad].flat[0]
        raise IndexError(f"index {first} is out of bounds for axis with size {extent}")
    return np.where(index < 0, index + extent, index)


# wrap_index(i): a position in an axis of `extent`, as NumPy counts it. The compiler writes reading
# at an index with it; user code does not meet it.
wrap_index = Primitive(
    name="wrap_index",
    shape=lambda i, extent: (i,),
    reference=_wrap_reference,
    vjp=no_gradient("integer output"),
    batch=batch_one(lambda i, extent: wrap_index(i, extent=extent)),
    lower=Lowering.ELEMENTWISE,
    single=True,
)

# gather(x, i, j, ...)[n] = x[i[n], j[n], ...]
gather = Primitive(
    name="gather",
    shape=_gather_shape,
    reference=_gather_reference,
    vjp=jointly(_pull_gather),
    batch=_gather_batch,
    lower=Lowering.GATHER,
    single=True,
)


def _scatter_add_reference(u: Array, *indices: Array, shape: Ints) -> Array:
    out = np.zeros(shape, u.dtype)
    np.add.at(out, tuple(indices), u)
    return out


def _scatter_add_shape(u: TensorType, *indices: TensorType, shape: Ints) -> tuple[TensorType, ...]:
    expected = (*_index_shape(indices), *shape[len(indices) :])
    if u.shape != expected:
        raise ShapeError(f"scatter_add: updates {u} should have shape {expected}")
    return (tensor_type(tuple(shape), u.dtype),)


def _pull_scatter_add(
    ct: Operand, wanted: tuple[bool, ...], inputs: tuple[Operand, ...], params: Params
) -> list[Operand | None]:
    pulled = gather(ct, *inputs[1:])
    return [pulled, *[None] * (len(inputs) - 1)]


def _scatter_add_batch(
    inputs: tuple[Operand, ...], batched: tuple[bool, ...], size: int, params: Params
) -> tuple[tuple[Operand, ...], tuple[bool, ...]]:
    led = _lead_all(inputs, batched, size, 1)
    return (scatter_add(*led, shape=(size, *params["shape"])),), (True,)


# scatter_add(u, i, j, ..., shape): zeros of `shape` with u[n] added at [i[n], j[n], ...], in the
# order of n.
scatter_add = Primitive(
    name="scatter_add",
    shape=_scatter_add_shape,
    reference=_scatter_add_reference,
    vjp=jointly(_pull_scatter_add),
    batch=_scatter_add_batch,
    lower=Lowering.SCATTER,
    single=True,
)


def _scatter_set_reference(x: Array, u: Array, *indices: Array) -> Array:
    out = np.array(x)
    out[tuple(indices)] = u
    return out


def _scatter_set_shape(
    x: TensorType, u: TensorType, *indices: TensorType
) -> tuple[TensorType, ...]:
    expected = _gather_shape(x, *indices)[0]
    if u != expected:
        raise ShapeError(f"scatter_set: values {u} should be {expected}")
    return (x,)


def _pull_scatter_set(
    ct: Operand, wanted: tuple[bool, ...], inputs: tuple[Operand, ...], params: Params
) -> list[Operand | None]:
    x, u, *indices = inputs
    to_x = scatter_set(ct, zeros_like(u), *indices) if wanted[0] else None
    to_u = _last_writes(gather(ct, *indices), x, indices) if wanted[1] else None
    return [to_x, to_u, *[None] * len(indices)]


def _last_writes(ct: Operand, x: Operand, indices: list[Operand]) -> Operand:
    """ct where a write is the last at its position, else 0: earlier repeated ones are lost."""
    shape = type_of(indices[0]).shape
    count = 1
    for extent in shape:
        count *= extent
    turn = np.arange(count).reshape(shape)
    ground = np.full(type_of(x).shape[: len(indices)], -1)
    last = equal(gather(scatter_set(ground, turn, *indices), *indices), turn)
    ndim = len(type_of(ct).shape)
    whole = broadcast(last, shape=type_of(ct).shape, axes=tuple(range(len(shape), ndim)))
    return select(whole, ct, zeros_like(ct))


def _scatter_set_batch(
    inputs: tuple[Operand, ...], batched: tuple[bool, ...], size: int, params: Params
) -> tuple[tuple[Operand, ...], tuple[bool, ...]]:
    return (scatter_set(*_lead_all(inputs, batched, size, 2)),), (True,)


# scatter_set(x, u, i, j, ...): x with u[n] at [i[n], j[n], ...]; of repeated positions the last n
# stays.
scatter_set = Primitive(
    name="scatter_set",
    shape=_scatter_set_shape,
    reference=_scatter_set_reference,
    vjp=jointly(_pull_scatter_set),
    batch=_scatter_set_batch,
    lower=INTERPRETED,
    single=True,
)
