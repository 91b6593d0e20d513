"""Whole models in NumPy: what users differentiate."""

from __future__ import annotations

from typing import Any

import numpy
from tests.peers.case import JAX, A, B, Case, P, S, T, V, numbers

X = numbers(6, 4, seed=21)
W1, W2 = numbers(4, 5, seed=22), numbers(5, 3, seed=23)
LABELS = numpy.eye(3)[[0, 2, 1, 1, 0, 2]]
GATES, STATE = numbers(7, 12, seed=24), numbers(2, 3, seed=25)
TINY = numbers(4, seed=26)


def logsumexp(np: Any, x: Any, axis: int = -1) -> Any:
    """log(sum(exp(x))), shifted by the maximum."""
    top = np.max(x, axis=axis, keepdims=True)
    return np.squeeze(top, axis) + np.log(np.sum(np.exp(x - top), axis=axis))


def softmax(np: Any, x: Any) -> Any:
    """exp(x) / sum(exp(x)) over the last axis."""
    e = np.exp(x - np.max(x, axis=-1, keepdims=True))
    return e / np.sum(e, axis=-1, keepdims=True)


def sigmoid(np: Any, x: Any) -> Any:
    """1 / (1 + exp(-x))."""
    return 1.0 / (1.0 + np.exp(-x))


def layer_norm(np: Any, x: Any, g: Any) -> Any:
    """(x - mean) / std, scaled."""
    centred = x - np.mean(x, axis=-1, keepdims=True)
    return g * centred / np.sqrt(np.mean(centred**2, axis=-1, keepdims=True) + 1e-5)


def mlp(np: Any, x: Any, w1: Any, w2: Any) -> Any:
    """Two layers and the cross-entropy."""
    z = np.tanh(x @ w1) @ w2
    return np.mean(logsumexp(np, z) - np.sum(z * LABELS, axis=1))


def attention(np: Any, q: Any, k: Any, v: Any) -> Any:
    """softmax(q k^T / sqrt(d)) v over a batch."""
    scores = np.einsum("bid,bjd->bij", q, k) / np.sqrt(q.shape[-1])
    return np.einsum("bij,bjd->bid", softmax(np, scores), v)


def causal_attention(np: Any, x: Any) -> Any:
    """Self-attention that looks back only."""
    scores = np.where(numpy.tril(numpy.ones((3, 3), bool)), x @ np.swapaxes(x, 1, 2), -1e9)
    return softmax(np, scores) @ x


def lstm(np: Any, w: Any, x: Any) -> Any:
    """A few steps of an LSTM cell with all gates in one matrix."""
    h, c = np.zeros((2, 3)), np.zeros((2, 3))
    for t in range(3):
        z = np.concatenate([x[t], h, np.ones((2, 1))], axis=1) @ w
        i, f, o, g = z[:, :3], z[:, 3:6], z[:, 6:9], z[:, 9:]
        c = sigmoid(np, f) * c + sigmoid(np, i) * np.tanh(g)
        h = sigmoid(np, o) * np.tanh(c)
    return h


def rnn(np: Any, w: Any, x: Any) -> Any:
    """A tanh recurrence."""
    h = np.zeros(3)
    for t in range(4):
        h = np.tanh(w @ h + x[:, t])
    return h


def runge_kutta(np: Any, y: Any) -> Any:
    """Five RK4 steps of the Lotka-Volterra equations."""

    def slope(y: Any) -> Any:
        return np.stack([y[0] * (1.1 - 0.4 * y[1]), y[1] * (0.1 * y[0] - 0.4)])

    h = 0.1
    for _ in range(5):
        k1 = slope(y)
        k2 = slope(y + h / 2 * k1)
        k3 = slope(y + h / 2 * k2)
        k4 = slope(y + h * k3)
        y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return y


def kalman(np: Any, f: Any, z: Any) -> Any:
    """The negative log-likelihood of a Kalman filter."""
    x, p, total = np.zeros(3), np.eye(3), 0.0
    for t in range(4):
        x, p = f @ x, f @ p @ f.T + 0.1 * np.eye(3)
        s = p + 0.5 * np.eye(3)
        gain = np.linalg.solve(s, p).T
        off = z[:, t] - x
        total = total + off @ np.linalg.solve(s, off) + np.linalg.slogdet(s)[1]
        x, p = x + gain @ off, p - gain @ p
    return total


def gaussian_process(np: Any, x: Any, y: Any) -> Any:
    """The log marginal likelihood with a squared exponential kernel."""
    k = np.exp(-((x[:, None] - x[None, :]) ** 2)) + 0.5 * np.eye(5)
    return y @ np.linalg.solve(k, y) + np.linalg.slogdet(k)[1]


def rosenbrock(np: Any, x: Any) -> Any:
    """The valley."""
    return np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def newton(np: Any, a: Any) -> Any:
    """Square roots by six Newton steps."""
    x = np.ones(a.shape)
    for _ in range(6):
        x = 0.5 * (x + a / x)
    return x


def batch_norm(np: Any, x: Any) -> Any:
    """Normalized over the batch."""
    return (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5) * x


def convolution(np: Any, x: Any, w: Any) -> Any:
    """A valid correlation in two dimensions by shifted slices."""
    total = 0.0
    for i in range(2):
        for j in range(2):
            total = total + w[i, j] * x[i : i + 2, j : j + 3]
    return np.maximum(total, 0.0)


def pooling(np: Any, x: Any) -> Any:
    """Maxima of blocks."""
    return np.max(x.reshape(2, 3, 2, 2), axis=3) ** 2


def gelu(np: Any, x: Any) -> Any:
    """The tanh form."""
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def huber(np: Any, x: Any) -> Any:
    """Quadratic, then linear."""
    return np.where(np.abs(x) < 0.5, 0.5 * x**2, 0.5 * (np.abs(x) - 0.25))


CASES = [
    Case("logsumexp", logsumexp, (A,)),
    Case("logsumexp of axis 0", lambda np, x: logsumexp(np, x, 0), (A,)),
    Case("softmax", softmax, (A,)),
    Case("log-softmax", lambda np, x: x - logsumexp(np, x)[:, None], (A,)),
    Case("sigmoid", sigmoid, (A,)),
    Case("softplus", lambda np, x: np.logaddexp(x, 0.0), (A,)),
    Case("relu", lambda np, x: np.maximum(x, 0.0) * x, (A,)),
    Case("elu", lambda np, x: np.where(x > 0, x, np.exp(x) - 1), (A,)),
    Case("gelu", gelu, (A,)),
    Case("swish", lambda np, x: x * sigmoid(np, x), (A,)),
    Case("mish", lambda np, x: x * np.tanh(np.log1p(np.exp(x))), (A,)),
    Case("huber", huber, (A,)),
    Case("binary cross-entropy", lambda np, x: np.logaddexp(0.0, x) - 0.3 * x, (A,)),
    Case("layer norm", layer_norm, (A, P)),
    Case("rms norm", lambda np, x: x / np.sqrt(np.mean(x**2, -1, keepdims=True) + 1e-6), (A,)),
    Case("batch norm", batch_norm, (X,)),
    Case("multilayer perceptron", mlp, (X, W1, W2)),
    Case("attention", attention, (T, T * 2, T + 1)),
    Case("causal attention", causal_attention, (T,)),
    Case("lstm", lstm, (GATES[:7], numbers(3, 2, 3, seed=27))),
    Case("rnn", rnn, (S * 0.2, A)),
    Case("convolution", convolution, (A, S[:2, :2])),
    Case("max pooling", pooling, (T,)),
    Case("Runge-Kutta", runge_kutta, (P[0, :2],)),
    Case("Kalman filter", kalman, (S * 0.2, A)),
    Case("Gaussian process", gaussian_process, (V, V * 2)),
    Case("Rosenbrock", rosenbrock, (V,)),
    Case("Newton's square root", newton, (P,)),
    Case("cosine similarity",
         lambda np, x, y: np.sum(x * y) / np.sqrt(np.sum(x**2) * np.sum(y**2)), (A, B)),
    Case("pairwise distances",
         lambda np, x: np.sqrt(np.sum((x[:, None] - x[None]) ** 2, -1) + 1e-3), (A,)),
    Case("entropy", lambda np, x: -np.sum(softmax(np, x) * np.log(softmax(np, x)), -1), (A,)),
    Case("KL divergence", lambda np, x, y: np.sum(x * (np.log(x) - np.log(y))), (P, P + 0.5)),
    Case("polynomial by Horner", lambda np, c, x: ((c[0] * x + c[1]) * x + c[2]) * x, (V, A)),
    Case("Fourier features", lambda np, x, w: np.cos(x @ w) * np.sin(x @ w), (X, W1)),
    Case("power iteration",
         lambda np, x: (lambda v: v @ x @ v / (v @ v))(x @ (x @ (x @ np.ones(3)))), (S,)),
    Case("bilinear", lambda np, x, w, y: np.einsum("bi,ij,bj->b", x, w, y),
         (X, numbers(4, 5, seed=28), numbers(6, 5, seed=29))),
    Case("gated unit", lambda np, x: x[:, :2] * sigmoid(np, x[:, 2:]), (A,)),
    Case("residual blocks", lambda np, x, w: x + np.tanh(x @ w + np.tanh((x @ w) ** 2)),
         (X[:, :3], S)),
    Case("embedding", lambda np, e: e[numpy.array([0, 2, 2, 1])] @ e.T, (A,)),
    Case("moving average", lambda np, x: (x[:, 2:] + x[:, 1:-1] + x[:, :-2]) ** 2 / 3, (A,)),
    Case("exponential smoothing", lambda np, x: np.stack([x[0], 0.3 * x[0] + 0.7 * x[1]]), (A,)),
    Case("product of many", lambda np, x: np.prod(1 + x, axis=1), (A,), JAX),
]  # fmt: skip
