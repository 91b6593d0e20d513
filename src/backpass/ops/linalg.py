"""numpy.linalg over operands: solve, inv, det, slogdet, cholesky, qr, eigh, svd, pinv, lstsq, ...

Matrices are the last two axes. Norms and condition numbers are in `ops/norms.py`. What a function
cannot give without complex numbers (eig, eigvals), or where its result is one arbitrary choice of
many (the extra columns of a full svd or qr), is refused with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, NoReturn

import numpy as np

from backpass.dtypes import DType, common
from backpass.errors import DTypeError, ShapeError, TracingError, UnsupportedError
from backpass.ir import Operand, Value
from backpass.ops.joining import concatenate
from backpass.ops.operand import (
    MISSING,
    broadcast_shape,
    broadcast_to,
    cast_to,
    dtype_of,
    operand,
    refused_call,
    shape_of,
)
from backpass.ops.product import matmul
from backpass.ops.reduction import any_, sum_
from backpass.ops.shape import moveaxis, reshape
from backpass.prims import determinant as dt
from backpass.prims import elementwise as el
from backpass.prims import linalg as la
from backpass.prims.rules import zeros_like
from backpass.prims.shape import take_range

Function = Callable[..., Any]


class SlogdetResult(NamedTuple):
    """Sign and logarithm of the absolute value of a determinant."""

    sign: Any
    logabsdet: Any


class QRResult(NamedTuple):
    """Orthonormal columns and an upper triangular matrix."""

    Q: Any
    R: Any


class EighResult(NamedTuple):
    """Ascending eigenvalues, and eigenvectors in columns."""

    eigenvalues: Any
    eigenvectors: Any


class SVDResult(NamedTuple):
    """Left vectors in columns, descending singular values, right vectors in rows."""

    U: Any
    S: Any
    Vh: Any


def linalg_dtype(name: str, *xs: Any) -> DType:
    """The dtype that LAPACK runs in: float32 if all are, else float64; float16 is refused."""
    dtypes = [dtype_of(operand(x)) for x in xs]
    if np.dtype(np.float16) in dtypes:
        raise DTypeError(f"{name}: float16 is not supported in linear algebra; use x.astype('f4')")
    floats = [d if d.kind == "f" else np.dtype(np.float64) for d in dtypes]
    return common(*[np.empty(0, d) for d in floats])


def matrices(name: str, *xs: Any) -> list[Operand]:
    """Operands of one floating dtype with at least two axes each."""
    dtype = linalg_dtype(name, *xs)
    found = [cast_to(operand(x), dtype) for x in xs]
    for x in found:
        if len(shape_of(x)) < 2:
            raise ShapeError(f"{name}: needs a matrix (two axes or more), got shape {shape_of(x)}")
    return found


def _square(name: str, a: Any) -> Operand:
    (x,) = matrices(name, a)
    if shape_of(x)[-1] != shape_of(x)[-2]:
        raise ShapeError(f"{name}: the last two axes must be square, got shape {shape_of(x)}")
    return x


def solve(a: Any, b: Any) -> Operand:
    """x with a @ x = b. As in NumPy 2, b is one vector if it has one axis, else matrices."""
    _square("solve", a)
    dtype = linalg_dtype("solve", a, b)
    x, y = cast_to(operand(a), dtype), cast_to(operand(b), dtype)
    vector = len(shape_of(y)) == 1
    if vector:
        y = reshape(y, (-1, 1))
    if len(shape_of(y)) < 2 or shape_of(y)[-2] != shape_of(x)[-1]:
        raise ShapeError(
            f"solve: a has shape {shape_of(x)} and b {shape_of(operand(b))}; "
            f"b needs {shape_of(x)[-1]} rows"
        )
    batch = broadcast_shape("solve", shape_of(x)[:-2], shape_of(y)[:-2])
    x = broadcast_to(x, batch + shape_of(x)[-2:])
    y = broadcast_to(y, batch + shape_of(y)[-2:])
    found = la.solve(x, y)
    return reshape(found, shape_of(found)[:-1]) if vector else found


def inv(a: Any) -> Operand:
    """The inverse; LinAlgError if a matrix is singular."""
    return la.inv(_square("inv", a), strict=True)


def det(a: Any) -> Operand:
    """The determinant; its derivative is exact for singular matrices too."""
    return dt.det(_square("det", a))


def slogdet(a: Any) -> SlogdetResult:
    """Sign and log |det|; the derivative of the logarithm at a singular matrix is NaN."""
    return SlogdetResult(*dt.slogdet(_square("slogdet", a)))


def cholesky(a: Any, /, *, upper: bool = False) -> Operand:
    """l with l @ l.T = a, or with `upper` its transpose. One triangle of a is read."""
    x = _square("cholesky", a)
    found = la.cholesky(la.transposed(x) if upper else x)
    return la.transposed(found) if upper else found


def qr(a: Any, mode: str = "reduced") -> Any:
    """Orthonormal q and upper triangular r with a = q @ r. Columns must be independent."""
    (x,) = matrices("qr", a)
    m, n = shape_of(x)[-2:]
    if mode not in ("reduced", "complete", "r"):
        raise UnsupportedError(f"qr: mode={mode!r} is not supported on traced arrays")
    if mode == "complete" and m > n:
        raise UnsupportedError(
            f"qr: mode='complete' of a {m} x {n} matrix adds {m - n} columns that may be chosen "
            "freely, so they have no derivative; use mode='reduced'"
        )
    q, r = _wide_qr(x, m) if m < n else la.qr(x)
    return r if mode == "r" else QRResult(q, r)


def _wide_qr(x: Operand, m: int) -> tuple[Operand, Operand]:
    """[left | right] = q [r | q^T right] (Roberts & Roberts 2020)."""
    left, right = _columns(x, 0, m), _columns(x, m, shape_of(x)[-1])
    q, r = la.qr(left)
    return q, concatenate([r, la.product(la.transposed(q), right)], -1)


def _columns(x: Operand, start: int, stop: int) -> Operand:
    return take_range(x, len(shape_of(x)) - 1, start, stop, shape_of(x))


def eigh(a: Any, UPLO: str = "L") -> EighResult:
    """Eigenvalues and eigenvectors of symmetric matrices, read from one triangle.

    The derivative of eigenvectors of a repeated eigenvalue is NaN or infinite: it does not exist.
    """
    if UPLO.upper() not in ("L", "U"):
        raise ValueError(f"eigh: UPLO must be 'L' or 'U', not {UPLO!r}")
    return EighResult(*la.eigh(_square("eigh", a), lower=UPLO.upper() == "L"))


def eigvalsh(a: Any, UPLO: str = "L") -> Operand:
    """Eigenvalues of symmetric matrices, ascending."""
    return eigh(a, UPLO).eigenvalues


def svd(
    a: Any, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False
) -> Any:
    """Singular value decomposition; of rectangular matrices with full_matrices=False only."""
    (x,) = matrices("svd", a)
    m, n = shape_of(x)[-2:]
    if not compute_uv:
        return svdvals(x)
    if full_matrices and m != n:
        raise UnsupportedError(
            f"svd: full_matrices=True of a {m} x {n} matrix adds {abs(m - n)} vectors that may be "
            "chosen freely, so they have no derivative; use full_matrices=False"
        )
    return SVDResult(*la.svd(x))


def svdvals(x: Any, /) -> Operand:
    """Singular values, descending. A zero one takes no derivative where abs is applied to it."""
    return la.svd(matrices("svdvals", x)[0])[1]


def pinv(a: Any, rcond: Any = None, hermitian: bool = False, *, rtol: Any = MISSING) -> Operand:
    """The Moore-Penrose inverse; its derivative holds where the rank does not change nearby."""
    (x,) = matrices("pinv", a)
    bound = rcond
    if rcond is None and rtol is not MISSING:
        eps = float(np.finfo(dtype_of(x)).eps)
        bound = max(shape_of(x)[-2:]) * eps if rtol is None else rtol
    if bound is not None and not isinstance(bound, (int, float, np.number)):
        raise UnsupportedError("pinv: rcond must be one number on traced arrays")
    return la.pinv(x, rcond=None if bound is None else float(bound))


def matrix_rank(A: Any, tol: Any = None, hermitian: bool = False, *, rtol: Any = None) -> Operand:
    """The number of singular values above a bound: an integer, without derivative."""
    x = operand(A)
    if len(shape_of(x)) < 2:
        return cast_to(any_(el.not_equal(x, zeros_like(x))), np.dtype(np.intp))
    (x,) = matrices("matrix_rank", x)
    return la.matrix_rank(x, tol=tol, rtol=rtol)


def matrix_power(a: Any, n: int) -> Operand:
    """The product of n copies of a; of its inverse for a negative n."""
    x = operand(a)
    if len(shape_of(x)) < 2 or shape_of(x)[-1] != shape_of(x)[-2]:
        raise ShapeError(f"matrix_power: the last two axes must be square, got {shape_of(x)}")
    count = n.__index__()
    if count == 0:
        eye = np.eye(shape_of(x)[-1], dtype=dtype_of(x))
        return np.broadcast_to(eye, shape_of(x))
    base = inv(x) if count < 0 else x
    return _power(base, abs(count))


def _power(base: Operand, count: int) -> Operand:
    """By repeated squaring."""
    result: Operand | None = None
    while True:
        if count % 2:
            result = base if result is None else matmul(result, base)
        count //= 2
        if count == 0:
            return base if result is None else result
        base = matmul(base, base)


def lstsq(a: Any, b: Any, rcond: Any = None) -> tuple[Any, ...]:
    """The least squares solution pinv(a) @ b, residuals, rank and singular values.

    Under jit and vmap the rank, and with it the shape of the residuals, is not known: an error.
    """
    x, *_ = matrices("lstsq", a)
    dtype = linalg_dtype("lstsq", a, b)
    x, y = cast_to(x, dtype), cast_to(operand(b), dtype)
    m, n = shape_of(x)
    bound = float(np.finfo(dtype).eps) * max(m, n) if rcond is None else float(rcond)
    s = svdvals(x)
    rank = la.matrix_rank(x, tol=None, rtol=bound)
    if type(rank) is Value and rank.array is None:
        raise TracingError(
            "lstsq: the shape of its residuals depends on the rank of a, which jit and vmap do not "
            "know; use np.linalg.pinv(a) @ b, or np.linalg.solve(a.T @ a, a.T @ b)"
        )
    known = int(np.asarray(rank.array if type(rank) is Value else rank))
    found = matmul(la.pinv(x, rcond=bound), y)
    if known == n and m > n:
        residuals = sum_(el.square(el.sub(y, matmul(x, found))), 0)
        residuals = reshape(residuals, (1,)) if len(shape_of(y)) == 1 else residuals
    else:
        residuals = np.empty((0,), dtype)
    return found, residuals, rank, s


def tensorinv(a: Any, ind: int = 2) -> Operand:
    """The inverse for tensordot(a, x, ind)."""
    x = operand(a)
    if ind <= 0:
        raise ValueError(f"tensorinv: ind must be positive, got {ind}")
    shape = shape_of(x)
    inverse = inv(reshape(x, (int(np.prod(shape[ind:], dtype=int)), -1)))
    return reshape(inverse, shape[ind:] + shape[:ind])


def tensorsolve(a: Any, b: Any, axes: Sequence[int] | None = None) -> Operand:
    """x with tensordot(a, x, x.ndim) = b."""
    x, y = operand(a), operand(b)
    if axes is not None:
        for axis in axes:
            x = moveaxis(x, axis, -1)
    shape = shape_of(x)[len(shape_of(y)) :]
    count = int(np.prod(shape, dtype=int))
    if count * int(np.prod(shape_of(y), dtype=int)) != int(np.prod(shape_of(x), dtype=int)):
        raise ShapeError(f"tensorsolve: {shape_of(x)} is not square for b of {shape_of(y)}")
    return reshape(solve(reshape(x, (-1, count)), reshape(y, -1)), shape)


def _complex(name: str) -> Function:
    def refused(*args: Any, **options: Any) -> NoReturn:
        raise refused_call(
            f"numpy.linalg.{name}",
            "its results are complex in general; use np.linalg.eigh or eigvalsh for symmetric "
            "matrices",
        )

    return refused


FUNCTIONS: dict[Function, Function] = {
    np.linalg.solve: solve,
    np.linalg.inv: inv,
    np.linalg.det: det,
    np.linalg.slogdet: slogdet,
    np.linalg.cholesky: cholesky,
    np.linalg.qr: qr,
    np.linalg.eigh: eigh,
    np.linalg.eigvalsh: eigvalsh,
    np.linalg.svd: svd,
    np.linalg.svdvals: svdvals,
    np.linalg.pinv: pinv,
    np.linalg.matrix_rank: matrix_rank,
    np.linalg.matrix_power: matrix_power,
    np.linalg.lstsq: lstsq,
    np.linalg.tensorinv: tensorinv,
    np.linalg.tensorsolve: tensorsolve,
    np.linalg.eig: _complex("eig"),
    np.linalg.eigvals: _complex("eigvals"),
}
