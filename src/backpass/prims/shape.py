"""Linear movement of elements: reshape, transpose, flip, slice, pad, concatenate, slice_set.

slice and pad are adjoint to each other, with steps on one side and interior gaps on the other.
Negative steps do not exist here: `ops/` writes them as a flip.
"""

from __future__ import annotations

import numpy as np

from backpass.errors import ShapeError
from backpass.ir import Lowering, Operand, Primitive, TensorType, array_of, is_live, type_of
from backpass.ir.graph import Array, Params, Partial, tensor_type
from backpass.prims.rules import (
    batch_one,
    jointly,
    lead,
    per_input,
    shifted,
    zeros_like,
)

Ints = tuple[int, ...]


def _reshape_shape(t: TensorType, shape: Ints) -> tuple[TensorType, ...]:
    out = tensor_type(tuple(shape), t.dtype)
    if out.size != t.size:
        raise ShapeError(f"reshape: {t} has {t.size} elements, shape {shape} has {out.size}")
    return (out,)


reshape = Primitive(
    name="reshape",
    shape=_reshape_shape,
    reference=lambda x, shape: np.reshape(x, shape),
    vjp=per_input(lambda ct, y, x, shape: reshape(ct, shape=type_of(x).shape)),
    batch=batch_one(lambda x, shape: reshape(x, shape=(type_of(x).shape[0], *shape))),
    lower=Lowering.VIEW,
    single=True,
)


def _inverse(order: Ints) -> Ints:
    return tuple([order.index(i) for i in range(len(order))])


def _transpose_shape(t: TensorType, order: Ints) -> tuple[TensorType, ...]:
    return (tensor_type(tuple([t.shape[i] for i in order]), t.dtype),)


# transpose: result axis i is input axis order[i].
transpose = Primitive(
    name="transpose",
    shape=_transpose_shape,
    reference=lambda x, order: np.transpose(x, order),
    vjp=per_input(lambda ct, y, x, order: transpose(ct, order=_inverse(order))),
    batch=batch_one(lambda x, order: transpose(x, order=(0, *shifted(order)))),
    lower=Lowering.VIEW,
    single=True,
)
flip = Primitive(
    name="flip",
    shape=lambda t, axes: (t,),
    reference=lambda x, axes: np.flip(x, axes),
    vjp=per_input(lambda ct, y, x, axes: flip(ct, axes=axes)),
    batch=batch_one(lambda x, axes: flip(x, axes=shifted(axes))),
    lower=Lowering.VIEW,
    single=True,
)


def _index(starts: Ints, stops: Ints, steps: Ints) -> tuple[slice, ...]:
    return tuple([slice(a, b, s) for a, b, s in zip(starts, stops, steps, strict=True)])


def _slice_shape(t: TensorType, starts: Ints, stops: Ints, steps: Ints) -> tuple[TensorType, ...]:
    extents: list[int] = []
    for n, a, b, s in zip(t.shape, starts, stops, steps, strict=True):
        if not (0 <= a <= n and 0 <= b <= n and s >= 1):
            raise ShapeError(f"slice: {a}:{b}:{s} is not inside an axis of {n}")
        extents.append(len(range(a, b, s)))
    return (tensor_type(tuple(extents), t.dtype),)


def _pull_slice(
    ct: Operand, y: Operand, x: Operand, starts: Ints, stops: Ints, steps: Ints
) -> Operand | Partial:
    if not is_live(ct):
        piece, index = array_of(ct), _index(starts, stops, steps)

        def add_to(buffer: Array) -> None:
            buffer[index] += piece

        return Partial(type_of(x), add_to)
    low: list[int] = []
    high: list[int] = []
    for n, m, a, s in zip(type_of(x).shape, type_of(ct).shape, starts, steps, strict=True):
        low.append(a if m else n)
        high.append(n - (a + (m - 1) * s + 1) if m else 0)
    return pad(ct, low=tuple(low), high=tuple(high), interior=tuple([s - 1 for s in steps]))


slice_ = Primitive(
    name="slice",
    shape=_slice_shape,
    reference=lambda x, starts, stops, steps: x[_index(starts, stops, steps)],
    vjp=per_input(_pull_slice),
    batch=batch_one(
        lambda x, starts, stops, steps: slice_(
            x, starts=(0, *starts), stops=(type_of(x).shape[0], *stops), steps=(1, *steps)
        )
    ),
    lower=Lowering.VIEW,
    single=True,
)


def _padded(shape: Ints, low: Ints, high: Ints, interior: Ints) -> Ints:
    dilated = [n + max(n - 1, 0) * gap for n, gap in zip(shape, interior, strict=True)]
    return tuple([a + n + b for a, n, b in zip(low, dilated, high, strict=True)])


def _pad_index(shape: Ints, low: Ints, interior: Ints) -> tuple[slice, ...]:
    return tuple(
        [
            slice(a, a + n + max(n - 1, 0) * gap, gap + 1)
            for n, a, gap in zip(shape, low, interior, strict=True)
        ]
    )


def _pad_reference(x: Array, low: Ints, high: Ints, interior: Ints) -> Array:
    out = np.zeros(_padded(x.shape, low, high, interior), x.dtype)
    out[_pad_index(x.shape, low, interior)] = x
    return out


def _pull_pad(
    ct: Operand, y: Operand, x: Operand, low: Ints, high: Ints, interior: Ints
) -> Operand:
    index = _pad_index(type_of(x).shape, low, interior)
    return slice_(
        ct,
        starts=tuple([i.start for i in index]),
        stops=tuple([i.stop for i in index]),
        steps=tuple([i.step for i in index]),
    )


# pad: zeros before (low), after (high) and between (interior) the elements.
pad = Primitive(
    name="pad",
    shape=lambda t, low, high, interior: (
        tensor_type(_padded(t.shape, low, high, interior), t.dtype),
    ),
    reference=_pad_reference,
    vjp=per_input(_pull_pad),
    batch=batch_one(
        lambda x, low, high, interior: pad(
            x, low=(0, *low), high=(0, *high), interior=(0, *interior)
        )
    ),
    lower=Lowering.PAD,
    single=True,
)


def _concatenate_shape(*types: TensorType, axis: int) -> tuple[TensorType, ...]:
    first = types[0]
    for t in types[1:]:
        if t.shape[:axis] + t.shape[axis + 1 :] != first.shape[:axis] + first.shape[axis + 1 :]:
            raise ShapeError(f"concatenate along axis {axis}: {first} and {t} differ elsewhere")
    extent = sum([t.shape[axis] for t in types])
    return (tensor_type((*first.shape[:axis], extent, *first.shape[axis + 1 :]), first.dtype),)


def _pull_concatenate(
    ct: Operand, wanted: tuple[bool, ...], inputs: tuple[Operand, ...], params: Params
) -> list[Operand | None]:
    axis, at = int(params["axis"]), 0
    pulled: list[Operand | None] = []
    shape = type_of(ct).shape
    for x, want in zip(inputs, wanted, strict=True):
        end = at + type_of(x).shape[axis]
        pulled.append(take_range(ct, axis, at, end, shape) if want else None)
        at = end
    return pulled


def take_range(x: Operand, axis: int, start: int, stop: int, shape: Ints) -> Operand:
    """x[start:stop] along one axis."""
    starts, stops = [0] * len(shape), list(shape)
    starts[axis], stops[axis] = start, stop
    steps = (1,) * len(shape)
    return slice_(x, starts=tuple(starts), stops=tuple(stops), steps=steps)


def _concatenate_batch(
    inputs: tuple[Operand, ...], batched: tuple[bool, ...], size: int, params: Params
) -> tuple[tuple[Operand, ...], tuple[bool, ...]]:
    led = [lead(x, b, size) for x, b in zip(inputs, batched, strict=True)]
    return (concatenate(*led, axis=params["axis"] + 1),), (True,)


def _concatenate_reference(*xs: Array, axis: int) -> Array:
    return np.concatenate(xs, axis=axis)


concatenate = Primitive(
    name="concatenate",
    shape=_concatenate_shape,
    reference=_concatenate_reference,
    vjp=jointly(_pull_concatenate),
    batch=_concatenate_batch,
    lower=Lowering.PIECES,
    single=True,
)


def _slice_set_reference(x: Array, u: Array, starts: Ints, stops: Ints, steps: Ints) -> Array:
    out = np.array(x)
    out[_index(starts, stops, steps)] = u
    return out


def _slice_set_shape(
    x: TensorType, u: TensorType, starts: Ints, stops: Ints, steps: Ints
) -> tuple[TensorType, ...]:
    (place,) = _slice_shape(x, starts, stops, steps)
    if place != u:
        raise ShapeError(f"slice_set: {u} does not fill the place of {place}")
    return (x,)


def _slice_set_batch(
    inputs: tuple[Operand, ...], batched: tuple[bool, ...], size: int, params: Params
) -> tuple[tuple[Operand, ...], tuple[bool, ...]]:
    x, u = (lead(v, b, size) for v, b in zip(inputs, batched, strict=True))
    starts, stops, steps = params["starts"], params["stops"], params["steps"]
    return (slice_set(x, u, starts=(0, *starts), stops=(size, *stops), steps=(1, *steps)),), (True,)


def _pull_slice_set(ct: Operand, y: Operand, x: Operand, u: Operand, **where: Ints) -> Operand:
    return slice_set(ct, zeros_like(u), **where)


def _pull_slice_set_value(
    ct: Operand, y: Operand, x: Operand, u: Operand, **where: Ints
) -> Operand:
    return slice_(ct, **where)


# slice_set: x with a slice replaced by u.
slice_set = Primitive(
    name="slice_set",
    shape=_slice_set_shape,
    reference=_slice_set_reference,
    vjp=per_input(
        _pull_slice_set,
        _pull_slice_set_value,
    ),
    batch=_slice_set_batch,
    lower=Lowering.PIECES,
    single=True,
)
