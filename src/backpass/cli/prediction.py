"""`backpass predict`: what a trained run says of new rows, as CSV.

One line for each row of the source, in its order. Where rows with missing values are left out
(--missing drop), their cells stay empty, so that the lines still stand beside the source's.
"""

import csv
import io
import os
import sys
from pathlib import Path

import numpy as np

from backpass.cli.evaluation import probabilities
from backpass.cli.run_model import RunModel
from backpass.data import Table
from backpass.errors import ConfigError
from backpass.files import atomic_write
from backpass.wording import quote_path


def predict_to(run: RunModel, table: Table, output: Path | None) -> int:
    """Write the predictions of all rows to a file, or to stdout; returns how many rows."""
    text = csv_text(run, table)
    if output is None:
        sys.stdout.write(text)
    else:
        atomic_write(output, text.encode())
    return len(table)


def refuse_same_file(source: str, output: Path | None) -> None:
    """Raise ConfigError where the predictions would replace the data."""
    try:
        same = output is not None and os.path.samefile(source, output)
    except OSError:
        return
    if same:
        raise ConfigError(
            f"{quote_path(source)} is the data themselves; give another file with -o."
        )


def csv_text(run: RunModel, table: Table) -> str:
    """The whole CSV: `prediction`, and for classes the probability of each."""
    kept = run.preprocessor.kept_rows(table, target=False)
    x, _ = run.preprocessor.transform(table, target=False)
    outputs = run.outputs(x)
    classes = run.preprocessor.classes
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["prediction", *(f"probability {label}" for label in classes)])
    rows = iter(_classified(run, outputs) if classes else _valued(run, outputs))
    empty = [""] * (1 + len(classes))
    for here in kept:
        writer.writerow(next(rows) if here else empty)
    return out.getvalue()


def _classified(run: RunModel, logits: np.ndarray) -> list[list[str]]:
    labels = run.preprocessor.labels(logits.argmax(axis=1))
    shares = probabilities(logits)
    return [
        [str(label), *(f"{share:.6g}" for share in row)]
        for label, row in zip(labels, shares, strict=True)
    ]


def _valued(run: RunModel, outputs: np.ndarray) -> list[list[str]]:
    values = run.preprocessor.inverse_target(outputs).reshape(-1)
    return [[f"{value:.9g}"] for value in values]
