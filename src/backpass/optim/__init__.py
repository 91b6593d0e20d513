"""Optimizers, gradient clipping and learning-rate schedules, with torch's names, arguments and
trajectories.

`optimizer.step(grads)` takes what `value_and_grad` returns for a Module, updates its parameters in
place, and works under jit. Start reading at `optimizer`; each rule is one `update` in `sgd`, `adam`
or `adaptive`.
"""

from backpass.optim import lr_scheduler
from backpass.optim.adam import Adam, Adamax, AdamW, NAdam, RAdam
from backpass.optim.adaptive import Adadelta, Adagrad, RMSprop
from backpass.optim.clip import clip_grad_norm, clip_grad_value, global_norm
from backpass.optim.groups import ParameterGroup
from backpass.optim.lbfgs import LBFGS
from backpass.optim.optimizer import Optimizer
from backpass.optim.sgd import SGD, Lion

__all__ = [
    "LBFGS",
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Lion",
    "NAdam",
    "Optimizer",
    "ParameterGroup",
    "RAdam",
    "RMSprop",
    "clip_grad_norm",
    "clip_grad_value",
    "global_norm",
    "lr_scheduler",
]
