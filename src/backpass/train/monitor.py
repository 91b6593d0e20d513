"""Monitors: which value a callback watches, and which direction is better.

Names are Keras's: `loss`, `accuracy`, ... of the training data, `val_loss`, `val_accuracy`, ... of
the validation data, and `lr`, `gradient_norm`. The direction is the metric's own; losses and norms
are better when they fall.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from backpass.errors import ConfigError
from backpass.metrics import Metric
from backpass.wording import closest, meant

Mode = Literal["auto", "min", "max"]
_FALLING = ("loss", "gradient_norm")


@dataclass(frozen=True, slots=True)
class Monitor:
    """A watched value.

    Args:
        name: for example `"val_loss"`.
        mode: `"min"` or `"max"`.
        min_delta: the least change that counts as better, at least 0.
    """

    name: str
    mode: Literal["min", "max"]
    min_delta: float = 0.0

    def value(self, logs: Mapping[str, float | None]) -> float:
        """The value of this epoch; NaN where it is undefined.

        Raises:
            ConfigError: the epoch has no such value; the sentence lists those it has.
        """
        if self.name not in logs:
            way_out = (
                " Pass validation_data to fit."
                if self.name.startswith("val_") and not any(n.startswith("val_") for n in logs)
                else meant(closest(self.name, logs))
            )
            raise ConfigError(
                f"the monitor {self.name!r} is no value of this run.{way_out} There are: "
                f"{', '.join(logs)}."
            )
        value = logs[self.name]
        return math.nan if value is None else float(value)

    def better(self, value: float, than: float | None) -> bool:
        """Whether a value improves on the best one by more than min_delta; NaN never does."""
        if not math.isfinite(value):
            return False
        if than is None:
            return True
        return (
            value < than - self.min_delta if self.mode == "min" else value > than + self.min_delta
        )


def monitor_of(
    metrics: Iterable[Metric[Any]], name: str, mode: Mode = "auto", min_delta: float = 0.0
) -> Monitor:
    """The monitor of that name, its direction taken from these metrics.

    Raises:
        ConfigError: `mode="auto"` and the direction of the value is not known, or mode is no mode.
    """
    if mode not in ("auto", "min", "max"):
        raise ConfigError(f"mode={mode!r} is no mode; use 'auto', 'min' or 'max'.")
    if mode != "auto":
        return Monitor(name, mode, abs(min_delta))
    plain = name.removeprefix("val_")
    if plain in _FALLING:
        return Monitor(name, "min", abs(min_delta))
    directions = {metric.name: metric.higher_is_better for metric in metrics}
    higher = directions.get(plain)
    if higher is None:
        known = [*_FALLING, *directions]
        raise ConfigError(
            f"monitor {name!r}: it is not known whether it should rise or "
            f"fall.{meant(closest(plain, known))} Give "
            f"mode='min' or mode='max', or monitor one of {', '.join(known)} (val_... for "
            "validation)."
        )
    return Monitor(name, "max" if higher else "min", abs(min_delta))


__all__ = ["Mode", "Monitor", "monitor_of"]
