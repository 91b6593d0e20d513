"""`backpass train` and `backpass resume`: one road, entered at the start or at a checkpoint.

Order on the disk: config.toml when training starts, history.jsonl and checkpoints along it, then
model.safetensors, report.html, and metrics.json last, which makes the run a finished one.
"""

import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from backpass.cli.learning import drop_last, make_trainer
from backpass.cli.model_file import SavedModel, write_model
from backpass.cli.outcome import Outcome, outcome_of, summary_of
from backpass.cli.preparation import Prepared, prepare, title_of
from backpass.cli.run_folder import RunFolder, new_run, open_run, take_place
from backpass.cli.settings import RunConfig
from backpass.cli.showing import show_outcome, show_start
from backpass.errors import ConfigError, DataError
from backpass.report import write_report
from backpass.train import Trainer, latest_checkpoint
from backpass.wording import quote_path

GO_ON = "Go on with: backpass resume "


@dataclass(frozen=True, slots=True)
class Display:
    """Where to show what, and which progress display to use."""

    console: Console
    progress: str


def train(config: RunConfig, output: Path | None, overwrite: bool, display: Display) -> RunFolder:
    """Train from the start; the folder of the finished run."""
    if not config.source:
        raise ConfigError(
            "what is to be trained on? Give SOURCE: digits, breast-cancer, wine, iris, diabetes or "
            "a file; or a --config that sets source."
        )
    new_run(title_of(config), output, overwrite, make=False)
    prepared = prepare(config)
    drop_last(prepared)
    fingerprint = fingerprint_of(prepared)
    if config.data_sha256 not in ("", fingerprint):
        display.console.print("note: the data are not those that the config was written for")
    resolved = prepared.config.with_values(data_sha256=fingerprint)
    folder = new_run(title_of(config), output, overwrite)
    with folder.locked():
        folder.write_config(resolved)
        return _run(folder, prepared, None, display)


def resume(path: Path, display: Display) -> RunFolder:
    """Go on with a run where its newest checkpoint was written; bit for bit as if uninterrupted."""
    folder = open_run(path, finished=False)
    if folder.state == "finished":
        raise ConfigError(
            f"The run {quote_path(path)} has finished; there is nothing to resume. Its report: "
            f"{folder.report}"
        )
    config = folder.read_config()
    with folder.locked():
        prepared = prepare(config)
        if fingerprint_of(prepared) != config.data_sha256:
            raise DataError(
                f"{prepared.table.source} has changed since the run {quote_path(path)} was started,"
                " so it cannot go on as it was. Put the data back, or train anew."
            )
        return _run(folder, prepared, latest_checkpoint(folder.path), display)


def fingerprint_of(prepared: Prepared) -> str:
    """A SHA-256 of all that training sees of the data."""
    digest = hashlib.sha256(prepared.preprocessor.to_json().encode())
    for name, arrays in prepared.parts.items():
        digest.update(name.encode())
        for array in arrays:
            digest.update(json.dumps([str(array.dtype), array.shape]).encode())
            digest.update(array.tobytes())
    return digest.hexdigest()


def _run(
    folder: RunFolder, prepared: Prepared, checkpoint: Path | None, display: Display
) -> RunFolder:
    trainer = make_trainer(prepared, folder.path, display.progress)
    show_start(display.console, prepared, trainer, folder, checkpoint)
    started = time.monotonic()
    try:
        _fit(prepared, trainer, checkpoint)
        outcome = outcome_of(prepared, trainer, time.monotonic() - started)
        _write(folder, prepared, trainer, outcome)
    except (KeyboardInterrupt, OSError, MemoryError) as error:
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(folder.path)
        error.add_note(f"{GO_ON}{folder.path}")
        raise
    done = take_place(folder)
    show_outcome(display.console, prepared, outcome, done)
    return done


def _fit(prepared: Prepared, trainer: Trainer, checkpoint: Path | None) -> None:
    config = prepared.config
    options: dict[str, Any] = {
        "validation_data": prepared.parts.get("validation"),
        "epochs": config.epochs,
        "batch_size": config.batch_size,
        "drop_last": drop_last(prepared),
    }
    trainer.fit(prepared.parts["train"], resume=checkpoint, **options)


def _write(folder: RunFolder, prepared: Prepared, trainer: Trainer, outcome: Outcome) -> None:
    saved = SavedModel(trainer.model, prepared.spec, prepared.preprocessor, prepared.config.metrics)
    write_model(folder.model, saved)
    write_report(folder.report, summary_of(prepared, trainer, outcome))
    folder.write_metrics(outcome.metrics)
