"""LRScheduler: what every schedule is. It writes learning rates into their Cells, so a jitted step
sees them.

A schedule is called outside of the jitted step, once an epoch or once a step. Formulas are torch's,
in its recursive form (the new rate from the present one), so that several schedules of one
optimizer multiply.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from backpass.errors import DTypeError, OptimizerError, TracingError
from backpass.optim.optimizer import Optimizer
from backpass.trace import Tracer


class LRScheduler:
    """A learning rate as a function of the number of `step()` calls.

    Args:
        optimizer: its groups' `lr` are written; their present values are the initial rates.
        last_epoch: -1 to start; otherwise where to continue, with `initial_lr` in each group.

    Raises:
        TypeError: (DTypeError) optimizer is no Optimizer.
        ValueError: (OptimizerError) continuing without `initial_lr`.

    A subclass gives `get_lr`, and `closed_form` where the rate has one that does not need the
    present rate.
    """

    # Attributes that `state_dict` leaves out.
    unsaved: tuple[str, ...] = ("optimizer", "unsaved")

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        if not isinstance(optimizer, Optimizer):
            raise DTypeError(
                f"{type(self).__name__}: {type(optimizer).__name__} is not an Optimizer"
            )
        self.optimizer = optimizer
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                if "initial_lr" not in group:
                    group["initial_lr"] = group["lr"]
            elif "initial_lr" not in group:
                raise OptimizerError(
                    f"'initial_lr' is not specified in param_groups[{i}] when resuming with "
                    f"last_epoch={last_epoch}; "
                    "load the optimizer's state_dict first, or use the schedule's load_state_dict"
                )
        self.base_lrs: list[float] = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._last_lr: list[float] = []
        self.start()

    def start(self) -> None:
        """The first rate, before any step of the optimizer."""
        self._starting = True
        self.step()
        self._starting = False

    def present(self) -> list[float]:
        """The groups' rates now."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def get_lr(self) -> list[float]:
        """The rate of each group at `last_epoch`, from the present one."""
        raise NotImplementedError(f"{type(self).__name__} does not say what its rates are")

    def closed_form(self) -> list[float]:
        """The rate of each group at `last_epoch`, from the initial one."""
        return self.get_lr()

    def step(self) -> None:
        """Advance by one, and write the new rates."""
        self.last_epoch += 1
        self.set_lr(self.get_lr())

    def restart(self) -> None:
        """Begin at 0 with the initial rates, as SequentialLR asks at a milestone."""
        self.last_epoch = 0
        self.set_lr(self.closed_form())

    def set_lr(self, rates: Sequence[float]) -> None:
        """Write a rate into each group.

        Raises:
            TypeError: (TracingError) inside a jitted function, which would freeze the present
                number of steps in.
        """
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            if isinstance(group["lr"], Tracer):
                raise TracingError(
                    f"{type(self).__name__}.step() inside a jitted function would run once, when "
                    "it is compiled; "
                    "call it outside, after the jitted step, which reads the new rate without "
                    "compiling again"
                )
            group["lr"] = rate
        self._last_lr = self.present()

    def get_last_lr(self) -> list[float]:
        """The rates that the last `step()` wrote, one for each group."""
        return list(self._last_lr)

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer, whose state holds the rates, as plain values."""
        return {k: _copied(v) for k, v in self.__dict__.items() if k not in self.unsaved}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave. The optimizer's state holds the rates: load it too."""
        self.__dict__.update({k: _copied(v) for k, v in state_dict.items()})


def _copied(value: Any) -> Any:
    return list(value) if isinstance(value, list) else value


def for_each_group(name: str, optimizer: Optimizer, value: Any) -> list[Any]:
    """One value for each group: the same for all, or a list with one for each."""
    count = len(optimizer.param_groups)
    if not isinstance(value, (list, tuple)):
        return [value] * count
    if len(value) != count:
        raise OptimizerError(
            f"expected {count} values for {name}, one for each group, got {len(value)}"
        )
    return list(value)
