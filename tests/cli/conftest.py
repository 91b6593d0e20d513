"""What the tests of the command line may ask for: an empty folder to be in, a finished run."""

from pathlib import Path

import pytest
from tests.cli.processes import Cli, run_here


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """`backpass` in this process and in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return run_here


@pytest.fixture(scope="session")
def iris_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on iris, not to be written to."""
    path = tmp_path_factory.mktemp("iris") / "run"
    ended = run_here("train", "iris", "--epochs", 8, "--quiet", "--output", path)
    assert ended.status == 0, ended.err
    return path
