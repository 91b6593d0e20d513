"""Layers with torch's names, defaults, layouts and initial distributions: Linear, Bilinear,
Embedding, Dropout, shapes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from backpass.errors import ConfigError, ShapeError, UnsupportedError
from backpass.nn import functional as F
from backpass.nn import init
from backpass.nn.functional.layers import check_probability
from backpass.nn.module import Module
from backpass.nn.parameter import Parameter
from backpass.nn.rng import RngState

FLOAT = np.float32


def empty(*shape: int, dtype: Any = None) -> Parameter:
    """A Parameter to be initialized, of torch's default dtype."""
    return Parameter(np.zeros(shape, FLOAT if dtype is None else dtype))


class Linear(Module):
    """y = x W^T + b on the last axis.

    Args:
        in_features, out_features: extents of the last axis before and after.
        bias: whether there is a b.
        dtype: of the parameters; float32 if None.

    weight (out, in) and bias (out,) start uniform in +-1/sqrt(in).

    >>> Linear(3, 2)(np.ones((5, 3), np.float32)).shape
    (5, 2)
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, *, dtype: Any = None
    ) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        self.weight = empty(out_features, in_features, dtype=dtype)
        self.register_parameter("bias", empty(out_features, dtype=dtype) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw initial values anew."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5.0))
        if self.bias is not None:
            bound = 1.0 / math.sqrt(max(self.in_features, 1))
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input: Any) -> Any:
        """x (..., in) to (..., out)."""
        return F.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        """Its extents."""
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}"
        )


class Bilinear(Module):
    """y_k = x1^T A_k x2 + b_k on the last axes. weight (out, in1, in2), bias (out,)."""

    def __init__(
        self,
        in1_features: int,
        in2_features: int,
        out_features: int,
        bias: bool = True,
        *,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.in1_features = in1_features
        self.in2_features = in2_features
        self.out_features = out_features
        self.weight = empty(out_features, in1_features, in2_features, dtype=dtype)
        self.register_parameter("bias", empty(out_features, dtype=dtype) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw initial values anew: uniform in +-1/sqrt(in1)."""
        bound = 1.0 / math.sqrt(max(self.in1_features, 1))
        init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input1: Any, input2: Any) -> Any:
        """x1 (..., in1) and x2 (..., in2) to (..., out)."""
        return F.bilinear(input1, input2, self.weight, self.bias)

    def extra_repr(self) -> str:
        """Its extents."""
        return (
            f"in1_features={self.in1_features}, in2_features={self.in2_features}, "
            f"out_features={self.out_features}, bias={self.bias is not None}"
        )


class Embedding(Module):
    """Rows of a table by integer index: (...) to (..., embedding_dim). The table starts standard
    normal.

    Args:
        num_embeddings, embedding_dim: the shape of the table, `weight`.
        padding_idx: a row that starts at zero and gets no gradient.
        max_norm, scale_grad_by_freq, sparse: torch's options that are not built; setting one
            raises.
        dtype: of the table; float32 if None.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        *,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        _refuse_embedding_options(max_norm, scale_grad_by_freq, sparse)
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        if padding_idx is not None:
            if not -num_embeddings <= padding_idx < num_embeddings:
                raise ConfigError(
                    f"Embedding: padding_idx={padding_idx} is no row of {num_embeddings}"
                )
            padding_idx %= num_embeddings
        self.padding_idx = padding_idx
        self.weight = empty(num_embeddings, embedding_dim, dtype=dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the table anew; the padding row is zero."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            self.weight[self.padding_idx] = 0.0

    @classmethod
    def from_pretrained(
        cls, embeddings: Any, freeze: bool = True, padding_idx: int | None = None
    ) -> Self:
        """An Embedding with a given table (n, d), which is copied; frozen means not trained."""
        table = np.asarray(embeddings)
        if table.ndim != 2:
            raise ShapeError(
                f"Embedding.from_pretrained: the table must be (n, d), got {table.shape}"
            )
        module = cls(*table.shape, padding_idx=padding_idx, dtype=table.dtype)
        module.weight.write(table)
        module.weight.requires_grad = not freeze
        return module

    def forward(self, input: Any) -> Any:
        """Integer indices (...) to (..., embedding_dim)."""
        return F.embedding(input, self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        """Its extents."""
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"


def _refuse_embedding_options(max_norm: Any, scale_grad_by_freq: bool, sparse: bool) -> None:
    for name, given in (
        ("max_norm", max_norm is not None),
        ("scale_grad_by_freq", scale_grad_by_freq),
        ("sparse", sparse),
    ):
        if given:
            raise UnsupportedError(
                f"Embedding: {name} is not built. Leave it out; to bound norms, rescale `weight` "
                "after each step"
            )


class Dropout(Module):
    """In training each element is 0 with probability p, else divided by 1 - p. (Srivastava et al.
    2014)

    The bits come from `rng`, a stream of the module's own (`nn.manual_seed`): the same eager or
    under jit. Each forward pass in training takes the next draw. It is no part of the `state_dict`;
    `rng_cells()` gives it.

    Args:
        p: the probability, in [0, 1].
        inplace: taken for torch's sake; the input is never written to.
    """

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        check_probability("Dropout", p)
        self.p = p
        self.inplace = inplace
        self.rng = RngState()

    def forward(self, input: Any) -> Any:
        """An array of the input's shape."""
        return F.dropout(input, self.p, self.training, rng=self.rng)

    def extra_repr(self) -> str:
        """Its probability."""
        return f"p={self.p}, inplace={self.inplace}"


class Flatten(Module):
    """Axes start_dim to end_dim (inclusive) made one."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, input: Any) -> Any:
        """(N, a, b, ...) to (N, a * b * ...) with the defaults."""
        shape = np.shape(input)
        ndim = max(len(shape), 1)
        if not (-ndim <= self.start_dim < ndim and -ndim <= self.end_dim < ndim):
            raise ShapeError(
                f"Flatten({self.start_dim}, {self.end_dim}): an input of shape {shape} has no "
                "such axes"
            )
        start, end = self.start_dim % ndim, self.end_dim % ndim
        if start > end:
            raise ShapeError(
                f"Flatten: start_dim {start} comes after end_dim {end} for an input of shape "
                f"{shape}"
            )
        joined = (*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :])
        return np.reshape(input, joined)

    def extra_repr(self) -> str:
        """Its axes."""
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """Axis `dim` given the shape `unflattened_size`, in which one extent may be -1."""

    def __init__(self, dim: int, unflattened_size: Sequence[int]) -> None:
        super().__init__()
        self.dim = dim
        self.unflattened_size = tuple(unflattened_size)

    def forward(self, input: Any) -> Any:
        """(N, a * b) to (N, a, b) for dim=1, unflattened_size=(a, b)."""
        shape, size = np.shape(input), self.unflattened_size
        if not -len(shape) <= self.dim < len(shape):
            raise ShapeError(f"Unflatten: an input of shape {shape} has no axis {self.dim}")
        at = self.dim % len(shape)
        known = math.prod([n for n in size if n != -1])
        fits = shape[at] % max(known, 1) == 0 if -1 in size else shape[at] == known
        if not fits or size.count(-1) > 1:
            raise ShapeError(
                f"Unflatten: axis {at} of shape {shape} does not unflatten into {size}"
            )
        whole = tuple([shape[at] // max(known, 1) if n == -1 else n for n in size])
        return np.reshape(input, (*shape[:at], *whole, *shape[at + 1 :]))

    def extra_repr(self) -> str:
        """Its axis and shape."""
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"
