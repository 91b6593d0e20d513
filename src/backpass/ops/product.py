"""Products of arrays over operands: matmul, dot, einsum, tensordot, inner, outer, kron, trace.

All are made of one primitive, `contract`. An einsum of many operands goes pair by pair, in the
order that NumPy's greedy path finds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from backpass.dtypes import common
from backpass.errors import ShapeError
from backpass.ir import Operand
from backpass.ops.indexing import diagonal, take
from backpass.ops.operand import (
    axis_of,
    broadcast_shape,
    broadcast_to,
    cast_to,
    operand,
    shape_of,
    stand_in,
)
from backpass.ops.reduction import sum_
from backpass.ops.shape import expand_dims, moveaxis, ravel, reshape, transpose
from backpass.ops.ufuncs import ufunc
from backpass.prims.contract import contract
from backpass.prims.rules import reduce_sum

Function = Callable[..., Any]
# in the order of their character codes, which is that of an implicit output
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def _together(*xs: Any) -> list[Operand]:
    dtype = common(*xs)
    return [cast_to(operand(x), dtype) for x in xs]


def matmul(x1: Any, x2: Any) -> Operand:
    """x1 @ x2: matrices in the last two axes, leading axes broadcast, vectors as row or column."""
    x, y = _together(x1, x2)
    x_shape, y_shape = shape_of(x), shape_of(y)
    if not x_shape or not y_shape:
        raise ShapeError(
            f"matmul: operands need at least one axis, got {x_shape} @ {y_shape}; use * for scalars"
        )
    y_axis = max(len(y_shape) - 2, 0)
    inner = y_shape[y_axis]
    if x_shape[-1] != inner:
        raise ShapeError(_mismatch(x_shape, y_shape, inner))
    x_lead, y_lead = x_shape[:-2], y_shape[:-2]
    lead = broadcast_shape("matmul", x_lead, y_lead)
    n = len(lead)
    x_sum = (len(x_shape) - 1,)
    y_sum = (y_axis,)
    if not y_lead:  # one large product: x keeps its leading axes as rows
        return contract(x, y, x_batch=(), y_batch=(), x_sum=x_sum, y_sum=y_sum)
    x = broadcast_to(x, lead + x_shape[-2:]) if len(x_shape) > 1 else x
    y = broadcast_to(y, lead + y_shape[-2:])
    if len(x_shape) == 1:
        return contract(x, y, x_batch=(), y_batch=(), x_sum=(0,), y_sum=(n,))
    batch = tuple(range(n))
    return contract(x, y, x_batch=batch, y_batch=batch, x_sum=(n + 1,), y_sum=(n,))


def _mismatch(x_shape: tuple[int, ...], y_shape: tuple[int, ...], inner: int) -> str:
    text = f"matmul: inner dimensions differ: {x_shape} @ {y_shape} ({x_shape[-1]} != {inner})"
    if len(x_shape) == 2 and len(y_shape) == 2:
        if x_shape[0] == y_shape[0]:
            return text + ". Did you mean a.T @ b?"
        if x_shape[1] == y_shape[1]:
            return text + ". Did you mean a @ b.T?"
    return text


def dot(a: Any, b: Any, out: None = None) -> Operand:
    """np.dot: the last axis of a with the second-to-last of b, without broadcasting.

    Where one of them is a scalar it is their product.
    """
    x, y = _together(a, b)
    if not shape_of(x) or not shape_of(y):
        return ufunc(np.multiply, x, y)
    y_axis = max(len(shape_of(y)) - 2, 0)
    if shape_of(x)[-1] != shape_of(y)[y_axis]:
        raise ShapeError(
            f"dot: shapes {shape_of(x)} and {shape_of(y)} not aligned: "
            f"{shape_of(x)[-1]} != {shape_of(y)[y_axis]}"
        )
    return contract(x, y, x_batch=(), y_batch=(), x_sum=(len(shape_of(x)) - 1,), y_sum=(y_axis,))


def inner(a: Any, b: Any, /) -> Operand:
    """Sum of products over the last axes."""
    x, y = _together(a, b)
    if not shape_of(x) or not shape_of(y):
        return ufunc(np.multiply, x, y)
    return tensordot(x, y, axes=((-1,), (-1,)))


def outer(a: Any, b: Any, out: None = None) -> Operand:
    """Every element of a times every element of b."""
    x, y = ravel(a), ravel(b)
    return ufunc(np.multiply, reshape(x, (-1, 1)), reshape(y, (1, -1)))


def tensordot(a: Any, b: Any, axes: Any = 2) -> Operand:
    """Sum of products over given axes of both."""
    x, y = _together(a, b)
    if isinstance(axes, (int, np.integer)):
        n = int(axes)
        x_axes: Sequence[int] = range(len(shape_of(x)) - n, len(shape_of(x)))
        y_axes: Sequence[int] = range(n)
    else:
        x_axes, y_axes = ([int(v)] if isinstance(v, (int, np.integer)) else list(v) for v in axes)
    x_sum = tuple([axis_of(x, i) for i in x_axes])
    y_sum = tuple([axis_of(y, j) for j in y_axes])
    if [shape_of(x)[i] for i in x_sum] != [shape_of(y)[j] for j in y_sum]:
        raise ShapeError(
            f"tensordot: shapes {shape_of(x)} and {shape_of(y)} do not match along axes {axes}"
        )
    return contract(x, y, x_batch=(), y_batch=(), x_sum=x_sum, y_sum=y_sum)


def vdot(a: Any, b: Any, /) -> Operand:
    """Sum of products of all elements."""
    return dot(ravel(a), ravel(b))


def vecdot(x1: Any, x2: Any, /, axis: int = -1) -> Operand:
    """Sum of products over one axis, the others broadcast."""
    x, y = (moveaxis(v, axis, -1) for v in (operand(x1), operand(x2)))
    return sum_(ufunc(np.multiply, x, y), -1)


def matvec(x1: Any, x2: Any, /) -> Operand:
    """Matrices times vectors, leading axes broadcast."""
    return reshape_last(matmul(x1, expand_dims(x2, -1)), -1)


def vecmat(x1: Any, x2: Any, /) -> Operand:
    """Vectors times matrices, leading axes broadcast."""
    return reshape_last(matmul(expand_dims(x1, -2), x2), -2)


def reshape_last(x: Operand, axis: int) -> Operand:
    """x without one axis of extent 1."""
    shape = list(shape_of(x))
    del shape[axis]
    return reshape(x, tuple(shape))


def kron(a: Any, b: Any) -> Operand:
    """Kronecker product."""
    x, y = operand(a), operand(b)
    ndim = max(len(shape_of(x)), len(shape_of(y)))
    x_shape = (1,) * (ndim - len(shape_of(x))) + shape_of(x)
    y_shape = (1,) * (ndim - len(shape_of(y))) + shape_of(y)
    spread = reshape(x, tuple([n for s in x_shape for n in (s, 1)]))
    other = reshape(y, tuple([n for s in y_shape for n in (1, s)]))
    product = ufunc(np.multiply, spread, other)
    return reshape(product, tuple([m * n for m, n in zip(x_shape, y_shape, strict=True)]))


def trace(
    a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None, out: None = None
) -> Operand:
    """Sum of a diagonal."""
    return sum_(diagonal(a, offset, axis1, axis2), -1, dtype)


def cross(
    a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None
) -> Operand:
    """Vector product of three-dimensional vectors."""
    if axis is not None:
        axisa = axisb = axisc = axis
    x, y = moveaxis(operand(a), axisa, -1), moveaxis(operand(b), axisb, -1)
    if shape_of(x)[-1] != 3 or shape_of(y)[-1] != 3:
        raise ShapeError(
            f"cross: vectors must have 3 components, got {shape_of(x)[-1]} and {shape_of(y)[-1]}"
        )
    left = ufunc(np.multiply, take(x, [1, 2, 0], -1), take(y, [2, 0, 1], -1))
    right = ufunc(np.multiply, take(x, [2, 0, 1], -1), take(y, [1, 2, 0], -1))
    return moveaxis(ufunc(np.subtract, left, right), -1, axisc)


def einsum(*operands: Any, optimize: Any = False, **options: Any) -> Operand:
    """np.einsum with a subscript string; pairs are contracted in np.einsum_path's greedy order."""
    for option, value in options.items():
        if option not in ("out", "dtype", "order", "casting") or value not in (None, "K", "safe"):
            raise TypeError(f"einsum: option {option}={value!r} is not supported on traced arrays")
    text, xs = _subscripts(operands)
    inputs, output = text.split("->")
    terms = [(labels, x) for labels, x in zip(inputs.split(","), _together(*xs), strict=True)]
    terms = [_without_repeats(labels, x) for labels, x in terms]
    for pair in _pairs(text, [shape_of(operand(x)) for x in xs]):
        chosen = [terms.pop(i) for i in sorted(pair, reverse=True)]
        rest = set(output).union(*[set(labels) for labels, _ in terms])
        terms.append(_contracted(chosen, rest))
    labels, x = terms[0]
    labels, x = _summed(labels, x, set(output))
    return transpose(x, [labels.index(c) for c in output]) if labels != output else x


def _pairs(text: str, shapes: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """The order of pairwise products: NumPy's greedy path over stand-ins of these shapes."""
    if len(shapes) < 2:
        return []
    path = np.einsum_path(text, *map(stand_in, shapes), optimize="greedy")[0][1:]
    pairs: list[tuple[int, ...]] = []
    for step in path:
        here = sorted(step)
        while len(here) > 2:  # NumPy's last step may take several at once: take them two by two
            pairs.append((here[-2], here[-1]))
            here = [*here[:-2], here[-2]]
            here = [min(i, here[-1]) for i in here]
        pairs.append(tuple(here))
    return pairs


def _subscripts(operands: Sequence[Any]) -> tuple[str, list[Any]]:
    """The subscripts with an explicit output and without ellipsis, and the operands."""
    if not isinstance(operands[0], str):
        operands = _from_lists(operands)
    text, xs = operands[0].replace(" ", ""), [operand(x) for x in operands[1:]]
    inputs, arrow, output = text.partition("->")
    terms = inputs.split(",")
    if len(terms) != len(xs):
        raise ValueError(f"einsum: {len(terms)} subscripts for {len(xs)} operands in {text!r}")
    free = [c for c in LETTERS if c not in text]
    covered = [len(shape_of(x)) - len(t.replace("...", "")) for t, x in zip(terms, xs, strict=True)]
    depth = max([n for n, t in zip(covered, terms, strict=True) if "..." in t], default=0)
    dots = "".join(free[:depth])
    if not arrow:
        once = sorted([c for c in set(inputs) - set(",.") if inputs.count(c) == 1])
        output = "..." + "".join(once)
    full = [t.replace("...", dots[depth - n :]) for t, n in zip(terms, covered, strict=True)]
    for labels, x, term in zip(full, xs, terms, strict=True):
        if len(labels) != len(shape_of(x)):
            raise ShapeError(
                f"einsum: subscripts {term!r} do not fit an array of shape {shape_of(x)}"
            )
    return ",".join(full) + "->" + output.replace("...", dots), xs


def _from_lists(operands: Sequence[Any]) -> list[Any]:
    """einsum(x, [0, 1], y, [1, 2], [0, 2]) with its lists of axes as a string of subscripts."""

    def letters(axes: Any) -> str:
        return "".join(["..." if i is Ellipsis else LETTERS[i] for i in axes])

    xs = list(operands[: len(operands) // 2 * 2 : 2])
    text = ",".join(map(letters, operands[1::2]))
    return [text + "->" + letters(operands[-1]) if len(operands) % 2 else text, *xs]


def _without_repeats(labels: str, x: Operand) -> tuple[str, Operand]:
    """Repeated labels of one operand read as its diagonal."""
    for label in labels:
        while labels.count(label) > 1:
            i = labels.index(label)
            j = labels.index(label, i + 1)
            x = diagonal(x, 0, i, j)
            labels = labels[:i] + labels[i + 1 : j] + labels[j + 1 :] + label
    return labels, x


def _summed(labels: str, x: Operand, keep: set[str]) -> tuple[str, Operand]:
    axes = tuple([i for i, label in enumerate(labels) if label not in keep])
    if not axes:
        return labels, x
    return "".join([c for c in labels if c in keep]), reduce_sum(x, axes=axes)


def _stretched(labels: str, x: Operand, sizes: dict[str, int]) -> Operand:
    return broadcast_to(x, tuple([sizes[c] for c in labels]))


def _contracted(pair: list[tuple[str, Operand]], rest: set[str]) -> tuple[str, Operand]:
    """One product of two operands, keeping the labels that are needed later."""
    if len(pair) == 1:
        return _summed(*pair[0], rest)
    (x_labels, x), (y_labels, y) = pair
    sizes: dict[str, int] = {}
    for labels, v in pair:
        for c, n in zip(labels, shape_of(v), strict=True):
            sizes[c] = n if sizes.get(c, 1) == 1 else sizes[c]
    x, y = _stretched(x_labels, x, sizes), _stretched(y_labels, y, sizes)
    x_labels, x = _summed(x_labels, x, rest | set(y_labels))
    y_labels, y = _summed(y_labels, y, rest | set(x_labels))
    batch = [c for c in x_labels if c in y_labels and c in rest]
    summed = [c for c in x_labels if c in y_labels and c not in rest]
    out = contract(
        x,
        y,
        x_batch=tuple([x_labels.index(c) for c in batch]),
        y_batch=tuple([y_labels.index(c) for c in batch]),
        x_sum=tuple([x_labels.index(c) for c in summed]),
        y_sum=tuple([y_labels.index(c) for c in summed]),
    )
    free = [c for c in x_labels if c not in y_labels] + [c for c in y_labels if c not in x_labels]
    return "".join(batch + free), out


def multi_dot(arrays: Sequence[Any], *, out: None = None) -> Operand:
    """A chain of matrix products, in the cheapest order."""
    xs = [operand(a) for a in arrays]
    labels, at = [], 0
    for i, x in enumerate(xs):
        inner_only = len(shape_of(x)) == 1
        first = i == 0 and inner_only
        labels.append(LETTERS[at] if inner_only else LETTERS[at : at + 2])
        at += 0 if first or inner_only else 1
    output = ("" if len(shape_of(xs[0])) == 1 else labels[0][0]) + (
        "" if len(shape_of(xs[-1])) == 1 else labels[-1][-1]
    )
    return einsum(",".join(labels) + "->" + output, *xs)


FUNCTIONS: dict[Function, Function] = {
    np.dot: dot,
    np.inner: inner,
    np.outer: outer,
    np.tensordot: tensordot,
    np.vdot: vdot,
    np.kron: kron,
    np.trace: trace,
    np.cross: cross,
    np.einsum: einsum,
    np.linalg.multi_dot: multi_dot,
    np.linalg.matmul: matmul,
    np.linalg.outer: outer,
    np.linalg.tensordot: tensordot,
    np.linalg.vecdot: vecdot,
    np.linalg.cross: lambda x1, x2, /, *, axis=-1: cross(x1, x2, axis=axis),
    np.linalg.trace: lambda x, /, *, offset=0, dtype=None: trace(x, offset, -2, -1, dtype),
}
UFUNCS: dict[np.ufunc, Function] = {
    np.matmul: matmul,
    np.vecdot: vecdot,
    np.matvec: matvec,
    np.vecmat: vecmat,
}
METHODS: dict[str, Function] = {"dot": dot, "trace": trace}
