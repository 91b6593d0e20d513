"""One sample or more for every function and ufunc that docs/coverage.md calls differentiable.

A sample is a function of float64 arrays and arguments at which it is smooth. From these the tests
check values, derivatives of both orders in both modes, vmap and jit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy

# Their type stubs know fewer forms of arguments than the functions take.
np: Any = numpy
L: Any = numpy.linalg
Sample = tuple[Callable[..., Any], tuple[Any, ...]]

rng = np.random.default_rng(20)
V = np.array([0.3, 1.2, -0.7, 2.1])
W = np.array([1.4, -0.35, 0.9, 0.5])
P = np.array([0.3, 1.2, 2.5])
U = np.array([0.2, 0.45, 0.8])
M = rng.normal(size=(3, 4))
N = rng.normal(size=(4, 2))
S = rng.normal(size=(3, 3))
B = rng.normal(size=(2, 3, 3))
T = rng.normal(size=(2, 3, 2))
X = np.sort(rng.normal(size=5)) * 2
NANS = np.array([[0.5, np.nan, 2.0, -1.0], [3.0, 0.1, np.nan, np.nan]])


def positive(x: Any) -> Any:
    """A symmetric positive definite matrix made of any square one."""
    return x @ np.swapaxes(x, -1, -2) + np.eye(x.shape[-1])


def along_first(name: str) -> Sample:
    """A reduction along the first axis."""
    return lambda x: getattr(np, name)(x, axis=0), (M,)


def with_nans(function: Callable[..., Any], **options: Any) -> Sample:
    """A function of an array with NaN, of the numbers that are not NaN."""
    spots = np.where(np.isnan(NANS), np.nan, 0.0)
    return lambda x: function(x + spots, **options), (np.nan_to_num(NANS),)


def written(function: Callable[..., Any], *args: Any) -> Sample:
    """A function that writes into its first argument."""

    def call(x: Any, *more: Any) -> Any:
        y = x * 1.0
        function(y, *more)
        return y

    return call, args


UFUNCS: dict[str, list[Sample]] = {
    **{
        name: [(getattr(np, name), (V,))]
        for name in [
            "negative",
            "positive",
            "conjugate",
            "exp",
            "exp2",
            "expm1",
            "cbrt",
            "square",
            "sin",
            "cos",
            "tan",
            "arctan",
            "sinh",
            "cosh",
            "tanh",
            "arcsinh",
            "absolute",
            "fabs",
            "degrees",
            "radians",
            "rad2deg",
            "deg2rad",
        ]
    },
    **{
        name: [(getattr(np, name), (P,))]
        for name in ["reciprocal", "log", "log2", "log10", "log1p", "sqrt"]
    },
    **{name: [(getattr(np, name), (U,))] for name in ["arcsin", "arccos", "arctanh"]},
    **{
        name: [(getattr(np, name), (V, W))]
        for name in [
            "add",
            "subtract",
            "multiply",
            "divide",
            "arctan2",
            "hypot",
            "logaddexp",
            "logaddexp2",
            "maximum",
            "minimum",
            "fmax",
            "fmin",
            "remainder",
            "fmod",
            "copysign",
        ]
    },
    "arccosh": [(np.arccosh, (P + 1.0,))],
    "power": [
        (np.power, (P, U)),
        (lambda x: x**3, (V,)),
        (lambda x: x**2.0, (V,)),
        (lambda x: 2.0**x, (V,)),
    ],
    "float_power": [(np.float_power, (P, U))],
    "heaviside": [(lambda h: np.heaviside(np.array([0.0, -1.0, 2.0]), h), (P,))],
    "ldexp": [(lambda x: np.ldexp(x, 3), (V,))],
    "frexp": [(lambda x: np.frexp(x)[0], (V * 1.01,))],
    "modf": [(lambda x: np.modf(x)[0], (V,))],
    "divmod": [(lambda x, y: np.divmod(x, y)[1], (V, W))],
    "nextafter": [(lambda x: np.nextafter(x, 9.0), (V,))],
    "clip": [(lambda x: np.clip(x, -0.5, 1.0), (V,))],
    "matmul": [(np.matmul, (M, N)), (np.matmul, (B, V[:3])), (np.matmul, (V[:3], B))],
    "vecdot": [(np.vecdot, (M, V))],
    "matvec": [(np.matvec, (B, V[:3]))],
    "vecmat": [(np.vecmat, (V[:3], B))],
}

FUNCTIONS: dict[str, list[Sample]] = {
    # elements
    "where": [(lambda x, y: np.where(x > 0, x, y), (V, W))],
    "clip": [(lambda x, low: np.clip(x, low, 1.0), (V, np.array(-0.5)))],
    "select": [(lambda x: np.select([x > 1, x > 0], [x**2, x**3], 1.0), (V,))],
    "nan_to_num": [with_nans(np.nan_to_num)],
    "sinc": [(np.sinc, (V,)), (np.sinc, (np.array([0.0, 1e-9, 0.08, -0.01]),))],
    "real": [(np.real, (V,))],
    "astype": [(lambda x: np.astype(x, np.float64), (V,))],
    "i0": [(np.i0, (V,))],
    "unwrap": [(np.unwrap, (np.array([0.1, 3.0, 6.5, 0.2, -4.0]),)), (np.unwrap, (M * 6,))],
    "real_if_close": [(np.real_if_close, (V,))],
    # reductions
    **{
        name: [(getattr(np, name), (M,)), along_first(name)]
        for name in [
            "sum",
            "prod",
            "max",
            "min",
            "amax",
            "amin",
            "mean",
            "var",
            "std",
            "cumsum",
            "cumprod",
            "ptp",
            "average",
        ]
    },
    **{
        name: [with_nans(getattr(np, name)), with_nans(getattr(np, name), axis=1)]
        for name in [
            "nansum",
            "nanprod",
            "nancumsum",
            "nancumprod",
            "nanmax",
            "nanmin",
            "nanmean",
            "nanvar",
            "nanstd",
            "nanmedian",
        ]
    },
    "cumulative_sum": [
        (np.cumulative_sum, (V,)),
        (lambda x: np.cumulative_sum(x, axis=1, include_initial=True), (M,)),
    ],
    "cumulative_prod": [
        (lambda x: np.cumulative_prod(x, axis=0, include_initial=True), (M,)),
    ],
    # shape and movement
    "reshape": [(lambda x: np.reshape(x, (2, -1)), (M,))],
    "ravel": [(np.ravel, (M,))],
    "transpose": [(np.transpose, (M,)), (lambda x: np.permute_dims(x, (1, 0, 2)), (T,))],
    "matrix_transpose": [(np.matrix_transpose, (T,))],
    "linalg.matrix_transpose": [(L.matrix_transpose, (T,))],
    "moveaxis": [(lambda x: np.moveaxis(x, 0, -1), (T,))],
    "swapaxes": [(lambda x: np.swapaxes(x, 0, 1), (T,))],
    "rollaxis": [(lambda x: np.rollaxis(x, 2), (T,))],
    "expand_dims": [(lambda x: np.expand_dims(x, 1), (M,))],
    "squeeze": [(lambda x: np.squeeze(x[None]), (M,))],
    "atleast_1d": [(np.atleast_1d, (np.array(0.5),))],
    "atleast_2d": [(np.atleast_2d, (V,))],
    "atleast_3d": [(np.atleast_3d, (M,))],
    "broadcast_to": [(lambda x: np.broadcast_to(x, (2, 4)), (V,))],
    "broadcast_arrays": [(lambda x, y: list(np.broadcast_arrays(x, y)), (V, M))],
    "concatenate": [
        (lambda x, y: np.concatenate([x, y], axis=1), (M, S)),
        (lambda x, y: np.concat([x, y], axis=None), (M, S)),
    ],
    "stack": [(lambda x, y: np.stack([x, y], axis=1), (V, W))],
    "vstack": [(lambda x, y: np.vstack([x, y]), (V, W))],
    "hstack": [(lambda x, y: np.hstack([x, y]), (M, S))],
    "dstack": [(lambda x, y: np.dstack([x, y]), (V, W))],
    "column_stack": [(lambda x, y: np.column_stack([x, y]), (V, W))],
    "block": [(lambda x, y: np.block([[x, y], [y, x]]), (S, S.T))],
    "array_split": [(lambda x: np.array_split(x, 3), (V,))],
    "split": [(lambda x: np.split(x, 2, axis=1), (M,))],
    "hsplit": [(lambda x: np.hsplit(x, 2), (M,))],
    "vsplit": [(lambda x: np.vsplit(x, [1]), (M,))],
    "dsplit": [(lambda x: np.dsplit(x, 2), (T,))],
    "unstack": [(lambda x: list(np.unstack(x)), (M,))],
    "flip": [(lambda x: np.flip(x, 0), (M,))],
    "fliplr": [(np.fliplr, (M,))],
    "flipud": [(np.flipud, (M,))],
    "rot90": [(np.rot90, (M,))],
    "roll": [(lambda x: np.roll(x, 2, axis=1), (M,))],
    "repeat": [(lambda x: np.repeat(x, 2, axis=0), (M,))],
    "tile": [(lambda x: np.tile(x, (2, 1)), (M,))],
    "resize": [(lambda x: np.resize(x, (3, 5)), (V,))],
    "pad": [
        (lambda x, m=mode: np.pad(x, 1, mode=m), (M,))
        for mode in ("constant", "edge", "reflect", "wrap")
    ],
    "copy": [(np.copy, (M,))],
    "fft.fftshift": [(np.fft.fftshift, (M,))],
    "fft.ifftshift": [(lambda x: np.fft.ifftshift(x, axes=1), (M,))],
    "lib.stride_tricks.sliding_window_view": [
        (lambda x: np.lib.stride_tricks.sliding_window_view(x, (2, 2)), (M,))
    ],
    "meshgrid": [
        (lambda x, y: list(np.meshgrid(x, y)), (V, P)),
        (lambda x, y: list(np.meshgrid(x, y, indexing="ij", sparse=True)), (V, P)),
    ],
    # choosing elements
    "take": [(lambda x: np.take(x, [2, 0, 2], axis=1), (M,))],
    "take_along_axis": [(lambda x: np.take_along_axis(x, np.argsort(x, 1), 1), (M,))],
    "diag": [(np.diag, (S,)), (lambda x: np.diag(x, 1), (V,))],
    "diagflat": [(np.diagflat, (V,))],
    "diagonal": [(lambda x: np.diagonal(x, 0, 1, 2), (B,))],
    "linalg.diagonal": [(L.diagonal, (B,))],
    "tril": [(np.tril, (M,))],
    "triu": [(lambda x: np.triu(x, 1), (M,))],
    "delete": [(lambda x: np.delete(x, [1, 2]), (V,))],
    "insert": [
        (lambda x, v: np.insert(x, 2, v), (V, np.array(1.5))),
        (lambda x, v: np.insert(x, [0, 2], v, axis=1), (M, np.array([[0.1, 0.2]]))),
    ],
    "append": [(np.append, (M, V)), (lambda x, y: np.append(x, y, axis=1), (M, S))],
    "compress": [(lambda x: np.compress([True, False, True], x, axis=1), (M,))],
    "extract": [(lambda x: np.extract(np.asarray(M > 0), x), (M,))],
    "choose": [(lambda x, y: np.choose(np.array([0, 1, 1, 0]), [x, y]), (V, W))],
    "trim_zeros": [(lambda x: np.trim_zeros(x * np.array([0, 1, 1, 0.0])), (V,))],
    "unique": [(np.unique, (V,))],
    "unique_values": [(np.unique_values, (V,))],
    "piecewise": [
        (lambda x: np.piecewise(x, [x < 0, x > 1], [np.exp, lambda v: v**2, np.sin]), (V,))
    ],
    "apply_along_axis": [
        (lambda x: np.apply_along_axis(lambda v: v[0] * v, 0, x), (M,)),
        (lambda x: np.apply_along_axis(np.sum, 1, x), (T,)),
    ],
    "apply_over_axes": [(lambda x: np.apply_over_axes(np.sum, x, [0, 2]), (T,))],
    "ix_": [(lambda x: np.ix_(x.astype(int))[0] * x, (V + 3.3,))],
    # products
    "dot": [(np.dot, (M, N)), (np.dot, (V, W))],
    "inner": [(np.inner, (M, V))],
    "outer": [(np.outer, (V, W))],
    "tensordot": [(lambda x, y: np.tensordot(x, y, 1), (M, N))],
    "vdot": [(np.vdot, (V, W))],
    "kron": [(np.kron, (M, S))],
    "trace": [(np.trace, (B,))],
    "cross": [(np.cross, (P, U))],
    "einsum": [
        (lambda x, y: np.einsum("ij,jk->ik", x, y), (M, N)),
        (lambda x: np.einsum("ii->i", x), (S,)),
        (lambda x, y, z: np.einsum("ij,jk,i->k", x, y, z), (M, N, P)),
    ],
    "linalg.multi_dot": [(lambda x, y, z: L.multi_dot([x, y, z]), (S, M, N))],
    "linalg.matmul": [(L.matmul, (M, N))],
    "linalg.outer": [(L.outer, (V, W))],
    "linalg.tensordot": [(lambda x, y: L.tensordot(x, y, axes=1), (M, N))],
    "linalg.vecdot": [(L.vecdot, (V, W))],
    "linalg.cross": [(L.cross, (P, U))],
    "linalg.trace": [(L.trace, (B,))],
    # linear algebra
    "linalg.solve": [(L.solve, (S, P)), (L.solve, (B, P)), (L.solve, (S, M)), (L.solve, (B, S))],
    "linalg.inv": [(L.inv, (S,)), (L.inv, (B,))],
    "linalg.det": [
        (L.det, (S,)),
        (L.det, (B,)),
        (L.det, (np.outer(P, U),)),
        (L.det, (np.array([[1.0, 2, 3], [2, 4, 6], [1, 0, 1]]),)),
        (L.det, (np.zeros((2, 2)),)),
        (L.det, (np.ones((1, 1)),)),
    ],
    "linalg.slogdet": [(lambda x: L.slogdet(x).logabsdet, (B,))],
    "linalg.cholesky": [
        (lambda x: L.cholesky(positive(x)), (B,)),
        (lambda x: L.cholesky(positive(x), upper=True), (S,)),
    ],
    "linalg.qr": [
        (lambda x: list(L.qr(x)), (S,)),
        (lambda x: list(L.qr(x)), (N,)),
        (lambda x: list(L.qr(x)), (M,)),
        (lambda x: L.qr(x, "r"), (N,)),
        (lambda x: L.qr(x, "complete").Q, (B,)),
    ],
    "linalg.eigh": [
        (lambda x: list(L.eigh(positive(x))), (S,)),
        (lambda x: L.eigh(positive(x), "U").eigenvectors, (B,)),
    ],
    "linalg.eigvalsh": [(lambda x: L.eigvalsh(positive(x)), (B,))],
    "linalg.svd": [
        (lambda x: list(L.svd(x)), (S,)),
        (lambda x: list(L.svd(x, full_matrices=False)), (M,)),
        (lambda x: list(L.svd(x, full_matrices=False)), (N,)),
        (lambda x: L.svd(x, compute_uv=False), (M,)),
    ],
    "linalg.svdvals": [(L.svdvals, (B,))],
    "linalg.pinv": [
        (L.pinv, (M,)),
        (L.pinv, (N,)),
        (lambda x, y: L.pinv(np.outer(x, y), rcond=1e-6), (P, U)),
    ],
    "linalg.matrix_power": [
        (lambda x: L.matrix_power(x, 5), (S,)),
        (lambda x: L.matrix_power(x, -2), (B,)),
    ],
    "linalg.lstsq": [
        (lambda a, b: list(L.lstsq(a, b, rcond=None)[:2]), (N, V)),
        (lambda a, b: list(L.lstsq(a, b)[:2]), (N, M.T)),
    ],
    "linalg.tensorinv": [(lambda x: L.tensorinv(x, ind=1), (rng.normal(size=(4, 2, 2)),))],
    "linalg.tensorsolve": [(L.tensorsolve, (rng.normal(size=(2, 2, 4)), S[:2, :2]))],
    "linalg.norm": [
        *[(lambda x, o=o: L.norm(x, o), (V,)) for o in (None, 2, 1, np.inf, -np.inf, 3, 1.5, 0.5)],
        (lambda x: L.norm(x, -2), (P,)),
        *[
            (lambda x, o=o: L.norm(x, o), (M,))
            for o in (None, "fro", "nuc", 2, -2, 1, -1, np.inf, -np.inf)
        ],
        (lambda x: L.norm(x, "nuc", axis=(2, 0), keepdims=True), (B,)),
        (lambda x: L.norm(x, 1, axis=(2, 0)), (B,)),
        (lambda x: L.norm(x, axis=1), (M,)),
    ],
    "linalg.matrix_norm": [(L.matrix_norm, (B,))],
    "linalg.vector_norm": [(lambda x: L.vector_norm(x, axis=(0, 1), ord=3), (B,))],
    "linalg.cond": [
        (L.cond, (S,)),
        (lambda x: L.cond(x, -2), (S,)),
        (lambda x: L.cond(x, 1), (S,)),
        (lambda x: L.cond(x, "fro"), (B,)),
    ],
    # order
    "sort": [(np.sort, (M,)), (lambda x: np.sort(x, axis=None), (M,))],
    "partition": [(lambda x: np.partition(x, 1, axis=0), (M,))],
    "median": [(np.median, (M,)), (lambda x: np.median(x, axis=0, keepdims=True), (M,))],
    "quantile": [
        (lambda x: np.quantile(x, 0.3), (M,)),
        (lambda x: np.quantile(x, [0.1, 0.5, 1.0], axis=1), (M,)),
        (lambda x: np.quantile(x, 0.4, method="median_unbiased", keepdims=True), (V,)),
        (lambda x: np.quantile(x, 0.4, method="inverted_cdf"), (V,)),
    ],
    "percentile": [(lambda x: np.percentile(x, [5, 60], axis=(0, 1)), (M,))],
    "nanquantile": [with_nans(np.nanquantile, q=[0.2, 0.9], axis=1)],
    "nanpercentile": [with_nans(np.nanpercentile, q=30.0)],
    # calculus
    "diff": [
        (lambda x: np.diff(x, 2), (M,)),
        (lambda x, y: np.diff(x, axis=0, prepend=0.0, append=y), (M, V[None])),
    ],
    "ediff1d": [(lambda x, y: np.ediff1d(x, to_begin=y, to_end=[1.0, 2.0]), (M, V))],
    "trapezoid": [
        (np.trapezoid, (M,)),
        (lambda y, x: np.trapezoid(y, x, axis=0), (M, P)),
        (lambda y, x: np.trapezoid(y, x), (M, M * 2)),
    ],
    "gradient": [
        (np.gradient, (V,)),
        (lambda x: list(np.gradient(x, 0.5, 2.0, edge_order=2)), (M,)),
        (lambda x, h: np.gradient(x, h, axis=1, edge_order=2), (M, np.array([0, 0.5, 0.7, 2.0]))),
    ],
    "convolve": [
        (lambda x, y, m=mode: np.convolve(x, y, m), (V, P)) for mode in ("full", "same", "valid")
    ]
    + [(np.convolve, (P, V))],
    "correlate": [
        (lambda x, y, m=mode: np.correlate(x, y, m), args)
        for mode in ("full", "same", "valid")
        for args in ((V, P), (P, V), (V, W), (V, U[:2]), (U[:2], V))
    ],
    "interp": [
        (lambda x, xp, fp: np.interp(x, xp, fp), (V, X, W[[0, 1, 2, 3, 0]])),
        (lambda x, fp: np.interp(x, X, fp, left=0.0, right=9.0), (V * 3, X**2)),
        (lambda x, fp: np.interp(x, [0.0, 2.0, 1.0], fp, period=3.0), (V * 3, P)),
        (lambda x, fp: np.interp(x, [0.5], fp), (V, U[:1])),
        (lambda x, fp: np.interp(x, X, fp), (np.array(0.2), X**2)),
    ],
    "cov": [
        (np.cov, (M,)),
        (np.cov, (V, W)),
        (np.cov, (V,)),
        (lambda x: np.cov(x, rowvar=False, bias=True), (M,)),
        (lambda x: np.cov(x, aweights=P, rowvar=False), (M,)),
        (lambda x: np.cov(x, fweights=[1, 2, 3], aweights=P, rowvar=False, ddof=0), (M,)),
        (lambda x: np.cov(x, fweights=[1, 2, 3], rowvar=False), (M,)),
    ],
    "corrcoef": [(np.corrcoef, (M,)), (np.corrcoef, (V, W))],
    "vander": [(np.vander, (P,)), (lambda x: np.vander(x, 4, increasing=True), (P,))],
    "polyval": [(np.polyval, (W, V)), (np.polyval, (W, M))],
    "polyfit": [
        (lambda x, y: np.polyfit(x, y, 2), (V, W)),
        (lambda x, y: np.polyfit(x, y, 1, w=[1.0, 2.0, 3.0, 4.0]), (V, N)),
    ],
    "polyadd": [(np.polyadd, (V, P))],
    "polysub": [(np.polysub, (P, V))],
    "polyder": [(lambda p: np.polyder(p, 2), (V,))],
    "polyint": [(lambda p: np.polyint(p, 2, 3.0), (V,)), (np.polyint, (V,))],
    "linspace": [
        (lambda a, b: np.linspace(a, b, 5), (P, U)),
        (lambda a, b: np.linspace(a, b, 5, endpoint=False, axis=1), (P, U)),
        (lambda a, b: list(np.linspace(a, b, 3, retstep=True)), (P[0], U[1])),
    ],
    "logspace": [(lambda a, b: np.logspace(a, b, 4), (P, U))],
    "geomspace": [(lambda a, b: np.geomspace(a, b, 4), (P, U))],
    "bincount": [(lambda w: np.bincount([0, 2, 2, 1], weights=w, minlength=5), (V,))],
    # writing
    "copyto": [written(np.copyto, M, V)],
    "fill_diagonal": [written(np.fill_diagonal, S, np.array(2.0))],
    "put_along_axis": [
        written(lambda x, v: np.put_along_axis(x, np.array([[1], [0], [2]]), v, 1), M, P[:, None])
    ],
    "putmask": [written(lambda x, v: np.putmask(x, M > 0, v), M, V[:3])],
    "place": [written(lambda x, v: np.place(x, M > 0, v), M, V[:3])],
    "put": [written(lambda x, v: np.put(x, [0, 5, -1], v), M, V[:2])],
}

# What needs the values of its arguments, so that jit and vmap refuse it.
NEEDS_VALUES = frozenset({"unique", "unique_values", "trim_zeros", "linalg.lstsq"})
