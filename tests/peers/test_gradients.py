"""Gradients of more than 150 functions equal to those of JAX, HIPS autograd and PyTorch.

Each case is one function and argument pattern; the tables are `cases_*.py`. PyTorch runs those that
its functions of the same name can (`torch_namespace.py`). Bound: 1e-10 of the largest element.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.peers import (
    cases_composition,
    cases_elementwise,
    cases_product,
    cases_reduction,
    cases_shape,
)
from tests.peers.case import Array, Case
from tests.peers.torch_namespace import TORCH_CASES, TorchNumPy

import backpass as bp

CASES = [
    *cases_elementwise.CASES,
    *cases_reduction.CASES,
    *cases_shape.CASES,
    *cases_product.CASES,
    *cases_composition.CASES,
]
BOUND = 1e-10
# Where the conventions at kinks differ: see docs/conventions.md.
BY_CONVENTION = {("fmax", "autograd"), ("max with ties", "autograd")}
PAIRS = [(c, p) for c in CASES for p in c.peers if (c.name, p) not in BY_CONVENTION]


def weights(case: Case) -> Array:
    """One number for each element of the output."""
    shape = np.shape(case.function(np, *case.args))
    return np.asarray(np.random.default_rng(9).uniform(0.5, 1.5, shape))


def ours(case: Case) -> tuple[Array, ...]:
    """Our gradient of the weighted sum of the outputs."""
    w = weights(case)
    every = tuple(range(len(case.args)))
    return bp.grad(lambda *xs: np.sum(w * case.function(np, *xs)), argnums=every)(*case.args)


def equal(got: Any, expected: Any) -> None:
    """Equal up to the bound."""
    assert len(got) == len(expected)
    for g, e in zip(got, expected, strict=True):
        e = np.asarray(e)
        assert np.shape(g) == e.shape
        scale = max(1.0, float(np.max(np.abs(e), initial=0.0)))
        np.testing.assert_allclose(g, e, rtol=0, atol=BOUND * scale)


@pytest.mark.parametrize(("case", "name"), PAIRS, ids=[f"{c.name}-{p}" for c, p in PAIRS])
def test_gradient_is_the_peers(case: Case, name: str, peer: Any) -> None:
    library, namespace = peer(name), peer(f"{name}.numpy")
    w, every = weights(case), tuple(range(len(case.args)))

    def weighted(*xs: Any) -> Any:
        return namespace.sum(w * case.function(namespace, *xs))

    if name == "jax":
        expected = library.grad(weighted, every)(*case.args)
    else:
        expected = [library.grad(weighted, i)(*case.args) for i in every]
    equal(ours(case), expected)


@pytest.mark.parametrize("case", [c for c in CASES if c.name in TORCH_CASES], ids=lambda c: c.name)
def test_gradient_is_torchs(case: Case, peer: Any) -> None:
    torch = peer("torch")
    xs = [torch.tensor(x, requires_grad=True) for x in case.args]
    out = case.function(TorchNumPy(torch), *xs)
    torch.sum(torch.tensor(weights(case)) * out).backward()
    equal(ours(case), [np.zeros(x.shape) if x.grad is None else x.grad.numpy() for x in xs])


def test_at_least_150_functions_have_a_peer() -> None:
    assert len({c.name for c, _ in PAIRS}) >= 150
    assert len({c.name for c in CASES}) == len(CASES)


def test_most_functions_have_two_peers() -> None:
    counts = {c.name: len([p for d, p in PAIRS if d is c]) for c in CASES}
    twice = [n for n, k in counts.items() if k + (n in TORCH_CASES) >= 2]
    assert len(twice) >= 150


def test_every_torch_case_exists() -> None:
    assert sorted(TORCH_CASES - {c.name for c in CASES}) == []
