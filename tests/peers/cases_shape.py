"""Shape and movement of elements, and indexing in all its forms."""

from __future__ import annotations

import numpy
from tests.peers.case import JAX, A, B, Case, S, T, V

I2 = numpy.array([[0, 2], [1, 1]])
ROWS, COLUMNS = numpy.array([0, 2, 2]), numpy.array([1, 3, 3])
MASK = numpy.array([True, False, True])
WHOLE = numpy.asarray(A > 0)


def square(x):  # noqa: ANN001, ANN201
    """x * x: a movement has a constant derivative, so each is followed by something curved."""
    return x * x


MOVES = {
    "reshape": lambda np, x: np.reshape(x, (4, 6)),
    "reshape -1": lambda np, x: x.reshape(-1, 3),
    "reshape F": lambda np, x: np.reshape(x, (6, 4), order="F"),
    "ravel": lambda np, x: np.ravel(x),
    "transpose": lambda np, x: np.transpose(x),
    "transpose axes": lambda np, x: np.transpose(x, (1, 2, 0)),
    "T": lambda np, x: x.T,
    "moveaxis": lambda np, x: np.moveaxis(x, 0, 2),
    "swapaxes": lambda np, x: np.swapaxes(x, 0, 1),
    "rollaxis": lambda np, x: np.rollaxis(x, 2),
    "expand_dims": lambda np, x: np.expand_dims(x, 1),
    "squeeze": lambda np, x: np.squeeze(x[:, :1], 1),
    "flip": lambda np, x: np.flip(x, 1),
    "flipud": lambda np, x: np.flipud(x),
    "fliplr": lambda np, x: np.fliplr(x),
    "rot90": lambda np, x: np.rot90(x),
    "roll": lambda np, x: np.roll(x, 2, axis=1),
    "roll flat": lambda np, x: np.roll(x, 5),
    "repeat": lambda np, x: np.repeat(x, 2, axis=1),
    "tile": lambda np, x: np.tile(x, (2, 1, 2)),
    "broadcast_to": lambda np, x: np.broadcast_to(x, (2, 2, 3, 4)),
    "atleast_2d": lambda np, x: np.atleast_2d(x[0, 0]),
    "atleast_3d": lambda np, x: np.atleast_3d(x[0]),
    "concatenate": lambda np, x: np.concatenate([x, x * 2], axis=2),
    "concatenate flat": lambda np, x: np.concatenate([x[0, 0], x[1, 2] * 3]),
    "stack": lambda np, x: np.stack([x[0], x[1] * 2], axis=1),
    "vstack": lambda np, x: np.vstack([x[0], x[1]]),
    "hstack": lambda np, x: np.hstack([x[0], x[1]]),
    "dstack": lambda np, x: np.dstack([x[0], x[1]]),
    "column_stack": lambda np, x: np.column_stack([x[0, 0], x[1, 1]]),
    "split": lambda np, x: np.split(x, 2, axis=2)[1],
    "split at": lambda np, x: np.split(x, [1, 3], axis=2)[1],
    "array_split": lambda np, x: np.array_split(x, 3, axis=2)[0],
    "hsplit": lambda np, x: np.hsplit(x, 3)[2],
    "vsplit": lambda np, x: np.vsplit(x, 2)[0],
    "dsplit": lambda np, x: np.dsplit(x, 2)[0],
    "pad": lambda np, x: np.pad(x, 1, mode="constant"),
    "diagonal": lambda np, x: np.diagonal(x[:, :2], axis1=0, axis2=1),
    "trace": lambda np, x: np.trace(x[0]),
    "tril": lambda np, x: np.tril(x),
    "triu": lambda np, x: np.triu(x, 1),
    "diag of a matrix": lambda np, x: np.diag(x[0]),
    "diag of a vector": lambda np, x: np.diag(x[0, 0], 1),
    "squeeze all": lambda np, x: np.squeeze(x[None]),
    "array_split uneven": lambda np, x: np.array_split(x[0], [1], axis=1)[1],
    "take": lambda np, x: np.take(x, I2, axis=1),
    "newaxis": lambda np, x: x[:, None, :, None],
    "integer": lambda np, x: x[1],
    "negative integer": lambda np, x: x[-1, -2],
    "slice": lambda np, x: x[:, 1:, ::2],
    "negative step": lambda np, x: x[::-1, :, ::-2],
    "negative bounds": lambda np, x: x[:, -1:-3:-1, -3:-1],
    "ellipsis": lambda np, x: x[..., 1],
    "ellipsis between": lambda np, x: x[0, ..., 2],
    "empty slice joined": lambda np, x: np.concatenate([x[:, 2:2], x], axis=1),
    "array": lambda np, x: x[:, ROWS],
    "array repeated": lambda np, x: x[:, numpy.array([1, 1, 1])],
    "array 2d": lambda np, x: x[:, I2],
    "pairs": lambda np, x: x[0][ROWS, COLUMNS],
    "pairs apart": lambda np, x: x[numpy.array([0, 1]), :, numpy.array([1, 2])],
    "array and integer": lambda np, x: x[1, :, ROWS],
    "array and slice": lambda np, x: x[:, ROWS, 1:3],
    "array and newaxis": lambda np, x: x[None, :, ROWS],
    "list": lambda np, x: x[:, numpy.array([2, 0])],
    "mask": lambda np, x: x[:, MASK],
    "mask of all": lambda np, x: x[0][WHOLE],
    "mask and slice": lambda np, x: x[1:, MASK, 1],
}
# no rule there, or none for these arguments
AUTOGRAD_LACKS = {
    "reshape F", "dsplit", "hsplit", "flip", "broadcast_to", "diagonal", "diag of a matrix", "take",
}  # fmt: skip

CASES = [
    *[
        Case(name, lambda np, x, move=move: square(move(np, x)), (T,),
             JAX if name in AUTOGRAD_LACKS else ("jax", "autograd"))
        for name, move in MOVES.items()
    ],
    Case("pad edge", lambda np, x: np.pad(x, ((1, 2), (0, 1)), mode="edge") ** 2, (A,), JAX),
    Case("pad reflect", lambda np, x: np.pad(x, ((1, 2), (2, 1)), mode="reflect") ** 2, (A,), JAX),
    Case("pad symmetric", lambda np, x: np.pad(x, 2, mode="symmetric") ** 2, (A,), JAX),
    Case("pad wrap", lambda np, x: np.pad(x, 2, mode="wrap") ** 2, (A,), JAX),
    Case("pad with a value", lambda np, x: np.pad(x, 1, constant_values=3.0) ** 2, (A,), JAX),
    Case("block", lambda np, x, y: np.block([[x, y], [y, x]]) ** 2, (A, B), JAX),
    Case("delete", lambda np, x: np.delete(x, 1, axis=0) ** 2, (A,), JAX),
    Case("take_along_axis",
         lambda np, x: np.take_along_axis(x, numpy.argsort(A, 1), axis=1) ** 2 * x, (A,), JAX),
    Case("take flat", lambda np, x: np.take(x, I2) ** 2, (A,), JAX),
    Case("diagflat", lambda np, x: np.diagflat(x) ** 2, (V,), JAX),
    Case("resize", lambda np, x: np.resize(x, (4, 5)) ** 2, (A,), JAX),
    Case("broadcast_arrays",
         lambda np, x, y: np.broadcast_arrays(x[:, None], y)[0] ** 2, (V, V), JAX),
    Case("matrix_transpose", lambda np, x: np.matrix_transpose(x) @ x, (S,), JAX),
    Case("repeat counts", lambda np, x: np.repeat(x, numpy.array([1, 0, 2, 1, 3])) ** 2, (V,), JAX),
    Case("swap and product", lambda np, x: x[::-1] * x[numpy.array([1, 0, 2])], (A,)),
    Case("gather of a gather", lambda np, x: x[ROWS][numpy.array([0, 0, 1])] ** 2, (A,)),
]  # fmt: skip
