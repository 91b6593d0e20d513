"""The Preprocessor: from a Table to the arrays that a model takes, fitted on the training part.

It is frozen: what it learnt (means, categories, values to fill in, classes) never changes, is saved
with the model as JSON, and does the same to validation, test and future data. The state of one
column is in `encoders`, the JSON in `preprocessor_json`.
"""

from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from backpass.data.encoders import (
    CategoryFeature,
    ClassTarget,
    Feature,
    Impute,
    NumberFeature,
    NumberTarget,
    Target,
)
from backpass.data.missing import Missing, complete_rows, ready
from backpass.data.preprocessor_json import parse_preprocessor, preprocessor_text
from backpass.data.table import Column, Table, number_label
from backpass.data.tasks import Task, check_task, infer_task
from backpass.errors import DataError, DataTooLargeError
from backpass.sentence import Change, Clause, Sentence, Setting
from backpass.wording import did_you_mean, quote, quote_list, size

Unknown = Literal["zeros", "error"]
FloatName = Literal["float32", "float64"]
MOST_BYTES = 4 * 2**30


@dataclass(frozen=True, slots=True)
class Preprocessor:
    """What was learnt from the training part, and how it is applied.

    Attributes:
        features: one fitted state per column, in the order of the inputs.
        target: the classes, or the scale of the target; None without a target.
        missing: "error", "impute" or "drop": what is done about missing values.
        unknown: "zeros" or "error": what a category becomes that training did not have.
        dtype: "float32" or "float64", of x and of a regression's y.
        max_bytes: the most that x may take.

    >>> import numpy as np
    >>> from backpass import data
    >>> table = data.load((np.array([[1.0], [3.0]]), np.array(["no", "yes"])))
    >>> preprocessor = data.Preprocessor.fit(table)
    >>> x, y = preprocessor.transform(table)
    >>> x.tolist(), y.tolist(), preprocessor.classes
    ([[-1.0], [1.0]], [0, 1], ('no', 'yes'))
    """

    features: tuple[Feature, ...]
    target: Target | None
    missing: Missing = "error"
    unknown: Unknown = "zeros"
    dtype: FloatName = "float32"
    max_bytes: int = MOST_BYTES

    @classmethod
    def fit(
        cls,
        table: Table,
        *,
        task: Task | None = None,
        missing: Missing = "error",
        impute: Impute = "mean",
        unknown: Unknown = "zeros",
        standardize: bool = True,
        standardize_target: bool = False,
        dtype: FloatName = "float32",
        max_bytes: int = MOST_BYTES,
    ) -> "Preprocessor":
        """Learn from `table`, which should be the training part only.

        Args:
            table: the training part.
            task: "classification" or "regression"; inferred from the target when None.
            missing: "error" refuses missing values, "impute" fills them in (rows without a target
                are left out), "drop" leaves such rows out.
            impute: "mean", "median" or "most_frequent", for numbers; categories take the most
                frequent. Mean and std are those of the values that are present.
            unknown: what `transform` does with a category that `table` does not have.
            standardize: x' = (x - mean) / std for numbers.
            standardize_target: the same for the target of a regression.
            dtype: of the arrays that `transform` gives.
            max_bytes: refuse if x of `table` would take more.

        Raises:
            DataError: missing values, a column without any value, a single class, texts as the
                target of a regression.
            DataTooLargeError: x would take more than `max_bytes`; it names the largest column.
        """
        for name, value, allowed in (
            ("missing", missing, get_args(Missing)),
            ("impute", impute, get_args(Impute)),
            ("unknown", unknown, get_args(Unknown)),
            ("dtype", dtype, get_args(FloatName)),
        ):
            if value not in allowed:
                raise DataError(
                    f"{name} is {quote(value)}; it must be one of {quote_list(allowed)}."
                )
        table = ready(table, missing)
        filling = impute if missing == "impute" else None
        features = tuple(_fit_feature(column, standardize, filling) for column in table.columns)
        _check_size(table, features, np.dtype(dtype).itemsize, max_bytes)
        target = None
        if table.target is not None:
            task = infer_task(table.target) if task is None else task
            check_task(table.target, task, table.source)
            if task == "classification":
                target = ClassTarget.fit(table, table.target)
            else:
                target = NumberTarget.fit(table.target, standardize=standardize_target)
        return cls(features, target, missing, unknown, dtype, max_bytes)

    @property
    def task(self) -> Task | None:
        """The task that the target was fitted for; None without a target."""
        if self.target is None:
            return None
        return "classification" if isinstance(self.target, ClassTarget) else "regression"

    @property
    def classes(self) -> tuple[str, ...]:
        """The class labels, in the order of the class indices; () for a regression."""
        return self.target.classes if isinstance(self.target, ClassTarget) else ()

    @property
    def input_names(self) -> tuple[str, ...]:
        """A name for each column of x: the column's, or `column=category`."""
        return tuple(name for feature in self.features for name in feature.input_names)

    @property
    def n_inputs(self) -> int:
        """The number of columns of x."""
        return sum(feature.width for feature in self.features)

    @property
    def category_columns(self) -> tuple[str, ...]:
        """The columns to read as texts from new files (`load(..., like=preprocessor)` does it).

        A new file may hold `01` and `02` alone in a column of categories: they are no numbers.
        """
        names = [f.name for f in self.features if isinstance(f, CategoryFeature)]
        if not all(_is_number_label(label) for label in self.classes) and self.target is not None:
            names.append(self.target.name)
        return tuple(names)

    @property
    def boolean_columns(self) -> tuple[str, ...]:
        """The columns that were true and false in training, however a spreadsheet writes them."""
        known = {f.name: f.categories for f in self.features if isinstance(f, CategoryFeature)}
        if self.target is not None:
            known[self.target.name] = self.classes
        return tuple(
            name for name, words in known.items() if words and {*words} <= {"true", "false"}
        )

    def transform(
        self, table: Table, *, target: bool = True
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """The arrays of `table`: columns are found by name, others are ignored.

        Args:
            table: any data with the columns of the training part.
            target: False leaves the target alone, as for prediction.

        Returns:
            x (n, n_inputs) of `dtype`, and y: (n,) int64 class indices, (n,) `dtype` numbers, or
            None where there is no target. n is `len(table)` unless rows are left out for missing
            values (see `kept_rows`).

        Raises:
            DataError: a column is absent or holds texts instead of numbers; missing values; an
                unseen label; an unknown category (if `unknown` is "error").
            DataTooLargeError: x would take more than `max_bytes`.
        """
        table = ready(self._chosen(table, target), self.missing)
        dtype = np.dtype(self.dtype)
        _check_size(table, self.features, dtype.itemsize, self.max_bytes)
        x = np.empty((len(table), self.n_inputs), dtype=dtype)
        start = 0
        for feature, column in zip(self.features, table.columns, strict=True):
            if self.unknown == "error" and isinstance(feature, CategoryFeature):
                _refuse_unknown(table, feature, column)
            feature.write(table, column, x[:, start : start + feature.width])
            start += feature.width
        self._check_range(table, x, self.input_names)
        if table.target is None or self.target is None:
            return x, None
        y = self.target.encode(table, table.target)
        if isinstance(self.target, ClassTarget):
            return x, y
        with np.errstate(over="ignore"):
            y = y.astype(dtype)
        self._check_range(table, y[:, np.newaxis], (self.target.name,))
        return x, y

    def kept_rows(self, table: Table, *, target: bool = True) -> np.ndarray:
        """(N,) bool: the rows of `table` that `transform` gives back."""
        chosen = self._chosen(table, target)
        if self.missing == "drop":
            return complete_rows(chosen)
        if self.missing == "impute" and chosen.target is not None:
            return ~chosen.target.missing
        return np.ones(len(table), dtype=bool)

    def unknown_categories(self, table: Table) -> dict[str, tuple[str, ...]]:
        """By column, the categories of `table` that training did not have (for a warning)."""
        pairs = zip(self.features, self._chosen(table, False).columns, strict=True)
        found = {f.name: f.unknown(c) for f, c in pairs if isinstance(f, CategoryFeature)}
        return {name: labels for name, labels in found.items() if labels}

    def labels(self, indices: np.ndarray) -> np.ndarray:
        """The class labels, as an array of texts, for class indices of any shape."""
        if not isinstance(self.target, ClassTarget):
            raise DataError("labels: there are no classes, since the task is no classification.")
        return np.array(self.classes, dtype=np.str_)[np.asarray(indices, dtype=np.int64)]

    def inverse_target(self, values: np.ndarray) -> np.ndarray:
        """A regression's predictions in the unit of the target, float64."""
        if not isinstance(self.target, NumberTarget):
            raise DataError("inverse_target: the task is no regression. See labels.")
        return self.target.decode(values)

    def to_json(self) -> str:
        """The whole state as JSON; floats are written so that they are read back bit for bit."""
        return preprocessor_text(
            features=self.features,
            target=self.target,
            missing=self.missing,
            unknown=self.unknown,
            dtype=self.dtype,
            max_bytes=self.max_bytes,
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> "Preprocessor":
        """The Preprocessor that `to_json` wrote; CheckpointError for anything else.

        No code runs, and size and depth are bounded: the text may come from a stranger.
        """
        return cls(**parse_preprocessor(text))

    def _chosen(self, table: Table, target: bool) -> Table:
        """`table` with this Preprocessor's columns only, in its order."""
        by_name = {column.name: column for column in table.every_column}
        absent = [feature.name for feature in self.features if feature.name not in by_name]
        if absent:
            raise DataError(
                f"{table.source} lacks {len(absent)} of the {len(self.features)} columns that the "
                f"model was trained on: {quote_list(absent)}."
                f"{did_you_mean(absent[0], list(by_name))}"
            )
        columns = tuple(by_name[feature.name] for feature in self.features)
        chosen = None
        if target and self.target is not None:
            # new data may call its target otherwise, but a feature is none
            other = table.target if table.target not in columns else None
            chosen = by_name.get(self.target.name, other)
        return replace(table, columns=columns, target=chosen)

    def _check_range(self, table: Table, values: np.ndarray, names: tuple[str, ...]) -> None:
        finite = np.isfinite(values)
        if finite.all():
            return
        row, column = np.unravel_index(int(np.argmin(finite)), values.shape)
        said = (
            f"{table.source}: column {quote(names[column])} is too large for {self.dtype} in "
            f"{table.place(int(row))}. Rescale it"
        )
        wider = (", or ", Change("dtype", "float64")) if self.dtype == "float32" else ()
        raise DataError(Sentence(said, *wider, "."))


def _is_number_label(label: str) -> bool:
    """Whether `label` is how a number is written as a label, so that no text could give it."""
    try:
        return number_label(float(label)) == label
    except ValueError:
        return False


def _fit_feature(column: Column, standardize: bool, impute: Impute | None) -> Feature:
    if column.is_number:
        return NumberFeature.fit(column, standardize=standardize, impute=impute)
    return CategoryFeature.fit(column, impute=impute)


def _check_size(table: Table, features: tuple[Feature, ...], itemsize: int, cap: int) -> None:
    width = sum(feature.width for feature in features)
    n_bytes = len(table) * width * itemsize
    if n_bytes <= cap:
        return
    largest = max(features, key=lambda feature: feature.width)
    cause = Sentence("Use fewer rows or columns")
    if isinstance(largest, CategoryFeature):
        cause = Sentence(
            f"Column {quote(largest.name)} has {largest.width:,} categories, each of which becomes "
            "an input. Leave it out with ",
            Setting("ignore", (largest.name,)),
        )
    raise DataTooLargeError(
        Sentence(
            f"{table.source}: {len(table):,} rows x {width:,} inputs take {size(n_bytes)}; the cap "
            f"is {size(cap)}. ",
            cause,
            Clause(", or raise ", Setting("max_bytes")),
            ".",
        )
    )


def _refuse_unknown(table: Table, feature: CategoryFeature, column: Column) -> None:
    labels = feature.unknown(column)
    if labels:
        raise DataError(
            Sentence(
                f"{table.source}: column {quote(feature.name)} has categories that training did "
                f"not have: {quote_list(labels)}. Known: {quote_list(feature.categories)}.",
                Clause(" To encode such ones as all zeros, ", Change("unknown", "zeros"), "."),
            )
        )
