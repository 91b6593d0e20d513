"""Hessian-vector products and Jacobian-vector products of more than 30 functions, against JAX."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.peers.case import Case
from tests.peers.test_gradients import CASES, equal, weights

import backpass as bp

NAMES = (
    "tanh", "power", "arctan2", "logaddexp", "sinc", "where", "clip both", "var axis 0",
    "std axis last", "prod axis last", "max keepdims", "cumsum axis", "sum where", "roll",
    "pairs", "pad", "concatenate", "matmul", "einsum bij,bjk->bik", "kron", "linalg.solve",
    "linalg.inv", "linalg.slogdet", "linalg.cholesky", "linalg.norm", "linalg.eigh values",
    "logsumexp", "softmax", "layer norm", "gelu", "multilayer perceptron", "attention", "rnn",
    "cosine similarity", "Rosenbrock", "Gaussian process",
)  # fmt: skip
CHOSEN = [case for case in CASES if case.name in NAMES]


def tangents(case: Case) -> tuple[Any, ...]:
    """One direction for each argument."""
    rng = np.random.default_rng(12)
    return tuple(np.asarray(rng.uniform(-1, 1, x.shape)) for x in case.args)


def test_at_least_30_functions() -> None:
    assert len(CHOSEN) == len(NAMES) >= 30


@pytest.mark.parametrize("case", CHOSEN, ids=lambda c: c.name)
def test_jvp_and_hessian_vector_product_are_jaxs(case: Case, peer: Any) -> None:
    jax, jnp = peer("jax"), peer("jax.numpy")
    w, t = weights(case), tangents(case)
    every = tuple(range(len(case.args)))

    def ours(*xs: Any) -> Any:
        return np.sum(w * case.function(np, *xs))

    def theirs(*xs: Any) -> Any:
        return jnp.sum(w * case.function(jnp, *xs))

    equal(
        [bp.jvp(lambda *xs: case.function(np, *xs), case.args, t)[1]],
        [jax.jvp(lambda *xs: case.function(jnp, *xs), case.args, t)[1]],
    )
    equal(
        bp.jvp(bp.grad(ours, every), case.args, t)[1],
        jax.jit(lambda *xs: jax.jvp(jax.grad(theirs, every), xs, t)[1])(*case.args),
    )
