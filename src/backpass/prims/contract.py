"""contract: the one product of two tensors, from which dot, matmul, tensordot and einsum are made.

`x_batch`/`y_batch` pair axes that run in parallel, `x_sum`/`y_sum` pair axes that are summed over.
The result has the batch axes, then x's free axes, then y's free axes, each in its operand's order.
Its derivative is itself.
"""

from __future__ import annotations

import numpy as np

from backpass.errors import DTypeError, ShapeError
from backpass.ir import Lowering, Operand, Primitive, TensorType, type_of
from backpass.ir.graph import Array, Params, tensor_type
from backpass.prims.rules import per_input, shifted
from backpass.prims.shape import transpose

Ints = tuple[int, ...]


def _free(ndim: int, batch: Ints, summed: Ints) -> Ints:
    return tuple([i for i in range(ndim) if i not in batch and i not in summed])


def _contract_shape(
    x: TensorType, y: TensorType, x_batch: Ints, y_batch: Ints, x_sum: Ints, y_sum: Ints
) -> tuple[TensorType, ...]:
    if x.dtype != y.dtype:
        raise DTypeError(f"contract got dtypes {x} and {y}")
    for i, j in zip((*x_batch, *x_sum), (*y_batch, *y_sum), strict=True):
        if x.shape[i] != y.shape[j]:
            raise ShapeError(
                f"contract: axis {i} of {x} and axis {j} of {y} differ "
                f"({x.shape[i]} != {y.shape[j]})"
            )
    batch = [x.shape[i] for i in x_batch]
    x_free = [x.shape[i] for i in _free(len(x.shape), x_batch, x_sum)]
    y_free = [y.shape[i] for i in _free(len(y.shape), y_batch, y_sum)]
    return (tensor_type((*batch, *x_free, *y_free), x.dtype),)


def _extent(shape: Ints, axes: Ints) -> int:
    count = 1
    for i in axes:
        count *= shape[i]
    return count


def _contract_reference(
    x: Array, y: Array, x_batch: Ints, y_batch: Ints, x_sum: Ints, y_sum: Ints
) -> Array:
    """Both operands brought to (batch, rows, columns), then one np.matmul."""
    x_free, y_free = _free(x.ndim, x_batch, x_sum), _free(y.ndim, y_batch, y_sum)
    batch = tuple([x.shape[i] for i in x_batch])
    summed = _extent(x.shape, x_sum)
    rows, columns = _extent(x.shape, x_free), _extent(y.shape, y_free)
    left = x.transpose((*x_batch, *x_free, *x_sum)).reshape((*batch, rows, summed))
    right = y.transpose((*y_batch, *y_sum, *y_free)).reshape((*batch, summed, columns))
    out = np.matmul(left, right)
    shape = (*batch, *[x.shape[i] for i in x_free], *[y.shape[i] for i in y_free])
    return out.reshape(shape)


def _in_order(x: Operand, axes: Ints) -> Operand:
    """x, whose axes are `axes` of the result, with them in rising order."""
    rising = tuple(range(len(axes)))
    return x if axes == rising else transpose(x, order=tuple([axes.index(i) for i in rising]))


def _pull_x(
    ct: Operand,
    z: Operand,
    x: Operand,
    y: Operand,
    x_batch: Ints,
    y_batch: Ints,
    x_sum: Ints,
    y_sum: Ints,
) -> Operand:
    """Contract ct with y over y's free axes, then put the axes back in x's order."""
    x_ndim, y_ndim = len(type_of(x).shape), len(type_of(y).shape)
    x_free, y_free = _free(x_ndim, x_batch, x_sum), _free(y_ndim, y_batch, y_sum)
    n_batch, n_rows = len(x_batch), len(x_free)
    pulled = contract(
        ct,
        y,
        x_batch=tuple(range(n_batch)),
        y_batch=y_batch,
        x_sum=tuple(range(n_batch + n_rows, n_batch + n_rows + len(y_free))),
        y_sum=y_free,
    )
    # axes of `pulled`: batch, x_free, then y's summed axes in y's own order
    came = (*x_batch, *x_free, *[x_sum[y_sum.index(j)] for j in sorted(y_sum)])
    return _in_order(pulled, came)


def _pull_y(
    ct: Operand,
    z: Operand,
    x: Operand,
    y: Operand,
    x_batch: Ints,
    y_batch: Ints,
    x_sum: Ints,
    y_sum: Ints,
) -> Operand:
    """Contract x with ct over x's free axes, then put the axes back in y's order."""
    x_ndim, y_ndim = len(type_of(x).shape), len(type_of(y).shape)
    x_free, y_free = _free(x_ndim, x_batch, x_sum), _free(y_ndim, y_batch, y_sum)
    n_batch = len(x_batch)
    pulled = contract(
        x,
        ct,
        x_batch=x_batch,
        y_batch=tuple(range(n_batch)),
        x_sum=x_free,
        y_sum=tuple(range(n_batch, n_batch + len(x_free))),
    )
    came = (*y_batch, *[y_sum[x_sum.index(i)] for i in sorted(x_sum)], *y_free)
    return _in_order(pulled, came)


def _contract_batch(
    inputs: tuple[Operand, ...], batched: tuple[bool, ...], size: int, params: Params
) -> tuple[tuple[Operand, ...], tuple[bool, ...]]:
    """One batched operand gains a free axis (one large product); two gain a paired axis."""
    x, y = inputs
    axes = {key: params[key] for key in ("x_batch", "y_batch", "x_sum", "y_sum")}
    if all(batched):
        moved = {key: shifted(value) for key, value in axes.items()}
        moved["x_batch"] = (0, *moved["x_batch"])
        moved["y_batch"] = (0, *moved["y_batch"])
        return (contract(x, y, **moved),), (True,)
    side = "x" if batched[0] else "y"
    moved = {key: shifted(v) if key[0] == side else v for key, v in axes.items()}
    out = contract(x, y, **moved)
    at = len(axes["x_batch"])
    if side == "y":
        at = len(type_of(x).shape) - len(axes["x_sum"])
    ndim = len(type_of(out).shape)
    order = (at, *[i for i in range(ndim) if i != at])
    return (out if at == 0 else transpose(out, order=order),), (True,)


contract = Primitive(
    name="contract",
    shape=_contract_shape,
    reference=_contract_reference,
    vjp=per_input(_pull_x, _pull_y),
    batch=_contract_batch,
    lower=Lowering.PRODUCT,
    single=True,
)
