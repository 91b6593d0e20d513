"""Step sizes by element from the history of squared gradients: RMSprop, Adagrad, Adadelta."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from backpass.optim.arithmetic import cast, lerp, mean_square, moved, with_weight_decay
from backpass.optim.groups import Params
from backpass.optim.optimizer import Arrays, Optimizer, Settings


class RMSprop(Optimizer):
    """Gradients divided by the root of their moving mean square, as torch.optim.RMSprop.

    v = alpha v + (1 - alpha) g^2; d = g / (sqrt(v) + eps), where `centered` takes the square of the
    mean of g off v; p = p - lr d, or with momentum b = momentum b + d, p = p - lr b. A schedule may
    change `lr` and `momentum` without compiling a step again.

    Args:
        params: parameters or groups; see `Optimizer`.
        lr: learning rate.
        alpha: what the averages keep at each step.
        eps: added to the denominator.
        weight_decay: L2 penalty.
        momentum: share of the last step that is kept.
        centered: divide by the standard deviation instead.
        maximize: ascend instead.

    Raises:
        ValueError: (OptimizerError) a hyperparameter is out of its range.

    Tieleman, Hinton 2012, lecture 6.5; centered: Graves 2013. A variance that rounding makes
    negative counts as 0 (torch gives nan).
    """

    scheduled: ClassVar[tuple[str, ...]] = ("lr", "momentum")
    elementwise: ClassVar[bool] = True

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "alpha": alpha,
            "eps": eps,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "centered": centered,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def initial_state(self, p: np.ndarray[Any, Any], h: Settings) -> Arrays:
        state: Arrays = {"step": np.zeros(()), "square_avg": np.zeros_like(p)}
        if h["momentum"] > 0:
            state["momentum_buffer"] = np.zeros_like(p)
        if h["centered"]:
            state["grad_avg"] = np.zeros_like(p)
        return state

    def update(self, p: Any, g: Any, s: Arrays, h: Settings) -> tuple[Any, Arrays]:
        g = with_weight_decay(g, p, h["weight_decay"])
        square = mean_square(s["square_avg"], g, h["alpha"])
        new: Arrays = {"step": s["step"] + 1.0, "square_avg": square}
        if h["centered"]:
            mean = new["grad_avg"] = lerp(s["grad_avg"], g, 1.0 - h["alpha"])
            square = np.maximum(square - mean * mean, 0.0)
        direction = g / (np.sqrt(square) + h["eps"])
        if "momentum_buffer" in s:
            direction = s["momentum_buffer"] * cast(h["momentum"], p) + direction
            new["momentum_buffer"] = direction
        return moved(p, h["lr"], direction), new


class Adagrad(Optimizer):
    """Gradients divided by the root of the sum of their squares, as torch.optim.Adagrad.

    a = a + g^2; p = p - lr / (1 + (t - 1) lr_decay) g / (sqrt(a) + eps).

    Args:
        params: parameters or groups; see `Optimizer`.
        lr: learning rate.
        lr_decay: how the learning rate falls with the steps.
        weight_decay: L2 penalty.
        initial_accumulator_value: a before the first step.
        eps: added to the denominator.
        maximize: ascend instead.

    Raises:
        ValueError: (OptimizerError) a hyperparameter is out of its range.

    Duchi, Hazan, Singer 2011, "Adaptive Subgradient Methods".
    """

    elementwise: ClassVar[bool] = True

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "lr_decay": lr_decay,
            "eps": eps,
            "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def initial_state(self, p: np.ndarray[Any, Any], h: Settings) -> Arrays:
        return {"step": np.zeros(()), "sum": np.full_like(p, h["initial_accumulator_value"])}

    def update(self, p: Any, g: Any, s: Arrays, h: Settings) -> tuple[Any, Arrays]:
        g = with_weight_decay(g, p, h["weight_decay"])
        total = s["sum"] + g * g
        lr = h["lr"] / (1.0 + s["step"] * h["lr_decay"])
        new = {"step": s["step"] + 1.0, "sum": total}
        return moved(p, lr, g / (np.sqrt(total) + h["eps"])), new


class Adadelta(Optimizer):
    """Steps in the units of the parameter, from the averages of squared gradients and steps. As
    torch.optim.Adadelta.

    v = rho v + (1 - rho) g^2; d = sqrt(u + eps) / sqrt(v + eps) g; u = rho u + (1 - rho) d^2; p = p
    - lr d.

    Args:
        params: parameters or groups; see `Optimizer`.
        lr: factor of the step.
        rho: what the averages keep at each step.
        eps: added under the roots.
        weight_decay: L2 penalty.
        maximize: ascend instead.

    Raises:
        ValueError: (OptimizerError) a hyperparameter is out of its range.

    Zeiler 2012, "ADADELTA: An Adaptive Learning Rate Method".
    """

    elementwise: ClassVar[bool] = True

    def __init__(
        self,
        params: Params,
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "rho": rho,
            "eps": eps,
            "weight_decay": weight_decay,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def initial_state(self, p: np.ndarray[Any, Any], h: Settings) -> Arrays:
        return {
            "step": np.zeros(()),
            "square_avg": np.zeros_like(p),
            "acc_delta": np.zeros_like(p),
        }

    def update(self, p: Any, g: Any, s: Arrays, h: Settings) -> tuple[Any, Arrays]:
        g = with_weight_decay(g, p, h["weight_decay"])
        rho, eps = h["rho"], h["eps"]
        square = mean_square(s["square_avg"], g, rho)
        direction = np.sqrt(s["acc_delta"] + eps) / np.sqrt(square + eps) * g
        new = {
            "step": s["step"] + 1.0,
            "square_avg": square,
            "acc_delta": mean_square(s["acc_delta"], direction, rho),
        }
        return moved(p, h["lr"], direction), new
