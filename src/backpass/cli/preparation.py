"""From the settings to arrays: read, divide, fit on the training part, transform all parts.

What was found out on the way (target, task, metrics) goes into the config that is written to the
run folder, so that the same file gives the same run.
"""

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from backpass import data, metrics
from backpass.cli.network import NetworkSpec
from backpass.cli.settings import RunConfig
from backpass.data import Preprocessor, Split, Table
from backpass.data.missing import ready
from backpass.data.sources import mostly_different
from backpass.data.tasks import Task
from backpass.errors import DataError
from backpass.sentence import Change, Sentence, Setting, sentence_of
from backpass.wording import quote_list

METRICS = {"classification": ("accuracy", "f1", "roc_auc"), "regression": ("r2", "mae", "rmse")}
PARTS = ("train", "validation", "test")

_BANDS, _ROWS_IN_BAND = 10, 20
Arrays = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """Data that a network can be trained on.

    Attributes:
        config: the settings, with nothing left to find out.
        table: all rows that are used.
        rows_read: how many rows the source had.
        split: the rows of the three parts.
        preprocessor: fitted on the training part.
        parts: (x, y) of each part that is not empty.
        messages: what a reader should know: decisions of reading, categories that are unknown.
    """

    config: RunConfig
    table: Table
    rows_read: int
    split: Split
    preprocessor: Preprocessor
    parts: dict[str, Arrays]
    messages: tuple[str, ...]

    @property
    def sizes(self) -> dict[str, int]:
        """The number of samples of each part."""
        return {name: len(rows) for name, rows in zip(PARTS, self.split, strict=True) if len(rows)}

    @property
    def spec(self) -> NetworkSpec:
        """The network that fits the data."""
        outputs = len(self.preprocessor.classes) or 1
        return NetworkSpec.of(self.config, self.preprocessor.n_inputs, outputs)


def prepare(config: RunConfig) -> Prepared:
    """Read and divide the data, and learn the preprocessing from the training part.

    Raises:
        DataError: the data cannot be trained on as they are; the sentence says why.
        MetricError: a metric has no such name.
    """
    table = read_table(config, target=config.target or None, ignore=config.ignore)
    if table.target is None:
        raise DataError(
            f"{table.source}: which column is to be predicted? Give --target COLUMN. The columns "
            f"are: {quote_list(table.names)}."
        )
    rows_read = len(table)
    # the whole table: a part would hide how many rows are concerned
    table = ready(table, cast(Any, config.missing))
    target = cast(data.Column, table.target)
    task = cast(Task, config.task or data.infer_task(target))
    data.check_task(target, task, table.source)
    split = _divided(table, config, target, task)
    train = table.take(split.train)
    preprocessor = Preprocessor.fit(
        train,
        task=task,
        missing=cast(Any, config.missing),
        impute=cast(Any, config.impute),
        standardize=config.standardize,
        standardize_target=task == "regression",
        dtype=cast(Any, config.dtype),
    )
    parts, messages = _parts(table, split, preprocessor)
    names = config.metrics or METRICS[task]
    metrics.get(list(names))
    resolved = config.with_values(
        source=_lasting(config.source), target=target.name, task=task, metrics=tuple(names)
    )
    return Prepared(
        resolved, table, rows_read, split, preprocessor, parts, (*table.notes, *messages)
    )


def read_table(
    config: RunConfig,
    source: str | None = None,
    *,
    target: str | None = None,
    ignore: tuple[str, ...] = (),
    like: Preprocessor | None = None,
) -> Table:
    """The Table of a source, read as the config says; `like`: for a model that is there."""
    known = set() if like is None else {f.name for f in like.features}
    return data.load(
        config.source if source is None else source,
        target,
        ignore=ignore,
        categories=[name for name in config.categories if like is None or name in known],
        missing_values=(*data.MISSING_VALUES, *config.missing_values),
        encoding=config.encoding or None,
        delimiter=config.delimiter or None,
        decimal=config.decimal or None,
        like=like,
    )


def _divided(table: Table, config: RunConfig, target: data.Column, task: Task) -> Split:
    """The three parts; where there are too few rows of a class, whether the target is the one."""
    strata = _strata(target, task)
    try:
        return data.train_validation_test_split(
            table, config.validation, config.test, strata, config.seed
        )
    except DataError as error:
        said = sentence_of(error)
        if isinstance(said, Sentence) and any(s.name == "stratify" for s in said.settings):
            raise DataError(
                Sentence(
                    said,
                    " Is this the right ",
                    Setting("target"),
                    "? For quantities, ",
                    Change("task", "regression"),
                    "; for classes, give more rows of each.",
                )
            ) from error
        raise


def _strata(target: data.Column, task: Task) -> Any:
    """What the split keeps in proportion: the classes, or bands of a regression's target.

    Ten bands of as many rows each; a small table has fewer, since a band has to have rows for all
    parts.
    """
    if task == "classification":
        return target
    bands = min(_BANDS, len(target) // _ROWS_IN_BAND)
    if bands < 2:
        return None
    edges = np.quantile(target.values, np.linspace(0, 1, bands + 1)[1:-1])
    return np.searchsorted(edges, target.values, side="right")


def _parts(
    table: Table, split: Split, preprocessor: Preprocessor
) -> tuple[dict[str, Arrays], list[str]]:
    parts: dict[str, Arrays] = {}
    messages = []
    told = {c.name for c in table.columns if not c.is_number and mostly_different(c)}
    for name, rows in zip(PARTS, split, strict=True):
        if len(rows) == 0:
            continue
        part = table.take(rows)
        x, y = preprocessor.transform(part)
        parts[name] = (x, cast(np.ndarray, y))
        messages += unknown_words(preprocessor, part, f"the {name} part", told)
    return parts, messages


def unknown_words(
    preprocessor: Preprocessor, table: Table, where: str, told: Collection[str] = ()
) -> list[str]:
    """A sentence for each column with categories that training did not have.

    None for the columns in `told`: they are known to hold a different text in most rows.
    """
    return [
        f"Column {quote_list([name])} of {where} has categories that training did not have: "
        f"{quote_list(labels, 5)}. Each is taken as none of the known ones."
        for name, labels in preprocessor.unknown_categories(table).items()
        if name not in told
    ]


def _lasting(source: str) -> str:
    """A source that means the same from another folder."""
    return source if source in data.EMBEDDED else str(Path(os.path.abspath(source)))


def title_of(config: RunConfig) -> str:
    """What a run is called: the embedded set, or the name of the file."""
    return config.source if config.source in data.EMBEDDED else Path(config.source).stem
