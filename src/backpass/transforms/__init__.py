"""The transforms: what turns a function into another one.

`reverse.py` walks a graph back (the heart: `pull_back`), `grad.py` and `forward.py` give it JAX's
faces, `batch.py` maps over axes, `jacobian.py` combines them, `check.py` compares with numbers.
`arguments.py` says which arrays an argument brings, Modules included.
"""

from backpass.transforms.batch import vmap
from backpass.transforms.check import check_grads
from backpass.transforms.forward import jvp
from backpass.transforms.grad import grad, stop_gradient, value_and_grad, vjp
from backpass.transforms.jacobian import hessian, hvp, jacfwd, jacrev

__all__ = [
    "check_grads",
    "grad",
    "hessian",
    "hvp",
    "jacfwd",
    "jacrev",
    "jvp",
    "stop_gradient",
    "value_and_grad",
    "vjp",
    "vmap",
]
