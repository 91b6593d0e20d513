"""Index arithmetic against NumPy's own, over every point of a domain."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backpass.codegen.lower.index import (
    Form,
    NotAffineError,
    Place,
    SplitError,
    bounds,
    divided,
    domain_of,
    linear,
    onward,
    split,
    through,
    unravelled,
)
from backpass.ir import Node, TensorType, Value, constant
from backpass.ir.graph import made
from backpass.prims import rules as ru
from backpass.prims import shape as sh

F8 = np.dtype(np.float64)
EXTENTS = st.lists(st.integers(1, 6), min_size=1, max_size=3)


def at(form: Form, point: tuple[int, ...]) -> int:
    """The value of a form."""
    return form.constant + sum([c * i for c, i in zip(form.coefs, point, strict=True)])


def points(extents: list[int]) -> list[tuple[int, ...]]:
    return list(product(*map(range, extents)))


@st.composite
def forms(draw: Any) -> tuple[Form, list[int]]:
    """A form and its domain, coefficients mostly products of few numbers."""
    extents = draw(EXTENTS)
    coefs = [draw(st.sampled_from([-3, 0, 1, 2, 3, 4, 6, 12])) for _ in extents]
    return Form(draw(st.integers(-3, 14)), tuple(coefs)), extents


@given(forms())
def test_bounds_are_the_least_and_the_greatest(drawn: tuple[Form, list[int]]) -> None:
    form, extents = drawn
    values = [at(form, p) for p in points(extents)]
    assert bounds(form, extents) == (min(values), max(values))


@given(forms(), st.integers(1, 12))
def test_division_at_every_point(drawn: tuple[Form, list[int]], divisor: int) -> None:
    form, extents = drawn
    try:
        quotient, rest = divided(form, divisor, extents)
    except NotAffineError:
        return
    for p in points(extents):
        assert divmod(at(form, p), divisor) == (at(quotient, p), at(rest, p))


@given(st.integers(1, 6), st.integers(1, 6))
def test_a_row_and_a_column_come_out_of_a_position(rows: int, columns: int) -> None:
    """What must not be refused: positions of a matrix, divided by its width."""
    quotient, rest = divided(Form(0, (columns, 1)), columns, [rows, columns])
    for i, j in points([rows, columns]):
        assert (at(quotient, (i, j)), at(rest, (i, j))) == (i, j)


def test_a_variable_that_must_be_two_is_named() -> None:
    with pytest.raises(SplitError) as asked:
        divided(Form(0, (1,)), 4, [12])
    assert (asked.value.axis, asked.value.inner) == (0, 4)
    form = split(Form(0, (1,)), 0, 4)
    quotient, rest = divided(form, 4, [3, 4])
    assert (quotient, rest) == (Form(0, (1, 0)), Form(0, (0, 1)))
    with pytest.raises(NotAffineError):
        divided(Form(0, (1,)), 4, [10])


@given(EXTENTS)
def test_unravelled_is_numpys(shape: list[int]) -> None:
    extents, place = domain_of(shape)
    found = unravelled(linear(place, shape, len(extents)), shape, extents)
    for p in points(extents):
        flat = at(linear(place, shape, len(extents)), p)
        assert tuple([at(f, p) for f in found]) == np.unravel_index(flat, shape)


def test_an_empty_array_has_its_origin_alone() -> None:
    assert unravelled(Form(0, (1,)), (3, 0), [4]) == (Form(0, (0,)), Form(0, (0,)))


def view(name: str, x: Value) -> Value:
    """A view of an array of shape (4, 6)."""
    match name:
        case "transpose":
            return made(sh.transpose, (x,), order=(1, 0))
        case "reshape":
            return made(sh.reshape, (x,), shape=(2, 2, 1, 6))
        case "join":
            return made(sh.reshape, (x,), shape=(24,))
        case "flip":
            return made(sh.flip, (x,), axes=(1,))
        case "slice":
            return made(sh.slice_, (x,), starts=(1, 0), stops=(4, 6), steps=(2, 3))
        case _:
            return made(ru.broadcast, (x,), shape=(3, 4, 6), axes=(0,))


VIEWS = ["transpose", "reshape", "join", "flip", "slice", "broadcast"]


def read(place: Place, array: Any, extents: list[int], shape: tuple[int, ...]) -> Any:
    """The array that is read at a place for each point."""
    found = [array[tuple([at(f, p) for f in place])] for p in points(extents)]
    return np.reshape(found, shape)


def node_of(v: Value) -> Node:
    assert v.node is not None
    return v.node


@pytest.mark.parametrize("name", VIEWS)
def test_views_read_what_numpy_reads(name: str) -> None:
    array = np.arange(24.0).reshape(4, 6)
    v = view(name, constant(array))
    node = node_of(v)
    extents, place = domain_of(v.shape)
    while True:
        try:
            found = through(node, place, extents)
            break
        except SplitError as asked:
            place = tuple([split(f, asked.axis, asked.inner) for f in place])
            extents[asked.axis : asked.axis + 1] = [
                extents[asked.axis] // asked.inner,
                asked.inner,
            ]
    reference: Any = node.primitive.reference
    expected = reference(array, **node.params)
    assert np.array_equal(read(found, array, extents, v.shape), expected)


@pytest.mark.parametrize("name", ["transpose", "reshape"])
def test_onward_is_the_way_back(name: str) -> None:
    v = view(name, Value(TensorType((4, 6), F8), None, 0, None, frozenset()))
    node = node_of(v)
    extents, place = [2, 2, 6], (Form(0, (2, 1, 0)), Form(0, (0, 0, 1)))
    found = onward(node, place, extents)
    assert found is not None
    assert through(node, found, extents) == place


@pytest.mark.parametrize("name", ["flip", "slice", "broadcast"])
def test_other_views_have_no_way_back(name: str) -> None:
    v = view(name, Value(TensorType((4, 6), F8), None, 0, None, frozenset()))
    extents, place = domain_of((4, 6))
    assert onward(node_of(v), place, extents) is None
