"""The activations of torch.nn as modules, over the functions of `nn.functional`.

Most are a row: the function, and the names and defaults of its options, which become attributes.
`inplace`, where torch has it, is accepted and changes nothing: an input is never written to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from backpass.nn import functional as F
from backpass.nn.module import Module
from backpass.nn.parameter import Parameter


class Activation(Module):
    """A function of one array whose options are attributes; subclasses name the function and the
    options.

    Options are given by position, in the order of `options`, or by name.
    """

    function: ClassVar[Callable[..., Any]]
    options: ClassVar[dict[str, Any]] = {}
    required: ClassVar[tuple[str, ...]] = ()
    inplace_allowed: ClassVar[bool] = False

    def __init__(self, *args: Any, **given: Any) -> None:
        super().__init__()
        names = [*self.required, *self.options, *(["inplace"] if self.inplace_allowed else [])]
        if len(args) > len(names):
            raise TypeError(f"{type(self).__name__} takes {', '.join(names) or 'no arguments'}")
        named = dict(zip(names, args, strict=False))
        for name in given:
            if name in named or name not in names:
                raise TypeError(f"{type(self).__name__}: unexpected argument {name!r}")
        values = {**self.options, **named, **given}
        for name in names:
            if name == "inplace":
                self.inplace = bool(values.get(name, False))
            elif name not in values:
                raise TypeError(f"{type(self).__name__}: {name} is missing")
            else:
                setattr(self, name, values[name])

    def forward(self, input: Any) -> Any:
        """The function of the input."""
        names = (*self.required, *self.options)
        return type(self).function(input, **{name: getattr(self, name) for name in names})

    def extra_repr(self) -> str:
        """Its options."""
        shown = [f"{name}={getattr(self, name)!r}" for name in (*self.required, *self.options)]
        return ", ".join([*shown, *(["inplace=True"] if getattr(self, "inplace", False) else [])])


class ReLU(Activation):
    """max(x, 0)."""

    function = staticmethod(F.relu)
    inplace_allowed = True


class ReLU6(Activation):
    """min(max(x, 0), 6)."""

    function = staticmethod(F.relu6)
    inplace_allowed = True


class LeakyReLU(Activation):
    """x above 0, else negative_slope * x. LeakyReLU(negative_slope=0.01)"""

    function = staticmethod(F.leaky_relu)
    options: ClassVar = {"negative_slope": 0.01}
    inplace_allowed = True


class ELU(Activation):
    """x above 0, else alpha * (exp(x) - 1). ELU(alpha=1.0)"""

    function = staticmethod(F.elu)
    options: ClassVar = {"alpha": 1.0}
    inplace_allowed = True


class CELU(Activation):
    """x above 0, else alpha * (exp(x / alpha) - 1). CELU(alpha=1.0)"""

    function = staticmethod(F.celu)
    options: ClassVar = {"alpha": 1.0}
    inplace_allowed = True


class SELU(Activation):
    """Self-normalizing ELU."""

    function = staticmethod(F.selu)
    inplace_allowed = True


class GELU(Activation):
    """x * Phi(x). GELU(approximate="none"), or "tanh"."""

    function = staticmethod(F.gelu)
    options: ClassVar = {"approximate": "none"}


class SiLU(Activation):
    """x * sigmoid(x)."""

    function = staticmethod(F.silu)
    inplace_allowed = True


class Mish(Activation):
    """x * tanh(softplus(x))."""

    function = staticmethod(F.mish)
    inplace_allowed = True


class Tanh(Activation):
    """The hyperbolic tangent."""

    function = staticmethod(F.tanh)


class Sigmoid(Activation):
    """1 / (1 + exp(-x))."""

    function = staticmethod(F.sigmoid)


class LogSigmoid(Activation):
    """log(sigmoid(x))."""

    function = staticmethod(F.logsigmoid)


class Softplus(Activation):
    """log(1 + exp(beta * x)) / beta; x where beta * x > threshold. Softplus(beta=1.0,
    threshold=20.0)
    """

    function = staticmethod(F.softplus)
    options: ClassVar = {"beta": 1.0, "threshold": 20.0}


class Softsign(Activation):
    """x / (1 + |x|)."""

    function = staticmethod(F.softsign)


class Tanhshrink(Activation):
    """x - tanh(x)."""

    function = staticmethod(F.tanhshrink)


class Hardtanh(Activation):
    """x cut to [min_val, max_val]. Hardtanh(min_val=-1.0, max_val=1.0)"""

    function = staticmethod(F.hardtanh)
    options: ClassVar = {"min_val": -1.0, "max_val": 1.0}
    inplace_allowed = True


class Hardsigmoid(Activation):
    """relu6(x + 3) / 6."""

    function = staticmethod(F.hardsigmoid)
    inplace_allowed = True


class Hardswish(Activation):
    """x * relu6(x + 3) / 6."""

    function = staticmethod(F.hardswish)
    inplace_allowed = True


class Softshrink(Activation):
    """x moved towards 0 by lambd. Softshrink(lambd=0.5)"""

    function = staticmethod(F.softshrink)
    options: ClassVar = {"lambd": 0.5}


class Hardshrink(Activation):
    """x, and 0 within lambd of 0. Hardshrink(lambd=0.5)"""

    function = staticmethod(F.hardshrink)
    options: ClassVar = {"lambd": 0.5}


class Threshold(Activation):
    """x above the threshold, else value. Threshold(threshold, value)"""

    function = staticmethod(F.threshold)
    required = ("threshold", "value")
    inplace_allowed = True


class Softmin(Activation):
    """softmax(-x). Softmin(dim=None)"""

    function = staticmethod(F.softmin)
    options: ClassVar = {"dim": None}


class Softmax(Activation):
    """exp(x) / sum(exp(x)) along dim. Softmax(dim=None)"""

    function = staticmethod(F.softmax)
    options: ClassVar = {"dim": None}


class LogSoftmax(Activation):
    """log(softmax(x)) along dim. LogSoftmax(dim=None)"""

    function = staticmethod(F.log_softmax)
    options: ClassVar = {"dim": None}


class GLU(Activation):
    """The first half times the sigmoid of the second. GLU(dim=-1)"""

    function = staticmethod(F.glu)
    options: ClassVar = {"dim": -1}


class PReLU(Module):
    """x above 0, else weight * x, with a weight that is trained. (He et al. 2015)

    Args:
        num_parameters: 1, or the number of channels (axis 1).
        init: the weight's initial value.
        dtype: of the weight; float32 if None.
    """

    def __init__(self, num_parameters: int = 1, init: float = 0.25, *, dtype: Any = None) -> None:
        super().__init__()
        self.num_parameters = num_parameters
        self.init = init
        kind = np.float32 if dtype is None else dtype
        self.weight = Parameter(np.full(num_parameters, init, kind))

    def forward(self, input: Any) -> Any:
        """An array of the input's shape."""
        return F.prelu(input, self.weight)

    def extra_repr(self) -> str:
        """The number of its weights."""
        return f"num_parameters={self.num_parameters}"
