"""The environment variables: their precedence, what is refused, and what an unusual home does."""

import os
from pathlib import Path

import pytest

from backpass import config
from backpass.errors import BackpassError, ConfigError

VARIABLES = (
    "BACKPASS_CACHE_DIR",
    "BACKPASS_NUM_THREADS",
    "OMP_NUM_THREADS",
    "NO_COLOR",
    "XDG_CACHE_HOME",
)


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "{home}/.cache/backpass"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/backpass"),
        ({"XDG_CACHE_HOME": "relative"}, "{home}/.cache/backpass"),
        ({"XDG_CACHE_HOME": "/x", "BACKPASS_CACHE_DIR": "/own"}, "/own"),
        ({"BACKPASS_CACHE_DIR": "own"}, "{cwd}/own"),
        ({"BACKPASS_CACHE_DIR": ""}, "{home}/.cache/backpass"),
    ],
)
def test_cache_dir(
    settings: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    assert str(config.cache_dir()) == expected.format(home=tmp_path, cwd=os.getcwd())


def test_cache_dir_of_a_home_that_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "absent"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert config.cache_dir() == tmp_path / f"backpass-{os.getuid()}"
    assert not config.cache_dir().exists()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"BACKPASS_NUM_THREADS": "3"}, 3),
        ({"BACKPASS_NUM_THREADS": " 3 ", "OMP_NUM_THREADS": "5"}, 3),
        ({"OMP_NUM_THREADS": "5"}, 5),
        ({"OMP_NUM_THREADS": "5,2"}, 5),
        ({"BACKPASS_NUM_THREADS": "", "OMP_NUM_THREADS": "7"}, 7),
    ],
)
def test_num_threads(
    settings: dict[str, str], expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    assert config.num_threads() == expected


@pytest.mark.parametrize("name", ["BACKPASS_NUM_THREADS", "OMP_NUM_THREADS"])
@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", "1025", "²"])
def test_num_threads_refuses(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as caught:
        config.num_threads()
    assert isinstance(caught.value, BackpassError)
    assert isinstance(caught.value, ValueError)
    assert str(caught.value) == (
        f"{name}={value!r} is not a number of threads. "
        "Set it to a whole number from 1 to 1024, or unset it."
    )


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu.max": "100000 100000\n"}, 1),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "1000 100000\n"}, 1),
        ({"cpu.max": "9900000 100000\n"}, 8),
        ({"cpu.max": "nonsense"}, 8),
        ({"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
        ({}, 8),
    ],
)
def test_cpus_are_cut_by_the_control_group(
    files: dict[str, str], expected: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(config, "_CGROUP_ROOT", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    assert config.available_cpus() == expected
    assert config.num_threads() == expected


@pytest.mark.parametrize(("value", "expected"), [(None, True), ("", True), ("1", False)])
def test_use_color(value: str | None, expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if value is not None:
        monkeypatch.setenv("NO_COLOR", value)
    assert config.use_color() is expected
