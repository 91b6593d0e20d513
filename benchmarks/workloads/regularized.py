"""784-512-512-10 with batch norm and dropout after each hidden layer, trained with Adam.

Dropout draws other bits in each library, so the losses are compared with dropout 0.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from benchmarks.workloads.definition import Workload
from benchmarks.workloads.dense import dense_flops
from benchmarks.workloads.training import Training, builders, uniform_linear

SIZES, BATCH, P, EPS, MOMENTUM = (784, 512, 512, 10), 128, 0.2, 1e-5, 0.1
LINEAR, NORM = ("0", "4", "8"), ("1", "5")


def _arrays() -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    weights: dict[str, np.ndarray] = {}
    for name, a, b in zip(LINEAR, SIZES, SIZES[1:], strict=False):
        weights.update(uniform_linear(rng, name, a, b))
    for name, width in zip(NORM, SIZES[1:], strict=False):
        weights[f"{name}.weight"] = np.ones(width, np.float32)
        weights[f"{name}.bias"] = np.zeros(width, np.float32)
        weights[f"{name}.running_mean"] = np.zeros(width, np.float32)
        weights[f"{name}.running_var"] = np.ones(width, np.float32)
        weights[f"{name}.num_batches_tracked"] = np.zeros((), np.int64)
    x = rng.standard_normal((BATCH, SIZES[0])).astype(np.float32)
    return weights, x, rng.integers(0, SIZES[-1], BATCH)


def _model(nn: Any, p: float) -> Any:
    hidden = [
        part
        for a, b in itertools.pairwise(SIZES[:-1])
        for part in (nn.Linear(a, b), nn.BatchNorm1d(b), nn.ReLU(), nn.Dropout(p))
    ]
    return nn.Sequential(*hidden, nn.Linear(*SIZES[-2:]))


def _backpass_model(p: float) -> Any:
    from backpass import nn

    return _model(nn, p)


def _torch_model(p: float) -> Any:
    from torch import nn

    return _model(nn, p)


def _jax_forward(p: float, parameters: Any, state: Any, key: Any, x: Any) -> tuple[Any, Any]:
    import jax
    import jax.numpy as jnp

    state = dict(state)
    for i, name in enumerate(NORM):
        x = x @ parameters[f"{LINEAR[i]}.weight"].T + parameters[f"{LINEAR[i]}.bias"]
        mean, var = jnp.mean(x, 0), jnp.var(x, 0)
        x = (x - mean) / jnp.sqrt(var + EPS)
        x = x * parameters[f"{name}.weight"] + parameters[f"{name}.bias"]
        for what, new in (("mean", mean), ("var", var * (BATCH / (BATCH - 1)))):
            old = state[f"{name}.running_{what}"]
            state[f"{name}.running_{what}"] = (1 - MOMENTUM) * old + MOMENTUM * new
        state[f"{name}.num_batches_tracked"] = state[f"{name}.num_batches_tracked"] + 1
        x = x.clip(0)
        if p:
            key, now = jax.random.split(key)
            x = jnp.where(jax.random.bernoulli(now, 1 - p, x.shape), x / (1 - p), 0)
    return x @ parameters[f"{LINEAR[-1]}.weight"].T + parameters[f"{LINEAR[-1]}.bias"], state


def _recipe(exact: bool) -> Training:
    p = 0.0 if exact else P
    tracked = ("running_mean", "running_var", "num_batches_tracked")
    return Training(
        _arrays,
        lambda: _backpass_model(p),
        lambda: _torch_model(p),
        lambda parameters, state, key, x: _jax_forward(p, parameters, state, key, x),
        optimizer="adam",
        lr=1e-3,
        buffers=tuple([f"{name}.{part}" for name in NORM for part in tracked]),
    )


PARAMETERS = sum([(a + 1) * b for a, b in itertools.pairwise(SIZES)])

WORKLOADS = (
    Workload(
        name="mlp_784_adam_dropout_batchnorm",
        title="784-512-512-10, batch norm, dropout, Adam, batch 128",
        about="Batch norm, ReLU and dropout 0.2 after each hidden layer, cross entropy, Adam, "
        "float32. Losses are compared with dropout 0.",
        dtype="float32",
        flops=dense_flops(SIZES, BATCH) + 12.0 * PARAMETERS,
        bytes=4.0 * (6 * PARAMETERS + BATCH * SIZES[0]),
        builders=builders(_recipe),
        tolerance=1e-3,
        random=True,
    ),
)
