"""det and slogdet, exact at singular matrices too.

det' is the matrix of cofactors and det'' its slope, both computed from the singular value
decomposition without dividing by a small singular value. From the third derivative on the inverse
is used, and a singular matrix gives NaN. (Giles 2008; Golub & Van Loan 2013, section 2.)
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from backpass.ir import Operand, TensorType
from backpass.ir.graph import Array, Params, tensor_type
from backpass.prims.elementwise import add, mul, sub
from backpass.prims.linalg import (
    Cotangents,
    Operands,
    Wanted,
    check_square,
    inner,
    inv,
    matrix_primitive,
    product,
    same_square,
    transposed,
    whole,
)
from backpass.prims.rules import scale


def _number_shape(name: str) -> Callable[..., tuple[TensorType, ...]]:
    def shape(t: TensorType) -> tuple[TensorType, ...]:
        check_square(name, t)
        return (tensor_type(t.shape[:-2], t.dtype),)

    return shape


def _pull_det(
    cts: Cotangents, wanted: Wanted, outputs: Operands, inputs: Operands, params: Params
) -> list[Operand | None]:
    assert cts[0] is not None
    minors = cofactor(inputs[0])
    return [scale(whole(cts[0], minors), minors)]


det = matrix_primitive("det", _number_shape("det"), np.linalg.det, _pull_det)


def _products_without(s: Array) -> Array:
    """For descending s (..., n) at [i, j] the product of all others than i and j; at [i, i] than i.

    No division by the two smallest, so it is exact where they are zero; three zeros give zeros.
    """
    n = int(s.shape[-1])
    if n < 2:
        return np.ones((*s.shape, n), s.dtype)
    head, tail = s[..., :-2], s[..., -2:]
    inverse = np.divide(1.0, head, out=np.zeros_like(head), where=head > 0)
    # with each of the last two: the other's factor stays
    left = np.concatenate([inverse, np.ones_like(tail)], -1)
    pairs = left[..., :, None] * left[..., None, :]
    first = np.concatenate([np.ones(n - 2), [0.0, 1.0]]).astype(bool)  # keeps the factor n - 2
    last = np.concatenate([np.ones(n - 2), [1.0, 0.0]]).astype(bool)
    for keeps, factor in ((first, tail[..., 0]), (last, tail[..., 1])):
        pairs = pairs * np.where(keeps[:, None] & keeps, factor[..., None, None], 1.0)
    diagonal = np.arange(n)
    single = left * np.where(first, tail[..., :1], 1.0) * np.where(last, tail[..., 1:], 1.0)
    pairs[..., diagonal, diagonal] = single
    return pairs * np.prod(head, -1)[..., None, None]


def _turned_svd(a: Array) -> tuple[Array, Array, Array, Array]:
    u, s, vh = np.linalg.svd(a)
    orientation = (np.linalg.det(u) * np.linalg.det(vh))[..., None, None]
    return u, _products_without(s), vh, np.rint(orientation)


def _cofactor_reference(a: Array) -> Array:
    """cof(u s v) = det(u) det(v) u cof(s) v for orthogonal u and v."""
    u, products, vh, orientation = _turned_svd(a)
    diagonal = np.diagonal(products, axis1=-2, axis2=-1)
    return orientation * ((u * diagonal[..., None, :]) @ vh)


def _cofactor_slope_reference(a: Array, g: Array) -> Array:
    """In the basis of singular vectors: the pull of cof at a diagonal matrix."""
    u, products, vh, orientation = _turned_svd(a)
    h = np.swapaxes(u, -1, -2) @ g @ np.swapaxes(vh, -1, -2)
    n = h.shape[-1]
    off = products * ~np.eye(n, dtype=bool)
    pulled = -np.swapaxes(off * h, -1, -2)
    diagonal = np.einsum("...ij,...i->...j", off, np.diagonal(h, axis1=-2, axis2=-1))
    pulled[..., np.arange(n), np.arange(n)] = diagonal
    return orientation * (u @ pulled @ vh)


def _pull_cofactor(
    cts: Cotangents, wanted: Wanted, outputs: Operands, inputs: Operands, params: Params
) -> list[Operand | None]:
    assert cts[0] is not None
    return [cofactor_slope(inputs[0], cts[0])]


def _pull_cofactor_slope(
    cts: Cotangents, wanted: Wanted, outputs: Operands, inputs: Operands, params: Params
) -> list[Operand | None]:
    """det'' is symmetric; det''' by det(a) and z = a^-T, for regular a.

    det''(g, k) = det (<g,z> <k,z> - <k, z g^T z>), and the derivative of z is -z da^T z.
    """
    a, g = inputs
    k = cts[0]
    assert k is not None
    to_g = cofactor_slope(a, k) if wanted[1] else None
    if not wanted[0]:
        return [None, to_g]
    z = transposed(inv(a, strict=False))
    zgz, zkz = (product(product(z, transposed(v)), z) for v in (g, k))
    gz, kz = inner(g, z), inner(k, z)
    value = sub(mul(gz, kz), inner(k, zgz))
    mixed = [product(product(zgz, transposed(k)), z), product(product(zkz, transposed(g)), z)]
    slope = add(mul(whole(value, z), z), add(*mixed))
    slope = sub(slope, add(mul(whole(kz, z), zgz), mul(whole(gz, z), zkz)))
    return [mul(whole(det(a), z), slope), to_g]


def _slope_shape(a: TensorType, g: TensorType) -> tuple[TensorType, ...]:
    return (g,)


# cofactor: det' at every matrix, singular ones too. cofactor_slope(a, g): det''(g, .) at a.
cofactor = matrix_primitive("cofactor", same_square("det"), _cofactor_reference, _pull_cofactor)
cofactor_slope = matrix_primitive(
    "cofactor_slope", _slope_shape, _cofactor_slope_reference, _pull_cofactor_slope
)


def _slogdet_shape(t: TensorType) -> tuple[TensorType, ...]:
    return _number_shape("slogdet")(t) * 2


def _slogdet_reference(a: Array) -> tuple[Array, Array]:
    sign, logarithm = np.linalg.slogdet(a)
    return np.asarray(sign), np.asarray(logarithm)


def _pull_slogdet(
    cts: Cotangents, wanted: Wanted, outputs: Operands, inputs: Operands, params: Params
) -> list[Operand | None]:
    if cts[1] is None:  # the sign is piecewise constant
        return [None]
    z = transposed(inv(inputs[0], strict=False))
    return [scale(whole(cts[1], z), z)]


slogdet = matrix_primitive("slogdet", _slogdet_shape, _slogdet_reference, _pull_slogdet, outputs=2)
