"""Gradients bounded before the step, by their common norm or element by element. Functional:
nothing is written.

They take what `value_and_grad` returns (Gradients, dicts, lists, tuples of arrays) and return the
same structure, and work under jit.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from backpass.errors import DTypeError, NonFiniteError, OptimizerError, TracingError
from backpass.trace import Cell, Tracer
from backpass.tree import tree_leaves, tree_map


def global_norm(grads: Any, norm_type: float = 2.0) -> Any:
    """The p-norm of all gradients as one vector.

    Args:
        grads: arrays in any structure.
        norm_type: p > 0, or `np.inf` for the largest absolute value.

    Returns:
        A scalar in the gradients' dtype; 0.0 if there are none.

    Raises:
        ValueError: (OptimizerError) p is not positive.

    >>> global_norm({"w": np.array([3.0]), "b": np.array([4.0])})
    np.float64(5.0)
    """
    p = float(norm_type)
    if not p > 0:
        raise OptimizerError(f"norm_type must be positive, got {norm_type}")
    leaves = [g for g in _arrays(grads) if g.size]
    if not leaves:
        return np.float64(0.0)
    if p == np.inf:
        total = np.max(np.abs(leaves[0]))
        for g in leaves[1:]:
            total = np.maximum(total, np.max(np.abs(g)))
        return total
    if p == 2.0:
        return np.sqrt(
            sum([np.sum(np.square(g)) for g in leaves[1:]], np.sum(np.square(leaves[0])))
        )
    total = sum([np.sum(np.abs(g) ** p) for g in leaves[1:]], np.sum(np.abs(leaves[0]) ** p))
    return total ** (1.0 / p)


def _arrays(grads: Any) -> list[Any]:
    """The arrays of `grads`; DTypeError for what torch's functions take: parameters."""
    leaves = tree_leaves(grads)
    for leaf in leaves:
        if isinstance(leaf, (Cell, Iterator)):
            raise DTypeError(
                f"gradients must be arrays, as value_and_grad returns them, got "
                f"{type(leaf).__name__}; parameters hold no gradients here: grads, norm = "
                "optim.clip_grad_norm(grads, max_norm), then optimizer.step(grads)"
            )
    return leaves


def clip_grad_norm(
    grads: Any, max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False
) -> tuple[Any, Any]:
    """Gradients scaled so that their common norm is at most `max_norm`; smaller ones stay as they
    are.

    The factor is min(1, max_norm / (norm + 1e-6)), as in torch.nn.utils.clip_grad_norm_.

    Args:
        grads: arrays in any structure.
        max_norm: the largest norm that is let through.
        norm_type: p of the p-norm; `np.inf` for the largest absolute value.
        error_if_nonfinite: raise where the norm is nan or inf; outside of jit only, since it needs
            the value.

    Returns:
        (the scaled gradients in the same structure, the norm before scaling).

    Raises:
        FloatingPointError: (NonFiniteError) the norm is not finite and `error_if_nonfinite`.
        TypeError: (TracingError) `error_if_nonfinite` under jit.

    Pascanu, Mikolov, Bengio 2013, "On the difficulty of training recurrent neural networks".

    >>> clip_grad_norm([np.array([3.0, 4.0])], 1.0)[0][0].round(5)
    array([0.6, 0.8])
    """
    total = global_norm(grads, norm_type)
    if error_if_nonfinite:
        if isinstance(total, Tracer):
            raise TracingError(
                "clip_grad_norm: error_if_nonfinite=True needs the norm's value, which a traced "
                "call does not have; "
                "return the norm from the jitted function and check it outside"
            )
        if not np.isfinite(total):
            raise NonFiniteError(
                f"the total norm of order {norm_type} of the gradients is {total}, so they cannot "
                "be clipped; "
                "set error_if_nonfinite=False to scale them anyway"
            )
    factor = np.minimum(max_norm / (total + 1e-6), 1.0)
    return tree_map(lambda g: g * factor.astype(g.dtype), grads), total


def clip_grad_value(grads: Any, clip_value: float) -> Any:
    """Gradients with every element moved into [-clip_value, clip_value].

    Args:
        grads: arrays in any structure.
        clip_value: the largest absolute value that is let through.

    Returns:
        Arrays in the same structure.

    >>> clip_grad_value({"w": np.array([-3.0, 0.5])}, 1.0)
    {'w': array([-1. ,  0.5])}
    """
    _arrays(grads)
    return tree_map(lambda g: np.clip(g, -clip_value, clip_value), grads)
