"""The run folder: its states, and that nothing is ever removed that is not a run's own."""

import json
import math
from pathlib import Path

import pytest
from tests.cli.processes import QUICK, Cli

from backpass.cli.run_folder import RunFolder, new_run, open_run, take_place
from backpass.cli.settings import RunConfig
from backpass.errors import ConfigError


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def make(name: str, *, finished: bool, **files: str) -> RunFolder:
    """A folder that looks like a run."""
    folder = RunFolder(Path(name))
    folder.checkpoints.mkdir(parents=True)
    folder.write_config(RunConfig(source=name))
    if finished:
        folder.model.write_bytes(b"model")
        folder.write_metrics({"seconds": 1.0})
    for path, content in files.items():
        (folder.path / path).write_text(content)
    return folder


def test_states() -> None:
    assert RunFolder(Path("absent")).state == "absent"
    Path("empty").mkdir()
    assert RunFolder(Path("empty")).state == "empty"
    Path("file").write_text("x")
    assert RunFolder(Path("file")).state == "foreign"
    assert RunFolder(Path()).state == "foreign"
    assert make("begun", finished=False).state == "unfinished"
    assert make("done", finished=True).state == "finished"


def test_new_runs_are_numbered_on() -> None:
    assert str(new_run("my data", None, False).path) == "runs/my-data-1"
    (Path("runs") / "my-data-7").mkdir()
    (Path("runs") / "my-data-x").mkdir()
    assert str(new_run("my data", None, False).path) == "runs/my-data-8"
    assert str(new_run("../../etc", None, False).path) == "runs/etc-1"


def test_a_folder_with_other_files_is_refused() -> None:
    Path("thesis").mkdir()
    Path("thesis/chapter.tex").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(ConfigError, match="holds files that are no run of backpass"):
            new_run("iris", Path("thesis"), overwrite)
    assert Path("thesis/chapter.tex").read_text() == "years of work"


def test_an_unfinished_run_is_gone_on_with_or_overwritten() -> None:
    folder = make("run", finished=False, history="mine")
    (folder.checkpoints / "checkpoint-00000001.safetensors").write_text("x")
    with pytest.raises(ConfigError, match="Go on with: backpass resume run"):
        new_run("iris", Path("run"), False)
    new_run("iris", Path("run"), True)
    assert sorted(p.name for p in folder.path.iterdir()) == ["history"], "the user's file stays"


def test_a_finished_run_stays_until_its_successor_has_finished() -> None:
    make("run", finished=True, notes="keep me")
    successor = new_run("iris", Path("run"), False)
    assert successor.path.name == "run.new" and RunFolder(Path("run")).state == "finished"
    successor.write_config(RunConfig(source="new"))
    with pytest.raises(ConfigError, match=r"resume .*run\.new"):
        new_run("iris", Path("run"), False)
    successor.model.write_bytes(b"new model")
    successor.write_metrics({"seconds": 2.0})
    done = take_place(successor)
    assert done.path.name == "run" and done.read_config().source == "new"
    assert (done.path / "notes").read_text() == "keep me"
    assert sorted(p.name for p in Path().iterdir()) == ["run"]


def test_a_run_that_is_only_called_new_replaces_nothing() -> None:
    make("run", finished=True)
    folder = new_run("iris", Path("run.new"), False)
    folder.write_config(RunConfig(source="new"))
    folder.model.write_bytes(b"new model")
    folder.write_metrics({"seconds": 2.0})
    assert take_place(folder).path.name == "run.new"
    assert RunFolder(Path("run")).read_config().source == "run"


def test_training_twice_into_one_folder_replaces_the_run(cli: Cli) -> None:
    for seed in (1, 2):
        ended = cli("train", "iris", *QUICK, "--seed", seed, "-o", "runs/iris")
        assert ended.status == 0, ended.err
        Path("runs/iris/notes.txt").write_text("mine")
    assert open_run(Path("runs/iris"), finished=True).read_config().seed == 2
    assert [p.name for p in Path("runs").iterdir()] == ["iris"]
    assert Path("runs/iris/notes.txt").read_text() == "mine"


def test_a_failed_successor_leaves_the_finished_run(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli("train", "iris", *QUICK, "-o", "run").status == 0
    before = {p.name: p.read_bytes() for p in Path("run").iterdir() if p.is_file()}
    ended = cli("train", "iris", *QUICK, "--lr", "1e30", "--no-batch-norm", "-o", "run")
    assert ended.status == 1, ended.err
    assert {p.name: p.read_bytes() for p in Path("run").iterdir() if p.is_file()} == before


def test_two_processes_do_not_train_in_one_folder(cli: Cli) -> None:
    folder = make("run", finished=False)
    with folder.locked():
        ended = cli("resume", "run")
    assert ended.status == 2 and "another process is training in 'run'" in ended.err


def test_metrics_have_null_for_what_is_undefined() -> None:
    folder = make("run", finished=False)
    folder.write_metrics({"test": {"loss": math.nan, "f1": math.inf, "accuracy": 0.5}})
    assert json.loads(folder.metrics.read_text()) == {
        "test": {"loss": None, "f1": None, "accuracy": 0.5}
    }


def test_what_is_no_run_is_said_to_be_none(cli: Cli) -> None:
    make("runs/a", finished=False)
    assert "There is no run folder 'runs/b'. There is: runs/a." in cli("info", "runs/b").err
    Path("other").mkdir()
    assert "'other' is no run folder: it has no config.toml." in cli("info", "other").err
    ended = cli("evaluate", "runs/a", "iris")
    assert ended.status == 2 and "has not finished. Go on with: backpass resume runs/a" in ended.err
