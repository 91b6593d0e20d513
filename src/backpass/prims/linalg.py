"""Linear algebra over the last two axes: solve, inv, cholesky, qr, eigh, svd, pinv.

Leading axes are a batch, in NumPy as here, so mapping over one more is the same primitive again.
The rules are those of Giles 2008, "An extended collection of matrix derivative results for forward
and reverse mode algorithmic differentiation", unless a rule names another source. Symmetric input
of cholesky and eigh is one matrix, not two triangles: the cotangent is symmetric.
Where singular values or eigenvalues repeat, the vectors have no derivative: what is asked of them
is inf or NaN, and a cotangent of exactly zero stays zero. Determinants: `prims/determinant.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from backpass.errors import ShapeError
from backpass.ir import Operand, Primitive, TensorType, type_of
from backpass.ir.graph import Array, BatchRule, Params, VjpRule, tensor_type
from backpass.prims.contract import contract
from backpass.prims.elementwise import add, mul, neg, reciprocal, select, sub, times
from backpass.prims.rules import (
    INTERPRETED,
    broadcast,
    full_like,
    lead,
    no_gradient,
    reduce_sum,
    scale,
    zeros_like,
)
from backpass.prims.shape import transpose

Cotangents = tuple[Operand | None, ...]
Wanted = tuple[bool, ...]
Operands = tuple[Operand, ...]


def transposed(x: Operand) -> Operand:
    """The last two axes exchanged."""
    n = len(type_of(x).shape)
    return transpose(x, order=(*range(n - 2), n - 1, n - 2))


def product(x: Operand, y: Operand) -> Operand:
    """x @ y for matrices with the same leading axes."""
    n = len(type_of(x).shape)
    batch = tuple(range(n - 2))
    return contract(x, y, x_batch=batch, y_batch=batch, x_sum=(n - 1,), y_sum=(n - 2,))


def columns(x: Operand, like: Operand) -> Operand:
    """A vector x (..., n) spread over the matrix `like` (..., m, n): one number for each column."""
    shape = type_of(like).shape
    return broadcast(x, shape=shape, axes=(len(shape) - 2,))


def rows(x: Operand, like: Operand) -> Operand:
    """A vector x (..., m) spread over the matrix `like` (..., m, n): one number for each row."""
    shape = type_of(like).shape
    return broadcast(x, shape=shape, axes=(len(shape) - 1,))


def whole(x: Operand, like: Operand) -> Operand:
    """A number for each matrix (...,) spread over the matrices `like` (..., m, n)."""
    shape = type_of(like).shape
    return broadcast(x, shape=shape, axes=(len(shape) - 2, len(shape) - 1))


def inner(x: Operand, y: Operand) -> Operand:
    """The sum of the products of the elements of each matrix."""
    n = len(type_of(x).shape)
    return reduce_sum(mul(x, y), axes=(n - 2, n - 1))


def _mask(x: Operand, mask: Callable[[Array], Any], inside: Operand) -> Operand:
    """`inside` where mask(ones) holds in every matrix of x's shape, else 0."""
    shape = type_of(x).shape
    flags = np.broadcast_to(mask(np.ones(shape[-2:], np.bool_)), shape)
    return select(flags, inside, zeros_like(x))


def lower_triangle(x: Operand, k: int = 0) -> Operand:
    """x on and below its k-th diagonal, else 0."""
    return _mask(x, lambda ones: np.tril(ones, k), x)


def _is_diagonal(x: Operand) -> Array:
    shape = type_of(x).shape
    return np.broadcast_to(np.eye(shape[-2], shape[-1], dtype=np.bool_), shape)


def symmetric_part(x: Operand) -> Operand:
    """(x + x^T) / 2."""
    return times(add(x, transposed(x)), 0.5)


def _total(terms: list[Operand], like: Operand) -> Operand:
    """The sum of the terms, zeros if there are none."""
    found: Operand | None = None
    for term in terms:
        found = term if found is None else add(found, term)
    return zeros_like(like) if found is None else found


def batch_leading(primitive: Callable[[], Primitive], outputs: int = 1) -> BatchRule:
    """Batch rule of what treats leading axes as a batch already."""

    def batch(
        inputs: Operands, batched: Wanted, size: int, params: Params
    ) -> tuple[Operands, Wanted]:
        led = [lead(x, b, size) for x, b in zip(inputs, batched, strict=True)]
        found: Any = primitive()(*led, **params)
        return ((found,) if outputs == 1 else tuple(found)), (True,) * outputs

    return batch


def matrix_primitive(
    name: str,
    shape: Callable[..., tuple[TensorType, ...]],
    reference: Callable[..., Any],
    vjp: VjpRule,
    outputs: int = 1,
) -> Primitive:
    """A primitive over the last two axes of its operands."""
    primitive = Primitive(
        name=name,
        shape=shape,
        reference=reference,
        vjp=vjp,
        batch=batch_leading(lambda: primitive, outputs),
        lower=INTERPRETED,
        single=outputs == 1,
    )
    return primitive


def check_square(name: str, t: TensorType) -> None:
    """Refuse what is no square matrix."""
    if len(t.shape) < 2 or t.shape[-1] != t.shape[-2]:
        raise ShapeError(f"{name}: the last two axes must be a square matrix, got {t}")


def same_square(name: str) -> Callable[..., tuple[TensorType, ...]]:
    """Shape rule: square matrices in, the same out."""

    def shape(t: TensorType, **_: Any) -> tuple[TensorType, ...]:
        check_square(name, t)
        return (t,)

    return shape


def _solve_shape(a: TensorType, b: TensorType) -> tuple[TensorType, ...]:
    check_square("solve", a)
    if a.shape[:-1] != b.shape[:-1] or a.dtype != b.dtype:
        raise ShapeError(f"solve: {a} and {b} do not fit together")
    return (b,)


def _pull_solve(
    cts: Cotangents, wanted: Wanted, outputs: Operands, inputs: Operands, params: Params
) -> list[Operand | None]:
    assert cts[0] is not None
    to_b = solve(transposed(inputs[0]), cts[0])
    to_a = neg(product(to_b, transposed(outputs[0]))) if wanted[0] else None
    return [to_a, to_b]


# solve(a, b): x with a @ x = b, for matrices b with as many leading axes as a.
solve = matrix_primitive("solve", _solve_shape, np.linalg.solve, _pull_solve)


def _inverse_reference(a: Array, strict: bool) -> Array:
    try:
        return np.linalg.inv(a)
    except np.linalg.LinAlgError:
        if strict:
            raise
    flat = a.reshape(-1, *a.shape[-2:])
    found = np.full_like(flat, np.nan)
    for i, matrix in enumerate(flat):
        if np.linalg.matrix_rank(matrix) == len(matrix):
            found[i] = np.linalg.inv(matrix)
    return found.reshape(a.shape)


def _pull_inv(
    cts: Cotangents, wanted: Wanted, outputs: Operands, inputs: Operands, params: Params
) -> list[Operand | None]:
    assert cts[0] is not None
    turned = transposed(outputs[0])
    return [neg(product(product(turned, cts[0]), turned))]


# inv: the inverse; of a singular matrix an error if `strict`, else NaN.
inv = matrix_primitive("inv", same_square("inv"), _inverse_reference, _pull_inv)


def _pull_cholesky(
    cts: Cotangents, wanted: Wanted, outputs: Operands, inputs: Operands, params: Params
) -> list[Operand | None]:
    """sym(l^-T phi(l^T ct) l^-1); phi: lower triangle with half the diagonal (Murray 2016)."""
    assert cts[0] is not None
    factor = outputs[0]
    inverse = inv(factor, strict=False)
    m = product(transposed(factor), cts[0])
    phi = select(_is_diagonal(m), times(m, 0.5), lower_triangle(m))
    return [symmetric_part(product(product(transposed(inverse), phi), inverse))]


# cholesky: the lower triangular l with l @ l^T = a.
cholesky = matrix_primitive("cholesky", same_square("cholesky"), np.linalg.cholesky, _pull_cholesky)


def _qr_shape(t: TensorType) -> tuple[TensorType, ...]:
    *batch, m, n = t.shape
    if m < n:
        raise ShapeError(f"qr: the primitive takes matrices with rows >= columns, got {t}")
    return t, tensor_type((*batch, n, n), t.dtype)


def _qr_reference(a: Array) -> tuple[Array, Array]:
    q, r = np.linalg.qr(a)
    return q, r


def _pull_qr(
    cts: Cotangents, wanted: Wanted, outputs: Operands, inputs: Operands, params: Params
) -> list[Operand | None]:
    """(ct_q + q copyltu(m)) r^-T with m = r ct_r^T - ct_q^T q (Seeger et al. 2017, section 4)."""
    q, r = outputs
    terms: list[Operand] = []
    if cts[1] is not None:
        terms.append(product(r, transposed(cts[1])))
    if cts[0] is not None:
        terms.append(neg(product(transposed(cts[0]), q)))
    m = _total(terms, r)
    mirrored = add(lower_triangle(m), transposed(lower_triangle(m, -1)))
    pulled = product(q, mirrored)
    if cts[0] is not None:
        pulled = add(cts[0], pulled)
    return [product(pulled, transposed(inv(r, strict=False)))]


# qr: q (m, n) with orthonormal columns and r (n, n) upper triangular, for m >= n.
qr = matrix_primitive("qr", _qr_shape, _qr_reference, _pull_qr, outputs=2)


def _gaps(x: Operand, like: Operand) -> Operand:
    """1 / (x_j - x_i) at [i, j], and 0 on the diagonal; infinite where values repeat."""
    difference = sub(columns(x, like), rows(x, like))
    diagonal = _is_diagonal(like)
    safe = select(diagonal, full_like(difference, 1.0), difference)
    return select(diagonal, zeros_like(difference), reciprocal(safe))


def _pull_eigh(
    cts: Cotangents, wanted: Wanted, outputs: Operands, inputs: Operands, params: Params
) -> list[Operand | None]:
    w, v = outputs
    terms: list[Operand] = []
    if cts[0] is not None:
        terms.append(product(mul(v, columns(cts[0], v)), transposed(v)))
    if cts[1] is not None:
        turned = scale(product(transposed(v), cts[1]), _gaps(w, v))
        terms.append(product(product(v, turned), transposed(v)))
    return [symmetric_part(_total(terms, v))]


def _eigh_shape(t: TensorType, lower: bool) -> tuple[TensorType, ...]:
    check_square("eigh", t)
    return tensor_type(t.shape[:-1], t.dtype), t


def _eigh_reference(a: Array, lower: bool) -> tuple[Array, Array]:
    w, v = np.linalg.eigh(a, "L" if lower else "U")
    return w, v


# eigh: ascending eigenvalues and the eigenvectors in columns, read from one triangle.
eigh = matrix_primitive(
    "eigh",
    _eigh_shape,
    _eigh_reference,
    _pull_eigh,
    outputs=2,
)


def _svd_shape(t: TensorType) -> tuple[TensorType, ...]:
    *batch, m, n = t.shape
    k = min(m, n)
    shapes = ((*batch, m, k), (*batch, k), (*batch, k, n))
    return tuple([tensor_type(shape, t.dtype) for shape in shapes])


def _outside(x: Operand, basis: Operand) -> Operand:
    """The part of the columns of x that is orthogonal to the columns of `basis`."""
    return sub(x, product(basis, product(transposed(basis), x)))


def _pull_vectors(ct: Operand, own: Operand, s: Operand, gaps: Operand) -> tuple[Operand, Operand]:
    """For one side's vectors: the part within their span and the part outside of it."""
    part = scale(product(transposed(own), ct), gaps)
    within = add(part, transposed(part))
    return within, scale(_outside(ct, own), columns(reciprocal(s), ct))


def _pull_svd(
    cts: Cotangents, wanted: Wanted, outputs: Operands, inputs: Operands, params: Params
) -> list[Operand | None]:
    """For real matrices, as Townsend 2016, "Differentiating the singular value decomposition"."""
    (u, s, vh), (ct_u, ct_s, ct_vh) = outputs, cts
    m, n = type_of(inputs[0]).shape[-2:]
    terms: list[Operand] = []
    if ct_s is not None:
        terms.append(product(mul(u, columns(ct_s, u)), vh))
    square = product(transposed(u), u)  # only its shape is used
    gaps = _gaps(mul(s, s), square)
    if ct_u is not None:
        within, outside = _pull_vectors(ct_u, u, s, gaps)
        terms.append(product(product(u, mul(within, columns(s, within))), vh))
        if m > n:
            terms.append(product(outside, vh))
    if ct_vh is not None:
        within, outside = _pull_vectors(transposed(ct_vh), transposed(vh), s, gaps)
        terms.append(product(product(u, mul(within, rows(s, within))), vh))
        if n > m:
            terms.append(product(u, transposed(outside)))
    return [_total(terms, inputs[0])]


def _svd_reference(a: Array) -> tuple[Array, Array, Array]:
    u, s, vh = np.linalg.svd(a, full_matrices=False)
    return u, s, vh


# svd: u (m, k), descending s (k,), vh (k, n), with k = min(m, n).
svd = matrix_primitive(
    "svd",
    _svd_shape,
    _svd_reference,
    _pull_svd,
    outputs=3,
)


def _pinv_shape(t: TensorType, rcond: float | None) -> tuple[TensorType, ...]:
    *batch, m, n = t.shape
    return (tensor_type((*batch, n, m), t.dtype),)


def _pull_pinv(
    cts: Cotangents, wanted: Wanted, outputs: Operands, inputs: Operands, params: Params
) -> list[Operand | None]:
    """Where the rank is constant nearby (Golub & Pereyra 1973, equation 4.12)."""
    a, p, ct = inputs[0], outputs[0], cts[0]
    assert ct is not None
    pt, gt = transposed(p), transposed(ct)
    left = product(product(gt, p), pt)  # ct^T p p^T
    right = product(pt, product(p, gt))  # p^T p ct^T
    terms = [
        neg(product(product(pt, ct), pt)),
        sub(left, product(a, product(p, left))),
        sub(right, product(product(right, p), a)),
    ]
    return [_total(terms, a)]


def _pinv_reference(a: Array, rcond: float | None) -> Array:
    return np.linalg.pinv(a) if rcond is None else np.linalg.pinv(a, rcond=rcond)


# pinv: the Moore-Penrose inverse; singular values up to rcond times the largest count as zero.
pinv = matrix_primitive(
    "pinv",
    _pinv_shape,
    _pinv_reference,
    _pull_pinv,
)


def _rank_shape(t: TensorType, tol: float | None, rtol: float | None) -> tuple[TensorType, ...]:
    return (tensor_type(t.shape[:-2], np.dtype(np.intp)),)


def _rank_reference(a: Array, tol: float | None, rtol: float | None) -> Array:
    return np.asarray(np.linalg.matrix_rank(a, tol=tol, rtol=rtol), np.intp)


matrix_rank = matrix_primitive(
    "matrix_rank", _rank_shape, _rank_reference, no_gradient("integer output")
)
