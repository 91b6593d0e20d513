"""Runs that are killed: `python -m tests.train.killed_run FOLDER KILLS SEED`.

Every run is a fork of this process, so nothing is imported twice. One is left alone; another is
killed KILLS times at random moments after it wrote a new checkpoint, each time resumed, and at last
left to end. Printed are, for each, a SHA-256 of all weights, of the optimizer's state and of
history.jsonl. Everything that has a state takes part: dropout, momenta, a schedule, early stopping,
averages, metrics, gradient flow, accumulation, checkpoints within epochs.
"""

import hashlib
import os
import random
import signal
import sys
import time
from pathlib import Path

import sklearn.metrics  # noqa: F401 - imported once, before the forks, since it takes a second
from tests.train.runs import blobs, network

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


def forked(folder: Path) -> int:
    """Train in a child process, which leaves its digest beside the folder; gives its number."""
    child = os.fork()
    if child == 0:
        try:
            text = digest(folder)
            folder.with_suffix(".sha256").write_text(text)
        finally:
            os._exit(0)
    return child


def finished(folder: Path) -> str:
    """Let a run come to its end."""
    os.waitpid(forked(folder), 0)
    return folder.with_suffix(".sha256").read_text()


def checkpoints(folder: Path) -> set[str]:
    """The names of a run's checkpoints."""
    return {path.name for path in (folder / "checkpoints").glob("checkpoint-*")}


def killed(folder: Path, chance: random.Random) -> bool:
    """Start or resume a run and kill it; False if it came to its end before."""
    before = checkpoints(folder)
    child = forked(folder)
    while checkpoints(folder) == before:
        time.sleep(0.002)
        if os.waitpid(child, os.WNOHANG)[0]:
            return False
    time.sleep(chance.uniform(0.0, 0.06))
    os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def main() -> None:
    """Print one line for each run, and how many kills there were."""
    root, kills, chance = Path(sys.argv[1]), int(sys.argv[2]), random.Random(int(sys.argv[3]))
    print(finished(root / "alone"), flush=True)  # noqa: T201
    done = 0
    while done < kills and killed(root / "killed", chance):
        done += 1
    print(finished(root / "killed"), flush=True)  # noqa: T201
    print(finished(root / "killed"), done, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
