"""fit, evaluate, predict: what they compute, in which dtype, and what they say of bad input."""

import contextlib
import copy
import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from tests.train.runs import blobs, network, same, trainer, weights

from backpass import metrics, nn, optim
from backpass.data import DataLoader
from backpass.errors import ConfigError, DataError, MetricError
from backpass.train import Callback, EarlyStopping, GradientFlow, Trainer


def test_digits_reach_97_percent() -> None:
    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype(np.float32)
    x, xt, y, yt = train_test_split(x, y, test_size=360, random_state=0, stratify=y)
    nn.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    run = trainer(model, metrics=["accuracy"], lr=3e-3)
    run.fit((x, y), epochs=30, batch_size=64)
    assert run.evaluate((xt, yt))["accuracy"] >= 0.97


def test_one_step_is_the_gradient_step_written_by_hand() -> None:
    x, y = blobs(7, dtype=np.float64)
    nn.manual_seed(0)
    model = nn.Linear(4, 3).double()
    w, b = np.array(model.weight.read()), np.array(model.bias.read())
    run = trainer(model, optimizer=optim.SGD(model.parameters(), lr=0.1))
    run.fit((x, y), epochs=1, batch_size=7)
    z = x @ w.T + b
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    delta = (p - np.eye(3)[y]) / 7
    np.testing.assert_allclose(model.weight.read(), w - 0.1 * delta.T @ x, rtol=1e-12)
    np.testing.assert_allclose(model.bias.read(), b - 0.1 * delta.sum(0), rtol=1e-12)
    expected = np.sqrt(np.sum((delta.T @ x) ** 2) + np.sum(delta.sum(0) ** 2))
    np.testing.assert_allclose(run.history["gradient_norm"], [expected], rtol=1e-12)


def test_history_holds_what_evaluate_says() -> None:
    x, y = blobs()
    run = trainer(metrics=["accuracy", "f1", "roc_auc"])
    history = run.fit((x, y), validation_data=(x, y), epochs=3, batch_size=32)
    found = run.evaluate((x, y))
    assert list(found) == ["loss", "accuracy", "f1", "roc_auc"]
    for name, value in found.items():
        assert history[f"val_{name}"][-1] == pytest.approx(value, rel=1e-6)
    assert [record["epoch"] for record in history] == [1, 2, 3]
    assert [record["step"] for record in history] == [3, 6, 9]
    assert history["lr"] == pytest.approx([1e-2] * 3)


def test_evaluate_does_not_depend_on_the_batch_size() -> None:
    x, y = blobs(50, dtype=np.float64)
    run = trainer(network().double())
    values = [run.evaluate((x, y), batch_size=n)["loss"] for n in (1, 7, 50, 1000)]
    np.testing.assert_allclose(values, values[0], rtol=1e-12)


@pytest.mark.parametrize("jit", [True, False])
def test_same_seed_same_bits_and_other_seed_other_order(jit: bool) -> None:
    def once(seed: int) -> dict[str, np.ndarray]:
        model = network(dropout=0.3)
        trainer(model, seed=seed, jit=jit).fit(blobs(), epochs=2, batch_size=16)
        return weights(model)

    assert same(once(1), once(1))
    assert not same(once(1), once(2))


def test_eager_and_compiled_training_agree() -> None:
    found = []
    for jit in (True, False):
        model = network().double()
        trainer(model, jit=jit).fit(blobs(dtype=np.float64), epochs=2, batch_size=16)
        found.append(weights(model))
    for name, array in found[0].items():
        np.testing.assert_allclose(array, found[1][name], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("model_dtype", "data_dtype"), [("float32", "float64"), ("float64", "float32")]
)
def test_the_model_decides_the_dtype(model_dtype: str, data_dtype: str) -> None:
    model = network().to(np.dtype(model_dtype))
    run = trainer(model)
    run.fit(blobs(dtype=data_dtype), epochs=1)
    assert run.predict(blobs(dtype=data_dtype)[0]).dtype == model_dtype
    assert {str(a.dtype) for a in weights(model).values()} == {model_dtype}


def test_fit_twice_goes_on() -> None:
    one, two = network(), network()
    run = trainer(one)
    run.fit(blobs(), epochs=4, batch_size=16)
    again = trainer(two)
    again.fit(blobs(), epochs=2, batch_size=16)
    again.fit(blobs(), epochs=2, batch_size=16)
    assert same(weights(one), weights(two))
    assert again.history.sha256() == run.history.sha256()
    assert (again.epoch, again.step) == (4, 24)


def test_no_epochs_change_nothing() -> None:
    model = network()
    before = weights(model)
    assert len(trainer(model).fit(blobs(), epochs=0)) == 0
    assert same(before, weights(model))


def test_batch_larger_than_the_data() -> None:
    run = trainer()
    run.fit(blobs(10), epochs=2, batch_size=1000)
    assert run.step == 2


def test_the_mode_of_every_submodule_is_put_back() -> None:
    model = network(dropout=0.5)
    model.eval()
    model[2].train()
    run = trainer(model)
    for call in (
        lambda: run.fit(blobs(), validation_data=blobs(), epochs=1),
        lambda: run.evaluate(blobs()),
        lambda: run.predict(blobs()[0]),
        lambda: run.fit((np.full((2, 4), np.nan), np.zeros(2, int))),
    ):
        with contextlib.suppress(DataError):
            call()
        assert [m.training for m in model] == [False, False, True, False]
        assert model.training is False


def test_dropout_is_off_in_evaluation_and_prediction() -> None:
    model = network(dropout=0.9)
    run = trainer(model)
    x, y = blobs()
    assert np.array_equal(run.predict(x), run.predict(x))
    assert run.evaluate((x, y)) == run.evaluate((x, y))


def test_predict_keeps_the_order_and_the_number_of_rows() -> None:
    x, _ = blobs(53)
    run = trainer()
    np.testing.assert_allclose(run.predict(x, batch_size=8), run.predict(x[::-1])[::-1], rtol=1e-5)
    assert run.predict(x, batch_size=8).shape == (53, 3)


def test_a_column_of_targets_does_not_broadcast_against_predictions() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(64, 3))
    y = x @ [1.0, -2.0, 0.5]
    losses = []
    for target in (y, y[:, None]):
        nn.manual_seed(0)
        model = nn.Linear(3, 1).double()
        run = trainer(model, loss=nn.MSELoss(), metrics=["mae"], lr=0.1)
        run.fit((x, target), epochs=30, batch_size=16)
        losses.append(run.history["loss"][-1])
    assert losses[0] == losses[1] < 0.05


def test_binary_targets_of_whole_numbers_fit_one_logit() -> None:
    x, y = blobs(classes=2)
    nn.manual_seed(0)
    model = nn.Linear(4, 1)
    run = trainer(model, loss=nn.BCEWithLogitsLoss(), metrics=["accuracy", "roc_auc"], lr=0.1)
    run.fit((x, y == 1), epochs=20)
    assert run.evaluate((x, y))["accuracy"] > 0.9


def test_a_model_of_two_inputs() -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
            return self.layer(a + b)

    x, y = blobs()
    run = trainer(Sum())
    run.fit((x, x, y), epochs=1)
    assert run.predict((x, x)).shape == (96, 3)


def test_frames_and_series() -> None:
    x, y = blobs()
    plain, framed = network(), network()
    trainer(plain).fit((x, y), epochs=2)
    frame = pd.DataFrame(x, columns=list("abcd"))
    trainer(framed).fit((frame, pd.Series(y)), epochs=2)
    assert same(weights(plain), weights(framed))
    frame.iloc[3, 1] = np.nan
    with pytest.raises(DataError, match=r"x holds 1 value .* row 4, column 'b'"):
        trainer().fit((frame, y))


def test_a_loader_of_the_user_is_taken_as_it_is() -> None:
    x, y = blobs()
    one, two = network(), network()
    trainer(one, seed=5).fit((x, y), epochs=2, batch_size=16)
    trainer(two).fit(DataLoader(x, y, batch_size=16, seed=5), epochs=2)
    assert same(weights(one), weights(two))


def test_a_one_shot_iterator_lasts_one_epoch() -> None:
    x, y = blobs()
    run = trainer()
    run.fit(((x[i : i + 8], y[i : i + 8]) for i in range(0, 96, 8)), epochs=1)
    assert run.step == 12
    with pytest.raises(
        DataError, match="one-shot iterator: epoch 2 used it up and nothing is left"
    ):
        run.fit(((x[i : i + 8], y[i : i + 8]) for i in range(0, 96, 8)), epochs=2)
    with pytest.raises(DataError, match="one-shot iterator"):
        run.fit((iter(x), y))


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ((np.zeros((5, 4)), np.zeros(4, int)), "x has 5 rows and y has 4 rows"),
        ((np.zeros((0, 4)), np.zeros(0, int)), "x, y: there are no rows"),
        ((np.full((5, 4), np.inf), np.zeros(5, int)), "x holds 20 values that are NaN or infinite"),
        ((np.zeros((5, 4)), np.array([0, 1, np.nan, 1, 2])), "y holds 1 value"),
        ((np.zeros((5, 4)), np.array(list("abcde"))), "y has dtype <U1, which is no plain number"),
        (np.zeros((5, 4)), r"inputs but no targets: pass \(x, y\)"),
        ({"x": np.zeros((5, 4))}, "mapping with 'x' was given"),
        ([], "gave no batch in epoch 1"),
        ([(np.zeros((5, 4)),)], "batch 1 of the training data has 1 part; it needs inputs and"),
        ([(np.zeros((5, 4)), np.zeros(3, int))], r"parts of shapes \(5, 4\) and \(3,\)"),
        (7, "A int is no source of batches"),
    ],
)
def test_bad_data_gives_one_sentence(data: object, sentence: str) -> None:
    model = network()
    before = weights(model)
    with pytest.raises(DataError, match=sentence):
        trainer(model).fit(data, epochs=1)
    assert same(before, weights(model))


def test_validation_data_are_checked_before_training() -> None:
    seen: list[int] = []

    class Count(Callback):
        def on_batch_end(self, trainer: Trainer, result: object) -> None:
            seen.append(1)

    with pytest.raises(DataError, match="x holds 1 value"):
        bad = blobs()[0].copy()
        bad[0, 0] = np.nan
        trainer(callbacks=[Count()]).fit(blobs(), validation_data=(bad, blobs()[1]))
    assert seen == []


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"accumulate": 0}, "accumulate=0"),
        ({"gradient_clip_norm": -1.0}, "gradient_clip_norm=-1.0"),
        ({"progress": "loud"}, "progress='loud'"),
        ({"callbacks": [print]}, "a callback is an object of a subclass"),
        ({"scheduler": 3}, r"a scheduler has a method step\(\)"),
    ],
)
def test_impossible_options(options: dict, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        trainer(**options)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"model": "mlp"}, "model='mlp' is a text"),
        ({"model": nn.Linear}, "model is the class Linear; make an object of it"),
        ({"loss": "mse"}, "loss='mse' is a text; give an object"),
        ({"loss": nn.CrossEntropyLoss}, "loss is the class CrossEntropyLoss"),
        ({"loss": 3}, "the loss is a int, which cannot be called"),
        ({"optimizer": "adam"}, "optimizer='adam' is a text"),
        ({"optimizer": optim.Adam}, "optimizer is the class Adam"),
        ({"optimizer": [1]}, "the optimizer is a list"),
    ],
)
def test_names_and_classes_in_the_place_of_objects(options: dict, sentence: str) -> None:
    given = {"model": network(), "loss": nn.MSELoss(), "optimizer": None, **options}
    with pytest.raises(ConfigError, match=sentence):
        Trainer(**given)


def test_one_metric_needs_no_list() -> None:
    assert [m.name for m in trainer(metrics="accuracy").metrics] == ["accuracy"]


def test_other_mistakes_are_named() -> None:
    with pytest.raises(ConfigError, match="fit needs an optimizer"):
        trainer(optimizer=None).fit(blobs())
    with pytest.raises(ConfigError, match="epochs=-1"):
        trainer().fit(blobs(), epochs=-1)
    with pytest.raises(MetricError, match="Did you mean 'accuracy'"):
        trainer(metrics=["acuracy"])
    with pytest.raises(ConfigError, match="is a function, not a Module"):
        Trainer(lambda x: x, nn.MSELoss()).predict(np.zeros((2, 2)))
    with pytest.raises(ConfigError, match="but fit was given no validation_data"):
        trainer(callbacks=[EarlyStopping("val_loss")]).fit(blobs())


def test_metric_objects_are_not_shared_between_training_and_validation() -> None:
    accuracy = metrics.Accuracy()
    run = trainer(metrics=[accuracy])
    x, y = blobs()
    history = run.fit((x, y), validation_data=(x, (y + 1) % 3), epochs=8)
    assert history["accuracy"][-1] > 0.6 > history["val_accuracy"][-1]


def test_a_model_of_two_outputs() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 3), nn.Linear(4, 1)

        def forward(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return self.a(x), self.b(x)

    def loss(predictions: tuple[np.ndarray, np.ndarray], y: np.ndarray) -> np.ndarray:
        return nn.functional.cross_entropy(predictions[0], y) + np.mean(predictions[1] ** 2)

    run = trainer(Two(), loss=loss)
    run.fit(blobs(), epochs=1)
    a, b = run.predict(blobs()[0], batch_size=10)
    assert (a.shape, b.shape) == ((96, 3), (96, 1))


def test_parameters_frozen_or_cast_between_fits() -> None:
    model = network()
    run = trainer(model, accumulate=2, callbacks=[GradientFlow()])
    run.fit(blobs(), epochs=1)
    model[0].requires_grad_(False)
    before = weights(model)
    history = run.fit(blobs(), epochs=1)
    after = weights(model)
    assert [n for n in after if not np.array_equal(after[n], before[n])] == ["2.weight", "2.bias"]
    assert [row["parameter"] for row in history[-1]["gradient_flow"]] == ["2.weight", "2.bias"]


def test_an_optimizer_of_a_part_trains_that_part() -> None:
    model = network()
    before = weights(model)
    trainer(model, optimizer=optim.Adam(model[2].parameters())).fit(blobs(), epochs=1)
    after = weights(model)
    assert [n for n in after if not np.array_equal(after[n], before[n])] == ["2.weight", "2.bias"]


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_fitted_trainer_is_copied_whole_and_goes_on_alike(clone: Any) -> None:
    """As scikit-learn's clone, joblib.dump and GridSearchCV do with what holds a trainer."""
    x, y = blobs()
    one = trainer(network(dropout=0.2), metrics=["accuracy"], callbacks=[GradientFlow()])
    one.fit((x, y), validation_data=(x, y), epochs=2)
    two = clone(one)
    assert two.history.records == one.history.records and two.step == one.step
    np.testing.assert_array_equal(two.predict(x), one.predict(x))
    for run in (one, two):
        run.fit((x, y), validation_data=(x, y), epochs=2)
    assert same(weights(one.model), weights(two.model))
    assert two.history.records == one.history.records
    assert one.model[0].weight is not two.model[0].weight


@pytest.mark.parametrize("shift", [1, -1])
def test_labels_outside_of_the_classes_are_told_with_their_range(shift: int) -> None:
    x, y = blobs()
    words = rf"targets hold {shift} to {2 + shift}\. Class labels must be 0 to classes - 1"
    with pytest.raises(IndexError, match=words):
        trainer().fit((x, y + shift), epochs=1, batch_size=len(x))
    with pytest.raises(IndexError, match=words):
        trainer().evaluate((x, y + shift))


def test_nested_inputs_are_told_how_to_be_given() -> None:
    x, y = blobs()
    with pytest.raises(DataError, match=r"side by side, \(x1, x2, y\)"):
        trainer().fit(((x, x[:, 0]), y))


def test_targets_may_stand_beside_the_inputs() -> None:
    x, y = blobs()
    together, apart = trainer(), trainer()
    first, second = together.fit((x, y), epochs=2), apart.fit(x, y, epochs=2)
    assert first.sha256() == second.sha256()
    assert together.evaluate((x, y)) == apart.evaluate(x, y)
