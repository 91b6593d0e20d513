"""What Python asks of a traced number: int, round, math.floor, large integers, x.flat."""

from __future__ import annotations

import math
import pickle
import warnings
from collections.abc import Callable
from numbers import Number
from typing import Any

import numpy as np
import pytest

import backpass as bp
from backpass.errors import TracingError

X = np.array([2.6, -1.3, 0.4])
Call = Callable[[Any], Any]
KINDS: dict[str, Any] = {
    "array": X,
    "array of rank 0": np.array(1.5),
    "scalar": np.float64(1.5),
    "float32 scalar": np.float32(1.5),
    "Python float": 1.5,
}


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("kind", [np.ndarray, np.generic, np.floating, np.float64, float, Number])
def test_isinstance_answers_as_for_the_array_itself(name: str, kind: type) -> None:
    given = KINDS[name]
    seen: list[bool] = []

    def look(x: Any) -> Any:
        seen.append(isinstance(x, kind))
        return np.sum(x)

    bp.grad(look)(given)
    bp.grad(bp.grad(look) if np.ndim(given) == 0 else look)(given)
    bp.jvp(bp.grad(look), (given,), (np.ones_like(given),))
    bp.jit(look)(given)
    assert set(seen) == {isinstance(given, kind)}


def test_isinstance_of_parts() -> None:
    def look(x: Any) -> Any:
        assert isinstance(x[0], np.float64) and isinstance(x[0], float)
        assert isinstance(x[:1], np.ndarray) and not isinstance(x[:1], float)
        assert isinstance(np.sum(x), np.float64) and np.isscalar(np.sum(x))
        assert isinstance(x > 0.0, np.ndarray) and isinstance(np.argmax(x), np.integer)
        return np.sum(x)

    look(X)
    np.testing.assert_array_equal(bp.grad(look)(X), np.ones(3))


def test_a_tracer_is_not_pickled() -> None:
    with pytest.raises(pickle.PicklingError):
        bp.grad(lambda x: len(pickle.dumps(x)) * x)(1.5)


STEPS: dict[str, Call] = {
    "int": lambda x: int(x),
    "round": lambda x: round(x),
    "floor": lambda x: math.floor(x),
    "ceil": lambda x: math.ceil(x),
}


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("at", [2.6, -1.3, np.float32(0.4)])
def test_an_integer_of_a_number(name: str, at: Any) -> None:
    step = STEPS[name]
    value, gradient = bp.value_and_grad(lambda x: step(x) * x)(at)
    assert value == pytest.approx(step(at) * at, rel=1e-6)
    assert gradient == step(at)
    with pytest.raises(TracingError, match="jit traces without values"):
        bp.jit(lambda x: step(x) * x)(at)


def test_round_to_digits() -> None:
    value, gradient = bp.value_and_grad(lambda x: round(x, 1) * x)(2.66)
    assert (value, gradient) == (2.7 * 2.66, 2.7)
    with pytest.raises(TypeError, match=r"use np\.round"):
        bp.grad(lambda x: np.sum(round(x, 1)))(X)


def test_float_would_lose_the_derivative() -> None:
    for lossy in (float, math.sin, lambda x: x.item()):
        with pytest.raises(TracingError, match="lose its derivative"):
            bp.grad(lossy)(2.0)


LARGE: dict[str, Call] = {
    "product": lambda x: x * 10**30,
    "from the left": lambda x: 10**30 * x,
    "sum": lambda x: x + 2**70,
    "quotient": lambda x: x / -(10**25),
}


@pytest.mark.parametrize("name", LARGE)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_python_integers_beyond_64_bits(name: str, dtype: Any) -> None:
    call, x = LARGE[name], X.astype(dtype)
    out, pull = bp.vjp(call, x)
    assert out.dtype == call(x).dtype
    np.testing.assert_array_equal(out, call(x))
    slope = {"product": 1e30, "from the left": 1e30, "sum": 1.0, "quotient": -1e-25}[name]
    np.testing.assert_allclose(pull(np.ones(3, dtype))[0], np.full(3, slope), rtol=1e-6)


def test_flat_reads() -> None:
    def read(x: Any) -> Any:
        m = x.reshape(1, 3)
        assert len(m.flat) == 3
        return m.flat[1] * m.flat[2] + np.sum(m.flat[:2] ** 2) + sum(m.flat)

    value, gradient = bp.value_and_grad(read)(X)
    assert value == pytest.approx(read(X), rel=1e-14)
    np.testing.assert_allclose(gradient, [1 + 2 * X[0], 1 + X[2] + 2 * X[1], 1 + X[1]])
    with pytest.raises(TracingError, match="cannot become a plain NumPy array"):
        bp.grad(lambda x: np.sum(np.asarray(x.flat)))(X)


def test_what_a_mask_leaves_out_warns_of_nothing() -> None:
    def safe(x: Any) -> Any:
        return np.sum(np.divide(1.0, x, out=np.zeros_like(x), where=x != 0.0))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(bp.grad(safe)(np.array([0.0, 2.0])), [0.0, -0.25])
    with pytest.raises(TracingError, match="plain NumPy array"):
        bp.grad(lambda x: np.sum(np.divide(1.0, x, out=np.zeros(3), where=x > 0.0)))(X)
