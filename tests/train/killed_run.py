"""A training run in a process of its own, to be killed: `python -m tests.train.killed_run FOLDER`.

It resumes if the folder holds a checkpoint, and prints the SHA-256 of all weights, of the optimizer's state and of
history.jsonl when it has come to its end. Everything that has a state takes part: dropout, momenta, a schedule,
early stopping, averages, metrics, gradient flow, accumulation, checkpoints within epochs.
"""

import hashlib
import sys
import time
from pathlib import Path

from backpass import nn, optim
from backpass.train import (
    Callback,
    EarlyStopping,
    ExponentialMovingAverage,
    GradientFlow,
    LearningRateMonitor,
    ModelCheckpoint,
    OverfittingWarning,
    StepResult,
    StochasticWeightAveraging,
    Trainer,
    latest_checkpoint,
)
from tests.train.runs import blobs, network


class Slow(Callback):
    """Leaves time to be killed in the middle."""

    def on_batch_end(self, trainer: Trainer, result: StepResult) -> None:
        """Wait a little."""
        time.sleep(0.004)


def digest(folder: Path) -> str:
    """Train to the end and say what came out."""
    model = network(dropout=0.2)
    optimizer = optim.AdamW(model.parameters(), lr=1e-2)
    trainer = Trainer(
        model,
        nn.CrossEntropyLoss(),
        optimizer,
        metrics=["accuracy", "roc_auc"],
        callbacks=[
            EarlyStopping("val_loss", patience=4),
            ExponentialMovingAverage(0.9),
            StochasticWeightAveraging(start=9),
            GradientFlow(),
            LearningRateMonitor(),
            OverfittingWarning(),
            ModelCheckpoint(every_n_steps=2, keep_last=2),
            Slow(),
        ],
        scheduler=optim.lr_scheduler.StepLR(optimizer, step_size=3, gamma=0.7),
        gradient_clip_norm=1.0,
        accumulate=2,
        seed=7,
        progress="none",
        directory=folder,
    )
    trainer.fit(
        blobs(90),
        validation_data=blobs(40, seed=1),
        epochs=10,
        batch_size=8,
        resume=folder if latest_checkpoint(folder) else None,
    )
    found = hashlib.sha256()
    for name, cell in model.__backpass_cells__().items():
        found.update(name.encode() + cell.read().tobytes())
    for name, array in optimizer.state_arrays().items():
        found.update(name.encode() + array.tobytes())
    found.update((folder / "history.jsonl").read_bytes())
    return found.hexdigest()


if __name__ == "__main__":
    print(digest(Path(sys.argv[1])), flush=True)  # noqa: T201
