"""Compiled equals eager on every primitive: each sample and its gradient as native programs.

What has no kernel runs by its reference, and is held to the same. A primitive without a sample
fails in tests/prims.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.compiled import assert_compiled
from tests.prims.sample import Sample
from tests.prims.test_primitives import SAMPLES, SMOOTH

import backpass as bp

each = pytest.mark.parametrize("sample", SAMPLES, ids=lambda s: s.name)
each_smooth = pytest.mark.parametrize("sample", SMOOTH, ids=lambda s: s.name)


@each
def test_value(sample: Sample) -> None:
    with np.errstate(all="ignore"):
        expected = sample.apply(*sample.inputs)
    for got, want in zip(bp.jit(sample.apply)(*sample.inputs), expected, strict=True):
        assert_compiled(got, want, sample.name)


@each_smooth
def test_gradient(sample: Sample) -> None:
    places = tuple(range(len(sample.start())))
    if not places:
        return
    slope: Any = bp.grad(sample.scalar, argnums=places)
    expected = slope(*sample.start())
    for got, want in zip(bp.jit(slope)(*sample.start()), expected, strict=True):
        assert_compiled(got, want, sample.name)
