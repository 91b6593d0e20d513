"""GradientFlow: does the gradient reach every layer, is the update of a sensible size, do units
die.

Numbers of each parameter and epoch: the mean over steps of the gradient's norm; the mean over steps
of the norm of the update divided by the norm of the weights (about 1e-3 is healthy, Karpathy 2015);
and the share of dead units: rows of a weight that got a gradient of exactly zero in every step of
the epoch, as behind a ReLU that never fires.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from backpass.train.callback import NEVER, Callback, Logs, State, TrainerView
from backpass.train.history import as_json_number
from backpass.train.modules import parameters_of, submodules
from backpass.train.nonfinite import layer_number
from backpass.train.step_result import StepResult

#: The stated thresholds, see `GradientFlow`.
VANISHING_NORM, VANISHING_SHARE, EXPLODING_NORM, DEAD_SHARE = 1e-7, 1e-4, 1e3, 0.5


class GradientFlow(Callback):
    """Writes `gradient_flow` into each epoch's record, and says when something is wrong.

    Args:
        vanishing_norm: a weight's mean gradient norm below this is called vanishing.
        vanishing_share: and so is a root mean square of the gradient below this share of the
            largest layer's.
        exploding_norm: a mean gradient norm above this is called exploding.
        dead_share: a share of dead units from this on is reported.

    Messages begin with `vanishing at layer 3`, `exploding at layer 1`, `dead units at layer 2`; the
    layer is the place, from 1, of the parameter's module among the modules with parameters. Only
    weights (two or more axes) are judged; tables of embeddings are not, since a row without a
    gradient is a word that did not occur.
    """

    order: ClassVar[int] = 45
    needs_gradient_flow: ClassVar[bool] = True

    def __init__(
        self,
        *,
        vanishing_norm: float = VANISHING_NORM,
        vanishing_share: float = VANISHING_SHARE,
        exploding_norm: float = EXPLODING_NORM,
        dead_share: float = DEAD_SHARE,
    ) -> None:
        self.vanishing_norm, self.vanishing_share = vanishing_norm, vanishing_share
        self.exploding_norm, self.dead_share = exploding_norm, dead_share
        self._start()

    def _start(self) -> None:
        self.steps = 0
        self.norms: np.ndarray | None = None
        self.ratios: np.ndarray | None = None
        self.alive: list[np.ndarray] = []

    def on_fit_start(self, trainer: TrainerView) -> None:
        """Nothing is summed yet."""
        self._start()

    def on_epoch_start(self, trainer: TrainerView) -> None:
        """Nothing is summed yet."""
        self._start()

    def steps_until_needed(self, trainer: TrainerView) -> int:
        """It looks at the results alone."""
        return NEVER

    def on_batch_end(self, trainer: TrainerView, result: StepResult) -> None:
        """Add one step."""
        flow = result.flow
        if flow is None:
            return
        weights = np.maximum(flow.weight_norms, np.finfo(np.float32).tiny)
        ratios = np.where(flow.weight_norms > 0, flow.update_norms / weights, 0.0)
        self.steps += 1
        if self.norms is None or self.ratios is None:
            self.norms, self.ratios = flow.gradient_norms.copy(), ratios
            self.alive = [a.copy() for a in flow.alive]
            return
        self.norms += flow.gradient_norms
        self.ratios += ratios
        for seen, new in zip(self.alive, flow.alive, strict=True):
            seen |= new

    def on_epoch_end(self, trainer: TrainerView, logs: Logs) -> None:
        """Write the epoch's numbers and messages."""
        if self.norms is None or self.ratios is None:
            return
        parameters = parameters_of(trainer.model)
        shapes = [cell.shape for cell in parameters.values()]
        tables = _embedding_tables(trainer.model)
        judged = [len(cell.shape) > 1 and id(cell) not in tables for cell in parameters.values()]
        norms, ratios = self.norms / self.steps, self.ratios / self.steps
        dead = [
            float(np.mean(~seen)) if good else None
            for seen, good in zip(self.alive, judged, strict=True)
        ]
        trainer.loop.record["gradient_flow"] = [
            {
                "parameter": name,
                "gradient_norm": as_json_number(norm),
                "update_ratio": as_json_number(ratio),
                "dead_share": share,
            }
            for name, norm, ratio, share in zip(parameters, norms, ratios, dead, strict=True)
        ]
        kept = [i for i, good in enumerate(judged) if good]
        names = list(parameters)
        rms = np.array([norms[i] / np.sqrt(np.prod(shapes[i])) for i in kept])
        for place, i in enumerate(kept):
            others = float(rms.max())
            for message in self._said(names[i], names, float(norms[i]), float(rms[place]), others):
                trainer.note(message)
            share = dead[i]
            if share is not None and share >= self.dead_share:
                where = f"layer {layer_number(names[i], names)}"
                trainer.note(
                    f"dead units at {where}: {share:.0%} of the rows of {names[i]!r} got no "
                    "gradient in this epoch"
                )

    def _said(
        self, name: str, names: Sequence[str], norm: float, rms: float, largest: float
    ) -> list[str]:
        where = f"layer {layer_number(name, names)}"
        what = f"the gradient norm of {name!r} is {norm:.3g}"
        if norm > self.exploding_norm:
            return [f"exploding at {where}: {what}, above {self.exploding_norm:g}"]
        if norm < self.vanishing_norm:
            return [f"vanishing at {where}: {what}, below {self.vanishing_norm:g}"]
        if rms < self.vanishing_share * largest:
            return [
                f"vanishing at {where}: {what}; by element it is {rms / largest:.1g} of the "
                "largest layer's, below "
                f"{self.vanishing_share:g}"
            ]
        return []

    def state_dict(self) -> dict[str, Any]:
        """The sums of the running epoch."""
        return {
            "steps": self.steps,
            "norms": self.norms,
            "ratios": self.ratios,
            "alive": list(self.alive),
        }

    def load_state_dict(self, state: State) -> None:
        """Go on adding."""
        self.steps, self.norms, self.ratios = state["steps"], state["norms"], state["ratios"]
        self.alive = [np.array(a) for a in state["alive"]]


def _embedding_tables(model: Any) -> set[int]:
    """The ids of the Cells that are tables of embeddings."""
    return {id(m.weight) for m in submodules(model) if hasattr(m, "num_embeddings")}


__all__ = ["GradientFlow"]
