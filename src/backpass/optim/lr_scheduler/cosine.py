"""Schedules along a cosine: a half wave, warm restarts, one cycle, a half wave after a warm-up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from backpass.errors import OptimizerError
from backpass.optim.lr_scheduler.scheduler import LRScheduler, for_each_group
from backpass.optim.optimizer import Optimizer


class CosineAnnealingLR(LRScheduler):
    """lr = eta_min + (initial lr - eta_min) (1 + cos(pi epoch / T_max)) / 2.

    Loshchilov, Hutter 2017, "SGDR".
    """

    def __init__(
        self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        if T_max < 1:
            raise OptimizerError(f"T_max must be at least 1, got {T_max}")
        self.T_max = T_max
        self.eta_min = eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        t, period, low = self.last_epoch, self.T_max, self.eta_min
        if self._starting:
            return self.present() if t == 0 else self.closed_form()
        if (t - 1 - period) % (2 * period) == 0:
            rise = (1 - math.cos(math.pi / period)) / 2
            pairs = zip(self.present(), self.base_lrs, strict=True)
            return [lr + (base - low) * rise for lr, base in pairs]
        factor = (1 + math.cos(math.pi * t / period)) / (1 + math.cos(math.pi * (t - 1) / period))
        return [factor * (lr - low) + low for lr in self.present()]

    def closed_form(self) -> list[float]:
        height = (1 + math.cos(math.pi * self.last_epoch / self.T_max)) / 2
        return [self.eta_min + (base - self.eta_min) * height for base in self.base_lrs]


class CosineAnnealingWarmRestarts(LRScheduler):
    """A cosine that begins anew after T_0 epochs, then after T_0 T_mult, T_0 T_mult^2, ...

    Loshchilov, Hutter 2017, "SGDR".
    """

    def __init__(
        self,
        optimizer: Optimizer,
        T_0: int,
        T_mult: int = 1,
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        if T_0 <= 0 or not isinstance(T_0, int):
            raise OptimizerError(f"expected a positive integer T_0, got {T_0}")
        if T_mult < 1 or not isinstance(T_mult, int):
            raise OptimizerError(f"expected an integer T_mult >= 1, got {T_mult}")
        self.T_0 = T_0
        self.T_i = T_0
        self.T_mult = T_mult
        self.eta_min = eta_min
        self.T_cur = last_epoch
        super().__init__(optimizer, last_epoch)

    def step(self) -> None:
        if self.last_epoch < 0:
            self.T_cur, self.T_i = 0, self.T_0
        else:
            self.T_cur += 1
            if self.T_cur >= self.T_i:
                self.T_cur -= self.T_i
                self.T_i *= self.T_mult
        super().step()

    def get_lr(self) -> list[float]:
        height = (1 + math.cos(math.pi * self.T_cur / self.T_i)) / 2
        return [self.eta_min + (base - self.eta_min) * height for base in self.base_lrs]


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of one cycle: its last step, and the names of the rates and momentums at its ends."""

    end: float
    lr: tuple[str, str]
    momentum: tuple[str, str]


class OneCycleLR(LRScheduler):
    """Up to `max_lr` and down to almost nothing in `total_steps`, with momentum going the other
    way.

    Args:
        optimizer: one with `momentum` or `betas`, if `cycle_momentum`.
        max_lr: the highest rate, or one for each group.
        total_steps: length of the cycle; or `epochs` times `steps_per_epoch`.
        pct_start: share of the cycle that rises.
        anneal_strategy: "cos" or "linear".
        cycle_momentum: whether momentum goes from `max_momentum` to `base_momentum` and back.
        div_factor: the first rate is max_lr / div_factor.
        final_div_factor: the last is the first / final_div_factor.
        three_phase: fall back to the first rate symmetrically, then to the last.

    Raises:
        ValueError: (OptimizerError) an impossible setting; or a step after the end of the cycle.

    Smith, Topin 2018, "Super-Convergence". Call `step()` after every batch.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | Sequence[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | Sequence[float] = 0.85,
        max_momentum: float | Sequence[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        self.total_steps = _cycle_length(total_steps, epochs, steps_per_epoch)
        if not 0 <= pct_start <= 1:
            raise OptimizerError(f"expected pct_start between 0 and 1, got {pct_start}")
        if anneal_strategy not in ("cos", "linear"):
            raise OptimizerError(
                f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}"
            )
        self.pct_start = pct_start
        self.anneal_strategy = anneal_strategy
        self.three_phase = three_phase
        self.cycle_momentum = cycle_momentum
        highest = for_each_group("max_lr", optimizer, max_lr)
        first = [x / div_factor for x in highest]
        self.ends: dict[str, list[float]] = {
            "initial_lr": first,
            "max_lr": highest,
            "min_lr": [x / final_div_factor for x in first],
            "max_momentum": for_each_group("max_momentum", optimizer, max_momentum),
            "base_momentum": for_each_group("base_momentum", optimizer, base_momentum),
        }
        if cycle_momentum and not {"momentum", "betas"} & set(optimizer.defaults):
            raise OptimizerError(
                "optimizer must support momentum or beta1 with `cycle_momentum` option enabled"
            )
        if last_epoch == -1:
            for group, lr in zip(optimizer.param_groups, first, strict=True):
                group["initial_lr"] = lr
        super().__init__(optimizer, last_epoch)

    def phases(self) -> list[Phase]:
        """The parts of the cycle in order."""
        peak = self.pct_start * self.total_steps - 1
        up = Phase(peak, ("initial_lr", "max_lr"), ("max_momentum", "base_momentum"))
        if not self.three_phase:
            down = ("max_lr", "min_lr"), ("base_momentum", "max_momentum")
            return [up, Phase(self.total_steps - 1, *down)]
        return [
            up,
            Phase(
                2 * self.pct_start * self.total_steps - 2,
                ("max_lr", "initial_lr"),
                ("base_momentum", "max_momentum"),
            ),
            Phase(self.total_steps - 1, ("initial_lr", "min_lr"), ("max_momentum", "max_momentum")),
        ]

    def get_lr(self) -> list[float]:
        t = self.last_epoch
        if t > self.total_steps:
            raise OptimizerError(
                f"tried to step {t} times, but the cycle has total_steps={self.total_steps}"
            )
        phases = self.phases()
        number = next((i for i, phase in enumerate(phases) if t <= phase.end), len(phases) - 1)
        phase, begin = phases[number], phases[number - 1].end if number else 0.0
        share = (t - begin) / (phase.end - begin)
        if self.cycle_momentum:
            self._set_momentum(self._between(phase.momentum, share))
        return self._between(phase.lr, share)

    def _between(self, names: tuple[str, str], share: float) -> list[float]:
        pairs = zip(self.ends[names[0]], self.ends[names[1]], strict=True)
        if self.anneal_strategy == "linear":
            return [(end - start) * share + start for start, end in pairs]
        height = math.cos(math.pi * share) + 1
        return [end + (start - end) / 2.0 * height for start, end in pairs]

    def _set_momentum(self, momentums: list[float]) -> None:
        for group, momentum in zip(self.optimizer.param_groups, momentums, strict=True):
            if "betas" in self.optimizer.defaults:
                group["betas"] = (momentum, *group["betas"][1:])
            else:
                group["momentum"] = momentum


def _cycle_length(total_steps: int | None, epochs: int | None, per_epoch: int | None) -> int:
    if total_steps is None and (epochs is None or per_epoch is None):
        raise OptimizerError(
            "you must define either total_steps or both epochs and steps_per_epoch"
        )
    named = {"total_steps": total_steps, "epochs": epochs, "steps_per_epoch": per_epoch}
    for name, value in named.items():
        if value is not None and (not isinstance(value, int) or value <= 0):
            raise OptimizerError(f"expected a positive integer {name}, got {value}")
    return total_steps if total_steps is not None else (epochs or 0) * (per_epoch or 0)


class WarmupCosine(LRScheduler):
    """A line from `start_factor` to 1 in `warmup_steps`, then half a cosine to `eta_min` at
    `total_steps`.

    The rate stays at `eta_min` afterwards. Goyal et al. 2017 (warm-up); Loshchilov, Hutter 2017
    (cosine). torch writes this with SequentialLR; here it is one schedule with a closed form.

    Args:
        optimizer: its present rates are the highest.
        warmup_steps: length of the warm-up; 0 for none.
        total_steps: length of all; more than `warmup_steps`.
        eta_min: the last rate.
        start_factor: share of the highest rate at the start.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        warmup_steps: int,
        total_steps: int,
        eta_min: float = 0.0,
        start_factor: float = 0.01,
        last_epoch: int = -1,
    ) -> None:
        if not 0 <= warmup_steps < total_steps:
            raise OptimizerError(
                f"warmup_steps must be from 0 to below total_steps, got {warmup_steps} and "
                f"{total_steps}"
            )
        self.warmup_steps = warmup_steps
        self.total_steps = total_steps
        self.eta_min = eta_min
        self.start_factor = start_factor
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        t = min(self.last_epoch, self.total_steps)
        if t < self.warmup_steps:
            factor = self.start_factor + (1.0 - self.start_factor) * t / self.warmup_steps
            return [base * factor for base in self.base_lrs]
        share = (t - self.warmup_steps) / (self.total_steps - self.warmup_steps)
        height = (1 + math.cos(math.pi * share)) / 2
        return [self.eta_min + (base - self.eta_min) * height for base in self.base_lrs]
