"""What a finished training gives: metrics of every part, and the report.

`outcome_of` measures the final weights on each part; `summary_of` puts all that is known of the run
into the form that `backpass.report` draws.
"""

import re
from dataclasses import dataclass
from typing import Any

from backpass.cli.environment import environment
from backpass.cli.evaluation import confusion, fit_of, roc_curves
from backpass.cli.failures import in_flags
from backpass.cli.preparation import Prepared, title_of
from backpass.cli.run_model import judge_of
from backpass.cli.settings import RunConfig
from backpass.data import NumberFeature
from backpass.report import ModelRow, NormalizationRow, RunSummary
from backpass.train import EarlyStopping, Trainer

_BATCH = 256
_EPOCH = re.compile(r" since epoch \d+")
_HELD_OUT = ("test", "validation", "train")


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """The results of a run.

    Attributes:
        metrics: the object of metrics.json.
        best_epoch: the epoch whose weights were kept; None where they are those of no one epoch.
        messages: what training had to say, each thing once, with its last wording.
    """

    metrics: dict[str, Any]
    best_epoch: int | None
    messages: tuple[str, ...]


def outcome_of(prepared: Prepared, trainer: Trainer, seconds: float) -> Outcome:
    """Measure the trained network on all parts."""
    judge = judge_of(trainer.model, prepared.config.metrics, prepared.preprocessor)
    measured: dict[str, Any] = {
        name: judge.evaluate(part, batch_size=_BATCH) for name, part in prepared.parts.items()
    }
    metrics = {name: measured.get(name, {}) for name in ("train", "validation", "test")}
    metrics |= {"seconds": round(seconds, 3), "stopped_epoch": len(trainer.history)}
    stopping = [c for c in trainer.callbacks.items if isinstance(c, EarlyStopping)]
    best = stopping[0].best_epoch if stopping else None
    said = [note for record in trainer.history for note in record["messages"]]
    return Outcome(metrics, best, _last_wordings(said))


def _last_wordings(messages: list[str]) -> tuple[str, ...]:
    """Of messages that begin alike (up to the colon, but for epochs) the last one, in order."""
    kept: dict[str, str] = {}
    for message in messages:
        kept[_EPOCH.sub("", message.partition(":")[0])] = message
    return tuple(kept.values())


def summary_of(prepared: Prepared, trainer: Trainer, outcome: Outcome) -> RunSummary:
    """All that report.html shows."""
    config, task = prepared.config, prepared.preprocessor.task or "classification"
    part = next(name for name in _HELD_OUT if name in prepared.parts)
    x, y = prepared.parts[part]
    predicted = trainer.predict(x, batch_size=_BATCH)
    drawn: dict[str, Any] = {}
    if task == "classification":
        labels = prepared.preprocessor.classes
        drawn["confusion"] = confusion(predicted, y, labels)
        drawn["roc"] = roc_curves(predicted, y, labels)
    else:
        drawn["regression"] = fit_of(predicted, y, prepared.preprocessor)
    return RunSummary(
        title=title_of(config),
        task=task,
        source=config.source,
        history=[{**record, "messages": []} for record in trainer.history],
        metrics=outcome.metrics,
        best_epoch=outcome.best_epoch,
        monitor="validation loss" if outcome.best_epoch else None,
        splits=prepared.sizes,
        evaluated_on=part,
        normalization=_normalization(prepared),
        model=model_rows(prepared, trainer),
        environment=environment(),
        config=shown_settings(config),
        messages=[in_flags(said) for said in (*prepared.messages, *outcome.messages)],
        **drawn,
    )


def model_rows(prepared: Prepared, trainer: Trainer) -> list[ModelRow]:
    """One row for each layer, from a run on zeros."""
    found = trainer.model.summary((1, prepared.spec.inputs))
    return [
        ModelRow(row.name, row.type, (None, *row.output_shape[1:]), row.parameters)
        for row in found.rows
    ]


def _normalization(prepared: Prepared) -> list[NormalizationRow]:
    train = prepared.table.take(prepared.split.train)
    by_name = {column.name: column for column in train.columns}
    rows = []
    for feature in prepared.preprocessor.features:
        missing = int(by_name[feature.name].missing.sum())
        filled = feature.fill if missing else None
        if isinstance(feature, NumberFeature):
            row = NormalizationRow(
                feature.name, "number", feature.mean, feature.std, (), missing, filled
            )
        else:
            row = NormalizationRow(
                feature.name, "category", None, None, feature.categories, missing, filled
            )
        rows.append(row)
    return rows


def shown_settings(config: RunConfig) -> dict[str, dict[str, Any]]:
    """The settings by section, without those that are not set."""
    return {
        section: {name: value for name, value in values.items() if value not in ("", ())}
        for section, values in config.by_section().items()
    }
