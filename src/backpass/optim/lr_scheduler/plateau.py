"""ReduceLROnPlateau: a smaller rate when a metric stops improving."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import SupportsFloat

from backpass.errors import DTypeError, OptimizerError
from backpass.optim.lr_scheduler.scheduler import LRScheduler, for_each_group
from backpass.optim.optimizer import Optimizer


class ReduceLROnPlateau(LRScheduler):
    """lr is multiplied by `factor` after `patience` epochs without an improvement.

    Args:
        optimizer: its groups' `lr` are written.
        mode: "min" if the metric should fall, "max" if it should rise.
        factor: below 1.
        patience: epochs without improvement that are let pass.
        threshold: how much better counts as an improvement.
        threshold_mode: "rel" (a share of the best) or "abs".
        cooldown: epochs after a reduction in which none counts as bad.
        min_lr: a floor, or one for each group.
        eps: smallest reduction that is made.

    Raises:
        ValueError: (OptimizerError) an impossible setting.

    `step(metric)` takes the metric's value. A nan counts as no improvement.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | Sequence[float] = 0,
        eps: float = 1e-8,
    ) -> None:
        if factor >= 1.0:
            raise OptimizerError(f"Factor should be < 1.0, got {factor}")
        if mode not in ("min", "max"):
            raise OptimizerError(f"mode must be 'min' or 'max', got {mode!r}")
        if threshold_mode not in ("rel", "abs"):
            raise OptimizerError(f"threshold_mode must be 'rel' or 'abs', got {threshold_mode!r}")
        if not isinstance(optimizer, Optimizer):
            raise DTypeError(f"{type(optimizer).__name__} is not an Optimizer")
        self.optimizer = optimizer
        self.mode = mode
        self.factor = factor
        self.patience = patience
        self.threshold = threshold
        self.threshold_mode = threshold_mode
        self.cooldown = cooldown
        self.eps = eps
        self.min_lrs = for_each_group("min_lr", optimizer, min_lr)
        self.best = math.inf if mode == "min" else -math.inf
        self.cooldown_counter = 0
        self.num_bad_epochs = 0
        self.last_epoch = 0
        self._last_lr = self.present()

    def step(self, metrics: SupportsFloat) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Look at a new value of the metric."""
        current = float(metrics)
        self.last_epoch += 1
        if self.is_better(current):
            self.best = current
            self.num_bad_epochs = 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        rates = self.present()
        if self.num_bad_epochs > self.patience:
            pairs = zip(rates, self.min_lrs, strict=True)
            reduced = [max(lr * self.factor, low) for lr, low in pairs]
            rates = [
                new if old - new > self.eps else old
                for old, new in zip(rates, reduced, strict=True)
            ]
            self.cooldown_counter = self.cooldown
            self.num_bad_epochs = 0
        self.set_lr(rates)

    def is_better(self, value: float) -> bool:
        """Whether a value improves on the best by more than the threshold."""
        sign = 1.0 if self.mode == "max" else -1.0
        if self.threshold_mode == "rel":
            bound = self.best * (1.0 + sign * self.threshold)
        else:
            bound = self.best + sign * self.threshold
        return value > bound if self.mode == "max" else value < bound
