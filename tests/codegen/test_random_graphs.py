"""Compiled random programs give NumPy's values and the eager gradient.

Seeds 0 to 1,999 (150 of them in `make test`, all in `make slow`). A failure prints the seed and the
program; `pytest -k "seed and 17"` or `generate(17)` repeats it.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from tests.codegen.graph_elementwise import BINARY, UNARY
from tests.codegen.random_graphs import Program, generate, scale

import backpass as bp

FAST, ALL = 150, 2_000
GROUP = 10
BOUND = {np.dtype(np.float64): 1e-12, np.dtype(np.float32): 1e-5}


def groups(first: int, last: int) -> list[range]:
    """The seeds in groups, one test each."""
    return [range(start, min(start + GROUP, last)) for start in range(first, last, GROUP)]


def check(program: Program) -> None:
    """Compare values and gradient, on the inputs as they lie and on contiguous copies."""
    before = [x.copy() for x in program.inputs]
    contiguous = [np.ascontiguousarray(x).reshape(x.shape) for x in program.inputs]
    fast, slope = bp.jit(program.__call__), bp.jit(program.gradient)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        expected, gradient = program(*program.inputs), program.gradient(*program.inputs)
        for xs in (program.inputs, contiguous):
            compare(program, "value", fast(*xs), expected)
            compare(program, "gradient", slope(*xs), gradient)
    for x, old in zip(program.inputs, before, strict=True):
        assert np.array_equal(x, old), f"an input was written to\n{program}"


def compare(program: Program, what: str, found: Sequence[Any], expected: Sequence[Any]) -> None:
    """Equal shapes and dtypes; integers equal, floats within the bound of their precision."""
    assert len(found) == len(expected), f"{what}\n{program}"
    for k, (a, b) in enumerate(zip(found, expected, strict=True)):
        a, b = np.asarray(a), np.asarray(b)
        label = f"{what} {k}: found {a.dtype}{a.shape}, expected {b.dtype}{b.shape}"
        assert (a.dtype, a.shape) == (b.dtype, b.shape), f"{label}\n{program}"
        if a.dtype not in BOUND:
            assert np.array_equal(a, b), f"{label}\n{a}\n{b}\n{program}"
            continue
        bound = precision(program, b.dtype) * scale(b)
        error = float(np.max(np.abs(a - b), initial=0.0))
        assert error <= bound, f"{label}: error {error:.3g} > {bound:.3g}\n{a}\n{b}\n{program}"


def precision(program: Program, dtype: Any) -> float:
    """A float64 result of a program that computes in float32 somewhere is as precise as that."""
    single = any([x.dtype == np.float32 for x in program.inputs])
    casts = any(["float32" in str(s) for s in program.statements])
    return BOUND[np.dtype(np.float32)] if single or casts else BOUND[np.dtype(dtype)]


@pytest.mark.parametrize("seeds", groups(0, FAST), ids=lambda r: f"seed {r.start}-{r.stop - 1}")
def test_compiled_programs_equal_numpy(seeds: range) -> None:
    for seed in seeds:
        check(generate(seed))


@pytest.mark.slow
@pytest.mark.parametrize("seeds", groups(FAST, ALL), ids=lambda r: f"seed {r.start}-{r.stop - 1}")
def test_all_compiled_programs_equal_numpy(seeds: range) -> None:
    for seed in seeds:
        check(generate(seed))


def test_the_programs_have_what_they_promise() -> None:
    """Every kind of statement and of input occurs among the seeds of `make test`."""
    programs = [generate(seed) for seed in range(FAST)]
    texts = [str(s) for p in programs for s in p.statements]
    inputs = [x for p in programs for x in p.inputs]
    names = {text.partition("(")[0].removeprefix("integer ") for text in texts}
    assert len(names & {*UNARY, *BINARY}) > 0.9 * len({*UNARY, *BINARY})
    assert {x.dtype for x in inputs} == {np.dtype(t) for t in ("f4", "f8", "i4", "i8", "?")}
    assert any([x.size == 0 for x in inputs])
    assert any([x.ndim == 0 for x in inputs])
    assert any([not x.flags.c_contiguous for x in inputs])
    assert any([not x.flags.writeable for x in inputs])
    for part in ("@", "einsum", "where", "concatenate", "pad", ".astype", "[", "copy of"):
        assert sum([part in text for text in texts]) >= 3, part


def test_a_seed_gives_the_same_program() -> None:
    assert str(generate(7)) == str(generate(7))


def test_a_wrong_result_is_seen() -> None:
    """The comparison fails on an error of twice its bound, a wrong dtype and a wrong shape."""
    program = next(p for p in map(generate, range(50)) if p.inputs[0].dtype == np.float64)
    right = np.array([3.0, -1.0])
    compare(program, "value", [right], [right])
    wrong = (right * (1 + 1e-4), right.astype(np.float32), right[:1])
    for found in wrong:
        with pytest.raises(AssertionError, match=f"seed {program.seed}"):
            compare(program, "value", [found], [right])
