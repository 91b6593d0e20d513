"""A run killed at any moment and resumed ends with the bits of one left alone."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.signals import obeying_ctrl_c
from tests.train.runs import blobs, network, same, trainer, weights

from backpass import nn, optim
from backpass.errors import CheckpointError, ConfigError
from backpass.train import (
    Callback,
    EarlyStopping,
    ExponentialMovingAverage,
    ModelCheckpoint,
    StepResult,
    Trainer,
    TrainingInterrupted,
)

ROOT = Path(__file__).parents[2]


def test_killed_at_random_moments_it_ends_with_the_same_bits(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-m", "tests.train.killed_run", str(tmp_path), "6", "5"]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=ROOT, timeout=300
    )
    assert done.returncode == 0, done.stderr
    alone, killed, again, kills = done.stdout.split()
    assert killed == alone
    assert again == alone  # a finished run resumes to its own end
    assert int(kills) >= 4
    assert not list(tmp_path.rglob("*.partial"))


class StopAt(Callback):
    """Sends the signal to this process after a step."""

    def __init__(self, step: int, number: int = signal.SIGINT) -> None:
        self.step, self.number = step, number

    def on_batch_end(self, trainer: Trainer, result: StepResult) -> None:
        """Send it, once."""
        if trainer.step == self.step:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize("step", [1, 6, 8, 12, 24])
def test_interrupted_and_resumed(tmp_path: Path, step: int) -> None:
    alone = network(dropout=0.3)
    history = trainer(alone, metrics=["accuracy"]).fit(blobs(), epochs=4, batch_size=16)
    run = trainer(
        network(dropout=0.3), metrics=["accuracy"], callbacks=[StopAt(step)], directory=tmp_path
    )
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(TrainingInterrupted, match=f"after step {step}; saved to") as caught:
        run.fit(blobs(), epochs=4, batch_size=16)
    assert signal.getsignal(signal.SIGINT) is before
    assert caught.value.exit_code == 130
    assert caught.value.checkpoint and caught.value.checkpoint.exists()
    model = network(seed=99, dropout=0.3)
    again = trainer(model, metrics=["accuracy"], directory=tmp_path)
    again.resume(tmp_path, blobs(), epochs=4, batch_size=16)
    assert same(weights(alone), weights(model))
    assert again.history.sha256() == history.sha256()
    assert (tmp_path / "history.jsonl").read_text() == history.to_jsonl()


def test_interrupted_in_validation_under_averaged_weights(tmp_path: Path) -> None:
    class StopInValidation(Callback):
        def on_validation_start(self, trainer: Trainer) -> None:
            if trainer.epoch == 2:
                os.kill(os.getpid(), signal.SIGINT)

    def make(seed: int, *more: Callback) -> Trainer:
        return trainer(
            network(seed=seed),
            callbacks=[ExponentialMovingAverage(0.9), EarlyStopping(patience=9), *more],
            directory=tmp_path / "run" if more or seed else None,
        )

    options = {"validation_data": blobs(40, seed=1), "epochs": 3, "batch_size": 16}
    alone = make(0)
    alone.fit(blobs(), **options)
    with pytest.raises(TrainingInterrupted):
        make(0, StopInValidation()).fit(blobs(), **options)
    again = make(5)
    again.fit(blobs(), **options, resume=tmp_path / "run")
    assert same(weights(alone.model), weights(again.model))
    assert again.history.sha256() == alone.history.sha256()


def test_the_second_interrupt_ends_at_once() -> None:
    class Twice(Callback):
        def on_batch_end(self, trainer: Trainer, result: StepResult) -> None:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(TrainingInterrupted, match="interrupted twice"):
        trainer(callbacks=[Twice()]).fit(blobs(), epochs=2)


def test_without_a_folder_the_state_stays_in_memory() -> None:
    run = trainer(callbacks=[StopAt(3)])
    with pytest.raises(TrainingInterrupted, match="no checkpoint: the trainer has no directory"):
        run.fit(blobs(), epochs=1, batch_size=16)
    assert len(run.fit(blobs(), epochs=1, batch_size=16)) == 1


def test_resume_from_a_checkpoint_of_an_earlier_epoch_cuts_the_history(tmp_path: Path) -> None:
    keep = ModelCheckpoint(keep_last=9)
    run = trainer(callbacks=[keep], directory=tmp_path)
    run.fit(blobs(), epochs=4, batch_size=16)
    earlier = tmp_path / "checkpoints" / "checkpoint-00000012.safetensors"
    with pytest.raises(ConfigError, match="holds checkpoints of a run that came further"):
        trainer(callbacks=[ModelCheckpoint()], directory=tmp_path).fit(
            blobs(), epochs=4, batch_size=16, resume=earlier
        )
    for name in ("checkpoint-00000018.safetensors", "checkpoint-00000024.safetensors"):
        (tmp_path / "checkpoints" / name).unlink()
    model = network(seed=3)
    trainer(model, callbacks=[ModelCheckpoint()], directory=tmp_path).fit(
        blobs(), epochs=4, batch_size=16, resume=earlier
    )
    assert same(weights(model), weights(run.model))
    assert (tmp_path / "history.jsonl").read_text() == run.history.to_jsonl()


def test_resume_refuses_other_data_and_settings(tmp_path: Path) -> None:
    trainer(callbacks=[ModelCheckpoint()], directory=tmp_path).fit(blobs(), epochs=1)

    def refused(sentence: str, data: Any = None, **options: Any) -> None:
        fit = {k: options.pop(k) for k in ("batch_size", "shuffle") if k in options}
        options.setdefault("callbacks", [ModelCheckpoint()])
        model = options.pop("model", None)
        run = trainer(model, directory=tmp_path, **options)
        with pytest.raises(CheckpointError, match=sentence):
            run.fit(data or blobs(), epochs=1, resume=tmp_path, **fit)

    refused("now it is .*'samples': 50", data=blobs(50))
    refused("now it is .*'batch_size': 8", batch_size=8)
    refused("now it is .*'shuffle': False", shuffle=False)
    refused("accumulate: 1, but now it is 2", accumulate=2)
    refused("was written with seed=0; this trainer has seed=4", seed=4)
    refused(r"has the callbacks ModelCheckpoint and this trainer none", callbacks=[])
    refused(r"metrics \[\] and this trainer \['accuracy'\]", metrics=["accuracy"])
    refused(r"missing model.4.weight", model=deeper())
    model = network()
    sgd = optim.SGD(model.parameters(), lr=0.1)
    refused("optimizer Adam; this trainer has SGD", model=model, optimizer=sgd)
    with pytest.raises(CheckpointError, match=r"there is no checkpoint in .* Start it anew"):
        trainer().fit(blobs(), resume=tmp_path.parent)
    with pytest.raises(CheckpointError, match=r"there is no checkpoint .*absent"):
        trainer().fit(blobs(), resume=tmp_path / "absent")


def deeper() -> nn.Module:
    """A network of three layers."""
    return nn.Sequential(*network(), nn.ReLU(), nn.Linear(3, 3))


def test_a_changed_history_file_is_noticed(tmp_path: Path) -> None:
    trainer(callbacks=[ModelCheckpoint()], directory=tmp_path).fit(blobs(), epochs=2)
    file = tmp_path / "history.jsonl"
    text = file.read_text()
    for other, sentence in [
        (text.replace('"epoch":1', '"epoch":7'), "are not those of the checkpoint"),
        (text[: len(text) // 2], "has 1 epochs, but the checkpoint was written after 2|has 0"),
    ]:
        file.write_text(other)
        with pytest.raises(CheckpointError, match=sentence):
            trainer(callbacks=[ModelCheckpoint()], directory=tmp_path).fit(
                blobs(), epochs=2, resume=tmp_path
            )


def test_a_script_that_is_interrupted_says_where_it_was_saved(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from tests.train.runs import blobs, trainer\n"
        "run = trainer(directory=sys.argv[1], progress='lines')\n"
        "run.fit(blobs(), epochs=100_000, batch_size=16)\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    with obeying_ctrl_c():
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)],
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=ROOT,
        )
    assert process.stderr is not None
    assert process.stderr.readline().startswith("epoch 1/100000")
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 1  # the traceback of an exception; a program may exit with 130
    assert "TrainingInterrupted: interrupted in epoch" in error
    assert len(list((tmp_path / "checkpoints").iterdir())) == 1


def test_a_full_disk_at_a_checkpoint_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(seed: int = 0) -> Trainer:
        callbacks = [ModelCheckpoint(every_n_steps=2), EarlyStopping("loss")]
        return trainer(network(seed=seed, dropout=0.3), callbacks=callbacks, directory=tmp_path)

    alone = trainer(network(dropout=0.3), callbacks=[EarlyStopping("loss")])
    alone.fit(blobs(), epochs=4, batch_size=16)
    system, calls = os.fsync, iter(range(1000))

    def fsync(descriptor: int) -> None:
        if next(calls) == 17:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        system(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="No space left on device") as caught:
        run().fit(blobs(), epochs=4, batch_size=16)
    monkeypatch.undo()
    assert "raised by the callback ModelCheckpoint." in caught.value.__notes__[0]
    assert "go on with fit(..., resume='" in caught.value.__notes__[0]
    assert not list(tmp_path.rglob("*.partial"))
    again = run(seed=3)
    again.fit(blobs(), epochs=4, batch_size=16, resume=tmp_path)
    assert same(weights(again.model), weights(alone.model))
    assert again.history.sha256() == alone.history.sha256()
