"""The package as a user gets it: what pip installs without extras is small and imports whole."""

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CORE = {"backpass", "numpy", "llvmlite"}
# The rooms whose modules may import the `train` extra at their top: a person's door to it.
NEEDS_TRAIN = ("backpass.cli",)
IMPORT_ALL = f"""
import importlib, pkgutil, backpass
names = [m.name for m in pkgutil.walk_packages(backpass.__path__, "backpass.", onerror=print)]
for name in names:
    if not name.startswith({NEEDS_TRAIN!r}) and not name.endswith("__main__"):
        importlib.import_module(name)
print(len(names))
"""

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("install")]


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    """Run a command and return what it prints; a failure shows its errors."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def core_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the Python of a fresh environment in which the package is installed without extras."""
    folder = tmp_path_factory.mktemp("core")
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, ROOT)
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    (wheel,) = folder.glob("backpass-*.whl")
    run(python, "-m", "pip", "install", "-q", wheel)
    return python


def test_the_core_is_numpy_and_llvmlite(core_python: Path) -> None:
    listed = run(core_python, "-m", "pip", "list", "--format=freeze").splitlines()
    assert {line.partition("==")[0] for line in listed} - {"pip", "setuptools"} == CORE
    run(core_python, "-m", "pip", "check")


def test_every_module_imports_without_an_extra(core_python: Path, tmp_path: Path) -> None:
    assert int(run(core_python, "-c", IMPORT_ALL, cwd=tmp_path).split()[-1]) >= 2


def test_types_and_licence_travel_with_the_package(core_python: Path, tmp_path: Path) -> None:
    code = "import backpass, pathlib; print(pathlib.Path(backpass.__file__).parent)"
    package = Path(run(core_python, "-c", code, cwd=tmp_path).strip())
    assert (package / "py.typed").is_file()
    assert list(package.parent.glob("backpass-*.dist-info/licenses/LICENSE"))
