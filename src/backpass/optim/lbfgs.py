"""LBFGS: quasi-Newton steps from a short memory of gradients, as torch.optim.LBFGS.

It evaluates the loss several times a step and decides by values, so it takes a closure, cannot be
traced, and keeps its memory in plain arrays. Jit the closure's `value_and_grad` to compile what
costs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from backpass.errors import CheckpointError, OptimizerError, TracingError
from backpass.optim.gradients import by_cell
from backpass.optim.groups import Params
from backpass.optim.line_search import Line, Trial, strong_wolfe
from backpass.optim.optimizer import Arrays, Optimizer, Settings
from backpass.optim.state import load_group, matching_groups
from backpass.trace import Tracer

Vector = np.ndarray[Any, Any]
Closure = Callable[[], tuple[Any, Any]]
NUMBERS = ("func_evals", "n_iter", "t", "H_diag", "prev_loss")
VECTORS = ("d", "prev_flat_grad")
HISTORIES = ("old_dirs", "old_stps", "ro")


@dataclass(slots=True, eq=False)
class Memory:
    """What one step leaves to the next; names as in torch's state."""

    func_evals: int = 0
    n_iter: int = 0
    t: float = 0.0
    H_diag: float = 1.0
    prev_loss: float = 0.0
    d: Vector | None = None
    prev_flat_grad: Vector | None = None
    old_dirs: list[Vector] = field(default_factory=list)
    old_stps: list[Vector] = field(default_factory=list)
    ro: list[float] = field(default_factory=list)

    def remember(self, gradient: Vector, history_size: int) -> None:
        """Add the last step and its change of gradient, if the curvature along it is positive."""
        assert self.d is not None and self.prev_flat_grad is not None
        y = gradient - self.prev_flat_grad
        s = self.d * self.t
        curvature = float(np.dot(y, s))
        if curvature <= 1e-10:
            return
        if len(self.old_dirs) == history_size:
            for history in (self.old_dirs, self.old_stps, self.ro):
                history.pop(0)
        self.old_dirs.append(y)
        self.old_stps.append(s)
        self.ro.append(1.0 / curvature)
        self.H_diag = curvature / float(np.dot(y, y))

    def direction(self, gradient: Vector) -> Vector:
        """-H gradient, by the two-loop recursion (Nocedal, Wright 2006, algorithm 7.4)."""
        q = -gradient
        count = len(self.old_dirs)
        shares = [0.0] * count
        for i in reversed(range(count)):
            shares[i] = float(np.dot(self.old_stps[i], q)) * self.ro[i]
            q -= shares[i] * self.old_dirs[i]
        q *= self.H_diag
        for i in range(count):
            back = float(np.dot(self.old_dirs[i], q)) * self.ro[i]
            q += (shares[i] - back) * self.old_stps[i]
        return q


class LBFGS(Optimizer):
    """Limited-memory BFGS, as torch.optim.LBFGS. One group only; best on the whole data, without
    noise.

    Args:
        params: parameters; see `Optimizer`.
        lr: step length; with a line search, the first that is tried.
        max_iter: most iterations of one step.
        max_eval: most evaluations of one step; default 5/4 max_iter.
        tolerance_grad: stop where no element of the gradient is larger.
        tolerance_change: stop where loss or parameters change less.
        history_size: how many steps the approximate Hessian remembers.
        line_search_fn: "strong_wolfe" or None (fixed step length).

    Raises:
        ValueError: (OptimizerError) several groups, or an impossible hyperparameter.

    Liu, Nocedal 1989, "On the limited memory BFGS method for large scale optimization".

    >>> from backpass.trace import Cell
    >>> w = Cell([5.0, -3.0], name="w")
    >>> optimizer = LBFGS([w], line_search_fn="strong_wolfe")
    >>> loss = optimizer.step(lambda: (np.sum(w.read() ** 2), {"w": 2 * w.read()}))
    >>> float(np.abs(w.read()).max()) < 1e-6
    True
    """

    def __init__(
        self,
        params: Params,
        lr: float = 1,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        if line_search_fn not in (None, "strong_wolfe"):
            raise OptimizerError(
                f"only 'strong_wolfe' is supported as line search, or None; got {line_search_fn!r}"
            )
        defaults = {
            "lr": lr,
            "max_iter": max_iter,
            "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
            "tolerance_grad": tolerance_grad,
            "tolerance_change": tolerance_change,
            "history_size": history_size,
            "line_search_fn": line_search_fn,
        }
        self.memory = Memory()
        super().__init__(params, defaults)

    def add_param_group(self, param_group: Mapping[str, Any]) -> None:
        """Refuse a second group: the memory is of all parameters together."""
        if self.param_groups:
            raise OptimizerError("LBFGS doesn't support per-parameter options (parameter groups)")
        super().add_param_group(param_group)

    def initial_state(self, p: Vector, h: Settings) -> Arrays:
        return {}

    def step(self, grads: Closure) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Run up to `max_iter` iterations.

        Args:
            grads: the closure: a function without arguments that returns (loss, gradients) at the
                present parameters, for example `lambda: bp.value_and_grad(loss)(model, x, y)`.

        Returns:
            The loss before the step.

        Raises:
            TypeError: (TracingError) under jit or another transform.
        """
        if not callable(grads):
            raise OptimizerError(
                "LBFGS.step needs a closure that returns (loss, grads), since it evaluates them "
                "several times; "
                "got the gradients: write optimizer.step(lambda: bp.value_and_grad(loss)(model, "
                "x, y))"
            )
        if any([isinstance(c.read(), Tracer) for c in self.param_groups[0]["params"]]):
            raise TracingError(
                "LBFGS.step decides by the values of the loss, which a traced call does not have; "
                "call it outside of "
                "bp.jit, and jit the value_and_grad inside of its closure instead"
            )
        return _Step(self, grads).run()

    # -- saving and loading

    def state_dict(self) -> dict[str, Any]:
        """Copies of memory and hyperparameters, in torch's structure (at parameter 0)."""
        found = super().state_dict()
        found["state"] = {0: _copied(self.memory)} if self.memory.n_iter else {}
        return found

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave. Raises CheckpointError where it does not fit."""
        groups = matching_groups(self.param_groups, state_dict)
        state = state_dict["state"]
        saved = state.get(0, state.get("0", {}))
        unknown = set(saved) - {*NUMBERS, *VECTORS, *HISTORIES, "al"}
        if unknown:
            raise CheckpointError(f"load_state_dict: not a state of LBFGS: {sorted(unknown)}")
        memory = _restored({k: v for k, v in saved.items() if k != "al" and v is not None})
        self._check_size(memory)
        for group, other in groups:
            load_group(group, other)
        self.memory = memory

    def state_arrays(self) -> dict[str, Vector]:
        """Memory and learning rate as one flat dict of copies; histories are stacked."""
        found = super().state_arrays()
        for name, value in _copied(self.memory).items():
            found[f"memory.{name}"] = np.array(value, np.float64 if name == "ro" else None)
        return found

    def load_state_arrays(self, arrays: Mapping[str, Any]) -> None:
        """Restore what `state_arrays` gave. Raises CheckpointError where it does not fit."""
        own = {k[7:]: np.asarray(v) for k, v in arrays.items() if k.startswith("memory.")}
        absent = {*NUMBERS, *HISTORIES} - set(own)
        if absent:
            raise CheckpointError(f"the arrays of LBFGS do not fit: missing {sorted(absent)}")
        memory = _restored(own)
        self._check_size(memory)
        super().load_state_arrays({k: v for k, v in arrays.items() if not k.startswith("memory.")})
        self.memory = memory

    def _check_size(self, memory: Memory) -> None:
        size = sum([int(np.prod(c.shape)) for c in self.state])
        if memory.d is not None and memory.d.size != size:
            raise CheckpointError(
                f"the memory of LBFGS is of {memory.d.size} numbers, the parameters have {size}"
            )


def _copied(memory: Memory) -> dict[str, Any]:
    found: dict[str, Any] = {name: getattr(memory, name) for name in NUMBERS}
    found.update({k: v.copy() for k in VECTORS if (v := getattr(memory, k)) is not None})
    found.update({k: [np.array(x) for x in getattr(memory, k)] for k in HISTORIES})
    return found


def _restored(saved: Mapping[str, Any]) -> Memory:
    memory = Memory()
    for name in NUMBERS:
        kind = type(getattr(memory, name))
        setattr(memory, name, kind(saved.get(name, getattr(memory, name))))
    for name in VECTORS:
        if name in saved:
            setattr(memory, name, np.array(saved[name]))
    for name in ("old_dirs", "old_stps"):
        setattr(memory, name, [np.array(x) for x in saved.get(name, ())])
    memory.ro = [float(x) for x in saved.get("ro", ())]
    return memory


class _Step:
    """One call of LBFGS.step: the parameters as one flat vector, and the iterations."""

    def __init__(self, optimizer: LBFGS, closure: Closure) -> None:
        self.optimizer = optimizer
        self.closure = closure
        self.memory = optimizer.memory
        self.h: Settings = dict(optimizer.param_groups[0])
        self.cells = self.h["params"]
        self.evaluations = 0

    def evaluate(self) -> tuple[Any, Vector]:
        """Loss and flat gradient at the present parameters; zeros where a parameter has none."""
        loss, grads = self.closure()
        found = by_cell(grads, self.optimizer.state, self.optimizer.names)
        parts = [
            np.ravel(found[c]) if c in found else np.zeros(int(np.prod(c.shape)), c.dtype)
            for c in self.cells
        ]
        self.evaluations += 1
        self.memory.func_evals += 1
        return loss, np.concatenate(parts)

    def move(self, step: float, direction: Vector) -> None:
        """Add step * direction to the parameters."""
        at = 0
        for cell in self.cells:
            array = cell.read()
            part = direction[at : at + array.size].reshape(array.shape)
            cell.write(array + (step * part).astype(array.dtype, copy=False))
            at += array.size

    def run(self) -> Any:
        """The iterations of one step; returns the loss before it."""
        memory, h = self.memory, self.h
        first_loss, gradient = self.evaluate()
        loss = float(first_loss)
        if self._is_flat(gradient):
            return first_loss
        for iteration in range(1, h["max_iter"] + 1):
            memory.n_iter += 1
            if memory.n_iter == 1 or memory.d is None:
                memory.d = -gradient
                step = min(1.0, 1.0 / float(np.abs(gradient).sum())) * h["lr"]
            else:
                memory.remember(gradient, h["history_size"])
                memory.d = memory.direction(gradient)
                step = h["lr"]
            memory.prev_flat_grad, memory.prev_loss = gradient, loss
            memory.t = step
            slope = float(np.dot(gradient, memory.d))
            if slope > -h["tolerance_change"]:
                break
            last = iteration == h["max_iter"]
            loss, gradient = self._advance(Trial(0.0, loss, gradient, slope), last)
            if last or self._is_done(loss, gradient):
                break
        return first_loss

    def _advance(self, start: Trial, last: bool) -> tuple[float, Vector]:
        """Move along the direction; loss and gradient there, or the old where none are needed."""
        memory, h = self.memory, self.h
        direction = memory.d
        assert direction is not None
        if h["line_search_fn"] is None:
            self.move(memory.t, direction)
            if last:
                return start.loss, start.gradient
            loss, gradient = self.evaluate()
            return float(loss), gradient
        kept = [np.array(c.read()) for c in self.cells]

        def evaluate(step: float) -> tuple[float, Vector]:
            self.move(step, direction)
            loss, gradient = self.evaluate()
            for cell, array in zip(self.cells, kept, strict=True):
                cell.write(array)
            return float(loss), gradient

        most = h["max_eval"] - self.evaluations
        best, _ = strong_wolfe(Line(start, direction, evaluate), memory.t, max_trials=most)
        memory.t = best.step
        self.move(best.step, direction)
        return best.loss, best.gradient

    def _is_flat(self, gradient: Vector) -> bool:
        return float(np.abs(gradient).max()) <= self.h["tolerance_grad"]

    def _is_done(self, loss: float, gradient: Vector) -> bool:
        """Whether evaluations are used up, the gradient vanishes, or nothing moves any more."""
        memory, tolerance = self.memory, self.h["tolerance_change"]
        assert memory.d is not None
        return (
            self.evaluations >= self.h["max_eval"]
            or self._is_flat(gradient)
            or float(np.abs(memory.d * memory.t).max()) <= tolerance
            or abs(loss - memory.prev_loss) < tolerance
        )
