"""model.safetensors: what is written is read back, and nothing else is believed."""

import json
import pickle
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.cli.processes import Cli

from backpass.cli.model_file import read_model, write_model
from backpass.cli.network import NetworkSpec
from backpass.cli.settings import ACTIVATIONS
from backpass.errors import CheckpointError
from backpass.train.checkpoint_files import Content, read_file, write_file


def test_a_model_is_read_back_bit_for_bit(iris_run: Path, tmp_path: Path) -> None:
    saved = read_model(iris_run / "model.safetensors")
    write_model(tmp_path / "again.safetensors", saved)
    again = (tmp_path / "again.safetensors").read_bytes()
    assert again == (iris_run / "model.safetensors").read_bytes()


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize(("hidden", "dropout"), [((), 0.0), ((5,), 0.0), ((5, 3, 2), 0.5)])
def test_shapes_are_known_before_anything_is_made(
    activation: str, batch_norm: bool, hidden: tuple[int, ...], dropout: float
) -> None:
    spec = NetworkSpec(4, hidden, 3, activation, dropout, batch_norm, "float64")
    state = spec.build().state_dict()
    assert {name: array.shape for name, array in state.items()} == spec.shapes
    assert state["0.weight"].dtype == np.float64
    assert NetworkSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def changed(run: Path, path: Path, key: str, value: Any) -> Path:
    """A copy of a run's model with one entry of its document replaced."""
    content = read_file(run / "model.safetensors")
    write_file(path, Content(content.arrays, {**content.document, key: value}))
    return path


def spec_of(run: Path) -> dict[str, Any]:
    """The network entry of a run's model."""
    return read_file(run / "model.safetensors").document["network"]


def lies(run: Path) -> dict[str, tuple[str, Any]]:
    """Documents that a stranger may write."""
    spec = spec_of(run)
    return {
        "future format": ("model_format", 99),
        "no network": ("network", None),
        "huge": ("network", {**spec, "hidden": [1 << 24] * 900}),
        "deep": ("network", {**spec, "hidden": [2] * 100_000}),
        "negative": ("network", {**spec, "outputs": -3}),
        "bool": ("network", {**spec, "inputs": True}),
        "other size": ("network", {**spec, "hidden": [64, 65]}),
        "other inputs": ("network", {**spec, "inputs": 5}),
        "other outputs": ("network", {**spec, "outputs": 4}),
        "unknown activation": ("network", {**spec, "activation": "__import__('os')"}),
        "unhashable activation": ("network", {**spec, "activation": ["relu"]}),
        "more fields": ("network", {**spec, "code": "print(1)"}),
        "no preprocessing": ("preprocessor", "{}"),
        "preprocessing of another kind": ("preprocessor", ["x"]),
        "deep preprocessing": ("preprocessor", "[" * 100_000),
        "no metrics": ("metrics", {"accuracy": 1}),
    }


NAMES = (
    "future format|no network|huge|deep|negative|bool|other size|other inputs|other outputs|"
    "unknown activation|unhashable activation|more fields|no preprocessing|"
    "preprocessing of another kind|deep preprocessing|no metrics"
)


@pytest.mark.parametrize("name", NAMES.split("|"))
def test_a_lying_model_is_refused(name: str, iris_run: Path, tmp_path: Path) -> None:
    key, value = lies(iris_run)[name]
    path = changed(iris_run, tmp_path / "model.safetensors", key, value)
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        read_model(path)


def test_every_lie_is_told(iris_run: Path) -> None:
    assert set(lies(iris_run)) == set(NAMES.split("|"))


HOSTILE_BYTES = {
    "empty": b"",
    "pickle": pickle.dumps({"weights": [1, 2]}),
    "zip": b"PK\x03\x04" + bytes(100),
    "huge header": struct.pack("<Q", 1 << 62) + b"{}",
    "header beyond the end": struct.pack("<Q", 1000) + b"{}",
    "deep header": struct.pack("<Q", 200_000) + b"[" * 200_000,
    "no metadata": struct.pack("<Q", 2) + b"{}",
    "overlap": (lambda header: struct.pack("<Q", len(header)) + header + bytes(8))(
        b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},'
        b'"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}'
    ),
}


@pytest.mark.parametrize("name", HOSTILE_BYTES)
def test_hostile_bytes_get_one_sentence(name: str, cli: Cli, iris_run: Path) -> None:
    shutil.copytree(iris_run, "run")
    Path("run/model.safetensors").write_bytes(HOSTILE_BYTES[name])
    ended = cli("predict", "run", "iris")
    assert ended.status == 1 and ended.out == ""
    assert ended.err.startswith("backpass: ") and ended.err.count("\n") == 1
    assert "model.safetensors" in ended.err and "Traceback" not in ended.err
