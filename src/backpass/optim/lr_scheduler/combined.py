"""Schedules made of schedules: one after the other, or all at once."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

from backpass.errors import OptimizerError
from backpass.optim.lr_scheduler.plateau import ReduceLROnPlateau
from backpass.optim.lr_scheduler.scheduler import LRScheduler
from backpass.optim.optimizer import Optimizer


class _Combined(LRScheduler):
    """Several schedules of one optimizer."""

    unsaved = ("optimizer", "unsaved", "schedulers")
    schedulers: list[LRScheduler]

    def _take(self, optimizer: Optimizer | None, schedulers: Sequence[LRScheduler]) -> None:
        kind = type(self).__name__
        if len(schedulers) < 1:
            raise OptimizerError(f"{kind} expects at least one scheduler, but got no scheduler")
        own = optimizer if optimizer is not None else schedulers[0].optimizer
        for i, scheduler in enumerate(schedulers):
            if isinstance(scheduler, ReduceLROnPlateau):
                raise OptimizerError(
                    f"{kind} cannot hold ReduceLROnPlateau (at index {i}), whose step() needs a "
                    "metric; step it apart"
                )
            if scheduler.optimizer is not own:
                raise OptimizerError(
                    f"{kind} expects all schedulers to belong to the same optimizer, but the one "
                    f"at index {i} "
                    f"({type(scheduler).__name__}) has another"
                )
        self.optimizer = own
        self.schedulers = list(schedulers)

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"schedulers": [s.state_dict() for s in self.schedulers]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        saved = state_dict["schedulers"]
        if len(saved) != len(self.schedulers):
            raise OptimizerError(f"{len(saved)} schedulers saved, here {len(self.schedulers)}")
        for scheduler, own in zip(self.schedulers, saved, strict=True):
            scheduler.load_state_dict(own)
        super().load_state_dict({k: v for k, v in state_dict.items() if k != "schedulers"})


class SequentialLR(_Combined):
    """One schedule after the other: the next begins, at its own epoch 0, at each milestone.

    Args:
        optimizer: the one they all belong to.
        schedulers: in order.
        milestones: epochs at which the next begins; one less than schedulers.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: Sequence[LRScheduler],
        milestones: Sequence[int],
        last_epoch: int = -1,
    ) -> None:
        self._take(optimizer, schedulers)
        if len(milestones) != len(schedulers) - 1:
            raise OptimizerError(
                f"SequentialLR expects one milestone less than schedulers, got {len(schedulers)} "
                "schedulers and "
                f"{len(milestones)} milestones"
            )
        self.milestones = list(milestones)
        self.last_epoch = last_epoch + 1
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        for scheduler in self.schedulers:
            _undo(scheduler)
        first = self.schedulers[bisect_right(self.milestones, 0)]
        first.start()
        self._last_lr = first.get_last_lr()

    def step(self) -> None:
        self.last_epoch += 1
        index = bisect_right(self.milestones, self.last_epoch)
        scheduler = self.schedulers[index]
        if index > 0 and self.milestones[index - 1] == self.last_epoch:
            scheduler.restart()
        else:
            scheduler.step()
        self._last_lr = scheduler.get_last_lr()


def _undo(scheduler: LRScheduler) -> None:
    """Take back the step that a schedule made when it was built."""
    if isinstance(scheduler, _Combined):
        for inner in scheduler.schedulers:
            _undo(inner)
    else:
        scheduler.last_epoch -= 1


class ChainedScheduler(_Combined):
    """All schedules at once: each multiplies what the one before it left.

    Args:
        schedulers: in order; those with a recursive form (all but LambdaLR, one-cycle and restarts)
            multiply.
        optimizer: the one they belong to; by default that of the first.
    """

    def __init__(
        self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None
    ) -> None:
        self._take(optimizer, schedulers)
        self._last_lr = self.present()

    def step(self) -> None:
        for scheduler in self.schedulers:
            scheduler.step()
        self._last_lr = self.present()
