"""np.einsum with lists of axes: what the string of subscripts gives."""

from __future__ import annotations

from typing import Any

import numpy
import pytest
from tests.prims.sample import differences

import backpass as bp
from backpass.errors import AliasError

np: Any = numpy  # its types know no Ellipsis in a list of axes
X = np.random.default_rng(0).normal(size=(3, 3))
Y = np.random.default_rng(1).normal(size=(3, 4))
CALLS: dict[str, Any] = {
    "with an output": lambda x: np.einsum(x, [0, 1], Y, [1, 2], [2, 0]),
    "without": lambda x: np.einsum(x, [0, 1], Y, [1, 2]),
    "one operand": lambda x: np.einsum(x, [1, 0]),
    "diagonal": lambda x: np.einsum(x, [0, 0], [0]),
    "axes beyond 26": lambda x: np.einsum(x, [30, 0]),
    "Ellipsis": lambda x: np.einsum(x[None], [..., 0, 1], Y, [1, 2], [..., 0, 2]),
}


@pytest.mark.parametrize("name", CALLS)
def test_lists_of_axes(name: str) -> None:
    call = CALLS[name]
    out, pull = bp.vjp(call, X)
    np.testing.assert_allclose(out, call(X), rtol=1e-13)
    ct = np.random.default_rng(2).normal(size=np.shape(out))
    expected = differences(lambda x: np.sum(call(x) * ct), [X], 1e-4)[0]
    np.testing.assert_allclose(pull(ct)[0], expected, rtol=1e-8, atol=1e-9)


def test_a_view_by_lists_of_axes_goes_stale() -> None:
    def write(x: Any) -> Any:
        y = x * 1.0
        view = np.einsum(y, [0, 1], [1, 0])
        y[0] = 1.0
        return np.sum(view * x)

    with pytest.raises(AliasError, match="shares memory"):
        bp.grad(write)(X)
