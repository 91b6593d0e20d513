"""The system at its worst: closed pipes, full disks, folders that are gone, terminals, signals."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pexpect
import pytest
from tests.cli.processes import QUICK, run_there, start

TRAIN = ("train", "iris", "--epochs", 2, "--hidden", 8)
FULL = Path("/dev/full")


def test_a_closed_pipe_loses_the_output_only(tmp_path: Path) -> None:
    with start(*TRAIN, cwd=tmp_path) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline().startswith("data ")
        process.stdout.close()
        said = process.stderr.read()
    assert process.returncode == 0 and "BrokenPipe" not in said and "Traceback" not in said
    assert (tmp_path / "runs/iris-1/metrics.json").exists()


@pytest.mark.parametrize("streams", [">&- 2>&-", "</dev/null >/dev/null 2>&1"])
def test_no_streams_at_all(tmp_path: Path, streams: str) -> None:
    command = f"{sys.executable} -m backpass train iris --epochs 1 --hidden 4 {streams}"
    done = subprocess.run(command, shell=True, cwd=tmp_path, check=False)
    assert done.returncode == 0 and (tmp_path / "runs/iris-1/report.html").exists()


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full on this system")
def test_output_on_a_full_disk_is_a_failure(tmp_path: Path, iris_run: Path) -> None:
    with FULL.open("w") as full:
        ended = run_there("predict", iris_run, "iris", cwd=tmp_path, stdout=full)
    assert ended.status == 1
    assert "standard output could not be written: No space left on device" in ended.err


def limit_files() -> None:
    """No file may grow beyond 24 KiB: writing more fails, as on a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (24 * 1024, 24 * 1024))


def test_a_full_disk_leaves_what_was_saved_and_can_be_resumed(tmp_path: Path) -> None:
    flags = ("train", "digits", "--epochs", 3, "--hidden", 16, "-q", "-o", "run")
    ended = run_there(*flags, cwd=tmp_path, preexec_fn=limit_files)
    run = tmp_path / "run"
    assert ended.status == 1 and "Traceback" not in ended.err
    assert "backpass: run: File too large." in ended.err
    assert "Go on with: backpass resume run\n" in ended.err
    assert not [p for p in run.rglob("*") if ".partial" in p.name or ".tmp" in p.name]
    assert run_there("resume", "run", "-q", cwd=tmp_path).status == 0
    assert (run / "metrics.json").exists()


def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    # root may write anywhere but into the kernel's own file systems
    target = locked / "run" if os.geteuid() else Path("/sys/backpass-run")
    ended = run_there(*TRAIN, "-o", target, cwd=tmp_path)
    assert ended.status == 1 and ended.err.startswith(f"backpass: {target}: ")
    assert ended.err.count("\n") == 1


def test_without_a_home(tmp_path: Path) -> None:
    home = {"HOME": "/nonexistent", "XDG_CACHE_HOME": "", "XDG_CONFIG_HOME": ""}
    assert run_there(*TRAIN, cwd=tmp_path, env=home).status == 0
    assert "cache" in run_there("info", cwd=tmp_path, env=home).out


def test_in_a_folder_that_was_deleted(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    script = f"rmdir {gone}; {sys.executable} -P -m backpass train iris"
    done = subprocess.run(script, shell=True, cwd=gone, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "the current folder has been deleted" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_ascii_terminal_loses_characters_only(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text(
        "größe,y\n" + "".join(f"{i},{'ja' if i % 2 else 'nein €'}\n" for i in range(40)), "utf-8"
    )
    ended = run_there(
        *("train", "d.csv", "--target", "größe", "--epochs", 1, "--hidden", 4),
        cwd=tmp_path,
        env={"PYTHONIOENCODING": "ascii", "LC_ALL": "C"},
    )
    assert ended.status == 0 and "gr??e" in ended.out


def on_a_terminal(command: list[str], cwd: Path, **env: str) -> tuple[str, int | None]:
    """All that a command shows on a terminal, and its exit status."""
    child = pexpect.spawn(
        sys.executable,
        ["-m", "backpass", *command],
        cwd=str(cwd),
        env={**os.environ, "TERM": "xterm-256color", **env},
        dimensions=(30, 100),
        encoding="utf-8",
        timeout=120,
    )
    shown = child.read()
    child.close()
    return shown, child.exitstatus


def test_a_terminal_gets_a_bar_and_colours(tmp_path: Path) -> None:
    shown, status = on_a_terminal(["train", "iris", "--epochs", "3"], tmp_path, NO_COLOR="")
    assert status == 0 and "\x1b[" in shown and "epoch 3/3" in shown and "Accuracy" in shown


def test_no_color_is_obeyed(tmp_path: Path) -> None:
    shown, status = on_a_terminal(["train", "iris", "--epochs", "2"], tmp_path, NO_COLOR="1")
    assert status == 0
    assert "\x1b[3" not in shown and "\x1b[9" not in shown, "colours"


def test_ctrl_c_before_training_ends_at_once(tmp_path: Path) -> None:
    with start(*TRAIN, cwd=tmp_path) as process:
        time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode in (130, -signal.SIGINT), said


def test_two_runs_at_once_take_two_folders(tmp_path: Path) -> None:
    first, second = (start("train", "iris", *QUICK, cwd=tmp_path) for _ in range(2))
    with first, second:
        assert (first.wait(120), second.wait(120)) == (0, 0)
    assert sorted(p.name for p in (tmp_path / "runs").iterdir()) == ["iris-1", "iris-2"]
