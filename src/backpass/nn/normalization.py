"""Normalization layers with torch's names, defaults and state_dict keys: BatchNorm1d, LayerNorm,
RMSNorm, GroupNorm.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from backpass.errors import ConfigError, ShapeError
from backpass.nn import functional as F
from backpass.nn import init
from backpass.nn.layers import FLOAT, empty
from backpass.nn.module import Module


class BatchNorm1d(Module):
    """Normalization of each feature over the batch, for inputs (N, C) and (N, C, L). (Ioffe and
    Szegedy 2015)

    In training the batch's statistics are used, and the running ones moved towards them; in
    evaluation the running ones are used (the batch's, if none are tracked).

    Args:
        num_features: C.
        eps: added to the variance.
        momentum: the share of the batch in the running statistics; None for their plain average
            over batches.
        affine: whether there are weight and bias, (C,) each.
        bias: whether there is a bias, with affine.
        track_running_stats: whether running_mean, running_var and num_batches_tracked are kept.
        dtype: of the arrays; float32 if None.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        bias: bool = True,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        for name, wanted in (("weight", affine), ("bias", affine and bias)):
            self.register_parameter(name, empty(num_features, dtype=dtype) if wanted else None)
        kind = FLOAT if dtype is None else dtype
        tracked = track_running_stats
        self.register_buffer("running_mean", np.zeros(num_features, kind) if tracked else None)
        self.register_buffer("running_var", np.ones(num_features, kind) if tracked else None)
        self.register_buffer("num_batches_tracked", np.zeros((), np.int64) if tracked else None)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Mean 0, variance 1, no batches."""
        if self.track_running_stats:
            init.zeros_(self.running_mean)
            init.ones_(self.running_var)
            self.num_batches_tracked.write(np.zeros((), np.int64))

    def reset_parameters(self) -> None:
        """weight 1, bias 0, and the running statistics as at the start."""
        self.reset_running_stats()
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input: Any) -> Any:
        """(N, C) or (N, C, L), normalized."""
        shape = np.shape(input)
        if len(shape) not in (2, 3) or shape[1] != self.num_features:
            c = self.num_features
            raise ShapeError(f"BatchNorm1d({c}): expected (N, {c}) or (N, {c}, L), got {shape}")
        momentum: Any = self.momentum
        if self.training and self.track_running_stats:
            count = self.num_batches_tracked.read() + 1
            self.num_batches_tracked.write(count)
            if momentum is None:
                momentum = (1.0 / count).astype(self.running_mean.dtype)
        update = self.training and self.track_running_stats
        use_batch = self.training or not self.track_running_stats
        return F.batch_norm(
            input,
            self.running_mean if update or not use_batch else None,
            self.running_var if update or not use_batch else None,
            self.weight,
            self.bias,
            use_batch,
            momentum,
            self.eps,
        )

    def extra_repr(self) -> str:
        """Its options."""
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, "
            f"track_running_stats={self.track_running_stats}"
        )


def _shape_of(normalized_shape: int | Sequence[int]) -> tuple[int, ...]:
    if isinstance(normalized_shape, int):
        return (normalized_shape,)
    return tuple(map(int, normalized_shape))


class LayerNorm(Module):
    """Normalization over the last axes, of shape normalized_shape. (Ba, Kiros, Hinton 2016)

    Args:
        normalized_shape: their extents, or one number.
        eps: added to the variance.
        elementwise_affine: whether there is a weight of that shape.
        bias: whether there is a bias too.
        dtype: of the arrays; float32 if None.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        *,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.normalized_shape = _shape_of(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        shape = self.normalized_shape
        self.register_parameter(
            "weight", empty(*shape, dtype=dtype) if elementwise_affine else None
        )
        biased = elementwise_affine and bias
        self.register_parameter("bias", empty(*shape, dtype=dtype) if biased else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """weight 1, bias 0."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input: Any) -> Any:
        """(..., *normalized_shape), normalized."""
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """Its options."""
        return (
            f"{self.normalized_shape}, eps={self.eps}, "
            f"elementwise_affine={self.elementwise_affine}, "
            f"bias={self.bias is not None}"
        )


class RMSNorm(Module):
    """Division by the root mean square over the last axes. (Zhang and Sennrich 2019)

    Args:
        normalized_shape: their extents, or one number.
        eps: added to the mean square; None is the epsilon of the input's dtype, as in torch.
        elementwise_affine: whether there is a weight of that shape.
        dtype: of the weight; float32 if None.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        *,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.normalized_shape = _shape_of(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        weight = empty(*self.normalized_shape, dtype=dtype) if elementwise_affine else None
        self.register_parameter("weight", weight)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """weight 1."""
        if self.weight is not None:
            init.ones_(self.weight)

    def forward(self, input: Any) -> Any:
        """(..., *normalized_shape), normalized."""
        return F.rms_norm(input, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        """Its options."""
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"
        )


class GroupNorm(Module):
    """Normalization over each of num_groups groups of channels, for inputs (N, C, ...). (Wu and He
    2018)

    Args:
        num_groups: must divide num_channels.
        num_channels: C.
        eps: added to the variance.
        affine: whether there are weight and bias, (C,) each.
        bias: whether there is a bias, with affine.
        dtype: of the arrays; float32 if None.
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        *,
        bias: bool = True,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if num_channels % num_groups:
            raise ConfigError(
                f"GroupNorm: {num_channels} channels do not divide into {num_groups} groups"
            )
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = eps
        self.affine = affine
        for name, wanted in (("weight", affine), ("bias", affine and bias)):
            self.register_parameter(name, empty(num_channels, dtype=dtype) if wanted else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """weight 1, bias 0."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input: Any) -> Any:
        """(N, C, ...), normalized."""
        shape = np.shape(input)
        if len(shape) < 2 or shape[1] != self.num_channels:
            raise ShapeError(f"GroupNorm: expected (N, {self.num_channels}, ...), got {shape}")
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """Its options."""
        return (
            f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, "
            f"bias={self.bias is not None}"
        )
