"""backpass: backpropagation for NumPy code.

Exact gradients of plain NumPy functions and of neural networks. Start with `grad`, `value_and_grad`
and `jit`; `backpass.nn` and `backpass.optim` build networks, `backpass.Trainer` trains them.
"""

from __future__ import annotations

from backpass import numpy, scipy
from backpass.errors import BackpassError
from backpass.flow import cond, custom_vjp
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

__version__ = "0.1.0"
__all__ = [
    "BackpassError",
    "__version__",
    "check_grads",
    "cond",
    "custom_vjp",
    "grad",
    "hessian",
    "hvp",
    "jacfwd",
    "jacrev",
    "jit",
    "jvp",
    "numpy",
    "scipy",
    "stop_gradient",
    "value_and_grad",
    "vjp",
    "vmap",
]
