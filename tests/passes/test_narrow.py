"""narrow: maps of what is repeated are computed once, and only where all is repeated alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import backpass as bp
from backpass.ir import array_of, verify
from backpass.passes.narrow import narrow
from backpass.trace.capture import evaluate

ROW = np.array([[1.0], [-0.0], [np.inf], [np.nan]])
FULL = np.arange(12.0).reshape(4, 3)


def spread(x: Any) -> Any:
    return np.broadcast_to(x, (4, 3))


@pytest.mark.parametrize(
    ("function", "sizes"),
    [
        (lambda x, y: 1 / spread(x), {"div": 4}),
        (lambda x, y: np.sqrt(np.abs(spread(x)) + 2.0), {"abs": 4, "add": 4, "sqrt": 4}),
        (lambda x, y: spread(x) * spread(x), {"mul": 4}),
        (lambda x, y: np.where(spread(x) > 0, spread(x), 3.0), {"greater": 4, "select": 4}),
        (lambda x, y: spread(x) * y, {"mul": 12}),
        (lambda x, y: spread(x) * np.broadcast_to(y[0], (4, 3)), {"mul": 12}),
    ],
)
def test_what_is_computed(function: Callable[..., Any], sizes: dict[str, int]) -> None:
    graph = bp.jit(function).graph(ROW, FULL)
    found = verify(narrow(graph))
    computed = {n.primitive.name: n.types[0].size for n in found.nodes}
    assert {name: computed[name] for name in sizes} == sizes
    with np.errstate(all="ignore"):
        pairs = zip(evaluate(found, [ROW, FULL]), evaluate(graph, [ROW, FULL]), strict=True)
        for got, expected in pairs:
            x, y = np.asarray(array_of(got)), np.asarray(array_of(expected))
            np.testing.assert_array_equal(x, y)
            np.testing.assert_array_equal(np.signbit(x), np.signbit(y))
