"""The progress display: lines without a terminal, a bar on one, and never the end of a run."""

import io
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tests.train.runs import blobs, trainer

from backpass.train import GradientFlow, ProgressBar

ROOT = Path(__file__).parents[2]
SCRIPT = """
import sys
from backpass.train import ProgressBar
from tests.train.runs import blobs, trainer
run = trainer(metrics=["accuracy"], progress=sys.argv[1])
run.fit(blobs(), validation_data=blobs(20), epochs=300 if len(sys.argv) > 2 else 3, batch_size=16)
print("done")
"""


def test_lines_without_a_terminal() -> None:
    out = io.StringIO()
    run = trainer(metrics=["accuracy"], callbacks=[ProgressBar("auto", out)])
    run.fit(blobs(), validation_data=blobs(20), epochs=2)
    first, second = out.getvalue().splitlines()
    assert first.startswith("epoch 1/2  loss ") and second.startswith("epoch 2/2  loss ")
    for word in ("accuracy", "val_loss", "val_accuracy", "lr 0.01", "gradient_norm"):
        assert word in first
    assert "\x1b" not in first


def test_messages_are_shown_with_their_epoch() -> None:
    out = io.StringIO()
    flow = GradientFlow(exploding_norm=1e-9)
    trainer(callbacks=[flow, ProgressBar("lines", out)]).fit(blobs(), epochs=1)
    assert "\n  exploding at layer 1: " in out.getvalue()


class Gone(io.StringIO):
    """A pipe whose other end is closed."""

    def write(self, text: str) -> int:
        """Fail as the system does."""
        raise BrokenPipeError(32, "Broken pipe")


@pytest.mark.parametrize("style", ["lines", "bar", "auto"])
def test_a_closed_stream_does_not_end_a_run(style: str) -> None:
    closed = io.StringIO()
    closed.close()
    for stream in (Gone(), closed):
        history = trainer(callbacks=[ProgressBar(style, stream)]).fit(blobs(), epochs=2)
        assert len(history) == 2


def test_a_process_whose_reader_has_left() -> None:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    for style in ("lines", "bar"):
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, style],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            cwd=ROOT,
        )
        assert process.stderr is not None and process.stdout is not None
        process.stderr.close()
        assert process.stdout.read() == b"done\n"
        process.stdout.close()
        assert process.wait(timeout=60) == 0


def test_a_bar_on_a_terminal() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    run = trainer(callbacks=[ProgressBar("auto", out)])
    run.fit(blobs(), epochs=2, batch_size=1)
    text = out.getvalue()
    assert "\x1b[" in text  # the bar is drawn and cleared
    assert "epoch 1/2" in text and "grad" in text and "left" in text


def test_training_in_another_thread_touches_no_signals() -> None:
    found: list[int] = []
    run = trainer()
    thread = threading.Thread(target=lambda: found.append(len(run.fit(blobs(), epochs=1))))
    thread.start()
    thread.join(60)
    assert found == [1]
