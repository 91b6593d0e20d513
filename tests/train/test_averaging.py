"""Averages: SWA is the mean of K snapshots, EMA the recursion, BatchNorm's statistics anew."""

from typing import Any

import numpy as np
import pytest
from tests.train.runs import blobs, network, same, trainer, weights

from backpass import nn
from backpass.errors import ConfigError
from backpass.train import (
    Callback,
    EarlyStopping,
    ExponentialMovingAverage,
    StepResult,
    StochasticWeightAveraging,
    Trainer,
)


class Snapshots(Callback):
    """Keeps the weights after every step and every epoch."""

    def __init__(self) -> None:
        self.steps: list[dict[str, np.ndarray]] = []
        self.epochs: list[dict[str, np.ndarray]] = []

    def on_batch_end(self, trainer: Trainer, result: StepResult) -> None:
        """Keep them."""
        self.steps.append(weights(trainer.model))

    def on_epoch_end(self, trainer: Trainer, logs: Any) -> None:
        """Keep them."""
        self.epochs.append(weights(trainer.model))


@pytest.mark.parametrize(
    ("start", "every", "chosen"),
    [(3, 1, [2, 3, 4, 5]), (0.5, 1, [3, 4, 5]), (2, 2, [1, 3, 5]), (0.0, 1, [0, 1, 2, 3, 4, 5])],
)
def test_swa_is_the_mean_of_the_snapshots(start: Any, every: int, chosen: list[int]) -> None:
    kept, swa = Snapshots(), StochasticWeightAveraging(start, every)
    run = trainer(network().double(), callbacks=[kept, swa])
    run.fit(blobs(), epochs=6, batch_size=32)
    assert swa.snapshots == len(chosen)
    for name, array in weights(run.model).items():
        mean = np.mean([kept.epochs[i][name] for i in chosen], axis=0)
        np.testing.assert_allclose(array, mean, rtol=1e-14)


def test_swa_computes_batch_norm_statistics_again() -> None:
    nn.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))
    model.double()
    x, y = blobs(64, dtype=np.float64)
    run = trainer(model, callbacks=[StochasticWeightAveraging(start=2)])
    run.fit((x, y), epochs=4, batch_size=64)
    hidden = x @ model[0].weight.read().T + model[0].bias.read()
    np.testing.assert_allclose(model[1].running_mean.read(), hidden.mean(0), rtol=1e-10)
    np.testing.assert_allclose(model[1].running_var.read(), hidden.var(0, ddof=1), rtol=1e-10)
    assert model[1].momentum == nn.BatchNorm1d(8).momentum
    assert [m.training for m in model] == [True] * 4


def test_swa_comes_after_the_best_weights() -> None:
    kept = Snapshots()
    callbacks = [kept, EarlyStopping("loss"), StochasticWeightAveraging(start=2)]
    run = trainer(network().double(), callbacks=callbacks)
    run.fit(blobs(), epochs=3)
    for name, array in weights(run.model).items():
        mean = (kept.epochs[1][name] + kept.epochs[2][name]) / 2
        np.testing.assert_allclose(array, mean, rtol=1e-14)


@pytest.mark.parametrize("warmup", [True, False])
def test_ema_is_the_recursion(warmup: bool) -> None:
    kept = Snapshots()
    ema = ExponentialMovingAverage(0.8, warmup=warmup)
    model = network().double()
    expected = weights(model)
    run = trainer(model, callbacks=[kept, ema])
    history = run.fit(blobs(), validation_data=blobs(30, seed=1), epochs=2, batch_size=16)
    for t, own in enumerate(kept.steps):
        decay = min(0.8, (1 + t) / (10 + t)) if warmup else 0.8
        for name in expected:
            expected[name] = decay * expected[name] + (1 - decay) * own[name]
    for name, array in weights(model).items():
        np.testing.assert_allclose(array, expected[name], rtol=1e-12)
    assert history["val_loss"][-1] == pytest.approx(run.evaluate(blobs(30, seed=1))["loss"])


def test_ema_does_not_change_training() -> None:
    kept, alone = Snapshots(), Snapshots()
    data: dict[str, Any] = {"validation_data": blobs(30, seed=1), "epochs": 2, "batch_size": 16}
    trainer(callbacks=[kept, ExponentialMovingAverage(0.9)]).fit(blobs(), **data)
    trainer(callbacks=[alone]).fit(blobs(), **data)
    assert all(same(a, b) for a, b in zip(kept.steps, alone.steps, strict=True))


def test_the_best_weights_under_ema_are_the_validated_ones() -> None:
    data = blobs(30, seed=1)
    stop = EarlyStopping("val_loss", patience=50)
    run = trainer(callbacks=[ExponentialMovingAverage(0.9), stop], lr=0.3)
    history = run.fit(blobs(), validation_data=data, epochs=12, batch_size=16)
    assert run.evaluate(data)["loss"] == pytest.approx(min(history["val_loss"]), rel=1e-6)


def test_an_error_in_validation_gives_the_own_weights_back() -> None:
    class Fails(Callback):
        def on_validation_start(self, trainer: Trainer) -> None:
            raise ZeroDivisionError

    kept = Snapshots()
    run = trainer(callbacks=[kept, ExponentialMovingAverage(0.9), Fails()])
    with pytest.raises(ZeroDivisionError):
        run.fit(blobs(), validation_data=blobs(20), epochs=1)
    assert same(weights(run.model), kept.steps[-1])


def test_impossible_settings() -> None:
    for make in (
        lambda: StochasticWeightAveraging(start=1.5),
        lambda: StochasticWeightAveraging(start=0),
        lambda: StochasticWeightAveraging(every=0),
        lambda: ExponentialMovingAverage(1.0),
    ):
        with pytest.raises(ConfigError, match=r"give a"):
            make()
