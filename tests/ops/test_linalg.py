"""numpy.linalg on traced arrays: what holds at singular matrices, zeros and repeated values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import backpass as bp
from backpass.errors import DTypeError, ShapeError, TracingError, UnsupportedError

np_: Any = np
rng = np.random.default_rng(3)
S = rng.normal(size=(3, 3))
RANK_ONE = np.outer([1.0, 2.0, -1.0], [0.5, 1.0, 3.0])


@pytest.mark.parametrize("n", [1, 2, 3, 5])
@pytest.mark.parametrize("rank", [0, 1, 2, 3, 5])
def test_determinant_at_every_rank(n: int, rank: int) -> None:
    """det is a polynomial: gradient and Hessian are exact whatever the rank."""
    k = min(n, rank)
    a = rng.normal(size=(n, k)) @ rng.normal(size=(k, n)) if k else np.zeros((n, n))
    bp.check_grads(np.linalg.det, (a,), order=2)


def test_third_derivative_of_det() -> None:
    bp.check_grads(bp.hessian(np.linalg.det), (S,), order=1)
    third = bp.jacrev(bp.hessian(np.linalg.det))(RANK_ONE)
    assert np.isnan(third).any()


def test_slogdet_at_a_singular_matrix_is_nan_and_zero_cotangents_stay_zero() -> None:
    batch = np.stack([RANK_ONE, S])

    def regular(x: Any) -> Any:
        return np.sum(np.where([False, True], np.linalg.slogdet(x).logabsdet, 0.0))

    assert np.isnan(bp.grad(lambda x: np.linalg.slogdet(x)[1])(RANK_ONE)).all()
    gradient = bp.grad(regular)(batch)
    np.testing.assert_array_equal(gradient[0], 0)
    np.testing.assert_allclose(gradient[1], np.linalg.inv(S).T, rtol=1e-12)
    jacobian = bp.jacrev(lambda x: np.linalg.slogdet(x)[0])(S)
    np.testing.assert_array_equal(jacobian, 0)


def test_singular_inverse_is_numpys_error() -> None:
    with pytest.raises(np.linalg.LinAlgError, match="Singular"):
        bp.grad(lambda x: np.sum(np.linalg.inv(x)))(np.zeros((2, 2)))


@pytest.mark.parametrize("order", [None, 1, 2, 3, 0.5, np.inf, -np.inf])
def test_vector_norm_of_zeros(order: Any) -> None:
    norm = lambda x: np.linalg.norm(x, order)  # noqa: E731
    np.testing.assert_array_equal(bp.grad(norm)(np.zeros(3)), 0)
    np.testing.assert_array_equal(bp.jvp(norm, (np.zeros(3),), (np.ones(3),))[1], 0)


@pytest.mark.parametrize("order", [None, "fro", "nuc", 2, -2, 1, -1, np.inf, -np.inf])
def test_matrix_norm_of_zeros(order: Any) -> None:
    norm = lambda x: np.linalg.norm(x, order)  # noqa: E731
    np.testing.assert_array_equal(bp.grad(norm)(np.zeros((2, 3))), 0)


def test_eigenvalues_that_repeat() -> None:
    """Sums over eigenvalues are smooth; single vectors have no derivative there."""
    squares = lambda x: np.sum(np.linalg.eigvalsh(x) ** 2)  # noqa: E731
    np.testing.assert_allclose(bp.grad(squares)(np.eye(3)), 2 * np.eye(3))
    vectors = lambda x: np.sum(np.linalg.eigh(x).eigenvectors * S)  # noqa: E731
    assert not np.isfinite(bp.grad(vectors)(np.eye(3))).all()
    values = lambda x: np.sum(np.linalg.svd(x).S)  # noqa: E731
    np.testing.assert_allclose(bp.grad(values)(np.eye(3)), np.eye(3), atol=1e-15)


def test_eigenvector_function_of_repeated_values_is_loud_not_zero() -> None:
    """V w^2 V^T is smooth at the identity, but its formula is 0/0 there: NaN, not wrong."""

    def squared(x: Any) -> Any:
        w, v = np.linalg.eigh(x)
        return np.sum(((v * w**2) @ v.T) * S)

    assert np.isnan(bp.grad(squared)(np.eye(3))).any()


def test_symmetric_gradients() -> None:
    a = S @ S.T + np.eye(3)
    for function in (np.linalg.cholesky, np.linalg.eigvalsh):
        gradient = bp.grad(lambda x, f=function: np.sum(f(x) * f(a)))(a)
        np.testing.assert_allclose(gradient, gradient.T, rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda x: np.linalg.svd(x)[0], UnsupportedError, "full_matrices=False"),
        (lambda x: np.linalg.qr(x.T, "complete")[0], UnsupportedError, "mode='reduced'"),
        (lambda x: np.linalg.qr(x, "raw")[0], UnsupportedError, "'raw'"),
        (lambda x: np.linalg.inv(x), ShapeError, r"square, got shape \(2, 3\)"),
        (lambda x: np.linalg.solve(x @ x.T, x[0]), ShapeError, "b needs 2 rows"),
        (lambda x: np.linalg.det(x[0]), ShapeError, "needs a matrix"),
        (lambda x: np.linalg.pinv(x.astype(np.float16)), DTypeError, "float16"),
        (lambda x: np_.linalg.norm(x, "abc"), ValueError, "invalid norm order 'abc'"),
        (lambda x: np.linalg.eigvals(x @ x.T), UnsupportedError, "complex"),
    ],
)
def test_refused(call: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        bp.grad(lambda x: np.sum(call(x)))(np.arange(6.0).reshape(2, 3))


def test_lstsq_needs_the_rank() -> None:
    with pytest.raises(TracingError, match="pinv"):
        bp.jit(lambda x: np.linalg.lstsq(x, x)[0])(S)


@pytest.mark.parametrize("shape", [(0, 0), (0, 2, 2), (2, 0, 0)])
@pytest.mark.parametrize("name", ["det", "inv", "slogdet", "eigvalsh", "svdvals", "qr", "pinv"])
def test_empty(name: str, shape: tuple[int, ...]) -> None:
    def first(x: Any) -> Any:
        found = getattr(np.linalg, name)(x)
        return found[-1] if isinstance(found, tuple) else found

    x = np.zeros(shape)
    value, pull = bp.vjp(first, x)
    np.testing.assert_array_equal(value, first(x))
    assert pull(np.ones(np.shape(value)))[0].shape == shape
    assert bp.jit(first)(x).shape == first(x).shape


@pytest.mark.parametrize("view", [lambda x: x.T, lambda x: x[::-1], lambda x: np.asfortranarray(x)])
def test_layouts(view: Any) -> None:
    x = view(S)
    before = x.copy()
    got = bp.grad(lambda v: np.sum(np.linalg.inv(v) * np.linalg.det(v)))(x)
    want = bp.grad(lambda v: np.sum(np.linalg.inv(v) * np.linalg.det(v)))(np.ascontiguousarray(x))
    np.testing.assert_allclose(got, want, rtol=1e-12)
    np.testing.assert_array_equal(x, before)


def test_float32_stays() -> None:
    x = S.astype(np.float32)
    for name in ("inv", "det", "svdvals", "norm", "pinv", "cond"):
        value, pull = bp.vjp(getattr(np.linalg, name), x)
        assert value.dtype == np.float32 == getattr(np.linalg, name)(x).dtype
        assert pull(np.ones_like(value))[0].dtype == np.float32


def test_results_have_numpys_names() -> None:
    def total(x: Any) -> Any:
        u, s, vh = np.linalg.svd(x)
        q, r = np.linalg.qr(x)
        return np.sum(u @ np.diag(s) @ vh) + np.sum(q @ r) + np.linalg.slogdet(x).sign * 0

    np.testing.assert_allclose(bp.grad(total)(S), 2 * np.ones((3, 3)), rtol=1e-9)
