"""Optimizer: parameter groups, state Cells, and the walk over them that every update rule shares.

An optimizer states its rule as a pure function of arrays, `update(p, g, s, h) -> (p, s)`; this
class reads the Cells, calls it for each parameter that has a gradient, and writes back in place.
The same code runs outside of transforms and under jit: rules never branch on values, and state
exists from the start, since a program cannot create it.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, ClassVar, NoReturn

import numpy as np

from backpass.errors import DTypeError, OptimizerError, UnsupportedError
from backpass.optim.gradients import by_cell
from backpass.optim.groups import ParameterGroup, Params, group_settings, named_cells
from backpass.optim.state import (
    load_arrays,
    load_group,
    load_parameter_state,
    matching_groups,
    saved_state,
)
from backpass.trace import Cell

Arrays = dict[str, Any]
Settings = Mapping[str, Any]

# The lowest and highest value of each hyperparameter (the highest of betas is excluded), and
# torch's words for it.
LIMITS: dict[str, tuple[float, float, str]] = {
    "lr": (0.0, np.inf, "learning rate"),
    "eps": (0.0, np.inf, "epsilon value"),
    "weight_decay": (0.0, np.inf, "weight_decay value"),
    "momentum": (0.0, np.inf, "momentum value"),
    "momentum_decay": (0.0, np.inf, "momentum_decay value"),
    "alpha": (0.0, np.inf, "alpha value"),
    "rho": (0.0, 1.0, "rho value"),
    "lr_decay": (0.0, np.inf, "lr_decay value"),
    "initial_accumulator_value": (0.0, np.inf, "initial_accumulator_value value"),
}

# Elements of a parameter that are updated at once outside of transforms: a few arrays of them fit
# the L2 cache.
PIECE = 1 << 15


def _number(name: str, value: Any) -> float:
    """A hyperparameter as a float; texts, which float() would read, are refused too."""
    try:
        return float(value + 0)
    except (TypeError, ValueError) as error:
        raise DTypeError(f"{name} must be a number, got {value!r}") from error


def _all_plain(arrays: Sequence[Any]) -> bool:
    return all([type(x) is np.ndarray for x in arrays])


class Optimizer:
    """What every optimizer is.

    Args:
        params: `model.parameters()`, `model.named_parameters()`, a list of Cells, or a list of
            dicts, each with `params` and hyperparameters of its own.
        defaults: hyperparameters of the groups that do not state them.

    Raises:
        ValueError: (OptimizerError) no parameters, one in two groups, an impossible hyperparameter.
        TypeError: (DTypeError) something that is no parameter.

    A subclass gives `initial_state` and `update`. `scheduled` names the hyperparameters that live
    in Cells, which a jitted step reads anew each time; a change of any other compiles the step
    again. `elementwise` says that the rule works on any part of the arrays alone (scalars in the
    state are those before the step).
    """

    scheduled: ClassVar[tuple[str, ...]] = ("lr",)
    elementwise: ClassVar[bool] = False

    def __init__(self, params: Params, defaults: Settings) -> None:
        self.defaults = dict(defaults)
        self.param_groups: list[ParameterGroup] = []
        self.state: dict[Cell, dict[str, Cell]] = {}
        self._given_names: dict[Cell, str] = {}
        self._labels: dict[Cell, str] = {}  # names as they were when the parameters joined
        self._cells: dict[str, Cell] | None = None
        self._static: Hashable = None
        for group in group_settings(params):
            self.add_param_group(group)

    # -- what a subclass gives

    def initial_state(self, p: np.ndarray[Any, Any], h: Settings) -> Arrays:
        """The state of one parameter before its first step, by name."""
        raise NotImplementedError(f"{type(self).__name__} does not say what state it keeps")

    def update(self, p: Any, g: Any, s: Arrays, h: Settings) -> tuple[Any, Arrays]:
        """The new value and the new state of one parameter.

        Args:
            p: the parameter.
            g: its gradient, negated where `maximize`; same shape and dtype.
            s: its state.
            h: the hyperparameters of its group; those in Cells as Python floats or traced float64
                of rank 0.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say how it updates a parameter")

    # -- parameter groups

    def add_param_group(self, param_group: Mapping[str, Any]) -> None:
        """Add a group: a dict with `params`, and hyperparameters where they are not the default."""
        if not isinstance(param_group, Mapping) or "params" not in param_group:
            raise DTypeError(
                "add_param_group takes a dict with the key 'params', such as {'params': "
                f"layer.parameters(), 'lr': 0.01}}, got {type(param_group).__name__}"
            )
        cells, names = named_cells(param_group["params"])
        settings = {**self.defaults, **param_group, "params": cells}
        if names is not None:
            settings["param_names"] = names
            self._given_names.update(zip(cells, names, strict=True))
        self._check_settings(settings)
        shared = [cell for cell in cells if cell in self.state]
        if shared:
            raise OptimizerError(
                f"some parameters appear in more than one parameter group: {shared[0].describe()}"
            )
        self.param_groups.append(ParameterGroup(settings, self.scheduled, self._changed))
        self._labels = self.names() | self._labels
        self._changed()

    def _check_settings(self, settings: Settings) -> None:
        """Refuse impossible hyperparameters, in torch's words."""
        for name, (low, high, words) in LIMITS.items():
            if name in settings and not low <= _number(name, settings[name]) <= high:
                bound = f"at least {low:g}" if high == np.inf else f"from {low:g} to {high:g}"
                raise OptimizerError(f"Invalid {words}: {settings[name]} (it must be {bound})")
        for i, beta in enumerate(settings.get("betas", ())):
            if not 0.0 <= _number("betas", beta) < 1.0:
                raise OptimizerError(
                    f"Invalid beta parameter at index {i}: {beta} (it must be from 0 to below 1)"
                )

    def _changed(self) -> None:
        """Make the state that the present hyperparameters need; forget what the old ones gave."""
        for group in self.param_groups:
            for cell in group["params"]:
                kept = self.state.setdefault(cell, {})
                if wanted := self._missing_state(cell, group, kept):
                    kept.update({name: Cell(array) for name, array in wanted.items()})
        self._cells = self._static = None

    def _missing_state(self, cell: Cell, group: Settings, kept: Mapping[str, Cell]) -> Arrays:
        array = np.empty(cell.shape, cell.dtype)
        return {k: v for k, v in self.initial_state(array, group).items() if k not in kept}

    def names(self) -> dict[Cell, str]:
        """The parameters in order, each with its qualified name, or its index where it has none."""
        found: dict[Cell, str] = {}
        taken: set[str] = set()
        for group in self.param_groups:
            for cell in group["params"]:
                name = self._given_names.get(cell) or cell.name or str(len(found))
                found[cell] = name if name not in taken else f"{name}#{len(found)}"
                taken.add(found[cell])
        return found

    # -- the step

    def step(self, grads: Any = None) -> None:
        """Update every parameter that has a gradient, in place.

        Args:
            grads: what `value_and_grad` returned for the Module; or a mapping from qualified name
                to array; or a sequence of arrays in the order of the parameters. A parameter that
                has none, or None, is skipped.

        Raises:
            ValueError: (OptimizerError, ShapeError) unknown names or wrong shapes; nothing is
                changed then.
            TypeError: (DTypeError) no gradients: unlike torch's, parameters hold none.

        Warns:
            UserWarning: a parameter of the model took the place, and has the name, of one that is
                held here: a layer was replaced after the optimizer was made.
        """
        given = by_cell(grads, self.state, self.names)
        for group in self.param_groups:
            settings = dict(group)
            for cell in group["params"]:
                if cell in given:
                    self._update_cell(cell, given[cell], settings)

    def zero_grad(self, set_to_none: bool = True) -> NoReturn:
        """Refused: there is no `.grad` to clear."""
        raise UnsupportedError(
            "zero_grad: parameters hold no gradients here; value_and_grad returns them, fresh at "
            "each call. Drop the line"
        )

    def _update_cell(self, cell: Cell, g: Any, settings: Settings) -> None:
        p = cell.read()
        g = g if g.dtype == p.dtype else g.astype(p.dtype)
        if settings.get("maximize"):
            g = -g
        state = self.state[cell]
        arrays = {name: c.read() for name, c in state.items()}
        if self.elementwise and p.size > PIECE and _all_plain((p, g, *arrays.values())):
            self._update_in_pieces(p, g, arrays, settings)
            return
        new, kept = self.update(p, g, arrays, settings)
        cell.write(new)
        for name, value in kept.items():
            state[name].write(value)

    def _update_in_pieces(self, p: Any, g: Any, arrays: Arrays, settings: Settings) -> None:
        """The same update piece by piece, so that what is between the operations stays in cache."""
        flat, gradient = p.reshape(-1), np.ravel(g)
        whole = {name: a.reshape(-1) for name, a in arrays.items() if a.shape == p.shape}
        kept: Arrays = {}
        for start in range(0, flat.size, PIECE):
            part = slice(start, start + PIECE)
            state = arrays | {name: a[part] for name, a in whole.items()}
            flat[part], kept = self.update(flat[part], gradient[part], state, settings)
            for name in whole.keys() & kept.keys():
                whole[name][part] = kept[name]
        for name in kept.keys() - whole.keys():
            arrays[name][...] = kept[name]

    # -- what a transform asks

    def __backpass_cells__(self) -> Mapping[str, Cell]:
        """Parameters by name, "state.<parameter>.<name>", "param_groups.<i>.<hyperparameter>"."""
        if self._cells is None:
            parameters = {name: cell for cell, name in self._labels.items()}
            self._cells = parameters | self._own_cells()
        return self._cells

    def _own_cells(self) -> dict[str, Cell]:
        """The Cells that are no parameters, under names that stay if a Module renames its own."""
        found: dict[str, Cell] = {}
        for parameter, state in self.state.items():
            found.update({f"state.{self._labels[parameter]}.{k}": c for k, c in state.items()})
        for i, group in enumerate(self.param_groups):
            found.update({f"param_groups.{i}.{k}": c for k, c in group.cells().items()})
        return found

    def __backpass_static__(self) -> Hashable:
        """The rule, the parameters of each group by label, and the hyperparameters that are no
        Cells; so that optimizers of equal models share what is compiled for one.
        """
        if self._static is None:
            groups = [
                (tuple([self._labels[c] for c in group["params"]]), group.fixed(self.defaults))
                for group in self.param_groups
            ]
            self._static = (type(self), tuple(groups))
        return self._static

    def __backpass_version__(self) -> object:
        """The same object as long as groups and fixed hyperparameters are the same."""
        return self._static or self.__backpass_static__()

    # -- saving and loading

    def state_dict(self) -> dict[str, Any]:
        """Copies of state and hyperparameters, in torch's structure.

        Returns:
            {"state": {index: {name: array}}, "param_groups": [{..., "params": [index, ...]}]}
        """
        return saved_state(self.param_groups, self.state)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave, here or in torch (tensors are read as arrays).

        Raises:
            ValueError: (CheckpointError) other groups, or a state that does not fit; nothing is
                changed then.
        """
        groups = matching_groups(self.param_groups, state_dict)
        fresh = {
            c: self.initial_state(np.empty(c.shape, c.dtype), {**group, **saved})
            for group, saved in groups
            for c in group["params"]
        }
        new = load_parameter_state(groups, fresh, state_dict["state"])
        for group, saved in groups:
            load_group(group, saved)
        for cell, arrays in new.items():
            kept = self.state[cell] = {name: self.state[cell][name] for name in arrays}
            for name, array in arrays.items():
                kept[name].write(array)
        self._cells = self._static = None

    def state_arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        """State and scheduled hyperparameters as one flat dict of copies, by the names of
        `__backpass_cells__`.

        With the parameters (the Module's) this is all that a bitwise continuation needs.
        """
        return {k: np.array(c.read()) for k, c in self._own_cells().items()}

    def load_state_arrays(self, arrays: Mapping[str, Any]) -> None:
        """Restore what `state_arrays` gave.

        Raises:
            ValueError: (CheckpointError) missing, unexpected or wrongly shaped arrays; nothing is
                changed then.
        """
        load_arrays(self._own_cells(), arrays)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.param_groups))})"
