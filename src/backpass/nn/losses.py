"""The losses of torch.nn as modules, over the functions of `nn.functional`: options at
construction, arrays at call.

Weights of classes and elements are buffers, so they are in the `state_dict` as in torch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from backpass.nn import functional as F
from backpass.nn.functional.values import REDUCTIONS, check_reduction
from backpass.nn.module import Module


class Loss(Module):
    """A loss of `function`, whose options are keyword arguments and become attributes. `weights`
    name its buffers.
    """

    function: ClassVar[Callable[..., Any]]
    options: ClassVar[dict[str, Any]] = {}
    weights: ClassVar[tuple[str, ...]] = ()
    reductions: ClassVar[tuple[str, ...]] = REDUCTIONS

    def __init__(self, *weights: Any, reduction: str = "mean", **options: Any) -> None:
        super().__init__()
        name = type(self).__name__
        check_reduction(name, reduction, self.reductions)
        if len(weights) > len(self.weights[:1]):
            raise TypeError(f"{name}: options are given by name: {', '.join(self.options)}")
        given = {**dict(zip(self.weights, weights, strict=False)), **options}
        for option in given:
            if option not in self.options and option not in self.weights:
                raise TypeError(f"{name}: unexpected argument {option!r}")
        for weight in self.weights:
            self.register_buffer(weight, given.get(weight))
        for option, default in self.options.items():
            setattr(self, option, given.get(option, default))
        self.reduction = reduction

    def forward(self, *arrays: Any) -> Any:
        """The loss of input(s) and target: a scalar, or one number for each element with reduction
        "none".
        """
        names = (*self.weights, *self.options)
        options = {name: getattr(self, name) for name in names}
        return type(self).function(*arrays, **options, reduction=self.reduction)


class CrossEntropyLoss(Loss):
    """-log softmax(input)[target]. CrossEntropyLoss(weight=None, *, ignore_index=-100,
    reduction="mean", label_smoothing=0.0)
    """

    function = staticmethod(F.cross_entropy)
    weights = ("weight",)
    options: ClassVar = {"ignore_index": -100, "label_smoothing": 0.0}


class NLLLoss(Loss):
    """-input[target] for log-probabilities. NLLLoss(weight=None, *, ignore_index=-100,
    reduction="mean")
    """

    function = staticmethod(F.nll_loss)
    weights = ("weight",)
    options: ClassVar = {"ignore_index": -100}


class BCELoss(Loss):
    """Binary cross-entropy of probabilities. BCELoss(weight=None, *, reduction="mean")"""

    function = staticmethod(F.binary_cross_entropy)
    weights = ("weight",)


class BCEWithLogitsLoss(Loss):
    """Binary cross-entropy of scores. BCEWithLogitsLoss(weight=None, *, reduction="mean",
    pos_weight=None)
    """

    function = staticmethod(F.binary_cross_entropy_with_logits)
    weights = ("weight", "pos_weight")


class MSELoss(Loss):
    """(x - t)^2. MSELoss(*, reduction="mean")"""

    function = staticmethod(F.mse_loss)


class L1Loss(Loss):
    """|x - t|. L1Loss(*, reduction="mean")"""

    function = staticmethod(F.l1_loss)


class SmoothL1Loss(Loss):
    """Quadratic within beta, linear beyond. SmoothL1Loss(*, reduction="mean", beta=1.0)"""

    function = staticmethod(F.smooth_l1_loss)
    options: ClassVar = {"beta": 1.0}


class HuberLoss(Loss):
    """Quadratic within delta, linear beyond. HuberLoss(*, reduction="mean", delta=1.0)"""

    function = staticmethod(F.huber_loss)
    options: ClassVar = {"delta": 1.0}


class KLDivLoss(Loss):
    """t (log t - x). KLDivLoss(*, reduction="mean", log_target=False); reduction "batchmean"
    too.
    """

    function = staticmethod(F.kl_div)
    options: ClassVar = {"log_target": False}
    reductions = (*REDUCTIONS, "batchmean")


class PoissonNLLLoss(Loss):
    """exp(x) - t x. PoissonNLLLoss(*, log_input=True, full=False, eps=1e-8, reduction="mean")"""

    function = staticmethod(F.poisson_nll_loss)
    options: ClassVar = {"log_input": True, "full": False, "eps": 1e-8}


class GaussianNLLLoss(Loss):
    """(log v + (x - t)^2 / v) / 2, called with input, target, var. GaussianNLLLoss(*, full=False,
    eps=1e-6, reduction="mean")
    """

    function = staticmethod(F.gaussian_nll_loss)
    options: ClassVar = {"full": False, "eps": 1e-6}


class HingeEmbeddingLoss(Loss):
    """x for target 1, max(0, margin - x) for -1. HingeEmbeddingLoss(*, margin=1.0,
    reduction="mean")
    """

    function = staticmethod(F.hinge_embedding_loss)
    options: ClassVar = {"margin": 1.0}


class MarginRankingLoss(Loss):
    """max(0, -t (x1 - x2) + margin). MarginRankingLoss(*, margin=0.0, reduction="mean")"""

    function = staticmethod(F.margin_ranking_loss)
    options: ClassVar = {"margin": 0.0}


class CosineEmbeddingLoss(Loss):
    """1 - cos for target 1, max(0, cos - margin) for -1. CosineEmbeddingLoss(*, margin=0.0,
    reduction="mean")
    """

    function = staticmethod(F.cosine_embedding_loss)
    options: ClassVar = {"margin": 0.0}
