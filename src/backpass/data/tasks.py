"""Classification or regression: inferred from the target, and checked.

The rule looks at what the source wrote: texts, bools and few whole numbers are classes; numbers
with a decimal point, and whole numbers with many values, are quantities. The user can always say.
"""

from typing import Any, Literal, get_args

import numpy as np

from backpass.data.arrays import column_of_array
from backpass.data.frames import column_of_series, is_series
from backpass.data.table import Column
from backpass.errors import DataError
from backpass.sentence import Change, Sentence
from backpass.wording import count, quote

Task = Literal["classification", "regression"]
TASKS: tuple[str, ...] = get_args(Task)
MOST_WHOLE_CLASSES = 20


def infer_task(target: Any) -> Task:
    """The task that a target asks for.

    Classification for texts, bools, whole numbers with at most 20 distinct values, and floats that
    take just two whole values (0.0 and 1.0); regression for everything else.

    Args:
        target: a Column, a Series, or (N,) values of any plain dtype.

    Raises:
        DataError: no value is present.

    >>> infer_task(["cat", "dog", "cat"]), infer_task([0, 1, 2, 1]), infer_task([0.5, 1.2, 3.3])
    ('classification', 'classification', 'regression')
    """
    column = as_column(target)
    present = column.values[~column.missing]
    if len(present) == 0:
        raise DataError(f"target {quote(column.name)} holds no value, so it has no task.")
    if not column.is_number:
        return "classification"
    distinct = np.unique(present)
    if column.whole:
        return "classification" if len(distinct) <= MOST_WHOLE_CLASSES else "regression"
    two_whole = len(distinct) == 2 and bool(np.all(distinct == np.trunc(distinct)))
    return "classification" if two_whole else "regression"


def as_column(target: Any, name: str = "target") -> Column:
    """A Column of one-dimensional values: a Column, a Series, an array or a list."""
    if isinstance(target, Column):
        return target
    if is_series(target):
        return column_of_series(target, name)
    array = np.asanyarray(target)
    if array.ndim != 1:
        raise DataError(f"{name} has shape {array.shape}; give one value per sample, (N,).")
    return column_of_array(name, array)


def check_task(target: Column, task: str, source: str) -> None:
    """Raise DataError if `target` cannot be learnt as `task`."""
    if task not in TASKS:
        raise DataError(f"{quote(task)} is no task. Tasks: {', '.join(TASKS)}.")
    if task == "regression":
        if not target.is_number:
            example = target.values[int(np.argmax(~target.missing))]
            raise DataError(
                Sentence(
                    f"{source}: target column {quote(target.name)} holds texts, such as "
                    f"{quote(example)}. Regression needs numbers; for texts, ",
                    Change("task", "classification"),
                    ".",
                )
            )
        return
    classes = target.categories()
    if len(classes) == 1:
        raise DataError(
            f"{source}: target column {quote(target.name)} has a single class, "
            f"{quote(classes[0])}, in all {count(len(target), 'row')}. Classification needs at "
            "least two."
        )
