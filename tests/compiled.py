"""How near compiled results are to eager ones: decision 5 of the design, in one place.

float64 agrees to 1e-12 and float32 to 1e-5 of the array's largest element: the order of sums and
the last bits of elementary functions (docs/accuracy.md) are the compiler's own.
"""

from __future__ import annotations

from typing import Any

import numpy as np

BOUNDS = {"float64": 1e-12, "float32": 1e-5, "float16": 2e-3}


def assert_compiled(got: Any, expected: Any, message: str = "") -> None:
    """The compiled result `got` is the eager `expected`: dtype, shape, and elements in the
    bound."""
    got, expected = np.asarray(got), np.asarray(expected)
    assert (got.dtype, got.shape) == (expected.dtype, expected.shape), message
    bound = BOUNDS.get(expected.dtype.name)
    if bound is None:
        np.testing.assert_array_equal(got, expected, err_msg=message)
        return
    finite = np.abs(expected[np.isfinite(expected)].astype(np.float64))
    largest = float(np.max(finite, initial=0.0))
    np.testing.assert_allclose(got, expected, rtol=bound, atol=bound * largest, err_msg=message)
