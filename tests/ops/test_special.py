"""scipy.special on traced arrays: conventions, parameters, dtypes, and life without SciPy."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from scipy import special

import backpass as bp
from backpass.errors import DTypeError, NotDifferentiableError, UnsupportedError
from backpass.ops.special import NAMED

sp: Any = special
face: Any = bp.scipy.special
X = np.array([-1.5, 0.3, 2.0])


@pytest.mark.parametrize("name", sorted(NAMED))
def test_the_face_has_every_ufunc(name: str) -> None:
    assert name in face.__all__
    nin = getattr(sp, name).nin
    args = [np.array([0.2, 0.7])] * nin
    if name in ("kn", "yn"):
        args[0] = np.array([1, 2])
    np.testing.assert_allclose(getattr(face, name)(*args), getattr(sp, name)(*args), rtol=1e-13)


@pytest.mark.parametrize(
    ("function", "x", "y", "expected"),
    [
        (sp.xlogy, 0.0, 0.0, (0.0, 0.0)),
        (sp.xlogy, 0.0, -1.0, (0.0, 0.0)),
        (sp.xlogy, 0.0, 2.0, (np.log(2.0), 0.0)),
        (sp.xlog1py, 0.0, -1.0, (0.0, 0.0)),
        (sp.rel_entr, 0.0, 2.0, (-np.inf, 0.0)),
    ],
)
def test_conventions_at_zero(function: Any, x: float, y: float, expected: Any) -> None:
    np.testing.assert_allclose(bp.grad(function, (0, 1))(x, y), expected)


def test_softmax_family() -> None:
    x = np.array([[1000.0, 1000.5, -1000.0], [0.1, 0.2, 0.3]])
    for name in ("softmax", "log_softmax", "logsumexp"):
        for axis in (0, 1, None):
            want = getattr(sp, name)(x, axis=axis)
            np.testing.assert_allclose(getattr(face, name)(x, axis=axis), want, rtol=1e-13)
            got = bp.jit(lambda v, n=name, a=axis: getattr(face, n)(v, axis=a))(x)
            np.testing.assert_allclose(got, want, rtol=1e-13)
            bp.check_grads(lambda v, n=name, a=axis: getattr(face, n)(v, axis=a), (x[1:],), order=2)
    weights = np.array([0.5, 2.0, 1.0])
    np.testing.assert_allclose(
        face.logsumexp(x[1], b=weights), sp.logsumexp(x[1], b=weights), rtol=1e-14
    )
    bp.check_grads(lambda v, b: face.logsumexp(v, b=b), (x[1], weights), order=2)
    with pytest.raises(UnsupportedError, match="return_sign"):
        face.logsumexp(x, return_sign=True)


@pytest.mark.parametrize("n", [0, 1, 3])
def test_polygamma(n: int) -> None:
    x = np.array([0.4, 1.5, 3.0])
    np.testing.assert_allclose(face.polygamma(n, x), sp.polygamma(n, x), rtol=1e-13)
    bp.check_grads(lambda v: face.polygamma(n, v), (x,), order=2)
    with pytest.raises(DTypeError, match="order n must be a fixed integer"):
        face.polygamma(-1, x)


def test_a_traced_parameter_is_refused_not_zero() -> None:
    with pytest.raises(NotDifferentiableError, match="parameter v is traced"):
        bp.grad(lambda v: sp.jv(v, 2.0))(1.5)
    with pytest.raises(NotDifferentiableError, match=r"betainc.*parameter a"):
        bp.grad(lambda a: sp.betainc(a, 1.0, 0.5))(1.5)
    fixed = bp.grad(lambda x: sp.jv(1.5, x))(1.5)
    np.testing.assert_allclose(fixed, sp.jvp(1.5, 1.5), rtol=1e-12)


def test_far_tails_keep_their_derivative() -> None:
    """log_ndtr'(x) is -x far to the left, where exp of both parts underflows."""
    np.testing.assert_allclose(bp.grad(sp.log_ndtr)(-1e3), 1e3, rtol=1e-5)
    np.testing.assert_allclose(bp.grad(sp.log_expit)(-1e3), 1.0)
    np.testing.assert_allclose(bp.grad(sp.expit)(1e3), 0.0)


def test_even_and_odd_bessel_at_zero() -> None:
    for name, slope in (("i0", 0.0), ("i1", 0.5), ("j0", 0.0), ("j1", 0.5), ("exprel", 0.5)):
        np.testing.assert_allclose(bp.grad(getattr(sp, name))(0.0), slope, atol=1e-15)
        assert np.isfinite(bp.grad(bp.grad(getattr(sp, name)))(0.0))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_and_outer(dtype: Any) -> None:
    x = X.astype(dtype)
    value, pull = bp.vjp(sp.erf, x)
    assert value.dtype == dtype == pull(value)[0].dtype
    outer, _ = bp.vjp(lambda v: sp.xlogy.outer(v, [1.0, 2.0]), np.abs(x))
    np.testing.assert_allclose(outer, sp.xlogy.outer(np.abs(x), [1.0, 2.0]), rtol=1e-6)


def test_a_foreign_ufunc_of_the_same_name_is_refused() -> None:
    erf: Any = np.frompyfunc(lambda x: x, 1, 1)
    with pytest.raises(UnsupportedError, match="has no rule"):
        bp.grad(lambda x: np.sum(erf(x)))(X)


def test_without_scipy() -> None:
    """erf, erfc, gammaln and i0 work; the others name the install command; nothing imports it."""
    code = """
import sys
sys.modules["scipy"] = None
import numpy as np, backpass as bp
s = bp.scipy.special
x = np.array([-0.5, 0.25, 3.0])
print(np.allclose(s.erf(x) + s.erfc(x), 1), s.gammaln(np.array([3.0, 0.0]))[1])
print(bp.grad(s.erf)(0.0), bp.jit(np.i0)(0.0))
try:
    bp.grad(s.gammaln)(2.0)
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "True inf"
    assert lines[1].startswith("1.128379167095")
    assert "pip install 'backpass[scipy]'" in lines[2]


def test_import_does_not_load_scipy() -> None:
    code = "import sys, backpass; print('scipy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
