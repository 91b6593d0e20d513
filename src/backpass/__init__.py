"""backpass: backpropagation for NumPy code.

Exact gradients of plain NumPy functions and of neural networks. Start with `grad`, `value_and_grad`
and `jit`; `backpass.nn` and `backpass.optim` build networks, `backpass.Trainer` trains them.

The transforms are here when the package is imported; the rooms above them (`nn`, `optim`, `data`,
`metrics`, `train`, `report`) and the names of `train` load when they are first asked for (PEP 562),
so that a script that only differentiates does not pay for them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from backpass import numpy, scipy
from backpass.errors import BackpassError, instead_of_torch
from backpass.flow import checkpoint, cond, custom_vjp
from backpass.flow import checkpoint as remat
from backpass.jit import jit
from backpass.transforms import (
    check_grads,
    grad,
    hessian,
    hvp,
    jacfwd,
    jacrev,
    jvp,
    stop_gradient,
    value_and_grad,
    vjp,
    vmap,
)

if TYPE_CHECKING:
    from backpass import data, metrics, nn, optim, report, train
    from backpass.nn import manual_seed
    from backpass.train import (
        Callback,
        EarlyStopping,
        ExponentialMovingAverage,
        GradientFlow,
        LearningRateMonitor,
        ModelCheckpoint,
        OverfittingWarning,
        StochasticWeightAveraging,
        Trainer,
    )

__version__ = "0.1.0"
__all__ = [
    "BackpassError",
    "Callback",
    "EarlyStopping",
    "ExponentialMovingAverage",
    "GradientFlow",
    "LearningRateMonitor",
    "ModelCheckpoint",
    "OverfittingWarning",
    "StochasticWeightAveraging",
    "Trainer",
    "__version__",
    "check_grads",
    "checkpoint",
    "cond",
    "custom_vjp",
    "data",
    "grad",
    "hessian",
    "hvp",
    "jacfwd",
    "jacrev",
    "jit",
    "jvp",
    "manual_seed",
    "metrics",
    "nn",
    "numpy",
    "optim",
    "remat",
    "report",
    "scipy",
    "stop_gradient",
    "train",
    "value_and_grad",
    "vjp",
    "vmap",
]
ROOMS = frozenset(("data", "metrics", "nn", "optim", "report", "train"))


def __getattr__(name: str) -> Any:
    """Load a room, or a name of `train` (`manual_seed` of `nn`), the first time it is asked for."""
    if name not in __all__:
        raise AttributeError(f"module 'backpass' has no attribute {name!r}{instead_of_torch(name)}")
    if name in ROOMS:
        return import_module(f"backpass.{name}")
    found = getattr(
        import_module("backpass.nn" if name == "manual_seed" else "backpass.train"), name
    )
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
