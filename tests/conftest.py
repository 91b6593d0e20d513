"""What every test may ask for: a peer library, or a browser. Nothing is skipped silently in CI.

A test that takes the `peer` fixture carries the mark `peers` without saying so, and one that takes
`chromium` the mark `browser`. `make test` leaves both out; `make peers`, `make browser` run them.
Where what they need is missing, the test fails if CI=true, and is skipped with the reason if not.
"""

import importlib
import importlib.util
import os
import shutil
from collections.abc import Callable
from types import ModuleType
from typing import NoReturn

import pytest

Peer = Callable[[str], ModuleType]
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")
MARK_OF_FIXTURE = {"peer": "peers", "chromium": "browser"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests by the fixtures they take, before `-m` chooses among them."""
    for item in items:
        for fixture in getattr(item, "fixturenames", ()):
            if fixture in MARK_OF_FIXTURE:
                item.add_marker(MARK_OF_FIXTURE[fixture])


@pytest.fixture(scope="session")
def peer() -> Peer:
    """Give a function that imports `"torch"`, `"jax"` or `"autograd"`, set up as an oracle.

    JAX computes in float64 on the CPU, PyTorch with one thread; `peer("jax.numpy")` works too.
    """

    def import_peer(name: str) -> ModuleType:
        root = name.partition(".")[0]
        if root not in _SETTINGS:
            raise ValueError(f"{name!r} is no peer; the peers are {', '.join(_SETTINGS)}")
        if importlib.util.find_spec(root) is None:
            absent(f"{root} is not installed: run `make peers`, or pip install -e '.[peers]'")
        _SETTINGS[root]()
        return importlib.import_module(name)

    return import_peer


@pytest.fixture(scope="session")
def chromium() -> str:
    """Give the path of a Chromium that runs headless."""
    found = next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)
    return found or absent("no Chromium is installed: run `make browser`")


def absent(reason: str) -> NoReturn:
    """Fail the test in CI, skip it elsewhere: what it needs is not on this machine."""
    if os.environ.get("CI", "").lower() in ("true", "1"):
        pytest.fail(f"CI=true and {reason}", pytrace=False)
    pytest.skip(reason)


def _set_up_torch() -> None:
    import torch

    torch.set_num_threads(1)


def _set_up_jax() -> None:
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    import jax

    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_x64", True)


def _set_up_autograd() -> None:
    """HIPS autograd has no settings: it computes in the dtype of its inputs."""


_SETTINGS: dict[str, Callable[[], None]] = {
    "torch": _set_up_torch,
    "jax": _set_up_jax,
    "autograd": _set_up_autograd,
}
