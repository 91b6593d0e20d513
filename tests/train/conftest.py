"""One thread of BLAS for these tests: on a busy machine its threads wait for each other."""

from collections.abc import Iterator

import pytest
from threadpoolctl import threadpool_limits


@pytest.fixture(autouse=True, scope="package")
def one_blas_thread() -> Iterator[None]:
    """Small matrices gain nothing from more."""
    with threadpool_limits(1):
        yield
