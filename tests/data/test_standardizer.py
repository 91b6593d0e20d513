"""x' = (x - mean) / std: exact where it must be, accurate everywhere, never a division by zero."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from backpass.data import Standardizer
from backpass.errors import DataError

FINITE = st.floats(-1e6, 1e6, width=32)


@settings(max_examples=60, deadline=None)
@given(arrays(np.float64, array_shapes(min_dims=1, max_dims=3, max_side=7), elements=FINITE))
def test_mean_zero_std_one_and_back(x: np.ndarray) -> None:
    fitted = Standardizer.fit(x)
    out = fitted.transform(x)
    assert out.shape == x.shape
    assert fitted.mean.shape == x.shape[1:]
    constant = x.max(axis=0) == x.min(axis=0)
    assert np.all(out[:, constant] == 0)
    assert np.all(fitted.std[constant] == 1)
    assert np.all(fitted.std > 0)
    spread = x.std(axis=0) > 1e-9 * (1 + np.abs(x).max(axis=0))
    np.testing.assert_allclose(out.mean(axis=0)[spread], 0, atol=1e-6)
    np.testing.assert_allclose(out.std(axis=0)[spread], 1, rtol=1e-6)
    back = fitted.inverse_transform(out)
    np.testing.assert_allclose(back, x, rtol=1e-12, atol=1e-12 * (1 + np.abs(x).max()))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=20), st.sampled_from([0.0, 1e9, 1e15]))
def test_against_exact_fractions(values: list[float], offset: float) -> None:
    x = np.array(values) + offset
    exact = [Fraction(float(value)) for value in x]
    mean = sum(exact) / len(exact)
    variance = float(sum((value - mean) ** 2 for value in exact) / len(exact))
    fitted = Standardizer.fit(x)
    spread = float(x.max() - x.min())
    assert abs(float(Fraction(float(fitted.mean)) - mean)) <= 4e-16 * (abs(float(mean)) + spread)
    if variance > 0:
        # two passes: the error of the first mean does not reach the variance
        assert float(fitted.std) == pytest.approx(variance**0.5, rel=1e-12)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e9 + 0.3, -7e200, 5e-324])
def test_a_constant_column_becomes_zero(value: float) -> None:
    x = np.full((1001, 2), value)
    fitted = Standardizer.fit(x)
    assert fitted.mean.tolist() == [value, value]
    assert fitted.std.tolist() == [1, 1]
    assert not fitted.transform(x).any()


@pytest.mark.parametrize("scale", [1e-310, 1e-200, 1e200, 1e307])
def test_squares_neither_vanish_nor_overflow(scale: float) -> None:
    x = np.array([-1.0, 1.0, -1.0, 1.0]) * scale
    fitted = Standardizer.fit(x)
    assert float(fitted.std) == pytest.approx(scale, rel=1e-12)
    np.testing.assert_allclose(fitted.transform(x), [-1, 1, -1, 1], rtol=1e-12)


@pytest.mark.parametrize(
    ("dtype", "result"),
    [
        ("f2", "f4"),
        ("f4", "f4"),
        (">f4", "f4"),
        ("f8", "f8"),
        (">f8", "f8"),
        ("u1", "f8"),
        ("?", "f8"),
    ],
)
def test_dtypes(dtype: str, result: str) -> None:
    x = np.array([[0, 1], [1, 0], [1, 1]]).astype(dtype)
    fitted = Standardizer.fit(x)
    assert fitted.mean.dtype == np.float64
    assert fitted.transform(x).dtype == np.dtype(result)
    expected = (x.astype("f8") - x.astype("f8").mean(0)) / x.astype("f8").std(0)
    np.testing.assert_allclose(fitted.transform(x), expected, rtol=1e-6)


def test_blocks_and_memory_maps_give_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = np.random.default_rng(0).normal(1e6, 1, (500, 3))
    x.tofile(tmp_path / "x")
    mapped = np.memmap(tmp_path / "x", mode="r", shape=x.shape, dtype=x.dtype)
    whole = Standardizer.fit(x)
    monkeypatch.setattr("backpass.data.missing._BLOCK_BYTES", 1000)
    blocks = Standardizer.fit(mapped)
    np.testing.assert_allclose(blocks.mean, whole.mean, rtol=1e-15)
    np.testing.assert_allclose(blocks.std, whole.std, rtol=1e-12)
    np.testing.assert_allclose(blocks.transform(mapped), whole.transform(x), rtol=1e-6)


@pytest.mark.parametrize(
    ("x", "sentence"),
    [
        (np.zeros((0, 3)), r"x has shape \(0, 3\): there are no rows to measure"),
        (np.array(1.0), r"x has shape \(\)"),
        (np.array([1, np.nan]), "x holds 1 value that is NaN or infinite, the first nan in row 2"),
        (np.array(["a"]), "x has dtype <U1; standardising needs real numbers"),
        (np.array([1j]), "x has dtype complex128"),
        (np.array([None, 1]), "x has dtype object"),
        (np.ma.array([1.0, 2.0], mask=[False, True]), "x is a masked array"),
        (np.array([-1.7e308, 1.7e308, 1.7e308]), "x spans more than float64 holds"),
    ],
)
def test_what_cannot_be_measured(x: np.ndarray, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        Standardizer.fit(x)


def test_samples_of_another_shape() -> None:
    fitted = Standardizer.fit(np.arange(6.0).reshape(2, 3))
    for method in (fitted.transform, fitted.inverse_transform):
        with pytest.raises(DataError, match=r"x has shape \(2, 4\); .* samples of shape \(3,\)"):
            method(np.zeros((2, 4)))
    assert fitted.transform(np.zeros((0, 3))).shape == (0, 3)


def test_inputs_are_not_written() -> None:
    x = np.arange(6.0).reshape(2, 3)
    x.flags.writeable = False
    fitted = Standardizer.fit(x)
    assert fitted.transform(x).flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        fitted.mean[0] = 1
