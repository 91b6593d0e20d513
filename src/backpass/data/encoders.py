"""How one column becomes numbers: the fitted, frozen state of each kind of column.

Features give columns of the model's input (`width` of them); targets give y and turn predictions
back. Each is plain data, so that `preprocessor_json` can write and check it field by field.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from backpass.data.standardizer import Standardizer
from backpass.data.table import Column, Table
from backpass.errors import DataError
from backpass.sentence import Sentence, Setting
from backpass.wording import count, quote, quote_list

Impute = Literal["mean", "median", "most_frequent"]
MOST_CLASSES = 100_000


def codes_of(column: Column, categories: Sequence[str]) -> np.ndarray:
    """(N,) int64: the position of each label in `categories`; -1 for an unknown or missing one."""
    position = {category: i for i, category in enumerate(categories)}
    labels = column.labels()
    return np.fromiter((position.get(label, -1) for label in labels), np.int64, len(labels))


def require_numbers(table: Table, column: Column) -> None:
    """Raise DataError if a column that was numbers in training now holds texts."""
    if column.is_number:
        return
    first = int(np.argmax(~column.missing))
    raise DataError(
        f"{table.source}: column {quote(column.name)} held numbers in training and holds texts "
        f"here, such as {quote(column.values[first])} in {table.place(first)}."
    )


def _no_value(column: Column) -> DataError:
    return DataError(
        Sentence(
            f"column {quote(column.name)} holds no value in the training part. Leave it out with ",
            Setting("ignore", (column.name,)),
            ".",
        )
    )


@dataclass(frozen=True, slots=True)
class NumberFeature:
    """x' = (x - mean) / std; `fill` (in x's unit) stands in for a missing value."""

    name: str
    mean: float
    std: float
    fill: float | None = None

    @classmethod
    def fit(cls, column: Column, *, standardize: bool, impute: Impute | None) -> "NumberFeature":
        """Mean and std of the values that are present; DataError if there is none."""
        present = column.values[~column.missing]
        if len(present) == 0:
            raise _no_value(column)
        fill = None if impute is None else _fill(present, impute)
        if not standardize:
            return cls(column.name, 0.0, 1.0, fill)
        fitted = Standardizer.fit(present, name=f"column {quote(column.name)}")
        return cls(column.name, float(fitted.mean), float(fitted.std), fill)

    @property
    def width(self) -> int:
        """How many inputs of the model the column becomes."""
        return 1

    @property
    def input_names(self) -> tuple[str, ...]:
        """The names of those inputs."""
        return (self.name,)

    def write(self, table: Table, column: Column, out: np.ndarray) -> None:
        """Write the standardised column into `out` (N, 1)."""
        if not column.missing.all():
            require_numbers(table, column)
        values = column.values
        if self.fill is not None and column.missing.any():
            values = np.where(column.missing, self.fill, values if column.is_number else np.nan)
        with np.errstate(over="ignore"):
            out[:, 0] = (values - self.mean) / self.std


def _fill(present: np.ndarray, impute: Impute) -> float:
    if impute == "mean":
        return float(Standardizer.fit(present).mean)
    if impute == "median":
        return float(np.median(present))
    distinct, counts = np.unique(present, return_counts=True)
    return float(distinct[np.argmax(counts)])


@dataclass(frozen=True, slots=True)
class CategoryFeature:
    """One input per category: 1 for the row's own, 0 for the others; `fill` for a missing one."""

    name: str
    categories: tuple[str, ...]
    fill: str | None = None

    @classmethod
    def fit(cls, column: Column, *, impute: Impute | None) -> "CategoryFeature":
        """The categories in order; the most frequent one (the first of equals) as fill."""
        categories = column.categories()
        if not categories:
            raise _no_value(column)
        if impute is None:
            return cls(column.name, categories)
        counts = np.bincount(codes_of(column, categories)[~column.missing])
        return cls(column.name, categories, categories[int(np.argmax(counts))])

    @property
    def width(self) -> int:
        """How many inputs of the model the column becomes."""
        return len(self.categories)

    @property
    def input_names(self) -> tuple[str, ...]:
        """The names of those inputs: `column=category`."""
        return tuple(f"{self.name}={category}" for category in self.categories)

    def write(self, table: Table, column: Column, out: np.ndarray) -> None:
        """Write the one-hot rows into `out` (N, width); an unknown category is all zeros."""
        codes = codes_of(column, self.categories)
        if self.fill is not None:
            codes[column.missing] = self.categories.index(self.fill)
        known = np.flatnonzero(codes >= 0)
        out[:] = 0
        out[known, codes[known]] = 1

    def unknown(self, column: Column) -> tuple[str, ...]:
        """The labels of `column` that are not among the categories."""
        known = set(self.categories)
        return tuple(label for label in column.categories() if label not in known)


@dataclass(frozen=True, slots=True)
class ClassTarget:
    """Class labels; y is the position of the label in `classes`."""

    name: str
    classes: tuple[str, ...]

    @classmethod
    def fit(cls, table: Table, column: Column) -> "ClassTarget":
        """The classes in order; DataError if there are so many that they cannot be classes."""
        classes = column.categories()
        if len(classes) > MOST_CLASSES:
            raise DataError(
                f"{table.source}: target column {quote(column.name)} has {len(classes):,} classes "
                f"in {count(len(column), 'row')}; {MOST_CLASSES:,} is the cap. Is it an identifier?"
            )
        return cls(column.name, classes)

    def encode(self, table: Table, column: Column) -> np.ndarray:
        """(N,) int64 class indices; DataError naming the labels that training did not have."""
        codes = codes_of(column, self.classes)
        unseen = np.flatnonzero((codes < 0) & ~column.missing)
        if len(unseen):
            labels = sorted(set(column.labels()[unseen].tolist()))
            raise DataError(
                f"{table.source}: target column {quote(self.name)} has "
                f"{count(len(labels), 'label')} that training did not have: {quote_list(labels)} "
                f"({count(len(unseen), 'row')}, the first {table.place(int(unseen[0]))}). Known "
                f"labels: {quote_list(self.classes)}."
            )
        return codes


@dataclass(frozen=True, slots=True)
class NumberTarget:
    """y' = (y - mean) / std; mean 0 and std 1 leave y as it is."""

    name: str
    mean: float = 0.0
    std: float = 1.0

    @classmethod
    def fit(cls, column: Column, *, standardize: bool) -> "NumberTarget":
        """Mean and std of the target, or none."""
        if not standardize:
            return cls(column.name)
        fitted = Standardizer.fit(
            column.values[~column.missing], name=f"target {quote(column.name)}"
        )
        return cls(column.name, float(fitted.mean), float(fitted.std))

    def encode(self, table: Table, column: Column) -> np.ndarray:
        """(N,) float64."""
        require_numbers(table, column)
        return (column.values - self.mean) / self.std

    def decode(self, values: np.ndarray) -> np.ndarray:
        """Predictions in the target's own unit: values * std + mean, in float64."""
        return np.asarray(values, dtype=np.float64) * self.std + self.mean


Feature = NumberFeature | CategoryFeature
Target = ClassTarget | NumberTarget
