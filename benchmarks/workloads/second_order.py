"""The Hessian of an MLP's loss times a vector, forward over reverse. (Pearlmutter 1994)"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from benchmarks.workloads.definition import TRANSCENDENTAL, Built, Workload, flat

SIZES, BATCH = (64, 128, 64, 10), 64


def _arrays() -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...], np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    weights = [
        (rng.standard_normal((a, b)) / np.sqrt(a)).astype(np.float32)
        for a, b in itertools.pairwise(SIZES)
    ]
    vector = [rng.standard_normal(w.shape).astype(np.float32) for w in weights]
    x = rng.standard_normal((BATCH, SIZES[0])).astype(np.float32)
    return tuple(weights), tuple(vector), x, rng.standard_normal((BATCH, 10)).astype(np.float32)


def _loss(tanh: Callable[[Any], Any]) -> Callable[..., Any]:
    def loss(weights: Any, x: Any, y: Any) -> Any:
        for w in weights[:-1]:
            x = tanh(x @ w)
        return ((x @ weights[-1] - y) ** 2).mean()

    return loss


def _build_backpass(exact: bool) -> Built:
    import backpass as bp

    arguments = _arrays()
    product = bp.jit(bp.hvp(_loss(np.tanh)))
    return Built(lambda: product(*arguments), flat, (product, arguments))


def _torch_product() -> tuple[Callable[..., Any], tuple[Any, ...]]:
    import torch

    weights, vector, x, y = _arrays()
    loss = _loss(torch.tanh)

    def product(weights: Any, vector: Any, x: Any, y: Any) -> Any:
        return torch.func.jvp(lambda w: torch.func.grad(loss)(w, x, y), (weights,), (vector,))[1]

    tensors = [tuple(map(torch.from_numpy, part)) for part in (weights, vector)]
    return product, (*tensors, torch.from_numpy(x), torch.from_numpy(y))


def _build_torch(exact: bool) -> Built:
    """Reverse over reverse through autograd, which is faster eagerly than torch.func."""
    import torch

    _, (weights, vector, x, y) = _torch_product()
    loss = _loss(torch.tanh)
    weights = [w.requires_grad_() for w in weights]

    def step() -> Any:
        grads = torch.autograd.grad(loss(weights, x, y), weights, create_graph=True)
        return torch.autograd.grad(grads, weights, vector)

    return Built(step, flat)


def _build_torch_compile(exact: bool) -> Built:
    import torch

    product, arguments = _torch_product()
    compiled = torch.compile(product)

    def step() -> Any:
        with torch.no_grad():
            return compiled(*arguments)

    return Built(step, flat)


def _build_jax(exact: bool) -> Built:
    import jax
    import jax.numpy as jnp

    loss = _loss(jnp.tanh)

    def product(weights: Any, vector: Any, x: Any, y: Any) -> Any:
        return jax.jvp(lambda w: jax.grad(loss)(w, x, y), (weights,), (vector,))[1]

    arguments = jax.tree.map(jnp.asarray, _arrays())
    compiled = jax.jit(product)
    return Built(lambda: jax.block_until_ready(compiled(*arguments)), flat)


PRODUCTS = sum([a * b for a, b in itertools.pairwise(SIZES)])

WORKLOADS = (
    Workload(
        name="hvp_mlp_64_128_64_10",
        title="Hessian-vector product, MLP 64-128-64-10, batch 64",
        about="hvp of the squared error of a tanh network in its weights, float32.",
        dtype="float32",
        # Forward: h W, and its tangent of two terms. Backward: ct W^T and its tangent of two, and
        # the tangent of h^T ct, of two. The input has no tangent and needs no cotangent.
        flops=2.0 * BATCH * (8 * PRODUCTS - 5 * SIZES[0] * SIZES[1])
        + BATCH * (128 + 64) * TRANSCENDENTAL,
        bytes=4.0 * (3 * PRODUCTS + BATCH * (SIZES[0] + SIZES[-1])),
        builders={
            "backpass": _build_backpass,
            "torch": _build_torch,
            "torch.compile": _build_torch_compile,
            "jax": _build_jax,
        },
        steps=0,
        tolerance=1e-4,
    ),
)
