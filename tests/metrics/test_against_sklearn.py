"""Every metric, streamed over random cuts of the data, equals scikit-learn on the whole data."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sklearn.metrics as oracle
from hypothesis import given, settings
from hypothesis import strategies as st

from backpass import metrics

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray | None]


# scikit-learn warns of absent classes; the values are what is compared here.
pytestmark = pytest.mark.filterwarnings("ignore:::sklearn")


@st.composite
def classification(draw: st.DrawFn) -> Arrays:
    """Logits (n, classes), some of them tied; targets that may lack a class; weights or None."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    samples, classes = draw(st.integers(2, 60)), draw(st.integers(2, 6))
    logits = rng.normal(size=(samples, classes)) * draw(st.sampled_from([0.1, 1.0, 5.0]))
    if draw(st.booleans()):
        logits = np.round(logits)
    dtype = draw(st.sampled_from([np.float64, np.float32]))
    targets = rng.integers(0, classes, samples)
    weights = rng.uniform(0.1, 3.0, samples) if draw(st.booleans()) else None
    return logits.astype(dtype), targets, weights


@st.composite
def regression(draw: st.DrawFn) -> Arrays:
    """Values of one or more outputs, far from zero at times; weights or None."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    samples = draw(st.integers(2, 60))
    shape = (samples,) if draw(st.booleans()) else (samples, draw(st.integers(1, 3)))
    scale = draw(st.sampled_from([1e-3, 1.0, 1e4]))
    targets = rng.normal(size=shape) * scale + draw(st.sampled_from([0.0, 10.0])) * scale
    predictions = targets + rng.normal(size=shape) * scale * 0.3
    weights = rng.uniform(0.1, 3.0, samples) if draw(st.booleans()) else None
    return predictions, targets, weights


def stream(metric: Any, data: Arrays, cuts: list[float]) -> Any:
    """Feed the data in batches that end at the given shares of it; some batches are empty."""
    predictions, targets, weights = data
    at = sorted({0, len(targets), *(int(cut * len(targets)) for cut in cuts)})
    edges = [0, *at]
    for start, stop in zip(edges, [*edges[1:], len(targets)], strict=True):
        part = slice(start, stop)
        metric.update(predictions[part], targets[part], None if weights is None else weights[part])
    return metric.compute()


def softmax(logits: np.ndarray) -> np.ndarray:
    wide = logits.astype(np.float64)
    powers = np.exp(wide - wide.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


CUTS = st.lists(st.floats(0, 1), max_size=5)


def averaged(function: Callable[..., Any]) -> Callable[[Arrays], float]:
    def compute(data: Arrays) -> float:
        logits, targets, weights = data
        average = "binary" if logits.shape[1] == 2 else "macro"
        decided = logits.argmax(axis=1)
        return function(targets, decided, average=average, sample_weight=weights, zero_division=0.0)

    return compute


def one_vs_rest(function: Callable[..., Any]) -> Callable[[Arrays], float]:
    def compute(data: Arrays) -> float:
        logits, targets, weights = data
        wide = logits.astype(np.float64)
        if wide.shape[1] == 2:
            ranked = {1: wide[:, 1] - wide[:, 0]}
        else:
            # Rounded as ours are, so that the same scores tie.
            shifted = wide - wide.max(axis=1, keepdims=True)
            scores = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
            ranked = {c: scores[:, c] for c in range(wide.shape[1])}
        found = [
            function(targets == c, score, sample_weight=weights)
            for c, score in ranked.items()
            if 0 < np.sum(targets == c) < len(targets)
        ]
        return float(np.mean(found)) if found else float("nan")

    return compute


CLASSIFICATION: dict[str, Callable[[Arrays], float]] = {
    "accuracy": lambda d: oracle.accuracy_score(d[1], d[0].argmax(1), sample_weight=d[2]),
    "balanced_accuracy": lambda d: oracle.balanced_accuracy_score(
        d[1], d[0].argmax(1), sample_weight=d[2]
    ),
    "precision": averaged(oracle.precision_score),
    "recall": averaged(oracle.recall_score),
    "f1": averaged(oracle.f1_score),
    "log_loss": lambda d: oracle.log_loss(
        d[1], softmax(d[0]), sample_weight=d[2], labels=np.arange(d[0].shape[1])
    ),
    "cross_entropy": lambda d: oracle.log_loss(
        d[1], softmax(d[0]), sample_weight=d[2], labels=np.arange(d[0].shape[1])
    ),
    "roc_auc": one_vs_rest(oracle.roc_auc_score),
    "average_precision": one_vs_rest(oracle.average_precision_score),
}

REGRESSION: dict[str, Callable[..., float]] = {
    "mse": oracle.mean_squared_error,
    "mae": oracle.mean_absolute_error,
    "rmse": oracle.root_mean_squared_error,
    "r2": oracle.r2_score,
}


@pytest.mark.parametrize("name", CLASSIFICATION)
@settings(max_examples=60, deadline=None)
@given(data=classification(), cuts=CUTS)
def test_streamed_classification_equals_sklearn(name: str, data: Arrays, cuts: list[float]) -> None:
    got = stream(metrics.get(name), data, cuts)
    np.testing.assert_allclose(got, CLASSIFICATION[name](data), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", REGRESSION)
@settings(max_examples=60, deadline=None)
@given(data=regression(), cuts=CUTS)
def test_streamed_regression_equals_sklearn(name: str, data: Arrays, cuts: list[float]) -> None:
    got = stream(metrics.get(name), data, cuts)
    expected = REGRESSION[name](data[1], data[0], sample_weight=data[2])
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("average", ["macro", "micro", "weighted"])
@pytest.mark.parametrize("name", ["precision", "recall", "f1"])
@settings(max_examples=25, deadline=None)
@given(data=classification(), cuts=CUTS)
def test_every_average_equals_sklearn(
    name: str, average: str, data: Arrays, cuts: list[float]
) -> None:
    got = stream(metrics.get(f"{name}_{average}"), data, cuts)
    function = getattr(oracle, f"{name}_score")
    expected = function(
        data[1], data[0].argmax(1), average=average, sample_weight=data[2], zero_division=0.0
    )
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(data=classification(), cuts=CUTS)
def test_confusion_matrix_equals_sklearn(data: Arrays, cuts: list[float]) -> None:
    got = stream(metrics.ConfusionMatrix(), data, cuts)
    labels = np.arange(data[0].shape[1])
    expected = oracle.confusion_matrix(
        data[1], data[0].argmax(1), labels=labels, sample_weight=data[2]
    )
    np.testing.assert_allclose(got, expected, rtol=1e-12)
    assert got.dtype == (np.int64 if data[2] is None else np.float64)


@settings(max_examples=40, deadline=None)
@given(data=classification())
def test_multiclass_auc_equals_sklearn_one_vs_rest_where_no_class_is_absent(data: Arrays) -> None:
    logits, targets, _ = data
    if logits.shape[1] < 3 or len(set(targets.tolist())) < logits.shape[1]:
        return
    # Through probabilities, as scikit-learn takes them.
    probabilities = softmax(logits)
    auc = metrics.RocAuc(from_logits=False)
    auc.update(probabilities, targets)
    expected = oracle.roc_auc_score(targets, probabilities, multi_class="ovr", average="macro")
    np.testing.assert_allclose(auc.compute(), expected, rtol=1e-12)


@settings(max_examples=40, deadline=None)
@given(data=classification())
def test_one_column_of_logits_is_two_classes(data: Arrays) -> None:
    logits, targets, weights = data
    column = logits[:, 1] - logits[:, 0]
    truth = (targets > 0).astype(np.float32)
    probabilities = 1 / (1 + np.exp(-column.astype(np.float64)))
    least = np.min(np.minimum(probabilities, 1 - probabilities), initial=1.0)
    rounding = np.finfo(np.float64).eps / max(least, np.finfo(np.float64).eps)
    for name in ("accuracy", "f1", "roc_auc", "cross_entropy", "log_loss"):
        flat, tall, certain = metrics.get(name), metrics.get(name), metrics.get(name)
        certain.from_logits = False  # pyright: ignore[reportAttributeAccessIssue]
        flat.update(column, truth, weights)
        tall.update(column[:, None], truth[:, None], weights)
        certain.update(probabilities, truth, weights)
        assert np.array_equal(flat.compute(), tall.compute(), equal_nan=True)
        # near 1 a probability has lost digits of 1 - p, of which the other class takes the log
        lost = rounding if name in ("cross_entropy", "log_loss") else 0.0
        np.testing.assert_allclose(flat.compute(), certain.compute(), rtol=1e-9, atol=1e-9 + lost)


def test_long_streams_keep_their_digits() -> None:
    rng = np.random.default_rng(0)
    targets = 1e6 + rng.normal(size=200_000)
    predictions = targets + rng.normal(size=targets.size) * 0.1
    for name, function in REGRESSION.items():
        metric = metrics.get(name)
        for part in np.array_split(np.arange(targets.size), 3001):
            metric.update(predictions[part], targets[part])
        expected = function(targets, predictions)
        np.testing.assert_allclose(metric.compute(), expected, rtol=1e-12)
