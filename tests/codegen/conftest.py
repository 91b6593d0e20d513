"""Tests of codegen compile into a cache of their own, not into the user's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def cache_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A folder that begins empty; scripts in processes of their own use it too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BACKPASS_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield
