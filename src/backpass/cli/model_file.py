"""model.safetensors: the weights by torch's names, and in its metadata all that using them needs.

The arrays load anywhere safetensors do; the metadata holds the JSON of the preprocessing and of the
network. Reading runs no code: the header is checked by `train.checkpoint_files`, the rest here, and
what the network would take is compared with what the file holds before any of it is allocated.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from backpass import nn
from backpass.cli.network import NetworkSpec
from backpass.data import Preprocessor
from backpass.errors import CheckpointError
from backpass.train.checkpoint_files import Content, read_file, write_file
from backpass.wording import quote, quote_path

FORMAT = 1


@dataclass(frozen=True, slots=True, eq=False)
class SavedModel:
    """A trained network, what its inputs go through, and the metrics that judge it."""

    network: nn.Sequential
    spec: NetworkSpec
    preprocessor: Preprocessor
    metrics: tuple[str, ...]


def write_model(path: Path, model: SavedModel) -> None:
    """Write the file atomically; the same model gives the same bytes."""
    document = {
        "model_format": FORMAT,
        "network": model.spec.to_json(),
        "preprocessor": model.preprocessor.to_json(),
        "metrics": list(model.metrics),
    }
    arrays = {name: np.asarray(array) for name, array in model.network.state_dict().items()}
    write_file(path, Content(arrays, document))


def read_model(path: Path) -> SavedModel:
    """Read a file that `write_model` wrote.

    Raises:
        CheckpointError: it is damaged, hostile, of another format, or its parts disagree.
    """
    content = read_file(path)
    document = content.document
    if document.get("model_format") != FORMAT:
        raise CheckpointError(
            f"{quote_path(path)} is no model of a run (format {quote(document.get('model_format'))}"
            f"; this backpass reads {FORMAT}). Give a run folder that `backpass train` wrote."
        )
    try:
        spec = NetworkSpec.from_json(document.get("network"))
        preprocessor = _preprocessor(document.get("preprocessor"))
        metrics = document.get("metrics")
        if not isinstance(metrics, list) or not all(isinstance(m, str) for m in metrics):
            raise CheckpointError("its list of metrics is none.")
        _check_sizes(spec, preprocessor, content.arrays)
        network = spec.build()
        network.load_state_dict(content.arrays)
    except CheckpointError as error:
        raise CheckpointError(f"{quote_path(path)} cannot be used: {error}") from error
    return SavedModel(network, spec, preprocessor, tuple(metrics))


def _preprocessor(text: Any) -> Preprocessor:
    if not isinstance(text, str):
        raise CheckpointError("it holds no preprocessing.")
    found = Preprocessor.from_json(text)
    if found.target is None:
        raise CheckpointError("its preprocessing has no target.")
    return found


def _check_sizes(spec: NetworkSpec, preprocessor: Preprocessor, arrays: dict[str, Any]) -> None:
    """Refuse what disagrees before a network of that size is made."""
    if spec.inputs != preprocessor.n_inputs:
        raise CheckpointError(
            f"the network takes {spec.inputs:,} inputs and the preprocessing gives "
            f"{preprocessor.n_inputs:,}."
        )
    outputs = len(preprocessor.classes) or 1
    if spec.outputs != outputs:
        raise CheckpointError(
            f"the network has {spec.outputs:,} outputs and the target needs {outputs:,}."
        )
    wanted, given = spec.shapes, {name: array.shape for name, array in arrays.items()}
    for name in [*wanted, *given]:
        if wanted.get(name) != given.get(name):
            raise CheckpointError(
                f"array {quote(name)} has shape {given.get(name, 'none (it is missing)')} in the "
                f"file and {wanted.get(name, 'none (it is unexpected)')} in the network."
            )
