"""The training step: accumulation, clipping, weights of batches, a bad step changes nothing."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from tests.train.runs import blobs, network, same, trainer, weights

from backpass import nn, optim
from backpass.errors import NonFiniteError
from backpass.train import ModelCheckpoint


def one_epoch(
    model: nn.Module, loss: nn.Module, data: object, batch: int, accumulate: int
) -> float:
    """Train one epoch without shuffling by SGD; gives the epoch's gradient norm."""
    optimizer = optim.SGD(model.parameters(), lr=0.5)
    run = trainer(model, loss=loss, optimizer=optimizer, accumulate=accumulate)
    run.fit(data, epochs=1, batch_size=batch, shuffle=False)
    return run.history["gradient_norm"][0]


LOSSES = {
    "plain": lambda: nn.CrossEntropyLoss(),
    "class weights": lambda: nn.CrossEntropyLoss(weight=np.array([0.1, 1.0, 5.0])),
    "ignored": lambda: nn.CrossEntropyLoss(ignore_index=1),
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("batch", "accumulate"), [(5, 4), (7, 3), (1, 20), (19, 2), (20, 5)])
def test_accumulated_batches_are_one_big_batch(loss: str, batch: int, accumulate: int) -> None:
    data = blobs(20, dtype=np.float64)
    big, small = network().double(), network().double()
    expected = one_epoch(big, LOSSES[loss](), data, 20, 1)
    found = one_epoch(small, LOSSES[loss](), data, batch, accumulate)
    assert found == pytest.approx(expected, rel=1e-12)
    for name, array in weights(big).items():
        np.testing.assert_allclose(weights(small)[name], array, rtol=1e-12, atol=1e-15)


def test_what_is_left_at_the_end_of_an_epoch_makes_a_step() -> None:
    run = trainer(accumulate=4)
    run.fit(blobs(21), epochs=2, batch_size=2)  # 11 batches: 4 + 4 + 3
    assert run.step == 6


def test_the_epoch_loss_is_the_mean_over_samples() -> None:
    data = blobs(21, dtype=np.float64)
    frozen = network().double()
    run = trainer(frozen, optimizer=optim.SGD(frozen.parameters(), lr=0.0), accumulate=2)
    history = run.fit(data, epochs=1, batch_size=8)
    assert history["loss"][0] == pytest.approx(run.evaluate(data)["loss"], rel=1e-12)


@pytest.mark.parametrize("jit", [True, False])
def test_clipping_bounds_the_update(jit: bool) -> None:
    for option in ({"gradient_clip_norm": 1e-3}, {"gradient_clip_value": 1e-4}):
        model = network().double()
        before = weights(model)
        sgd = optim.SGD(model.parameters(), lr=1.0)
        run = trainer(model, optimizer=sgd, jit=jit, **option)
        run.fit(blobs(), epochs=1, batch_size=96)
        moved = np.concatenate([(weights(model)[n] - a).ravel() for n, a in before.items()])
        if "gradient_clip_norm" in option:
            assert np.linalg.norm(moved) == pytest.approx(1e-3, rel=1e-4)
        else:
            assert np.abs(moved).max() == pytest.approx(1e-4, rel=1e-6)
        assert run.history["gradient_norm"][0] > 0.1  # the norm before clipping


class Explodes(nn.Module):
    """log of a value that becomes negative once the scale has been driven down."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 3)
        self.second = nn.Linear(3, 3)

    def forward(self, x: np.ndarray) -> np.ndarray:
        return np.log(self.second(self.first(x)))  # the bad line


@pytest.mark.parametrize("jit", [True, False])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_bad_loss_stops_at_its_step_and_names_the_operation(jit: bool, accumulate: int) -> None:
    nn.manual_seed(0)
    model = Explodes()
    before = weights(model)
    optimizer = optim.Adam(model.parameters())
    state = {k: v.copy() for k, v in optimizer.state_arrays().items()}
    run = trainer(model, optimizer=optimizer, jit=jit, accumulate=accumulate)
    with pytest.raises(NonFiniteError) as caught:
        run.fit(blobs(), epochs=1, batch_size=16)
    said = str(caught.value)
    assert "the loss became nan in epoch 1, step 1." in said
    assert "The first bad operation is log of float32[16, 3] from " in said
    assert "'second.weight' (layer 2)" in said or "'second.bias' (layer 2)" in said
    assert "test_step.py" in said and " in forward" in said
    assert same(before, weights(model))
    assert same(state, optimizer.state_arrays())


def test_a_bad_gradient_of_a_good_loss_is_found() -> None:
    class Root(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(np.zeros(1, np.float32))

        def forward(self, x: np.ndarray) -> np.ndarray:
            return np.sqrt(x * self.scale)

    model = Root()
    run = trainer(model, loss=nn.L1Loss())
    with pytest.raises(NonFiniteError, match="the gradient is not finite in epoch 1, step 1"):
        run.fit((np.ones((4, 1)), np.ones((4, 1))), epochs=1)
    assert weights(model)["scale"] == 0


def test_nan_in_a_stream_is_blamed_on_the_batch() -> None:
    x, y = blobs(16)
    x[3, 2] = np.nan
    with pytest.raises(NonFiniteError, match="the inputs hold 1 NaN among 64 values"):
        trainer().fit([(x, y)], epochs=1)


def test_an_update_that_overflowed_is_named_at_the_next_step() -> None:
    model = network()
    run = trainer(model, optimizer=optim.SGD(model.parameters(), lr=1e38))
    with pytest.raises(
        NonFiniteError, match=r"Parameter '\d\.(weight|bias)' holds .*overflowed|first bad"
    ):
        run.fit(blobs(), epochs=3, batch_size=16)


def test_after_a_bad_step_training_can_go_on() -> None:
    model = network()
    run = trainer(model)
    x, y = blobs()
    run.fit((x, y), epochs=1)
    bad = x.copy()
    bad[0, 0] = np.nan
    with pytest.raises(NonFiniteError):
        run.fit([(x, y), (bad, y)], epochs=1)
    history = run.fit((x, y), epochs=8)
    assert len(history) == 9
    assert all(b < a for a, b in pairwise(history["loss"]))


def test_the_last_good_checkpoint_stays_and_is_named(tmp_path: Path) -> None:
    x, y = blobs()
    bad = x.copy()
    bad[0, 0] = np.inf
    stream = [(x[:48], y[:48]), (x[48:], y[48:]), (bad, y)]
    run = trainer(callbacks=[ModelCheckpoint(every_n_steps=1)], directory=tmp_path)
    with pytest.raises(NonFiniteError, match=r"go on with fit\(\.\.\., resume='.*-00000002\."):
        run.fit(stream, epochs=1)
    saved = trainer(network(seed=7))
    saved.load_weights(tmp_path)
    assert same(weights(saved.model), weights(run.model))
    assert all(np.isfinite(array).all() for array in weights(saved.model).values())


def test_values_that_are_undefined_are_null_and_explained() -> None:
    x, y = blobs(classes=2)
    nn.manual_seed(0)
    model = nn.Linear(4, 2)
    run = trainer(model, metrics=["roc_auc"])
    one_class = (x[:9], np.zeros(9, int))
    (record,) = run.fit((x, y), validation_data=one_class, epochs=1)
    assert record["validation"]["roc_auc"] is None
    (message,) = record["messages"]
    assert message.startswith("val_roc_auc is undefined: ") and "class" in message


@pytest.mark.parametrize("jit", [True, False])
def test_out_of_memory_names_a_batch_size_that_needs_half(jit: bool) -> None:
    class Huge(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, x: np.ndarray) -> np.ndarray:
            if len(x) > 8:
                np.empty(2**58, np.uint8)
            return self.layer(x)

    nn.manual_seed(0)
    model = Huge()
    before = weights(model)
    with pytest.raises(MemoryError) as caught:
        trainer(model, jit=jit).fit(blobs(), epochs=1, batch_size=16)
    assert "batch_size=8 with accumulate=2 takes about half" in caught.value.__notes__[0]
    assert same(before, weights(model))
    trainer(model, jit=jit, accumulate=2).fit(blobs(), epochs=1, batch_size=8)
