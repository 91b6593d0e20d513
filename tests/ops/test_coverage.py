"""What docs/coverage.md says of every name is true: each is called on a traced array."""

from __future__ import annotations

import os
import tempfile
from typing import Any

import numpy as np
import pytest
from docs.generate_coverage import (
    DIFFERENTIABLE,
    PAGE,
    PASSES,
    REFUSED,
    Row,
    function_rows,
    page,
    special_rows,
    ufunc_rows,
    versions,
)
from tests.ops import passing, samples, samples_special

import backpass as bp
from backpass.errors import UnsupportedError
from backpass.trace import Tracer

UFUNC_ROWS, FUNCTION_ROWS, SPECIAL_ROWS = ufunc_rows(), function_rows(), special_rows()
ROWS = [*UFUNC_ROWS, *FUNCTION_ROWS, *SPECIAL_ROWS]


def names(rows: list[Row], status: str) -> set[str]:
    return {row.name for row in rows if row.status == status}


def test_page_is_up_to_date() -> None:
    """With another NumPy or SciPy the lists differ; the names in both agree."""
    written = PAGE.read_text(encoding="utf-8")
    if versions() in written:
        assert written == page(), "run: python docs/generate_coverage.py"
    for row in ROWS:
        for line in written.splitlines():
            if line.startswith(f"| `{row.name}` |"):
                assert row.status != REFUSED, row.name


def test_every_differentiable_name_has_a_sample() -> None:
    assert names(UFUNC_ROWS, DIFFERENTIABLE) == set(samples.UFUNCS)
    assert names(FUNCTION_ROWS, DIFFERENTIABLE) == set(samples.FUNCTIONS)
    special = {row.function.__name__ for row in SPECIAL_ROWS if row.status == DIFFERENTIABLE}
    assert special == set(samples_special.SPECIAL)


def test_every_passing_name_has_a_call() -> None:
    assert names(UFUNC_ROWS, PASSES) == set(passing.UFUNCS)
    assert names(FUNCTION_ROWS, PASSES) - {"fromfile"} == set(passing.FUNCTIONS)


def leaves(y: Any) -> list[Any]:
    return list(y) if isinstance(y, (list, tuple)) else [y]


@pytest.mark.parametrize(
    ("table", "name"),
    [(t, n) for t in ("UFUNCS", "FUNCTIONS") for n in getattr(passing, t)],
)
def test_passing(table: str, name: str) -> None:
    """The values are NumPy's, and what is computed from them has the derivative zero."""
    call = getattr(passing, table)[name]
    expected = call(passing.X)
    seen: list[Any] = []

    def function(x: Any) -> Any:
        found = leaves(call(x))
        seen.extend(found)
        total = np.sum(x)
        for y in found:
            if isinstance(y, Tracer):
                total = total + np.sum(np.where(np.isfinite(y), y, 0))
        return total

    gradient = bp.grad(function)(passing.X)
    for got, want in zip(seen, leaves(expected), strict=True):
        array: Any = got.value.array if isinstance(got, Tracer) else got
        np.testing.assert_array_equal(array, want)
        assert np.shape(array) == np.shape(want)
        if np.ndim(want):
            assert np.asarray(array).dtype == np.asarray(want).dtype
    np.testing.assert_array_equal(gradient, np.ones_like(passing.X))


def test_passing_from_a_file() -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "two")
        np.array([1.0, 2.0]).tofile(file)
        got = bp.grad(lambda x: np.sum(np.fromfile(file, like=x) * x))(np.zeros(2))
    np.testing.assert_array_equal(got, [1.0, 2.0])


@pytest.mark.parametrize("row", [r for r in ROWS if r.status == REFUSED], ids=lambda row: row.name)
def test_refused(row: Row) -> None:
    """An UnsupportedError that names the function and the line; never a wrong or silent zero."""

    def function(x: Any) -> Any:
        if isinstance(row.function, np.ufunc):
            row.function(*[x] * row.function.nin)
        else:
            x.__array_function__(row.function, (Tracer,), (x,), {})
        return np.sum(x)

    with pytest.raises(UnsupportedError) as caught:
        bp.grad(function)(np.ones(3))
    message = str(caught.value)
    assert row.function.__name__ in message
    assert "test_coverage.py:" in message
