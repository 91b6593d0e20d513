"""SEED.md's pseudo-algorithm by hand in NumPy, and the engine on NumPy code: the same numbers.

By hand: the forward pass with its z and a, the delta of the output layer, the recursion
delta = (W^T delta) * f'(z), dW = delta a^T and db = delta summed over the batch, and the update.
The engine: `value_and_grad` of the loss as one function, eager and jitted. float64, to 1e-12.
Columns are samples, as in SEED.md (z = W a + b).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import backpass as bp

Array = np.ndarray[Any, np.dtype[np.float64]]
Parameters = list[tuple[Any, Any]]
BATCH, INPUTS, OUTPUTS, ETA = 5, 4, 3, 0.1


def sigmoid(z: Any) -> Any:
    """1 / (1 + exp(-z))."""
    return 1.0 / (1.0 + np.exp(-z))


# name: (f, f'), each of z
ACTIVATIONS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "identity": (lambda z: z, lambda z: np.ones_like(z)),
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "sigmoid": (sigmoid, lambda z: sigmoid(z) * (1 - sigmoid(z))),
    "relu": (lambda z: np.maximum(z, 0.0), lambda z: (z > 0) * 1.0),
    "leaky relu": (lambda z: np.where(z > 0, z, 0.01 * z), lambda z: np.where(z > 0, 1.0, 0.01)),
    "elu": (
        lambda z: np.where(z > 0, z, np.expm1(z)),
        lambda z: np.where(z > 0, 1.0, np.exp(z)),
    ),
    "softplus": (lambda z: np.logaddexp(z, 0.0), sigmoid),
    "softsign": (lambda z: z / (1 + np.abs(z)), lambda z: 1 / (1 + np.abs(z)) ** 2),
    "silu": (
        lambda z: z * sigmoid(z),
        lambda z: sigmoid(z) * (1 + z * (1 - sigmoid(z))),
    ),
    "arctan": (np.arctan, lambda z: 1 / (1 + z**2)),
    "sine": (np.sin, np.cos),
    "gaussian": (lambda z: np.exp(-(z**2)), lambda z: -2 * z * np.exp(-(z**2))),
}
X = np.random.default_rng(0).normal(size=(INPUTS, BATCH))
LABELS = np.random.default_rng(1).integers(0, OUTPUTS, BATCH)
ONE_HOT = np.eye(OUTPUTS)[:, LABELS]
TARGET = np.random.default_rng(2).normal(size=(OUTPUTS, BATCH))


def parameters(layers: int) -> Parameters:
    """Weights (outputs, inputs) and biases (outputs, 1) of layers 1 to L."""
    rng = np.random.default_rng(layers)
    sizes = [INPUTS, *[6] * (layers - 1), OUTPUTS]
    pairs = zip(sizes[1:], sizes[:-1], strict=True)
    return [(rng.normal(size=(m, n)) / np.sqrt(n), rng.normal(size=(m, 1)) / 2) for m, n in pairs]


def forward(weights: Parameters, f: Callable[[Any], Any], last: Callable[[Any], Any]) -> Any:
    """The network as one NumPy function."""
    a: Any = X
    for w, b in weights[:-1]:
        a = f(w @ a + b)
    w, b = weights[-1]
    return last(w @ a + b)


def squared_error(y: Any) -> Any:
    """Half the squared error, meaned over the batch."""
    return 0.5 * np.sum((y - TARGET) ** 2) / BATCH


def softmax(z: Any) -> Any:
    """Columns that sum to one."""
    e = np.exp(z - np.max(z, axis=0, keepdims=True))
    return e / np.sum(e, axis=0, keepdims=True)


def cross_entropy(z: Any) -> Any:
    """The mean cross-entropy of softmax(z) with the labels."""
    return -np.sum(ONE_HOT * np.log(softmax(z))) / BATCH


def by_hand(weights: Parameters, name: str, output: str) -> tuple[float, Parameters]:
    """Loss and gradients by SEED.md's recursion."""
    f, slope = ACTIVATIONS[name]
    activations, zs = [X], []
    for layer, (w, b) in enumerate(weights):
        z = w @ activations[-1] + b
        zs.append(z)
        linear = output == "cross-entropy" and layer == len(weights) - 1
        activations.append(z if linear else f(z))
    if output == "cross-entropy":
        loss = cross_entropy(zs[-1])
        delta = (softmax(zs[-1]) - ONE_HOT) / BATCH
    else:
        loss = squared_error(activations[-1])
        delta = (activations[-1] - TARGET) / BATCH * slope(zs[-1])
    gradients: Parameters = []
    for layer in reversed(range(len(weights))):
        gradients.insert(0, (delta @ activations[layer].T, delta.sum(axis=1, keepdims=True)))
        if layer > 0:
            delta = (weights[layer][0].T @ delta) * slope(zs[layer - 1])
    return float(loss), gradients


def engine(name: str, output: str) -> Callable[[Parameters], Any]:
    """The loss as the engine sees it."""
    f = ACTIVATIONS[name][0]
    if output == "cross-entropy":
        return lambda weights: cross_entropy(forward(weights, f, lambda z: z))
    return lambda weights: squared_error(forward(weights, f, f))


def same(got: Any, expected: Any) -> None:
    """Equal to 1e-12."""
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("jitted", [False, True], ids=["eager", "jit"])
@pytest.mark.parametrize("output", ["squared error", "cross-entropy"])
@pytest.mark.parametrize("layers", range(1, 7))
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_engine_and_hand_agree(name: str, layers: int, output: str, jitted: bool) -> None:
    weights = parameters(layers)
    step = bp.value_and_grad(engine(name, output))
    loss, gradients = (bp.jit(step) if jitted else step)(weights)
    expected_loss, expected = by_hand(weights, name, output)
    same(loss, expected_loss)
    assert len(gradients) == layers
    for (dw, db), (hand_dw, hand_db) in zip(gradients, expected, strict=True):
        same(dw, hand_dw)
        same(db, hand_db)


@pytest.mark.parametrize("output", ["squared error", "cross-entropy"])
@pytest.mark.parametrize("name", ["tanh", "relu", "softplus"])
def test_ten_updates_by_gradient_descent_agree(name: str, output: str) -> None:
    own, hand = parameters(3), parameters(3)
    step = bp.jit(bp.value_and_grad(engine(name, output)))
    losses = []
    for _ in range(10):
        loss, gradients = step(own)
        expected_loss, expected = by_hand(hand, name, output)
        same(loss, expected_loss)
        losses.append(loss)
        own = descend(own, gradients)
        hand = descend(hand, expected)
        for pair, hand_pair in zip(own, hand, strict=True):
            same(pair[0], hand_pair[0])
            same(pair[1], hand_pair[1])
    assert losses[-1] < losses[0]


def descend(weights: Parameters, gradients: Parameters) -> Parameters:
    """W - eta dW, b - eta db."""
    pairs = zip(weights, gradients, strict=True)
    return [(w - ETA * dw, b - ETA * db) for (w, b), (dw, db) in pairs]


def test_a_single_sample_is_seed_mds_equation() -> None:
    """For one column, db is delta itself, as SEED.md writes it."""
    w, b, x = parameters(1)[0][0], parameters(1)[0][1], X[:, :1]
    target = TARGET[:, :1]

    def loss(w: Any, b: Any) -> Any:
        return 0.5 * np.sum((np.tanh(w @ x + b) - target) ** 2)

    dw, db = bp.grad(loss, argnums=(0, 1))(w, b)
    z = w @ x + b
    delta = (np.tanh(z) - target) * (1 - np.tanh(z) ** 2)
    same(dw, delta @ x.T)
    same(db, delta)
