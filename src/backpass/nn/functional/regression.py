"""Losses between numbers, distributions and embeddings, with torch's names, options and reductions.

Arrays that are compared must have one shape: broadcasting (N, 1) against (N,) is refused.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from backpass.errors import ConfigError, ShapeError
from backpass.nn.functional.values import (
    REDUCTIONS,
    check_reduction,
    floating,
    one_shape,
    reduced,
    value,
)
from backpass.transforms import stop_gradient


def _error(function: str, input: Any, target: Any) -> Any:
    x, t = floating(input), value(target)
    one_shape(function, input=x, target=t)
    return x - t


def mse_loss(input: Any, target: Any, *, reduction: str = "mean") -> Any:
    """(x - t)^2.

    >>> float(mse_loss(np.array([1.0, 3.0]), np.array([1.0, 1.0])))
    2.0
    """
    return reduced("mse_loss", np.square(_error("mse_loss", input, target)), reduction)


def l1_loss(input: Any, target: Any, *, reduction: str = "mean") -> Any:
    """|x - t|; the derivative at 0 is 0."""
    return reduced("l1_loss", np.abs(_error("l1_loss", input, target)), reduction)


def smooth_l1_loss(input: Any, target: Any, *, reduction: str = "mean", beta: float = 1.0) -> Any:
    """(x - t)^2 / (2 beta) within beta, else |x - t| - beta / 2. (Girshick 2015)"""
    if beta < 0.0:
        raise ConfigError(f"smooth_l1_loss: beta={beta!r} must not be negative")
    error = _error("smooth_l1_loss", input, target)
    size = np.abs(error)
    if beta == 0.0:
        return reduced("smooth_l1_loss", size, reduction)
    loss = np.where(size < beta, np.square(error) * (0.5 / beta), size - 0.5 * beta)
    return reduced("smooth_l1_loss", loss, reduction)


def huber_loss(input: Any, target: Any, *, reduction: str = "mean", delta: float = 1.0) -> Any:
    """(x - t)^2 / 2 within delta, else delta (|x - t| - delta / 2). (Huber 1964)"""
    if delta <= 0.0:
        raise ConfigError(f"huber_loss: delta={delta!r} must be positive")
    error = _error("huber_loss", input, target)
    size = np.abs(error)
    loss = np.where(size <= delta, np.square(error) * 0.5, (size - 0.5 * delta) * delta)
    return reduced("huber_loss", loss, reduction)


def _log_where_positive(t: Any) -> Any:
    """log t, with 0 in the place of log 0, so that 0 log 0 is 0."""
    return np.log(np.where(t == 0, 1.0, t))


def kl_div(input: Any, target: Any, *, reduction: str = "mean", log_target: bool = False) -> Any:
    """t (log t - x) for log-probabilities x and probabilities t (their logarithms with log_target).

    "mean" is over all elements; "batchmean" divides the sum by the batch, which is the divergence
    itself.
    """
    check_reduction("kl_div", reduction, (*REDUCTIONS, "batchmean"))
    x, t = floating(input), floating(target)
    one_shape("kl_div", input=x, target=t)
    if log_target:
        loss = np.exp(t) * (t - x)
    else:
        loss = t * (_log_where_positive(t) - x)
    if reduction == "batchmean":
        return np.sum(loss) / (x.shape[0] if x.ndim else 1)
    return reduced("kl_div", loss, reduction)


def poisson_nll_loss(
    input: Any,
    target: Any,
    *,
    log_input: bool = True,
    full: bool = False,
    eps: float = 1e-8,
    reduction: str = "mean",
) -> Any:
    """exp(x) - t x for the log of a rate, or x - t log(x + eps) for a rate; `full` adds Stirling's
    log t!.
    """
    x, t = floating(input), floating(target)
    one_shape("poisson_nll_loss", input=x, target=t)
    loss = np.exp(x) - t * x if log_input else x - t * np.log(x + eps)
    if full:
        many = np.where(t > 1.0, t, 1.0)
        stirling = many * np.log(many) - many + 0.5 * np.log(2.0 * np.pi * many)
        loss = loss + np.where(t > 1.0, stirling, 0.0)
    return reduced("poisson_nll_loss", loss, reduction)


def gaussian_nll_loss(
    input: Any,
    target: Any,
    var: Any,
    *,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Any:
    """(log v + (x - t)^2 / v) / 2 for means x and variances v, at least eps; `full` adds log(2 pi)
    / 2.

    `var` has the input's shape, that shape with a last extent of 1, or without its last axis. (Nix
    and Weigend 1994)
    """
    x, t, v = floating(input), floating(target), floating(var)
    one_shape("gaussian_nll_loss", input=x, target=t)
    if v.shape != x.shape and v.shape == x.shape[:-1]:
        v = v[..., None]
    if v.ndim and v.shape not in (x.shape, (*x.shape[:-1], 1)):
        raise ShapeError(f"gaussian_nll_loss: var {v.shape} does not fit the input {x.shape}")
    # As in PyTorch the derivative passes the clamp.
    v = v + stop_gradient(np.where(v < eps, eps, v) - v)
    loss = 0.5 * (np.log(v) + np.square(x - t) / v)
    return reduced(
        "gaussian_nll_loss", loss + 0.5 * float(np.log(2.0 * np.pi)) if full else loss, reduction
    )


def _at_least_zero(x: Any) -> Any:
    """x cut at 0, with derivative 1 at 0 (torch's clamp_min)."""
    return np.where(x < 0, 0.0, x)


def hinge_embedding_loss(
    input: Any, target: Any, *, margin: float = 1.0, reduction: str = "mean"
) -> Any:
    """x where the target is 1, max(0, margin - x) where it is -1."""
    x, t = floating(input), value(target)
    one_shape("hinge_embedding_loss", input=x, target=t)
    loss = np.where(t == 1, 0.0, _at_least_zero(margin - x)) + np.where(t == -1, 0.0, x)
    return reduced("hinge_embedding_loss", loss, reduction)


def margin_ranking_loss(
    input1: Any, input2: Any, target: Any, *, margin: float = 0.0, reduction: str = "mean"
) -> Any:
    """max(0, -t (x1 - x2) + margin): t = 1 wants x1 above x2, t = -1 below."""
    a, b, t = floating(input1), floating(input2), value(target)
    one_shape("margin_ranking_loss", input1=a, input2=b, target=t)
    return reduced("margin_ranking_loss", _at_least_zero(-t * (a - b) + margin), reduction)


def cosine_similarity(x1: Any, x2: Any, dim: int = 1, eps: float = 1e-8) -> Any:
    """x1 . x2 / (max(|x1|, eps) max(|x2|, eps)) along `dim`."""
    a, b = floating(x1), floating(x2)
    norms = [np.sqrt(np.sum(np.square(x), axis=dim)) for x in (a, b)]
    safe = [np.where(n < eps, eps, n) for n in norms]
    return np.sum(a * b, axis=dim) / (safe[0] * safe[1])


def cosine_embedding_loss(
    input1: Any, input2: Any, target: Any, *, margin: float = 0.0, reduction: str = "mean"
) -> Any:
    """1 - cos(x1, x2) where the target is 1, max(0, cos - margin) where it is -1. inputs (N, D) or
    (D,), target (N,) or ().
    """
    a, b, t = floating(input1), floating(input2), value(target)
    one_shape("cosine_embedding_loss", input1=a, input2=b)
    one_shape("cosine_embedding_loss", samples=a[..., 0], target=t)
    small = 1e-12
    products = [np.sum(u * v, axis=-1) for u, v in ((a, b), (a, a), (b, b))]
    cosine = products[0] / np.sqrt((products[1] + small) * (products[2] + small))
    near = np.where(t == 1, 1.0 - cosine, 0.0)
    far = np.where(t == -1, _at_least_zero(cosine - margin), 0.0)
    return reduced("cosine_embedding_loss", near + far, reduction)
