"""The callbacks' protocol, and what each callback does."""

import math
from typing import Any

import numpy as np
import pytest
from tests.train.runs import blobs, network, same, trainer, weights

from backpass import nn, optim
from backpass.errors import CheckpointError, ConfigError
from backpass.train import (
    Callback,
    EarlyStopping,
    GradientFlow,
    LearningRateMonitor,
    LearningRateSchedule,
    ModelCheckpoint,
    OverfittingWarning,
    Trainer,
)
from backpass.train.monitor import Monitor, monitor_of
from backpass.train.packing import pack, unpack

EVENTS = [
    "on_fit_start",
    "on_epoch_start",
    "on_batch_end",
    "on_validation_start",
    "on_validation_end",
    "on_epoch_end",
    "on_epoch_recorded",
    "on_fit_end",
    "on_close",
]


class Recorder(Callback):
    """Notes every event; raises at one of them if told to."""

    def __init__(self, fail_at: str = "", in_epoch: int = 1) -> None:
        self.seen: list[str] = []
        self.fail_at, self.in_epoch = fail_at, in_epoch


def _noting(event: str) -> Any:
    def note(self: Recorder, trainer: Trainer, *args: Any) -> None:
        self.seen.append(event)
        if event == self.fail_at and trainer.epoch == self.in_epoch:
            raise ZeroDivisionError("mine")

    return note


for _event in EVENTS:
    setattr(Recorder, _event, _noting(_event))


def test_the_order_of_events() -> None:
    recorder = Recorder()
    trainer(callbacks=[recorder]).fit(blobs(), validation_data=blobs(20), epochs=2, batch_size=48)
    epoch = [EVENTS[1], EVENTS[2], EVENTS[2], *EVENTS[3:7]]
    assert recorder.seen == ["on_fit_start", *epoch, *epoch, "on_fit_end", "on_close"]


@pytest.mark.parametrize("event", EVENTS[:-2])
def test_an_exception_in_a_callback_is_shown_and_the_run_goes_on(tmp_path: Any, event: str) -> None:
    alone = network(dropout=0.2)
    options = {"validation_data": blobs(20), "epochs": 3, "batch_size": 16}
    expected = trainer(alone, callbacks=[EarlyStopping()]).fit(blobs(), **options)
    in_epoch = 0 if event == "on_fit_start" else 2
    recorder = Recorder(event, in_epoch)
    run = trainer(
        network(dropout=0.2),
        callbacks=[recorder, EarlyStopping(), ModelCheckpoint(every_n_steps=1)],
        directory=tmp_path,
    )
    with pytest.raises(ZeroDivisionError, match="mine") as caught:
        run.fit(blobs(), **options)
    (note,) = caught.value.__notes__
    assert f"raised by the callback Recorder.{event} in epoch {in_epoch}" in note
    assert recorder.seen[-1] == "on_close"
    model = network(seed=4, dropout=0.2)
    again = trainer(
        model, callbacks=[EarlyStopping(), ModelCheckpoint(every_n_steps=1)], directory=tmp_path
    )
    resume = None if event == "on_fit_start" else tmp_path
    if resume is None:
        model.load_state_dict(network(dropout=0.2).state_dict())
        again = trainer(
            network(dropout=0.2), callbacks=[EarlyStopping(), ModelCheckpoint()], directory=tmp_path
        )
    found = again.fit(blobs(), **options, resume=resume)
    assert found.sha256() == expected.sha256()
    assert same(weights(again.model), weights(alone))


class Script(Callback):
    """Stands for a training whose validation loss is as written."""

    order = 5

    def __init__(self, values: list[float], name: str = "val_loss") -> None:
        self.values, self.name = values, name

    def on_epoch_end(self, trainer: Trainer, logs: Any) -> None:
        """Put the value in."""
        value = self.values[trainer.epoch - 1]
        logs[self.name] = None if math.isnan(value) else value


NAN = math.nan


@pytest.mark.parametrize(
    ("values", "options", "best", "stopped"),
    [
        ([5, 4, 3, 4, 4, 4, 4, 4], {"patience": 3}, 3, 6),
        ([5, 4, 3, 4, 4, 2, 4, 4], {"patience": 3}, 6, None),
        ([5, 4, 4, 4, 3, 3, 3, 3], {"patience": 2}, 2, 4),
        ([5, 4.9, 4.8, 4.7, 4, 4, 4, 4], {"patience": 2, "min_delta": 0.5}, 1, 3),
        ([5, 6, 4, 4, 4, 4, 4, 4], {"patience": 0}, 1, 2),
        ([NAN, NAN, NAN, 1, 1, 1, 1, 1], {"patience": 2}, None, 2),
        ([5, NAN, 4, NAN, NAN, 1, 1, 1], {"patience": 2}, 3, 5),
        ([1, 2, 3, 2, 2, 2, 2, 2], {"patience": 2, "mode": "max"}, 3, 5),
    ],
)
def test_early_stopping(
    values: list[float], options: dict[str, Any], best: int | None, stopped: int | None
) -> None:
    kept: dict[int, Any] = {}

    class Keep(Callback):
        def on_epoch_end(self, trainer: Trainer, logs: Any) -> None:
            kept[trainer.epoch] = weights(trainer.model)

    stop = EarlyStopping("val_loss", **options)
    run = trainer(callbacks=[Script(values), stop, Keep()])
    history = run.fit(blobs(), validation_data=blobs(20), epochs=8)
    assert (stop.best_epoch, stop.stopped_epoch) == (best, stopped)
    assert len(history) == (stopped or 8)
    assert same(weights(run.model), kept[best or len(history)])
    if stopped:
        assert history[-1]["messages"][0].startswith("stopped early: val_loss did not improve for")


def test_early_stopping_can_leave_the_last_weights() -> None:
    stop = EarlyStopping(patience=1, restore_best_weights=False)
    run = trainer(callbacks=[Script([1, 2]), stop])
    run.fit(blobs(), validation_data=blobs(20), epochs=2)
    plain = trainer()
    plain.fit(blobs(), validation_data=blobs(20), epochs=2)
    assert same(weights(run.model), weights(plain.model))


def test_monitors() -> None:
    run = trainer(metrics=["accuracy", "confusion_matrix"])
    directions = {"loss": "min", "val_loss": "min", "val_accuracy": "max", "gradient_norm": "min"}
    assert {n: monitor_of(run.metrics, n).mode for n in directions} == directions
    for name in ("val_acuracy", "lr", "val_confusion_matrix"):
        with pytest.raises(ConfigError, match="not known whether it should rise or fall"):
            monitor_of(run.metrics, name)
    with pytest.raises(ConfigError, match=r"Did you mean 'val_loss'\? There are: loss, val_loss"):
        Monitor("val_lss", "min").value({"loss": 1.0, "val_loss": 2.0})
    with pytest.raises(ConfigError, match="Pass validation_data to fit"):
        Monitor("val_loss", "min").value({"loss": 1.0})
    with pytest.raises(ConfigError, match="mode='up' is no mode"):
        monitor_of(run.metrics, "loss", "up")  # pyright: ignore[reportArgumentType]


def test_schedules_by_epoch_and_by_step() -> None:
    for interval, expected in (("epoch", [1.0, 0.5, 0.25]), ("step", [0.25, 0.0625, 0.015625])):
        model = network()
        optimizer = optim.SGD(model.parameters(), lr=1.0)
        schedule = optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
        seen = LearningRateMonitor()
        run = trainer(
            model,
            optimizer=optimizer,
            scheduler=schedule,
            scheduler_interval=interval,
            callbacks=[seen],
            gradient_clip_norm=0.1,
        )
        run.fit(blobs(), epochs=3, batch_size=48)
        used = [rates[0] for rates in seen.values]
        assert seen.steps == [1, 2, 3, 4, 5, 6]
        if interval == "epoch":
            assert used == [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]
            assert run.history["lr"] == expected
        else:
            assert used == [0.5**k for k in range(6)]


def test_reduce_on_plateau_gets_the_monitor() -> None:
    model = network()
    optimizer = optim.SGD(model.parameters(), lr=1.0)
    plateau = optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.1, patience=1)
    run = trainer(
        model,
        optimizer=optimizer,
        scheduler=plateau,
        callbacks=[Script([1, 2, 2, 2, 2])],
        gradient_clip_norm=0.01,
    )
    history = run.fit(blobs(), validation_data=blobs(20), epochs=5)
    np.testing.assert_allclose(history["lr"], [1, 1, 1, 0.1, 0.1])
    with pytest.raises(ConfigError, match="ReduceLROnPlateau watches a value"):
        LearningRateSchedule(plateau, "step")


def deep(activation: type[nn.Module], depth: int, gain: float) -> nn.Module:
    """Layers of width 8 whose weights are scaled."""
    nn.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(4, 8),
        *[m for _ in range(depth) for m in (activation(), nn.Linear(8, 8))],
        nn.Linear(8, 3),
    )
    for cell in model.parameters():
        cell.data = cell.read() * np.float32(gain)
    return model


def test_gradient_flow_says_vanishing_and_exploding() -> None:
    for model, word in (
        (deep(nn.Sigmoid, 8, 0.5), "vanishing at layer 1: the gradient norm of '0.weight' is"),
        (deep(nn.Identity, 8, 4.0), "exploding at layer 1: the gradient norm of '0.weight' is"),
    ):
        optimizer = optim.SGD(model.parameters(), lr=0.0)
        run = trainer(model, optimizer=optimizer, callbacks=[GradientFlow()])
        (record,) = run.fit(blobs(), epochs=1)
        assert any(m.startswith(word) for m in record["messages"]), record["messages"]
    healthy = trainer(callbacks=[GradientFlow()]).fit(blobs(), epochs=1)
    assert healthy[0]["messages"] == []


def test_gradient_flow_numbers_are_those_of_the_step() -> None:
    model = network().double()
    before = weights(model)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    run = trainer(model, optimizer=optimizer, callbacks=[GradientFlow()])
    (record,) = run.fit(blobs(dtype=np.float64), epochs=1, batch_size=96)
    total = 0.0
    for row in record["gradient_flow"]:
        name = row["parameter"]
        moved = np.linalg.norm(weights(model)[name] - before[name])
        assert row["gradient_norm"] == pytest.approx(moved / 0.1, rel=1e-9)
        assert row["update_ratio"] == pytest.approx(moved / np.linalg.norm(before[name]), rel=1e-9)
        total += row["gradient_norm"] ** 2
    assert record["gradient_norm"] == pytest.approx(math.sqrt(total), rel=1e-9)


def test_dead_units_are_counted() -> None:
    model = network()
    bias = np.array(model[0].bias.read())
    bias[:5] = -1e6  # five of eight units never fire
    model[0].bias.data = bias
    run = trainer(model, callbacks=[GradientFlow()])
    (record,) = run.fit(blobs(), epochs=1, batch_size=16)
    rows = {row["parameter"]: row["dead_share"] for row in record["gradient_flow"]}
    assert rows == {"0.weight": 0.625, "0.bias": None, "2.weight": 0.0, "2.bias": None}
    assert record["messages"] == [
        "dead units at layer 1: 62% of the rows of '0.weight' got no gradient in this epoch"
    ]


def test_overfitting_needs_patience_a_falling_loss_and_a_gap() -> None:
    def said(train: list[float], held_out: list[float]) -> list[bool]:
        run = trainer(
            callbacks=[
                Script(train, "loss"),
                Script(held_out),
                OverfittingWarning(patience=2, gap=0.5),
            ]
        )
        history = run.fit(blobs(), validation_data=blobs(20), epochs=len(train))
        return [any("overfitting since" in m for m in r["messages"]) for r in history]

    assert said([4, 3, 2, 1], [3, 4, 5, 6]) == [False, False, True, True]
    assert said([4, 3, 2, 1], [3, 4, 2, 4]) == [False] * 4  # no patience
    assert said([4, 5, 6, 7], [30, 40, 50, 60]) == [False] * 4  # training does not get better
    assert said([4, 3.9, 3.8, 3.7], [3, 4, 4, 4]) == [False] * 4  # no gap


def test_state_is_packed_without_loss() -> None:
    state = {
        "array": np.arange(3.0),
        "nested": {"a.b": [1, (2.5, None, True)], 7: "x"},
        "number": np.float64(0.1),
        "infinite": math.inf,
        "empty": {},
    }
    arrays: dict[str, np.ndarray] = {}
    found = unpack(pack(state, arrays, "state.0"), arrays)
    assert found.pop("array").tolist() == [0.0, 1.0, 2.0]
    del state["array"]
    assert found == state
    with pytest.raises(CheckpointError, match=r"state\.0\.thing holds a object"):
        pack({"thing": object()}, {}, "state.0")


SCHEDULES: dict[str, Any] = {
    "StepLR": {"step_size": 2},
    "MultiStepLR": {"milestones": [1, 2]},
    "CosineAnnealingLR": {"T_max": 5},
    "OneCycleLR": {"max_lr": 0.1, "total_steps": 40},
    "ReduceLROnPlateau": {"patience": 0, "factor": 0.5, "mode": "max"},
    "ExponentialLR": {"gamma": 0.9},
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_resumed_schedule_goes_on_with_the_same_bits(tmp_path: Any, name: str) -> None:
    def run(epochs: int, folder: Any, resume: bool) -> Trainer:
        model = network()
        optimizer = optim.SGD(model.parameters(), lr=0.05)
        schedule = getattr(optim.lr_scheduler, name)(optimizer, **SCHEDULES[name])
        made = trainer(
            model,
            optimizer=optimizer,
            scheduler=schedule,
            callbacks=[ModelCheckpoint()],
            directory=folder,
        )
        made.fit(blobs(), epochs=epochs, batch_size=16, resume=folder if resume else None)
        return made

    alone = run(5, tmp_path / "alone", False)
    run(2, tmp_path / "parts", False)
    resumed = run(5, tmp_path / "parts", True)
    assert resumed.history.sha256() == alone.history.sha256()
    assert len(set(alone.history["lr"])) > 1
    assert same(weights(resumed.model), weights(alone.model))


def test_gradient_flow_without_jit() -> None:
    found = []
    for jit in (True, False):
        run = trainer(network().double(), jit=jit, callbacks=[GradientFlow()], accumulate=2)
        found.append(run.fit(blobs(dtype=np.float64), epochs=2, batch_size=16)[-1]["gradient_flow"])
    for a, b in zip(*found, strict=True):
        assert a["parameter"] == b["parameter"] and a["dead_share"] == b["dead_share"]
        for name in ("gradient_norm", "update_ratio"):
            assert a[name] == pytest.approx(b[name], rel=1e-9)


def test_lbfgs_is_refused_by_a_sentence() -> None:
    model = network()
    with pytest.raises(ConfigError, match="LBFGS evaluates the loss several times a step"):
        trainer(model, optimizer=optim.LBFGS(model.parameters()))


def test_a_callback_that_stops_training() -> None:
    class StopAtTwo(Callback):
        def on_epoch_end(self, trainer: Trainer, logs: Any) -> None:
            if trainer.epoch == 2:
                trainer.should_stop = True
                trainer.note("enough")

    run = trainer(callbacks=[StopAtTwo()])
    history = run.fit(blobs(), epochs=9)
    assert [r["messages"] for r in history] == [[], ["enough"]]
    assert len(run.fit(blobs(), epochs=1)) == 3  # a new fit goes on
