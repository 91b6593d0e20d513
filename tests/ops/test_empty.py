"""Empty axes: the errors are NumPy's, under grad and under jit."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import backpass as bp

EMPTY = np.ones((0, 3))
CASES: dict[str, Callable[[Any], Any]] = {
    "average of no weights": lambda x: np.average(x, axis=0, weights=np.ones(0)),
    "average of zero weights": lambda x: np.average(np.ones(3) * np.sum(x), weights=np.zeros(3)),
    "take": lambda x: np.take(x, [0], axis=0),
    "take of all": lambda x: np.take(x, 0),
    "take, clipped": lambda x: np.take(x, [0], axis=0, mode="clip"),
    "take, wrapped": lambda x: np.take(x, [0], axis=0, mode="wrap"),
}


@pytest.mark.parametrize("name", CASES)
def test_what_numpy_refuses_is_refused_in_its_words(name: str) -> None:
    function = CASES[name]

    def summed(x: Any) -> Any:
        return np.sum(function(x))

    with pytest.raises((IndexError, ZeroDivisionError)) as own:
        summed(EMPTY)
    for transformed in (bp.grad(summed), bp.jit(summed)):
        with pytest.raises(own.type) as caught:
            transformed(EMPTY)
        assert str(caught.value) == str(own.value)


def test_taking_nothing_of_nothing() -> None:
    nothing = np.zeros(0, np.intp)
    found = bp.grad(lambda x: np.sum(np.take(x, nothing, axis=0)))(EMPTY)
    assert found.shape == EMPTY.shape
