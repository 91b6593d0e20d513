"""Learning-rate schedules with torch's names, arguments and sequences. Start reading at
`scheduler`.

Make one with the optimizer, and call `step()` after the optimizer's, once an epoch (once a step for
OneCycleLR and WarmupCosine, as their arguments count).
"""

from backpass.optim.lr_scheduler.combined import ChainedScheduler, SequentialLR
from backpass.optim.lr_scheduler.cosine import (
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    OneCycleLR,
    WarmupCosine,
)
from backpass.optim.lr_scheduler.decay import (
    ConstantLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiStepLR,
    PolynomialLR,
    StepLR,
)
from backpass.optim.lr_scheduler.plateau import ReduceLROnPlateau
from backpass.optim.lr_scheduler.scheduler import LRScheduler

__all__ = [
    "ChainedScheduler",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "OneCycleLR",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
    "WarmupCosine",
]
