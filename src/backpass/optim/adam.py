"""Adam and its family: AdamW, NAdam, RAdam, Adamax. They average g, and g^2 or |g|."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from backpass.optim.arithmetic import (
    bias_correction,
    cast,
    lerp,
    mean_square,
    moved,
    shrunk,
    with_weight_decay,
)
from backpass.optim.groups import Params
from backpass.optim.optimizer import Arrays, Optimizer, Settings

Betas = tuple[float, float]


class _Moments(Optimizer):
    """Optimizers with betas, a step count and two moving averages."""

    scheduled: ClassVar[tuple[str, ...]] = ("lr", "betas")
    elementwise: ClassVar[bool] = True

    def initial_state(self, p: np.ndarray[Any, Any], h: Settings) -> Arrays:
        return {
            "step": np.zeros(()),
            "exp_avg": np.zeros_like(p),
            "exp_avg_sq": np.zeros_like(p),
        }

    def decayed(self, p: Any, g: Any, h: Settings) -> tuple[Any, Any]:
        """Parameter and gradient after weight decay, of whichever kind."""
        if h.get("decoupled_weight_decay"):
            return shrunk(p, h["lr"], h["weight_decay"]), g
        return p, with_weight_decay(g, p, h["weight_decay"])

    def moments(self, g: Any, s: Arrays, h: Settings) -> Arrays:
        """The state one step on."""
        beta1, beta2 = h["betas"]
        return {
            "step": s["step"] + 1.0,
            "exp_avg": lerp(s["exp_avg"], g, 1.0 - beta1),
            "exp_avg_sq": mean_square(s["exp_avg_sq"], g, beta2),
        }


def _root(average: Any, correction: Any, eps: float) -> Any:
    """sqrt(average / correction) + eps, with the correction's root taken as a scalar."""
    root = np.sqrt(average)
    root /= cast(np.sqrt(correction), root)
    root += eps
    return root


class Adam(_Moments):
    """Adam, as torch.optim.Adam.

    m and v are moving averages of g and g^2; p = p - lr (m / (1 - beta1^t)) / (sqrt(v / (1 -
    beta2^t)) + eps). A schedule may change `lr` and `betas` without compiling a step again.

    Args:
        params: parameters or groups; see `Optimizer`.
        lr: learning rate.
        betas: what the averages of g and of g^2 keep at each step.
        eps: added to the denominator.
        weight_decay: L2 penalty, which also enters the averages.
        amsgrad: divide by the largest v so far (Reddi, Kale, Kumar 2018).
        maximize: ascend instead.
        decoupled_weight_decay: decay as AdamW does.

    Raises:
        ValueError: (OptimizerError) a hyperparameter is out of its range.

    Kingma, Ba 2015, "Adam: A Method for Stochastic Optimization".

    >>> from backpass.trace import Cell
    >>> w = Cell([1.0, 2.0], name="w")
    >>> Adam([w], lr=0.5).step({"w": np.array([3.0, -4.0])})
    >>> w.read().round(6)
    array([0.5, 2.5])
    """

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: Betas = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        decoupled_weight_decay: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
            "decoupled_weight_decay": decoupled_weight_decay,
        }
        super().__init__(params, defaults)

    def initial_state(self, p: np.ndarray[Any, Any], h: Settings) -> Arrays:
        largest = {"max_exp_avg_sq": np.zeros_like(p)} if h["amsgrad"] else {}
        return super().initial_state(p, h) | largest

    def update(self, p: Any, g: Any, s: Arrays, h: Settings) -> tuple[Any, Arrays]:
        p, g = self.decayed(p, g, h)
        new = self.moments(g, s, h)
        beta1, beta2 = h["betas"]
        square = new["exp_avg_sq"]
        if h["amsgrad"]:
            square = new["max_exp_avg_sq"] = np.maximum(s["max_exp_avg_sq"], square)
        direction = new["exp_avg"] / _root(square, bias_correction(beta2, new["step"]), h["eps"])
        return moved(p, h["lr"] / bias_correction(beta1, new["step"]), direction), new


class AdamW(Adam):
    """Adam with weight decay decoupled from the gradient: p = p (1 - lr weight_decay) first. As
    torch.optim.AdamW.

    Args:
        params: parameters or groups; see `Optimizer`.
        lr: learning rate.
        betas: what the averages of g and of g^2 keep at each step.
        eps: added to the denominator.
        weight_decay: share of the parameter that a step with lr 1 takes off.
        amsgrad: divide by the largest v so far.
        maximize: ascend instead.

    Raises:
        ValueError: (OptimizerError) a hyperparameter is out of its range.

    Loshchilov, Hutter 2019, "Decoupled Weight Decay Regularization".
    """

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: Betas = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            maximize=maximize,
            decoupled_weight_decay=True,
        )


class NAdam(_Moments):
    """Adam with Nesterov's momentum, as torch.optim.NAdam.

    mu_t = beta1 (1 - 0.96^(t momentum_decay) / 2);
    p = p - lr ((1 - mu_t) g / (1 - mu_1...mu_t) + mu_{t+1} m / (1 - mu_1...mu_{t+1})) / (sqrt(v /
    (1 - beta2^t)) + eps).

    Args:
        params: parameters or groups; see `Optimizer`.
        lr: learning rate.
        betas: what the averages of g and of g^2 keep at each step.
        eps: added to the denominator.
        weight_decay: L2 penalty, or decay as AdamW's if decoupled.
        momentum_decay: how fast mu_t approaches beta1.
        decoupled_weight_decay: decay as AdamW does.
        maximize: ascend instead.

    Raises:
        ValueError: (OptimizerError) a hyperparameter is out of its range.

    Dozat 2016, "Incorporating Nesterov Momentum into Adam". The product of mu is kept in float64
    (torch: float32).
    """

    def __init__(
        self,
        params: Params,
        lr: float = 2e-3,
        betas: Betas = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "momentum_decay": momentum_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def initial_state(self, p: np.ndarray[Any, Any], h: Settings) -> Arrays:
        return super().initial_state(p, h) | {"mu_product": np.ones(())}

    def update(self, p: Any, g: Any, s: Arrays, h: Settings) -> tuple[Any, Arrays]:
        p, g = self.decayed(p, g, h)
        new = self.moments(g, s, h)
        beta1, beta2 = h["betas"]
        step, lr, decay = new["step"], h["lr"], h["momentum_decay"]
        mu = beta1 * (1.0 - 0.5 * np.power(0.96, step * decay))
        next_mu = beta1 * (1.0 - 0.5 * np.power(0.96, (step + 1.0) * decay))
        product = new["mu_product"] = s["mu_product"] * mu
        square = new["exp_avg_sq"]
        root = np.sqrt(square / cast(bias_correction(beta2, step), square)) + h["eps"]
        p = moved(p, lr * (1.0 - mu) / (1.0 - product), g / root)
        return moved(p, lr * next_mu / (1.0 - product * next_mu), new["exp_avg"] / root), new


class RAdam(_Moments):
    """Rectified Adam, as torch.optim.RAdam: plain momentum until the variance of the step size is
    bounded.

    rho_t = 2 / (1 - beta2) - 1 - 2 t beta2^t / (1 - beta2^t) is the length of the average of g^2;
    where it is above 5 the step is Adam's times sqrt((rho_t - 4)(rho_t - 2) rho / ((rho - 4)(rho -
    2) rho_t)), else lr m / (1 - beta1^t).

    Args:
        params: parameters or groups; see `Optimizer`.
        lr: learning rate.
        betas: what the averages of g and of g^2 keep at each step.
        eps: added to the denominator.
        weight_decay: L2 penalty, or decay as AdamW's if decoupled.
        decoupled_weight_decay: decay as AdamW does.
        maximize: ascend instead.

    Raises:
        ValueError: (OptimizerError) a hyperparameter is out of its range.

    Liu et al. 2020, "On the Variance of the Adaptive Learning Rate and Beyond".
    """

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: Betas = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def update(self, p: Any, g: Any, s: Arrays, h: Settings) -> tuple[Any, Arrays]:
        p, g = self.decayed(p, g, h)
        new = self.moments(g, s, h)
        beta1, beta2 = h["betas"]
        step = new["step"]
        correction = bias_correction(beta2, step)
        rectified, factor = _rectification(step, beta2, correction)
        adaptive = cast(np.sqrt(correction) * factor, p) / (np.sqrt(new["exp_avg_sq"]) + h["eps"])
        direction = new["exp_avg"] * np.where(rectified, adaptive, 1.0)
        return moved(p, h["lr"] / bias_correction(beta1, step), direction), new


def _rectification(step: Any, beta2: Any, correction: Any) -> tuple[Any, Any]:
    """Whether rho_t is above 5, and the factor of the step size there (1 elsewhere)."""
    longest = 2.0 / (1.0 - beta2) - 1.0
    length = longest - 2.0 * step * (1.0 - correction) / correction
    rectified = length > 5.0
    safe = np.where(rectified, length, 6.0)
    scale = longest / ((longest - 4.0) * (longest - 2.0) * safe)
    factor = np.where(rectified, (safe - 4.0) * (safe - 2.0) * scale, 1.0)
    return rectified, np.sqrt(factor)


class Adamax(Optimizer):
    """Adam with the infinity norm, as torch.optim.Adamax.

    u = max(beta2 u, |g| + eps); p = p - lr / (1 - beta1^t) m / u.

    Args:
        params: parameters or groups; see `Optimizer`.
        lr: learning rate.
        betas: what m and u keep at each step.
        eps: added to |g|.
        weight_decay: L2 penalty.
        maximize: ascend instead.

    Raises:
        ValueError: (OptimizerError) a hyperparameter is out of its range.

    Kingma, Ba 2015, section 7.1.
    """

    scheduled: ClassVar[tuple[str, ...]] = ("lr", "betas")
    elementwise: ClassVar[bool] = True

    def __init__(
        self,
        params: Params,
        lr: float = 2e-3,
        betas: Betas = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def initial_state(self, p: np.ndarray[Any, Any], h: Settings) -> Arrays:
        return {"step": np.zeros(()), "exp_avg": np.zeros_like(p), "exp_inf": np.zeros_like(p)}

    def update(self, p: Any, g: Any, s: Arrays, h: Settings) -> tuple[Any, Arrays]:
        g = with_weight_decay(g, p, h["weight_decay"])
        beta1, beta2 = h["betas"]
        step = s["step"] + 1.0
        average = lerp(s["exp_avg"], g, 1.0 - beta1)
        largest = np.maximum(s["exp_inf"] * cast(beta2, p), np.abs(g) + h["eps"])
        new = {"step": step, "exp_avg": average, "exp_inf": largest}
        return moved(p, h["lr"] / bias_correction(beta1, step), average / largest), new
