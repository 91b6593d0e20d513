"""Sorting, statistics, writing methods and accumulations: values, ties, NaN, empties, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import backpass as bp
from backpass.errors import AliasError, TracingError, UnsupportedError

np_: Any = np
rng = np.random.default_rng(4)
M = rng.normal(size=(3, 5))
NAN = np.array([[1.0, np.nan, 3.0, -1.0, 0.5], [2.0, 1.0, 0.0, 7.0, 5.0]])
METHODS = [
    *("inverted_cdf", "averaged_inverted_cdf", "closest_observation", "hazen", "weibull"),
    *("interpolated_inverted_cdf", "linear", "median_unbiased", "normal_unbiased"),
    *("lower", "higher", "midpoint", "nearest"),
]


def same(function: Any, *args: Any) -> None:
    """Eager in a transform, and compiled, give what NumPy gives: values, shape and dtype."""
    want = np.asarray(function(*args))
    for got in (bp.vjp(function, *args)[0], bp.jit(function)(*args)):
        assert np.shape(got) == want.shape
        assert np.asarray(got).dtype == want.dtype
        np.testing.assert_allclose(got, want, rtol=1e-12)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("q", [0.0, 0.13, 0.5, 0.75, 1.0, [0.2, 0.9]])
def test_quantile_has_every_method(method: str, q: Any) -> None:
    same(lambda x: np_.quantile(x, q, axis=1, method=method), M)
    same(lambda x: np_.quantile(x, q, method=method, keepdims=True), M[:, :4])


@pytest.mark.parametrize("name", ["median", "quantile", "percentile"])
def test_nan_spreads_and_is_ignored_on_request(name: str) -> None:
    more = () if name == "median" else (0.3,)
    for function in (getattr(np, name), getattr(np, "nan" + name)):
        for axis in (None, 0, 1):
            same(lambda x, f=function, a=axis: f(x, *more, axis=a), NAN)


@pytest.mark.parametrize("axis", [0, 1, None])
@pytest.mark.parametrize("kind", [None, "stable", "heapsort"])
def test_sort_and_argsort(axis: Any, kind: Any) -> None:
    ties = np.round(M)
    for x in (M, ties, NAN, M.T[::-1], np.zeros((0, 3)), np.zeros((2, 0))):
        same(lambda v: np_.sort(v, axis=axis, kind=kind), x)
    order = bp.jit(lambda v: np_.argsort(v, axis=axis, kind="stable"))(ties)
    np.testing.assert_array_equal(order, np.argsort(ties, axis=axis, kind="stable"))


def test_sort_gives_each_tied_element_its_own_cotangent() -> None:
    got = bp.grad(lambda x: np.sum(np.sort(x) * np.array([1.0, 10.0, 100.0])))(np.zeros(3))
    assert sorted(got.tolist()) == [1.0, 10.0, 100.0]


def test_lexsort_partition_searchsorted() -> None:
    keys = rng.integers(0, 3, size=(2, 4, 5))
    np.testing.assert_array_equal(bp.jit(np.lexsort)(keys), np.lexsort(keys))
    axis_first = bp.jit(lambda k: np.lexsort(k, axis=0))(keys)
    np.testing.assert_array_equal(axis_first, np.lexsort(keys, axis=0))
    np.testing.assert_array_equal(bp.vmap(np.lexsort)(keys), [np.lexsort(k) for k in keys])
    for kth in (0, 2, [1, 3]):
        got = bp.jit(lambda x, k=kth: np_.partition(x, k))(M)
        np.testing.assert_array_equal(got[:, kth], np.sort(M)[:, kth])
        np.testing.assert_array_equal(np.sort(got), np.sort(M))
    table = np.sort(M)
    got = bp.vmap(np.searchsorted)(table, M * 0.9)
    np.testing.assert_array_equal(
        got, [np.searchsorted(t, v * 0.9) for t, v in zip(table, M, strict=True)]
    )


def test_methods_that_write() -> None:
    """x.sort(), x.partition() and x.put() change x and return nothing, as in NumPy."""

    def written(x: Any) -> Any:
        y = x * 1.0
        assert y.sort() is None
        y.put([0, -1], [10.0, 20.0])
        y.partition(2)
        return np.sum(y[:2] ** 2)

    bp.check_grads(written, (np.array([3.0, 1.0, 2.0, 0.5]),), order=2)

    def stale(x: Any) -> Any:
        y = x * 1.0
        view = y[1:]
        y.sort()
        return np.sum(view)

    with pytest.raises(AliasError):
        bp.grad(stale)(np.array([3.0, 1.0]))


@pytest.mark.parametrize("ufunc", [np.maximum, np.minimum, np.fmax, np.fmin, np.logaddexp])
@pytest.mark.parametrize("axis", [0, 1])
def test_accumulate(ufunc: Any, axis: int) -> None:
    for x in (M, np.zeros((0, 2)), M[:1], (M * 3).astype(np.float32)):
        got = bp.jit(lambda v: ufunc.accumulate(v, axis=axis))(x)
        np.testing.assert_allclose(got, ufunc.accumulate(x, axis=axis), rtol=1e-6)
    bp.check_grads(lambda v: ufunc.accumulate(v, axis=axis), (M,), order=2)


def test_reduceat_is_refused() -> None:
    with pytest.raises(UnsupportedError, match=r"add.reduceat has no rule.*test_sorting.py"):
        bp.grad(lambda x: np.sum(np.add.reduceat(x, [0, 2])))(np.ones(4))


@pytest.mark.parametrize(
    "call",
    [
        np_.unique,
        np_.nonzero,
        np_.trim_zeros,
        lambda x: np_.compress(x > 0, x),
        lambda x: np_.extract(x > 0, x),
        lambda x: np_.digitize(x, x),
    ],
)
def test_shapes_that_depend_on_values(call: Any) -> None:
    with pytest.raises(TracingError, match="jit and vmap"):
        bp.jit(call)(np.array([0.5, 1.0]))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x: np_.quantile(x, x[0]), "q must not be traced"),
        (lambda x: np_.quantile(x, 0.5, weights=[1.0, 2.0], method="inverted_cdf"), "weights"),
        (lambda x: np_.nanquantile(x, 0.5, method="hazen"), "method"),
        (lambda x: np_.histogram(x)[0], "numpy.histogram.*test_sorting.py.*bincount"),
        (lambda x: np_.polyfit(x, x, 1, full=True)[0], "full"),
        (lambda x: np_.union1d(x, x), "union1d.*float64"),
        (lambda x: np_.fft.rfft(x), "rfft has no rule"),
        (lambda x: np_.polymul(x, x), "polymul has no rule"),
    ],
)
def test_refused(call: Any, words: str) -> None:
    with pytest.raises(UnsupportedError, match=words):
        bp.grad(lambda x: np.sum(call(x)))(np.array([0.5, 0.75]))


def test_interp_outside_and_at_the_table() -> None:
    xp, fp = np.array([0.0, 1.0, 3.0]), np.array([1.0, 2.0, 0.0])
    gradient = bp.vmap(bp.grad(lambda x: np.interp(x, xp, fp)))
    np.testing.assert_array_equal(gradient(np.array([-1.0, 0.5, 1.0, 9.0])), [0.0, 1.0, -1.0, 0.0])
    with pytest.raises(ValueError, match="vectors of one length"):
        bp.grad(lambda x: np.interp(x, xp, fp[:2]))(0.5)


def test_convolutions_of_every_length() -> None:
    for n in (1, 2, 3, 6):
        for m in (1, 2, 5):
            x, y = rng.normal(size=n), rng.normal(size=m)
            for mode in ("full", "same", "valid"):
                same(lambda a, b, k=mode: np_.convolve(a, b, k), x, y)
                same(lambda a, b, k=mode: np_.correlate(a, b, k), x, y)


def test_second_derivatives_near_the_origin_of_sinc() -> None:
    """Where sin(a)/a would lose all digits of its derivatives to cancellation."""
    x = np.array([0.0, 1e-12, 1e-6, 1e-3, 0.09, 0.1])
    second = bp.vmap(bp.grad(bp.grad(np.sinc)))(x)
    a = np.pi * x
    series = np.pi**2 * (-1 / 3 + a**2 / 10 - a**4 / 168 + a**6 / 6480 - a**8 / 443520)
    np.testing.assert_allclose(second, series, rtol=1e-10)
