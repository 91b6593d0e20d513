"""A finished run as something that predicts: its model, its preprocessing, its settings.

`backpass evaluate` and `predict` use it on new data, `training` on the parts of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from backpass import nn
from backpass.cli.evaluation import metrics_of
from backpass.cli.model_file import SavedModel, read_model
from backpass.cli.preparation import read_table, unknown_words
from backpass.cli.run_folder import open_run
from backpass.cli.settings import RunConfig
from backpass.data import Preprocessor, Table
from backpass.errors import DataError
from backpass.train import Trainer
from backpass.wording import quote

_BATCH = 256


@dataclass(frozen=True, slots=True, eq=False)
class RunModel:
    """A trained network that takes Tables."""

    saved: SavedModel
    config: RunConfig

    @classmethod
    def read(cls, path: Path) -> "RunModel":
        """The model of a finished run; ConfigError or CheckpointError if it cannot be used."""
        folder = open_run(path, finished=True)
        return cls(read_model(folder.model), folder.read_config())

    @property
    def preprocessor(self) -> Preprocessor:
        """What the inputs go through."""
        return self.saved.preprocessor

    def table(self, source: str) -> tuple[Table, list[str]]:
        """New data as the model reads them, and what is to be said of them."""
        table = read_table(self.config, source, like=self.preprocessor)
        return table, unknown_words(self.preprocessor, table, table.source)

    def outputs(self, x: np.ndarray) -> np.ndarray:
        """(n, outputs): logits, or standardised values; nothing for no rows."""
        if len(x) == 0:
            return np.empty((0, self.saved.spec.outputs), dtype=x.dtype)
        return self._judge().predict(x, batch_size=_BATCH)

    def evaluate(self, table: Table) -> tuple[dict[str, float], int]:
        """Loss and metrics on a Table with the target, and on how many rows."""
        x, y = self.preprocessor.transform(table)
        if y is None:
            name = "" if self.preprocessor.target is None else self.preprocessor.target.name
            raise DataError(
                f"{table.source} lacks the target column {quote(name)}, so the predictions cannot "
                "be compared with anything. Use backpass predict."
            )
        return self._judge().evaluate((x, y), batch_size=_BATCH), len(y)

    def _judge(self) -> Trainer:
        return judge_of(self.saved.network, self.saved.metrics, self.preprocessor)


def judge_of(network: nn.Module, metrics: Sequence[str], preprocessor: Preprocessor) -> Trainer:
    """A trainer without optimizer: it evaluates and predicts."""
    return Trainer(
        network,
        loss_of(preprocessor.task or ""),
        metrics=metrics_of(metrics, preprocessor),
        progress="none",
    )


def loss_of(task: str) -> nn.Module:
    """Cross-entropy of logits, or the mean squared error of standardised values."""
    return nn.CrossEntropyLoss() if task == "classification" else nn.MSELoss()
