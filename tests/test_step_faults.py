"""A training step that fails has changed nothing, and the next one goes on as if it had not been.

Checked with a label out of range, in small steps that one thread runs and in large ones that many
share, and with wrong indices of an embedding.
"""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

import backpass as bp
from backpass import nn, optim

SIZES = {"serial": (24, 8, 16), "parallel": (192, 96, 256)}  # batch, features, hidden units
CLASSES = 5


def loss(model: Any, x: Any, y: Any) -> Any:
    return nn.functional.cross_entropy(model(x), y)


def step(model: Any, optimizer: Any, x: Any, y: Any) -> Any:
    value, grads = bp.value_and_grad(loss)(model, x, y)
    optimizer.step(grads)
    return value


def network(features: int, hidden: int) -> Any:
    """All that a step updates: parameters, statistics, a count, the state of a generator."""
    bp.manual_seed(5)
    return nn.Sequential(
        nn.Linear(features, hidden),
        nn.BatchNorm1d(hidden),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.Linear(hidden, CLASSES),
    )


def everything(*stateful: Any) -> bytes:
    """The bytes of every array that outlives a step."""
    cells = [c for part in stateful for c in part.__backpass_cells__().values()]
    return pickle.dumps([c.array.tobytes() for c in cells])


def data(batch: int, features: int) -> list[tuple[Any, Any]]:
    rng = np.random.default_rng(6)
    return [
        (rng.normal(size=(batch, features)).astype(np.float32), rng.integers(0, CLASSES, batch))
        for _ in range(6)
    ]


def spoilt(y: Any, wrong: int, place: int) -> Any:
    y = y.copy()
    y[place] = wrong
    return y


@pytest.mark.parametrize("wrong", [CLASSES, -CLASSES - 1, 1 << 40])
@pytest.mark.parametrize("size", SIZES)
def test_a_label_out_of_range_changes_nothing(
    size: str, wrong: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKPASS_NUM_THREADS", "2")
    batch, features, hidden = SIZES[size]
    batches = data(batch, features)
    told = wrong if wrong >= 0 else CLASSES  # a negative label is sent past the end
    fast = bp.jit(step)
    models = [network(features, hidden) for _ in range(2)]
    optimizers = [optim.Adam(m.parameters(), lr=1e-2) for m in models]
    plan = fast.plan(models[0], optimizers[0], *batches[0])
    assert any(k.parallel for k in plan.kernels) == (size == "parallel")
    for i, (x, y) in enumerate(batches):
        one = fast(models[0], optimizers[0], x, y)
        assert one.tobytes() == fast(models[1], optimizers[1], x, y).tobytes()
        before = everything(models[0], optimizers[0])
        assert before == everything(models[1], optimizers[1])
        bad = spoilt(y, wrong, place=i * batch // len(batches))
        with pytest.raises(IndexError, match=rf"index {told} is out of bounds .* size {CLASSES}"):
            fast(models[0], optimizers[0], x, bad)
        assert everything(models[0], optimizers[0]) == before
        with pytest.raises(IndexError, match=rf"label {wrong} is outside of \[0, {CLASSES}\)"):
            step(models[0], optimizers[0], x, bad)
        assert everything(models[0], optimizers[0]) == before


@pytest.mark.parametrize("first", [True, False])
def test_the_first_call_may_be_the_one_that_fails(first: bool) -> None:
    batch, features, hidden = SIZES["serial"]
    x, y = data(batch, features)[0]
    fast = bp.jit(step)
    model = network(features, hidden)
    optimizer = optim.Adam(model.parameters(), lr=1e-2)
    before = everything(model, optimizer)
    if first:
        with pytest.raises(IndexError, match="index 9 is out of bounds"):
            fast(model, optimizer, x, spoilt(y, 9, 3))
        assert everything(model, optimizer) == before
    fast(model, optimizer, x, y)
    other = network(features, hidden)
    its = optim.Adam(other.parameters(), lr=1e-2)
    bp.jit(step)(other, its, x, y)
    assert everything(model, optimizer) == everything(other, its)


@pytest.mark.parametrize("rows", [12, 6000])
def test_a_wrong_index_of_an_embedding_changes_nothing(rows: int) -> None:
    bp.manual_seed(1)
    model = nn.Sequential(nn.Embedding(rows, 16), nn.Linear(16, CLASSES))
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    rng = np.random.default_rng(0)
    indices, y = rng.integers(0, rows, 300), rng.integers(0, CLASSES, 300)
    fast = bp.jit(step)
    fast(model, optimizer, indices, y)
    before = everything(model, optimizer)
    for wrong in (rows, -rows - 1):
        with pytest.raises(IndexError, match=f"index {rows} is out of bounds"):
            fast(model, optimizer, spoilt(indices, wrong, 299), y)
        assert everything(model, optimizer) == before
    fast(model, optimizer, indices, y)
    assert everything(model, optimizer) != before
