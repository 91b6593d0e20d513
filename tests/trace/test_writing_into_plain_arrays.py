"""A plain NumPy array cannot hold a traced value: the sentence names the line and the way out."""

from typing import Any

import numpy as np
import pytest

import backpass as bp
from backpass.errors import TracingError

TRANSFORMS = {"grad": bp.grad, "jit": bp.jit, "jit of grad": lambda f: bp.jit(bp.grad(f))}


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_an_element(transform: str) -> None:
    def total(x: Any) -> Any:
        plain = np.zeros(3)
        plain[0] = x
        return np.sum(plain)

    with pytest.raises(TracingError) as caught:
        TRANSFORMS[transform](total)(2.0)
    said = str(caught.value)
    assert said.startswith("a traced value cannot be an element of a plain NumPy array (at ")
    assert f"{__file__}:{total.__code__.co_firstlineno + 2} in total" in said
    assert "bp.numpy.zeros" in said


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_the_way_out_works(transform: str) -> None:
    def total(x: Any) -> Any:
        traced = bp.numpy.zeros(3)
        traced[0] = x
        return np.sum(traced)

    TRANSFORMS[transform](total)(2.0)
    assert bp.grad(total)(2.0) == 1.0
