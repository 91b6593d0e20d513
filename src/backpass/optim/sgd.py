"""SGD with momentum, and Lion, which takes the sign of its momentum."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from backpass.errors import OptimizerError
from backpass.optim.arithmetic import cast, lerp, moved, shrunk, with_weight_decay
from backpass.optim.groups import Params
from backpass.optim.optimizer import Arrays, Optimizer, Settings


class SGD(Optimizer):
    """Stochastic gradient descent, as torch.optim.SGD.

    g' = g + weight_decay p; b = momentum b + (1 - dampening) g' (the first b is g'); p = p - lr b,
    or with Nesterov's momentum p - lr (g' + momentum b). A schedule may change `lr` and `momentum`
    without compiling a step again.

    Args:
        params: parameters or groups; see `Optimizer`.
        lr: learning rate.
        momentum: share of the last step that is kept.
        dampening: what momentum takes off the gradient.
        weight_decay: L2 penalty.
        nesterov: look ahead by one step of momentum; needs momentum > 0 and dampening 0.
        maximize: ascend instead.

    Raises:
        ValueError: (OptimizerError) a hyperparameter is out of its range.

    Sutskever, Martens, Dahl, Hinton 2013, "On the importance of initialization and momentum in deep
    learning".

    >>> from backpass.trace import Cell
    >>> w = Cell([1.0, 2.0], name="w")
    >>> SGD([w], lr=0.5).step({"w": np.array([1.0, 1.0])})
    >>> w.read()
    array([0.5, 1.5])
    """

    scheduled: ClassVar[tuple[str, ...]] = ("lr", "momentum")
    elementwise: ClassVar[bool] = True

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def _check_settings(self, settings: Settings) -> None:
        super()._check_settings(settings)
        if settings["nesterov"] and (settings["momentum"] <= 0 or settings["dampening"] != 0):
            raise OptimizerError(
                "Nesterov momentum requires a momentum and zero dampening, "
                f"got momentum={settings['momentum']}, dampening={settings['dampening']}"
            )

    def initial_state(self, p: np.ndarray[Any, Any], h: Settings) -> Arrays:
        """A buffer if there is momentum; a step count where dampening spares the first step."""
        if h["momentum"] == 0:
            return {}
        buffer = {"momentum_buffer": np.zeros_like(p)}
        return buffer | {"step": np.zeros(())} if h["dampening"] != 0 else buffer

    def update(self, p: Any, g: Any, s: Arrays, h: Settings) -> tuple[Any, Arrays]:
        g = with_weight_decay(g, p, h["weight_decay"])
        if "momentum_buffer" not in s:
            return moved(p, h["lr"], g), s
        kept: Arrays = {}
        new = g
        if "step" in s:
            taken = np.where(s["step"] == 0, 1.0, 1.0 - h["dampening"])
            new = g * cast(taken, g)
            kept["step"] = s["step"] + 1.0
        momentum = cast(h["momentum"], p)
        kept["momentum_buffer"] = buffer = s["momentum_buffer"] * momentum + new
        return moved(p, h["lr"], g + momentum * buffer if h["nesterov"] else buffer), kept


class Lion(Optimizer):
    """Evolved sign momentum.

    p = p (1 - lr weight_decay) - lr sign(beta1 m + (1 - beta1) g); m = beta2 m + (1 - beta2) g.
    Every element moves by lr, so lr is three to ten times smaller, and weight_decay as much larger,
    than for AdamW.

    Args:
        params: parameters or groups; see `Optimizer`.
        lr: learning rate.
        betas: what the step and what the state keep of the average.
        weight_decay: decay decoupled from the gradient.
        maximize: ascend instead.

    Raises:
        ValueError: (OptimizerError) a hyperparameter is out of its range.

    Chen et al. 2023, "Symbolic Discovery of Optimization Algorithms" (torch has no Lion; defaults
    of the paper).
    """

    scheduled: ClassVar[tuple[str, ...]] = ("lr", "betas")
    elementwise: ClassVar[bool] = True

    def __init__(
        self,
        params: Params,
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "weight_decay": weight_decay, "maximize": maximize}
        super().__init__(params, defaults)

    def initial_state(self, p: np.ndarray[Any, Any], h: Settings) -> Arrays:
        return {"exp_avg": np.zeros_like(p)}

    def update(self, p: Any, g: Any, s: Arrays, h: Settings) -> tuple[Any, Arrays]:
        beta1, beta2 = h["betas"]
        direction = np.sign(lerp(s["exp_avg"], g, 1.0 - beta1))
        p = shrunk(p, h["lr"], h["weight_decay"])
        return moved(p, h["lr"], direction), {"exp_avg": lerp(s["exp_avg"], g, 1.0 - beta2)}
