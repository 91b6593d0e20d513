"""Products of arrays and linear algebra."""

from __future__ import annotations

from tests.peers.case import JAX, A, B, Case, S, T, V, numbers

M, N = numbers(3, 4, seed=11), numbers(4, 5, seed=12)
BATCH = numbers(2, 4, 5, seed=13)
W = numbers(4, seed=14)
SPD = S @ S.T
BATCHED = numbers(2, 3, 3, seed=15) + 3 * SPD / 10 + 2.0

EINSUMS = {
    "ij,jk->ik": (M, N), "ij,jk": (M, N), "bij,bjk->bik": (T, BATCH), "bij,jk->bik": (T, N),
    "i,j->ij": (V, W), "i,i->": (W, W * 2), "ij->ji": (M,), "ij->i": (M,), "ij->": (M,),
    "ii->i": (S,), "ii->": (S,), "ij,ij->": (A, B), "ij,ij->ij": (A, B), "i,ij,j->": (V[:3], M, W),
    "bij,bkj->bik": (T, T), "...j,jk->...k": (T, N), "ij,jk,kl->il": (M, N, N.T.copy()),
}  # fmt: skip


def symmetric(x):  # noqa: ANN001, ANN201
    """(x + x^T) / 2."""
    return (x + x.T) / 2


CASES = [
    *[
        Case(f"einsum {text}", lambda np, *xs, text=text: np.einsum(text, *xs) ** 2, xs,
             JAX if text.startswith("ii") else ("jax", "autograd"))
        for text, xs in EINSUMS.items()
    ],
    Case("matmul", lambda np, x, y: np.matmul(x, y) ** 2, (M, N)),
    Case("matmul operator", lambda np, x, y: (x @ y) ** 2, (M, N)),
    Case("matmul matrix vector", lambda np, x, y: (x @ y) ** 2, (M, W)),
    Case("matmul vector matrix", lambda np, x, y: (x @ y) ** 2, (W, N)),
    Case("matmul vector vector", lambda np, x, y: (x @ y) ** 2, (W, W * 2)),
    Case("matmul batched", lambda np, x, y: (x @ y) ** 2, (T, BATCH)),
    Case("matmul batch by matrix", lambda np, x, y: (x @ y) ** 2, (T, N)),
    Case("matmul matrix by batch", lambda np, x, y: (x @ y) ** 2, (M, BATCH)),
    Case("matmul broadcast", lambda np, x, y: (x[:, None] @ y) ** 2, (T, BATCH)),
    Case("matmul batch by vector", lambda np, x, y: (x @ y) ** 2, (T, W)),
    Case("matmul vector by batch", lambda np, x, y: (x @ y) ** 2, (W, BATCH)),
    Case("dot vectors", lambda np, x, y: np.dot(x, y) * x, (W, W + 1)),
    Case("dot matrices", lambda np, x, y: np.dot(x, y) ** 2, (M, N)),
    Case("dot matrix vector", lambda np, x, y: np.dot(x, y) ** 2, (M, W)),
    Case("dot of three axes", lambda np, x, y: np.dot(x, y) ** 2, (T, BATCH)),
    Case("dot with a scalar", lambda np, x, y: np.dot(x, y[0]) ** 2, (M, W)),
    Case("dot method", lambda np, x, y: x.dot(y) ** 2, (M, N), JAX),
    Case("inner", lambda np, x, y: np.inner(x, y) ** 2, (M, M * 2)),
    Case("inner of more axes", lambda np, x, y: np.inner(x, y) ** 2, (T, M)),
    Case("outer", lambda np, x, y: np.outer(x, y) ** 2, (V, W)),
    Case("vdot", lambda np, x, y: np.vdot(x, y) * x, (A, B), JAX),
    Case("kron", lambda np, x, y: np.kron(x, y) ** 2, (M, S)),
    Case("tensordot 1", lambda np, x, y: np.tensordot(x, y, 1) ** 2, (M, N)),
    Case("tensordot 2", lambda np, x, y: np.tensordot(x, y, 2) ** 2, (T, A)),
    Case("tensordot 0", lambda np, x, y: np.tensordot(x, y, 0) ** 2, (V, W)),
    Case("tensordot axes", lambda np, x, y: np.tensordot(x, y, ([2, 0], [1, 0])),
         (T, BATCH[:, :, :4].copy())),
    Case("cross", lambda np, x, y: np.cross(x, y) ** 2, (S, S.T.copy() + 1), JAX),
    Case("multi_dot", lambda np, x, y, z: np.linalg.multi_dot([x, y, z]), (M, N, N.T.copy()), JAX),
    Case("trace of a product", lambda np, x, y: np.trace(x @ y.T), (A, B)),
    Case("matrix power by hand", lambda np, x: x @ x @ x, (S,)),
    Case("linalg.solve", lambda np, x, y: np.linalg.solve(x, y) ** 2, (S, A)),
    Case("linalg.solve vector", lambda np, x, y: np.linalg.solve(x, y[:, 0]) ** 2, (S, A)),
    Case("linalg.solve batched", lambda np, x, y: np.linalg.solve(x, y) ** 2, (BATCHED, T)),
    Case("linalg.inv", lambda np, x: np.linalg.inv(x), (S,)),
    Case("linalg.inv batched", lambda np, x: np.linalg.inv(x), (BATCHED,)),
    Case("linalg.det", lambda np, x: np.linalg.det(x), (S,)),
    Case("linalg.det batched", lambda np, x: np.linalg.det(x), (BATCHED,)),
    Case("linalg.slogdet", lambda np, x: np.linalg.slogdet(x)[1], (S,)),
    Case("linalg.cholesky", lambda np, x: np.linalg.cholesky(symmetric(x)), (SPD,)),
    Case("linalg.eigh values", lambda np, x: np.linalg.eigh(symmetric(x))[0] ** 2, (SPD,)),
    Case("linalg.eigh vectors", lambda np, x: np.linalg.eigh(symmetric(x))[1] ** 2, (SPD,)),
    Case("linalg.eigvalsh", lambda np, x: np.linalg.eigvalsh(symmetric(x)), (SPD,), JAX),
    Case("linalg.svd values", lambda np, x: np.linalg.svd(x, full_matrices=False)[1], (M,)),
    Case("linalg.svd vectors", lambda np, x: np.linalg.svd(x, full_matrices=False)[0] ** 2,
         (M.T.copy(),)),
    Case("linalg.qr", lambda np, x: np.linalg.qr(x)[1] ** 2, (M.T.copy(),), JAX),
    Case("linalg.pinv", lambda np, x: np.linalg.pinv(x), (M,)),
    Case("linalg.norm", lambda np, x: np.linalg.norm(x), (A,)),
    Case("linalg.norm axis", lambda np, x: np.linalg.norm(x, axis=1), (A,)),
    Case("linalg.norm 1", lambda np, x: np.linalg.norm(x[0], 1), (A,), JAX),
    Case("linalg.norm inf", lambda np, x: np.linalg.norm(x[0], np.inf), (A,), JAX),
    Case("linalg.norm 3", lambda np, x: np.linalg.norm(x[0], 3), (A,)),
    Case("linalg.norm nuclear", lambda np, x: np.linalg.norm(x, "nuc"), (A,)),
    Case("linalg.matrix_power", lambda np, x: np.linalg.matrix_power(x, 3), (S,), JAX),
    Case("quadratic form", lambda np, x, y: y @ np.linalg.solve(x @ x.T, y), (S, V[:3])),
    Case("log-determinant of a covariance",
         lambda np, x: np.linalg.slogdet(x @ x.T + np.eye(3))[1], (A,)),
    Case("sort", lambda np, x: np.sort(x, axis=1)[:, 1] * x[:, 0], (A,), JAX),
    Case("diff", lambda np, x: np.diff(x, axis=1) ** 2, (A,)),
    Case("diff twice", lambda np, x: np.diff(x, n=2, axis=1) ** 2, (A,)),
    Case("gradient", lambda np, x: np.gradient(x, axis=0) ** 2, (A,), JAX),
    Case("convolve", lambda np, x, y: np.convolve(x, y, "full") ** 2, (V, W), JAX),
    Case("cov", lambda np, x: np.cov(x), (A,), JAX),
    Case("interp",
         lambda np, x: np.interp(x, np.array([-1.0, 0.1, 1.0]), np.array([0.0, 2.0, 1.0])),
         (V,), JAX),
    Case("trapezoid", lambda np, x: np.trapezoid(x * x, axis=1), (A,), JAX),
    Case("median", lambda np, x: np.median(x, axis=1) * x[:, 0], (A,), JAX),
    Case("polyval", lambda np, p, x: np.polyval(p, x), (W, V), JAX),
    Case("vander", lambda np, x: np.vander(x, 4), (V,), JAX),
]  # fmt: skip
