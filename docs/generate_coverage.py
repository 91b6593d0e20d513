"""Writes docs/coverage.md from NumPy's closed lists of what can be overridden, and scipy.special's.

`python docs/generate_coverage.py` writes the page; a test checks that it is up to date, and that
what it says of every name is true. What has a rule is read from the tables of
`backpass.trace.dispatch`; which of these rules carry a derivative is said here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy
from numpy.testing import overrides
from scipy import special

from backpass.ops.special import NAMED
from backpass.trace import callables, dispatch

PAGE = Path(__file__).parent / "coverage.md"


def names(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


DIFFERENTIABLE, PASSES, REFUSED = "differentiable", "passes through", "refused"
# Results that are integers, booleans, shapes or text, that are flat everywhere, or that are made
# from no values: the call works on traced arrays, and there is no derivative to carry.
PASSING_UFUNCS = names(
    """
    bitwise_and bitwise_count bitwise_or bitwise_xor ceil equal floor floor_divide gcd greater
    greater_equal invert isfinite isinf isnan lcm left_shift less less_equal logical_and
    logical_not logical_or logical_xor not_equal right_shift rint sign signbit spacing trunc
    """
)
PASSING_FUNCTIONS = names(
    """
    all allclose angle any arange argmax argmin argpartition argsort argwhere array array2string
    array_equal array_equiv array_repr array_str around asanyarray asarray ascontiguousarray
    asfortranarray can_cast common_type count_nonzero diag_indices_from digitize einsum_path empty
    empty_like eye fix flatnonzero frombuffer fromfile fromfunction fromiter fromstring full
    full_like genfromtxt identity imag intersect1d iscomplex iscomplexobj isclose isin isneginf
    isposinf isreal isrealobj lexsort linalg.matrix_rank loadtxt may_share_memory
    min_scalar_type nanargmax nanargmin ndim nonzero ones ones_like packbits ravel_multi_index
    require result_type round searchsorted setdiff1d setxor1d shape shares_memory size tri
    tril_indices_from triu_indices_from union1d unique_all unique_counts unique_inverse unpackbits
    unravel_index zeros zeros_like
    """
)
PASSING_SPECIAL = frozenset({"gammasgn", "round"})
# A rule that only raises, with a sentence of its own.
REFUSING = names(
    """
    histogram histogram2d histogram_bin_edges histogramdd linalg.eig linalg.eigvals sort_complex
    """
)
NOTES = {
    "argwhere": "values must be known: not under `jit`, `vmap`",
    "bincount": "in the weights; the integers must be known",
    "choose": "in the choices",
    "compress": "the condition must be known",
    "copysign": "in the first argument",
    "digitize": "the edges must be known",
    "extract": "the condition must be known",
    "flatnonzero": "values must be known",
    "frexp": "in the mantissa",
    "heaviside": "in the value at 0",
    "interp": "in x, xp and fp",
    "linalg.cholesky": "of the symmetric matrix: the gradient is symmetric",
    "linalg.det": "exact at singular matrices too",
    "linalg.eig": "complex results",
    "linalg.eigh": "of the symmetric matrix; vectors of repeated eigenvalues give NaN",
    "linalg.eigvals": "complex results",
    "linalg.eigvalsh": "of the symmetric matrix",
    "linalg.lstsq": "not under `jit`, `vmap`: the rank decides a shape",
    "linalg.pinv": "where the rank is constant",
    "linalg.qr": "modes reduced and r; complete for square and wide matrices",
    "linalg.svd": "full_matrices=False, or square",
    "nanpercentile": "method linear",
    "nanquantile": "method linear",
    "nonzero": "values must be known",
    "pad": "modes constant, edge, reflect, symmetric, wrap, empty",
    "percentile": "in the array, every method; q is fixed",
    "piecewise": "the functions are called on all of x",
    "polyfit": "full=False, cov=False",
    "quantile": "in the array, every method; q is fixed",
    "sort_complex": "complex results",
    "trim_zeros": "values must be known",
    "unique": "values must be known; each is read where it first occurs",
    "unique_values": "values must be known; each is read where it first occurs",
}
SPECIAL_NOTES = dict.fromkeys(
    names("betainc betaincc gammainc gammaincc hyp0f1 hyp1f1 hyp2f1 iv ive jv kn kv kve yn yv"),
    "in the last argument; others are refused",
)


@dataclass(frozen=True, slots=True)
class Row:
    """A name as a user writes it after `np.` (or `special.`), what it is here, and a remark."""

    name: str
    function: Callable[..., Any]
    status: str
    note: str


def short_name(function: Callable[..., Any]) -> str:
    """The name of a function of NumPy without the package and its private parts."""
    module = function.__module__.removeprefix("numpy").removeprefix(".")
    return f"{module}.{function.__name__}" if module else function.__name__


def _status(name: str, has_rule: bool, passing: frozenset[str]) -> str:
    if not has_rule or name in REFUSING:
        return REFUSED
    return PASSES if name in passing else DIFFERENTIABLE


def ufunc_rows() -> list[Row]:
    """NumPy's ufuncs, without those of its string functions' machinery."""
    rows = {}
    for ufunc in overrides.get_overridable_numpy_ufuncs():
        name = ufunc.__name__
        if name.startswith("_"):
            continue
        status = _status(name, dispatch.ufunc_rule(ufunc) is not None, PASSING_UFUNCS)
        rows[name] = Row(name, ufunc, status, NOTES.get(name, ""))
    return [rows[name] for name in sorted(rows)]


def function_rows() -> list[Row]:
    """NumPy's functions that dispatch on their arguments."""
    tables = (dispatch.FUNCTIONS, dispatch.INSPECTION, dispatch.WRITES, callables.CALLABLES)
    rows: dict[str, Row] = {}
    for function in overrides.get_overridable_numpy_array_functions():
        name = short_name(function)
        known = any([function in table for table in tables])
        if name in rows and not known:  # some are listed twice: once for like=
            continue
        status = _status(name, known, PASSING_FUNCTIONS)
        rows[name] = Row(name, function, status, NOTES.get(name, ""))
    return [rows[name] for name in sorted(rows)]


def special_rows() -> list[Row]:
    """The ufuncs of scipy.special, under all their names."""
    rows = []
    for name in sorted(dir(special)):
        ufunc = getattr(special, name)
        if isinstance(ufunc, np.ufunc):
            status = _status(name, ufunc.__name__ in NAMED, PASSING_SPECIAL)
            rows.append(Row(name, ufunc, status, SPECIAL_NOTES.get(ufunc.__name__, "")))
    return rows


def _table(rows: list[Row]) -> str:
    lines = ["| name | on traced arrays | remark |", "|---|---|---|"]
    lines += [
        f"| `{row.name}` | {row.status} | {row.note} |" for row in rows if row.status != REFUSED
    ]
    return "\n".join(lines)


def _refused(rows: list[Row]) -> str:
    return ", ".join([f"`{row.name}`" for row in rows if row.status == REFUSED])


def _counts(rows: list[Row]) -> str:
    each = [f"{sum([r.status == s for r in rows])} {s}" for s in (DIFFERENTIABLE, PASSES, REFUSED)]
    return ", ".join(each)


INTRODUCTION = """# Coverage of NumPy

What NumPy lets an array type override, from its own closed lists (`numpy.testing.overrides`), and
the ufuncs of `scipy.special`. This page is written by `docs/generate_coverage.py`; the tests call
every name.

- **differentiable**: first and second derivatives in both modes are checked against differences.
- **passes through**: the call works on traced arrays. The result is an integer, a boolean, a shape,
  or flat wherever it has a derivative, so there is nothing to carry.
- **refused**: an `UnsupportedError` that names the function and the line of the call. Nothing is
  silently wrong, nothing silently zero.

The names are those after `np.`. `ufunc.reduce`, `.accumulate`, `.outer` and `.at` work where a
reduction or scan exists; `.reduceat` is refused. Functions that are no ufuncs but that users of
SciPy need (`logsumexp`, `softmax`, `log_softmax`, `polygamma`) are in `backpass.scipy.special`.
"""


def versions() -> str:
    """The line of the page that says of which NumPy and SciPy the lists are."""
    return f"The lists are those of NumPy {np.__version__} and SciPy {scipy.__version__}.\n"


def page() -> str:
    """The text of docs/coverage.md."""
    parts = [INTRODUCTION, versions()]
    for title, rows in (
        ("Ufuncs of NumPy", ufunc_rows()),
        ("Functions of NumPy", function_rows()),
        ("Ufuncs of scipy.special", special_rows()),
    ):
        parts.append(
            f"## {title}\n\n{_counts(rows)}.\n\n{_table(rows)}\n\nRefused: {_refused(rows)}.\n"
        )
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
