"""A run that was killed or interrupted at any moment and resumed ends with the same bits."""

import hashlib
import json
import random
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from tests.cli.processes import Cli, run_there, start

from backpass.train.checkpoint_files import read_file

#: Everything with a state of its own: dropout, BatchNorm, a schedule by step, EMA, accumulation.
SETTINGS = (
    *("breast-cancer", "--epochs", 10, "--hidden", "16,16", "--batch-size", 16, "--quiet"),
    *("--schedule", "warmup", "--ema", 0.95, "--accumulate", 2, "--checkpoint-every", 5),
)
KILLS = 20


def bits(run: Path) -> tuple[str, str]:
    """SHA-256 of all weights, and of the history."""
    digest = hashlib.sha256()
    for name, array in sorted(read_file(run / "model.safetensors").arrays.items()):
        digest.update(name.encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest(), hashlib.sha256((run / "history.jsonl").read_bytes()).hexdigest()


def finish(run: Path) -> None:
    """What a person does with a run that was killed."""
    if (run / "metrics.json").exists():
        return  # the kill came after the end
    begun = (run / "config.toml").exists()
    command = ["resume", run, "--quiet"] if begun else ["train", *SETTINGS, "--output", run]
    ended = run_there(*command, cwd=run.parent)
    assert ended.status == 0, ended.err


@pytest.mark.slow
def test_twenty_runs_killed_at_random_moments_end_alike(tmp_path: Path) -> None:
    assert run_there("train", *SETTINGS, "--output", tmp_path / "alone", cwd=tmp_path).status == 0
    alone, steps = bits(tmp_path / "alone"), newest(tmp_path / "alone")
    moments = random.Random(0)
    resumed = 0
    for kill in range(KILLS):
        run = tmp_path / f"killed-{kill}"
        with start("train", *SETTINGS, "--output", run, cwd=tmp_path) as process:
            wait_for(run, moments.randrange(steps), process)
            time.sleep(moments.uniform(0, 0.05))
            process.kill()
        resumed += (run / "config.toml").exists() and not (run / "metrics.json").exists()
        finish(run)
        assert bits(run) == alone, f"kill {kill}"
        assert not list(run.rglob("*.partial")), "temporary files of the killed process"
    assert resumed >= KILLS // 4, "the kills came too late to show anything"


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_ends_alike(tmp_path: Path) -> None:
    assert run_there("train", *SETTINGS, "--output", tmp_path / "alone", cwd=tmp_path).status == 0
    run = tmp_path / "killed"
    command: list[object] = ["train", *SETTINGS, "--output", run]
    for _ in range(6):
        with start(*command, cwd=tmp_path) as process:
            before = newest(run)
            wait_for(run, before, process)
            process.kill()
        command = ["resume", run, "--quiet"]
    finish(run)
    assert bits(run) == bits(tmp_path / "alone")


def newest(run: Path) -> int:
    """The step of the newest checkpoint, 0 if there is none."""
    names = [path.stem for path in run.glob("checkpoints/checkpoint-*.safetensors")]
    return max((int(name.rpartition("-")[2]) for name in names), default=0)


def wait_for(run: Path, step: int, process: subprocess.Popen[str]) -> None:
    """Wait until there is a checkpoint after `step`, or the process has ended."""
    while process.poll() is None and newest(run) <= step:
        time.sleep(0.01)


def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path: Path) -> None:
    settings = ["iris", "--epochs", 40, "--patience", 0, "--quiet", "--output"]
    assert run_there("train", *settings, tmp_path / "alone", cwd=tmp_path).status == 0
    run = tmp_path / "run"
    with start("train", *settings, run, cwd=tmp_path) as process:
        wait_for(run, 0, process)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted in epoch" in said and f"Go on with: backpass resume {run}" in said
    assert "Traceback" not in said
    ended = run_there("resume", run, cwd=tmp_path)
    assert ended.status == 0 and "resumed" in ended.out, ended.err
    assert bits(run) == bits(tmp_path / "alone")


def test_a_run_without_a_checkpoint_yet_starts_anew(cli: Cli, iris_run: Path) -> None:
    run = Path("run")
    run.mkdir()
    (run / "config.toml").write_bytes((iris_run / "config.toml").read_bytes())
    assert cli("resume", run, "--quiet").status == 0
    assert bits(run) == bits(iris_run)
    assert json.loads((run / "metrics.json").read_text())["stopped_epoch"] == 8


def test_data_that_changed_since_are_not_trained_on(cli: Cli) -> None:
    lines = ["a,b,y", *(f"{i},{i * i % 7},{'yes' if i % 3 else 'no'}" for i in range(40))]
    Path("d.csv").write_text("\n".join(lines))
    done = cli("train", "d.csv", "--target", "y", "--epochs", 1, "-q", "-o", "run")
    assert done.status == 0, done.err
    Path("run/metrics.json").unlink()
    lines[5] = "99,0,yes"
    Path("d.csv").write_text("\n".join(lines))
    ended = cli("resume", "run")
    assert ended.status == 2
    assert "d.csv has changed since the run 'run' was started" in ended.err


def test_a_finished_run_is_not_resumed(cli: Cli, iris_run: Path) -> None:
    ended = cli("resume", iris_run)
    assert ended.status == 2 and "has finished; there is nothing to resume" in ended.err


def test_a_damaged_checkpoint_is_named(cli: Cli, iris_run: Path) -> None:
    run = Path("run")
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.toml").write_bytes((iris_run / "config.toml").read_bytes())
    (run / "checkpoints" / "checkpoint-00000009.safetensors").write_bytes(b"\x80\x04nothing")
    ended = cli("resume", run)
    assert ended.status == 1
    assert "checkpoint-00000009.safetensors is damaged or no checkpoint" in ended.err
