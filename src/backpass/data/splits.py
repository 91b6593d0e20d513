"""Training, validation and test parts: disjoint, complete, seeded, stratified by class on request.

Stratified means: each class is divided in the given shares, within one row in validation and test
(largest remainders), and a class of at least three rows is in every part. No class is ever missing
from the training part.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backpass.data.permutation import SPLIT_STREAM, check_whole, permutation
from backpass.data.table import Table
from backpass.data.tasks import as_column
from backpass.errors import DataError
from backpass.sentence import Change, Clause, Sentence, Setting
from backpass.wording import count, quote

_NUMBERS = (int, float, np.number)


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Row numbers of the three parts, each (n,) int64 and ascending; a part may be empty.

    It unpacks: `train, validation, test = split`.
    """

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray

    def __iter__(self):  # noqa: ANN204 - an iterator of three arrays
        return iter((self.train, self.validation, self.test))


def train_validation_test_split(
    data: int | Table | np.ndarray | Sequence[Any],
    validation: float = 0.15,
    test: float = 0.15,
    stratify: Any = None,
    seed: int = 0,
) -> Split:
    """Divide the rows of `data` into three parts.

    Args:
        data: the number of rows, or anything whose length it is.
        validation, test: the shares, each at least 0, together less than 1. A share above 0 gives
            at least one row; 0 gives an empty part.
        stratify: a label for each row (a target Column, an array, a list); None for a
            plain random split.
        seed: 0 <= seed < 2**64; the same seed gives the same split on any machine.

    Raises:
        DataError: shares out of range, too few rows, or labels of another length.

    >>> train, validation, test = train_validation_test_split(100, seed=1)
    >>> len(train), len(validation), len(test)
    (70, 15, 15)
    """
    n = check_whole("the number of rows", data if isinstance(data, _NUMBERS) else len(data), 0)
    shares = (_share("validation", validation), _share("test", test))
    if sum(shares) >= 1:
        raise DataError(
            f"validation {validation} and test {test} together leave no rows for training; their "
            "sum must be less than 1."
        )
    check_whole("seed", seed, 0, 2**64 - 1)
    n_parts = 1 + sum(share > 0 for share in shares)
    if n < n_parts:
        raise DataError(
            Sentence(
                f"{count(n, 'row')} cannot be divided into {n_parts} parts of at least one row "
                "each. Give more data, or ",
                Change("validation", 0),
                " or ",
                Setting("test", 0),
                ".",
            )
        )
    if stratify is None:
        wanted = [max(1, round(n * share)) if share > 0 else 0 for share in shares]
        counts = np.array([_leave_one(n, wanted)], dtype=np.int64)
        return _divide(np.zeros(n, dtype=np.int64), counts, seed)
    codes, sizes = _classes(stratify, n)
    counts = _class_counts(sizes, shares)
    _refuse_empty(shares, counts, sizes, n)
    return _divide(codes, counts, seed)


def _refuse_empty(
    shares: tuple[float, float], counts: np.ndarray, sizes: np.ndarray, n: int
) -> None:
    """Raise DataError if a part that should have rows gets none, for want of rows of a class."""
    for name, share, total in zip(("validation", "test"), shares, counts.sum(axis=0), strict=True):
        if share > 0 and total == 0:
            classes = count(len(sizes), "class", "classes")
            raise DataError(
                Sentence(
                    f"A stratified split leaves the {name} part empty: {classes} in "
                    f"{count(n, 'row')}, the largest with {int(sizes.max()):,}. A class needs "
                    "three rows to be in every part.",
                    Clause(
                        " Are these classes, and not names, numbers or quantities? If so, give "
                        "more rows of each; ",
                        Setting("stratify", None),
                        " divides them as they come.",
                    ),
                )
            )


def _share(name: str, share: float) -> float:
    if isinstance(share, bool) or not isinstance(share, _NUMBERS):
        raise DataError(f"{name} is {quote(share)}; it must be a share such as 0.15.")
    if not 0 <= share < 1:
        raise DataError(
            f"{name} is {share}; it must be a share of the rows, at least 0 and below 1."
        )
    return float(share)


def _classes(stratify: Any, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The class index of each row (a missing label is a class of its own), and the class sizes."""
    column = as_column(stratify, "stratify")
    if len(column) != n:
        raise DataError(
            f"stratify has {count(len(column), 'label')} and the data has {count(n, 'row')}; they "
            "need one label for each row."
        )
    codes = np.unique(column.labels().astype(np.str_), return_inverse=True)[1].astype(np.int64)
    return codes, np.bincount(codes)


def _leave_one(size: int, wanted: Sequence[int]) -> list[int]:
    """`wanted` cut down, the larger first, until a row is left for training."""
    counts = list(wanted)
    while sum(counts) >= size and max(counts) > 0:
        counts[int(np.argmax(counts))] -= 1
    return counts


def _class_counts(sizes: np.ndarray, shares: tuple[float, float]) -> np.ndarray:
    """(classes, 2): how many rows of each class go to validation and to test."""
    columns = [_apportion(sizes, share) for share in shares]
    rows = [_leave_one(int(size), wanted) for size, *wanted in zip(sizes, *columns, strict=True)]
    return np.array(rows, dtype=np.int64)


def _apportion(sizes: np.ndarray, share: float) -> np.ndarray:
    """Whole rows of each class for one part: floors, the rest by largest remainder (Hamilton)."""
    if share == 0:
        return np.zeros(len(sizes), dtype=np.int64)
    quotas = sizes * share
    counts = np.floor(quotas).astype(np.int64)
    left = round(int(sizes.sum()) * share) - int(counts.sum())
    by_remainder = np.argsort(counts - quotas, kind="stable")
    counts[by_remainder[:left]] += 1
    return np.where(sizes >= 3, np.maximum(counts, 1), counts)


def _divide(codes: np.ndarray, counts: np.ndarray, seed: int) -> Split:
    """Shuffle each class on its own and deal it out: validation, test, training."""
    order = np.argsort(codes, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(codes, minlength=len(counts)))])
    part = np.zeros(len(codes), dtype=np.int8)
    for index, (n_validation, n_test) in enumerate(counts):
        members = order[starts[index] : starts[index + 1]]
        shuffled = members[permutation(len(members), seed, index, stream=SPLIT_STREAM)]
        part[shuffled[:n_validation]] = 1
        part[shuffled[n_validation : n_validation + n_test]] = 2
    return Split(*(np.flatnonzero(part == number).astype(np.int64) for number in range(3)))
