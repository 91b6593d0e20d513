"""Task inference by what the target holds, and targets that no task can learn."""

import numpy as np
import pytest

from backpass import data
from backpass.data.table import number_label
from backpass.errors import DataError


@pytest.mark.parametrize(
    ("target", "task"),
    [
        (["cat", "dog"], "classification"),
        ([True, False, True], "classification"),
        ([0, 1, 2], "classification"),
        (list(range(20)), "classification"),
        (list(range(21)), "regression"),
        ([0.5, 1.5], "regression"),
        ([1.0, 2.0, 3.0], "regression"),
        ([0.0, 1.0, 1.0], "classification"),
        ([0.25, 1.0, 1.0], "regression"),
        (np.array(["1.5", "2.5"]), "classification"),
        (np.array([3, -1], dtype=np.int8), "classification"),
        (np.linspace(0, 1, 50), "regression"),
        ([1, None, 2], "classification"),
    ],
)
def test_inference(target: list | np.ndarray, task: str) -> None:
    assert data.infer_task(target) == task


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ([np.nan, np.nan], "target 'target' holds no value, so it has no task."),
        ([], "target 'target' holds no value"),
        (np.zeros((3, 2)), r"target has shape \(3, 2\); give one value per sample"),
    ],
)
def test_a_target_without_a_task(target: list | np.ndarray, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        data.infer_task(target)


def table(target: list) -> data.Table:
    return data.load((np.arange(len(target) * 2.0).reshape(-1, 2), target))


def test_a_single_class_is_an_error_that_names_it() -> None:
    sentence = (
        "the arrays: target column 'target' has a single class, 'yes', in all 4 rows. "
        "Classification needs at least two."
    )
    with pytest.raises(DataError) as caught:
        data.Preprocessor.fit(table(["yes"] * 4))
    assert str(caught.value) == sentence


def test_regression_on_texts_and_unknown_tasks() -> None:
    with pytest.raises(DataError, match=r"holds texts, such as 'a'\. Regression needs numbers"):
        data.Preprocessor.fit(table(["a", "b"]), task="regression")
    with pytest.raises(DataError, match=r"'rank' is no task\. Tasks: classification, regression"):
        data.Preprocessor.fit(table([1, 2]), task="rank")  # pyright: ignore[reportArgumentType]


def test_the_task_can_be_set() -> None:
    numbers = table([1.5, 2.5, 1.5])
    assert data.Preprocessor.fit(numbers).task == "regression"
    assert data.Preprocessor.fit(numbers, task="classification").classes == ("1.5", "2.5")
    assert data.Preprocessor.fit(table([0, 1, 2]), task="regression").classes == ()


@pytest.mark.parametrize(
    ("value", "label"), [(3.0, "3"), (-0.0, "0"), (0.5, "0.5"), (1e300, "1e+300"), (-2.0, "-2")]
)
def test_numbers_as_labels(value: float, label: str) -> None:
    assert number_label(value) == label


def test_number_classes_are_in_the_order_of_numbers() -> None:
    assert data.Preprocessor.fit(table([10, 9, 2, 10])).classes == ("2", "9", "10")
