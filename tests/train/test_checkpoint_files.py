"""Checkpoints: hostile, damaged and foreign files are refused by a sentence, and change nothing."""

import json
import pickle
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from tests.train.runs import blobs, network, same, trainer, weights

from backpass import nn
from backpass.errors import CheckpointError, NonFiniteError
from backpass.train import ModelCheckpoint, find_checkpoint, latest_checkpoint
from backpass.train.checkpoint_files import Content, read_file, write_file


def raw(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file, well formed or not."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def entry(dtype: str, shape: list[Any], begin: int, end: int) -> dict[str, Any]:
    """An array in a header."""
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


HOSTILE: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "it has 0 bytes"),
    "seven bytes": (b"1234567", "it has 7 bytes"),
    "pickle": (pickle.dumps({"a": 1}), "damaged or no checkpoint"),
    "zip": (b"PK\x03\x04" + bytes(100), "its header should have"),
    "header past the end": (raw({}, length=10**6), "its header should have 1,000,000"),
    "header of 2**64": (raw({}, length=2**64 - 1), "its header should have"),
    "no JSON": (raw(b"\xff\xfe{"), "its header is no JSON"),
    "deep JSON": (raw(b"[" * 200_000), "its header is no JSON"),
    "a list": (raw([1, 2]), "no JSON object"),
    "twice the same name": (raw(b'{"a":{},"a":{}}'), "a name stands twice"),
    "no description": (raw({"a": 3}), "not described by dtype, shape and data_offsets"),
    "unknown dtype": (raw({"a": entry("OBJ", [1], 0, 8)}, bytes(8)), "dtype 'OBJ'"),
    "negative shape": (raw({"a": entry("F32", [-1], 0, 4)}, bytes(4)), "has the shape"),
    "true as a shape": (raw({"a": entry("F32", [True], 0, 4)}, bytes(4)), "has the shape"),
    "huge shape": (raw({"a": entry("F32", [2**61, 2**61], 0, 4)}, bytes(4)), "does not fill"),
    "reversed range": (raw({"a": entry("F32", [1], 4, 0)}, bytes(4)), "does not fill"),
    "overlap": (
        raw({"a": entry("F32", [1], 0, 4), "b": entry("F32", [1], 2, 6)}, bytes(6)),
        "overlap or leave a gap",
    ),
    "gap": (raw({"a": entry("F32", [1], 4, 8)}, bytes(8)), "overlap or leave a gap"),
    "past the end": (raw({"a": entry("F32", [9], 0, 36)}, bytes(4)), "should take 36 bytes"),
    "bytes left over": (raw({"a": entry("F32", [1], 0, 4)}, bytes(9)), "should take 4 bytes"),
    "arrays alone": (safetensors.numpy.save({"a": np.zeros(2)}), "but no checkpoint of backpass"),
    "metadata no JSON": (
        safetensors.numpy.save({"a": np.zeros(2)}, {"backpass": "{"}),
        "its metadata is no JSON",
    ),
    "deep metadata": (
        safetensors.numpy.save({"a": np.zeros(2)}, {"backpass": "[" * 100_000}),
        "its metadata is no JSON",
    ),
    "another format": (
        safetensors.numpy.save({"a": np.zeros(2)}, {"backpass": '{"format":99}'}),
        "has the checkpoint format 99",
    ),
    "nothing in it": (
        safetensors.numpy.save({"a": np.zeros(2)}, {"backpass": '{"format":1}'}),
        "does not hold what a checkpoint holds: KeyError",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused(tmp_path: Path, name: str) -> None:
    content, sentence = HOSTILE[name]
    file = tmp_path / "checkpoint-00000001.safetensors"
    file.write_bytes(content)
    model = network()
    run = trainer(model)
    before, memory = weights(model), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.monotonic()
    with pytest.raises(CheckpointError, match=sentence):
        run.load(tmp_path)
    assert time.monotonic() - begun < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 300_000  # KiB
    assert same(before, weights(model))


def test_a_long_header_is_not_even_read(tmp_path: Path) -> None:
    file = tmp_path / "huge.safetensors"
    with file.open("wb") as out:  # a sparse file: 200 MiB that take no disk
        out.write((100 * 2**20).to_bytes(8, "little"))
        out.truncate(200 * 2**20)
    with pytest.raises(CheckpointError, match="its header has 104,857,600 bytes, the most is"):
        read_file(file)


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    run = trainer()
    run.fit(blobs(), epochs=1)
    file = tmp_path / "whole.safetensors"
    run.save(file)
    content = file.read_bytes()
    before = weights(run.model)
    for size in [*range(0, 64), *range(64, len(content), 97), len(content) - 1]:
        file.write_bytes(content[:size])
        with pytest.raises(CheckpointError):
            run.load(file)
    assert same(before, weights(run.model))


def altered(change: Callable[[dict[str, Any], dict[str, np.ndarray]], None]) -> Any:
    """What makes a changed copy of a checkpoint."""

    def make(file: Path) -> None:
        content = read_file(file)
        document, arrays = dict(content.document), dict(content.arrays)
        change(document, arrays)
        write_file(file, Content(arrays, document))

    return make


CHANGES: dict[str, tuple[Any, str]] = {
    "missing": (lambda d, a: a.pop("model.0.weight"), r"missing model\.0\.weight"),
    "unexpected": (lambda d, a: a.update({"model.9.x": np.zeros(1)}), r"unexpected model\.9\.x"),
    "wrong shape": (
        lambda d, a: a.update({"model.0.bias": np.zeros(3, np.float32)}),
        r"model\.0\.bias is float32\[3\] in the file and float32\[8\] here",
    ),
    "wrong dtype": (
        lambda d, a: a.update({"model.0.bias": np.zeros(8)}),
        r"model\.0\.bias is float64\[8\] in the file and float32\[8\] here",
    ),
    "negative counter": (lambda d, a: d["counters"].update(step=-1), "is no count"),
    "text for a counter": (lambda d, a: d["counters"].update(step="7"), "is no count"),
    "text for a flag": (lambda d, a: d["flags"].update(in_epoch="no"), "neither true nor false"),
    "other history": (
        lambda d, a: d["history"].update(sha256="0" * 64),
        "a history that does not have its own SHA-256",
    ),
    "fewer epochs": (lambda d, a: d["counters"].update(epochs_done=9), "counts 9 epochs, but 2"),
    "callbacks no list": (lambda d, a: d.update(callbacks=7), "does not hold what a checkpoint"),
    "state for nothing": (
        lambda d, a: d["callbacks"][0].update(state={"$array": "absent"}),
        "stands for nothing",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_does_not_fit_is_named_and_changes_nothing(tmp_path: Path, name: str) -> None:
    change, sentence = CHANGES[name]
    run = trainer(callbacks=[ModelCheckpoint(tmp_path)])
    run.fit(blobs(), epochs=2)
    file = tmp_path / "other.safetensors"
    run.save(file)
    altered(change)(file)
    model = network(seed=8)
    other = trainer(model, callbacks=[ModelCheckpoint(tmp_path / "new")])
    before, state = weights(model), other.optimizer.state_arrays()
    with pytest.raises(CheckpointError, match=sentence):
        other.load(file)
    assert same(before, weights(model))
    assert same(state, other.optimizer.state_arrays())
    assert (other.epoch, other.step, len(other.history)) == (0, 0, 0)


def test_save_and_load_give_back_everything(tmp_path: Path) -> None:
    run = trainer(network(dropout=0.5), metrics=["accuracy"])
    run.fit(blobs(), epochs=2, batch_size=16)
    run.save(tmp_path / "a.safetensors")
    run.save(tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    other = trainer(network(seed=5, dropout=0.5), metrics=["accuracy"])
    other.load(tmp_path / "a.safetensors")
    for one in (run, other):
        one.fit(blobs(), epochs=1, batch_size=16)
    assert same(weights(run.model), weights(other.model))
    assert run.history.sha256() == other.history.sha256()
    assert (other.epoch, other.step) == (3, 18)


def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    run = trainer()
    file = tmp_path / "good.safetensors"
    run.save(file)
    before = file.read_bytes()
    run.model[0].bias.data[2] = np.nan
    with pytest.raises(NonFiniteError, match=r"'model\.0\.bias' holds 1 of 8 values"):
        run.save(file)
    assert file.read_bytes() == before


def test_the_newest_and_the_best_are_kept(tmp_path: Path) -> None:
    keep = ModelCheckpoint(monitor="val_accuracy", keep_last=2)
    run = trainer(metrics=["accuracy"], callbacks=[keep], directory=tmp_path)
    history = run.fit(blobs(), validation_data=blobs(50, seed=3), epochs=5, batch_size=16)
    names = sorted(p.name for p in (tmp_path / "checkpoints").iterdir())
    assert names == [
        "best.safetensors",
        "checkpoint-00000024.safetensors",
        "checkpoint-00000030.safetensors",
    ]
    epoch, value = history.best("val_accuracy", "max")
    assert keep.best_value == value
    best = trainer(network(seed=2), metrics=["accuracy"], callbacks=[ModelCheckpoint()])
    assert keep.best is not None
    best.load(keep.best)
    assert best.epoch == epoch
    assert best.evaluate(blobs(50, seed=3))["accuracy"] == value
    assert find_checkpoint(tmp_path) == latest_checkpoint(tmp_path / "checkpoints") == keep.newest


def test_a_save_that_fails_keeps_the_checkpoints_before(tmp_path: Path) -> None:
    run = trainer(callbacks=[ModelCheckpoint()], directory=tmp_path)
    run.fit(blobs(), epochs=1, batch_size=16)
    folder = tmp_path / "checkpoints"
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    run.model[0].bias.data[0] = np.inf
    with pytest.raises(NonFiniteError):
        run.fit(blobs(), epochs=1, batch_size=16)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_buffers_and_random_counters_are_in_a_checkpoint(tmp_path: Path) -> None:
    nn.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))
    run = trainer(model)
    run.fit(blobs(), epochs=1)
    run.save(tmp_path / "file")
    names = {n for n in read_file(tmp_path / "file").arrays if n.startswith("model.")}
    assert names == {f"model.{name}" for name in model.__backpass_cells__()}
    assert any("running_mean" in name for name in names)


def test_weights_alone_need_the_same_model_only(tmp_path: Path) -> None:
    run = trainer(metrics=["accuracy"], callbacks=[ModelCheckpoint()], directory=tmp_path)
    run.fit(blobs(), epochs=1)
    other = trainer(network(seed=3))
    other.load_weights(tmp_path)
    assert same(weights(run.model), weights(other.model))
    with pytest.raises(CheckpointError, match=r"wrong|model\.0\.weight is float32\[8, 4\]"):
        trainer(network(features=5)).load_weights(tmp_path)
