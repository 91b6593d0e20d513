"""Small steps run many in one native call, and nobody can tell but by the time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.train.runs import blobs, network, same, trainer, weights

from backpass import nn
from backpass.errors import NonFiniteError
from backpass.train import (
    Callback,
    GradientFlow,
    LearningRateMonitor,
    ModelCheckpoint,
    ProgressBar,
    Trainer,
)
from backpass.train.step import TrainingStep


class EachStep(Callback):
    """Keeps the sum of the weights after each step: so it needs each step alone."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, float, float]] = []

    def on_batch_end(self, trainer: Any, result: Any) -> None:
        total = sum(float(np.sum(w)) for w in weights(trainer.model).values())
        self.seen.append((trainer.step, result.loss, total))


class Results(Callback):
    """Keeps what each step gave, whenever it is told."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, float, float, int]] = []

    def steps_until_needed(self, trainer: Any) -> int:
        return 1000

    def on_batch_end(self, trainer: Any, result: Any) -> None:
        self.seen.append((trainer.step, result.loss, result.gradient_norm, result.samples))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The lengths of the series that ran."""
    found: list[int] = []
    run = TrainingStep.run

    def noting(self: TrainingStep, rows: Any, begin: int, count: int) -> Any:
        ran = run(self, rows, begin, count)
        found.append(ran.count)
        return ran

    monkeypatch.setattr(TrainingStep, "run", noting)
    return found


def fitted(*callbacks: Callback, n: int = 200, **options: Any) -> Trainer:
    made = trainer(network(dropout=0.2), callbacks=callbacks, metrics=["accuracy", "f1"], **options)
    made.fit(blobs(n), epochs=3, batch_size=8, validation_data=blobs(60, seed=1))
    return made


@pytest.mark.parametrize("n", [200, 203])
def test_the_same_bits_and_history_as_step_by_step(calls: list[int], n: int) -> None:
    together = fitted(n=n)
    assert max(calls) > 5 and sum(calls) == 3 * (n // 8)
    calls.clear()
    each = EachStep()
    alone = fitted(each, n=n)
    assert not calls and len(each.seen) == 3 * -(-n // 8)
    assert same(weights(together.model), weights(alone.model))
    assert list(together.history) == list(alone.history)


def test_results_come_for_each_step_in_order(calls: list[int]) -> None:
    late, each = Results(), EachStep()
    fitted(late)
    assert calls
    fitted(each)
    assert [s[:2] for s in late.seen] == [s[:2] for s in each.seen]
    assert {s[3] for s in late.seen} == {8}


def test_gradient_flow_and_rates_are_those_of_single_steps(calls: list[int]) -> None:
    rates = LearningRateMonitor()
    together = fitted(GradientFlow(), rates)
    assert calls and rates.steps == list(range(1, 76))
    alone = fitted(GradientFlow(), EachStep())
    assert list(together.history) == list(alone.history)


def test_a_checkpoint_within_an_epoch_is_written_at_its_step(
    calls: list[int], tmp_path: Path
) -> None:
    made = fitted(ModelCheckpoint(every_n_steps=7, keep_last=100), directory=tmp_path)
    steps = [int(p.stem.partition("-")[2]) for p in (tmp_path / "checkpoints").glob("check*")]
    assert {7, 14, 21, 28, 70} <= set(steps) and max(calls) <= 7
    for step in (7, 35):
        other = ModelCheckpoint(tmp_path / f"other{step}", every_n_steps=7)
        again = trainer(network(dropout=0.2), metrics=["accuracy", "f1"], callbacks=[other])
        again.fit(
            blobs(200),
            epochs=3,
            batch_size=8,
            validation_data=blobs(60, seed=1),
            resume=next((tmp_path / "checkpoints").glob(f"checkpoint-*{step}.safetensors")),
        )
        assert same(weights(again.model), weights(made.model))
        assert list(again.history) == list(made.history)


def test_who_overrides_on_batch_end_of_ours_sees_each_step() -> None:
    class Mine(ProgressBar):
        seen: list[float]

        def on_batch_end(self, trainer: Any, result: Any) -> None:
            self.seen.append(float(np.sum(weights(trainer.model)["0.weight"])))

    mine = Mine("lines")
    mine.seen = []
    fitted(mine)
    assert len(set(mine.seen)) == len(mine.seen) == 75


def test_a_late_callback_that_raises_leaves_the_counters_at_the_model(calls: list[int]) -> None:
    class Failing(Results):
        def steps_until_needed(self, trainer: Any) -> int:
            return 1000

        def on_batch_end(self, trainer: Any, result: Any) -> None:
            if trainer.step == 4:
                raise ZeroDivisionError("mine")

    made = trainer(callbacks=[Failing()])
    with pytest.raises(ZeroDivisionError) as caught:
        made.fit(blobs(200), epochs=1, batch_size=8)
    assert made.step == calls[0] > 4
    note = caught.value.__notes__[0]
    assert "after step 4." in note and f"as step {made.step} left them" in note
    fewer = trainer(callbacks=[EachStep()])
    fewer.fit((blobs(200)), epochs=1, batch_size=8)
    assert same(weights(made.model), weights(fewer.model))


@pytest.mark.parametrize("at", [0, 13, 24])
def test_a_bad_batch_is_blamed_as_if_it_had_come_alone(at: int) -> None:
    """In both ways the same error, and the weights after the last good step."""
    x, y = blobs(200)
    rows = slice(8 * at, 8 * at + 8)
    outcomes = []
    for extra in ([], [EachStep()]):
        made = trainer(callbacks=extra)
        labels = y.copy()
        labels[rows] = 5
        with pytest.raises(IndexError, match="targets hold 5 to 5") as wrong:
            made.fit((x, labels), epochs=1, batch_size=8, shuffle=False)
        first = (str(wrong.value), made.step, weights(made.model))
        huge = x.copy()
        huge[rows] = 3e38
        made = trainer(callbacks=extra)
        with pytest.raises(NonFiniteError) as infinite:
            made.fit((huge, y), epochs=1, batch_size=8, shuffle=False)
        outcomes.append((*first, str(infinite.value), made.step, weights(made.model)))
    for a, b in zip(*outcomes, strict=True):
        assert same(a, b) if isinstance(a, dict) else a == b
    assert outcomes[0][1] == outcomes[0][4] == at


def test_evaluate_and_predict_do_not_depend_on_how_batches_were_run() -> None:
    model = network()
    x, y = blobs(203)
    fast, slow = (
        trainer(model, metrics=["accuracy"]),
        trainer(model, metrics=["accuracy"], jit=False),
    )
    for size in (8, 64, 256):
        a, b = (t.evaluate((x, y), batch_size=size) for t in (fast, slow))
        assert a["accuracy"] == b["accuracy"] and abs(a["loss"] - b["loss"]) < 1e-6
        np.testing.assert_allclose(
            fast.predict(x, batch_size=size), slow.predict(x, batch_size=size), atol=1e-5
        )
    with pytest.raises(IndexError, match="targets hold 0 to 9"):
        fast.evaluate((x, np.where(np.arange(203) == 100, 9, y)), batch_size=64)


@pytest.mark.parametrize("validated", [False, True])
def test_another_batch_size_is_another_series(calls: list[int], validated: bool) -> None:
    x, y = blobs(96)
    held = (x, y) if validated else None
    models = []
    for extra in ([], [EachStep()]):
        made = trainer(callbacks=extra)
        for size in (8, 16, 5, 8):
            made.fit((x, y), epochs=1, batch_size=size, validation_data=held)
            made.evaluate((x, y), batch_size=size)
            assert made.predict(x, batch_size=size).shape == (96, 3)
        models.append(weights(made.model))
    assert sum(calls) == 12 + 6 + 19 + 12 and same(*models)


def test_evaluation_of_a_model_in_its_mode_takes_any_batch_size() -> None:
    """The mode does not change between the calls, so nothing else makes a new series."""
    x, y = blobs(96)
    model = network()
    model.eval()
    judge = trainer(model, metrics=["accuracy"])
    found = [judge.evaluate((x, y), batch_size=size)["accuracy"] for size in (8, 16, 5, 96)]
    shapes = [judge.predict(x, batch_size=size).shape for size in (8, 16, 5, 96)]
    assert len(set(found)) == 1 and set(shapes) == {(96, 3)}


def test_data_that_need_a_cast_or_come_from_a_memory_map(calls: list[int], tmp_path: Path) -> None:
    x, y = blobs(96)
    made = {}
    for name, dtype in (("plain", np.float32), ("double", np.float64)):
        np.save(tmp_path / "x.npy", x.astype(dtype))
        mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
        made[name] = trainer()
        calls.clear()
        made[name].fit((mapped, y), epochs=1, batch_size=8)
        assert bool(calls) == (name == "plain")
    assert same(weights(made["plain"].model), weights(made["double"].model))


def test_a_table_by_columns_as_a_frame_has_it_is_laid_out_by_rows(calls: list[int]) -> None:
    x, y = blobs(96)
    made = trainer()
    made.fit((np.asfortranarray(x, np.float64), y), epochs=1, batch_size=8)
    plain = trainer()
    plain.fit((x, y), epochs=1, batch_size=8)
    assert len(calls) == 2 and same(weights(made.model), weights(plain.model))


def test_several_inputs(calls: list[int]) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 3), nn.Linear(4, 3)

        def forward(self, p: Any, q: Any) -> Any:
            return self.a(p) + self.b(q)

    x, y = blobs(96)
    models = []
    for extra in ([], [EachStep()]):
        nn.manual_seed(0)
        made = trainer(Two(), callbacks=extra)
        made.fit((x, x[::-1].copy(), y), epochs=2, batch_size=8)
        models.append(weights(made.model))
    assert calls and same(*models)
