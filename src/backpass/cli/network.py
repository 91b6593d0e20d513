"""The network of a run: a multilayer perceptron, made from a few numbers that a file can hold.

`NetworkSpec` is what model.safetensors carries beside the weights; it is checked field by field,
since it may come from a stranger, and its size is known before anything is allocated.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from backpass import nn
from backpass.cli.settings import ACTIVATIONS, RunConfig
from backpass.errors import CheckpointError
from backpass.wording import quote

_ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky-relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "mish": nn.Mish,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}
_MOST_LAYERS = 1000
_MOST_UNITS = 1 << 24


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """Inputs, units of the hidden layers, outputs (logits of the classes, or one value)."""

    inputs: int
    hidden: tuple[int, ...]
    outputs: int
    activation: str
    dropout: float
    batch_norm: bool
    dtype: str

    @classmethod
    def of(cls, config: RunConfig, inputs: int, outputs: int) -> "NetworkSpec":
        """The network that a config asks for."""
        return cls(
            inputs,
            config.hidden,
            outputs,
            config.activation,
            config.dropout,
            config.batch_norm,
            config.dtype,
        )

    @classmethod
    def from_json(cls, found: Any) -> "NetworkSpec":
        """The spec of an object of JSON; CheckpointError for anything that is none."""
        if not isinstance(found, dict) or set(found) != set(cls.__dataclass_fields__):
            raise CheckpointError("the model's specification has not the fields of one.")
        hidden = found["hidden"]
        sizes = [found["inputs"], found["outputs"], *(hidden if isinstance(hidden, list) else [0])]
        right = (
            all(type(size) is int and 0 < size <= _MOST_UNITS for size in sizes)
            and len(sizes) <= _MOST_LAYERS
            and found["activation"] in ACTIVATIONS
            and type(found["dropout"]) in (int, float)
            and 0 <= found["dropout"] < 1
            and type(found["batch_norm"]) is bool
            and found["dtype"] in ("float32", "float64")
        )
        if not right:
            raise CheckpointError(f"the model's specification is none: {quote(found, 200)}.")
        return cls(**{**found, "hidden": tuple(hidden), "dropout": float(found["dropout"])})

    def to_json(self) -> dict[str, Any]:
        """The spec as an object of JSON."""
        return {**asdict(self), "hidden": list(self.hidden)}

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each array of the network by name, without making it."""
        found: dict[str, tuple[int, ...]] = {}
        width, at = self.inputs, 0
        for units in self.hidden:
            found[f"{at}.weight"] = (units, width)
            if self.batch_norm:
                at += 1
                names = ("weight", "bias", "running_mean", "running_var")
                found |= {f"{at}.{name}": (units,) for name in names}
                found[f"{at}.num_batches_tracked"] = ()
            else:
                found[f"{at}.bias"] = (units,)
            width, at = units, at + 2 + (self.dropout > 0)
        return found | {f"{at}.weight": (self.outputs, width), f"{at}.bias": (self.outputs,)}

    def build(self) -> nn.Sequential:
        """The network with fresh weights, from the seed of `nn.manual_seed`."""
        layers: list[nn.Module] = []
        width = self.inputs
        for units in self.hidden:
            # BatchNorm subtracts the mean, so a bias before it would never get a gradient
            layers.append(nn.Linear(width, units, bias=not self.batch_norm))
            if self.batch_norm:
                layers.append(nn.BatchNorm1d(units))
            layers.append(_ACTIVATIONS[self.activation]())
            if self.dropout > 0:
                layers.append(nn.Dropout(self.dropout))
            width = units
        layers.append(nn.Linear(width, self.outputs))
        return nn.Sequential(*layers).to(np.dtype(self.dtype))
