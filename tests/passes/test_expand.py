"""expand: each rule gives what the graph gave before, and only the primitives that kernels know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tests.compiled import assert_compiled

import backpass as bp
from backpass.ir import Graph, Value, array_of, verify
from backpass.ir.graph import leaf, made, type_of
from backpass.passes.expand import ONE_HOT, expand
from backpass.prims import index as ix
from backpass.prims import reduce as rd
from backpass.prims.contract import contract
from backpass.trace.capture import evaluate

R = np.random.default_rng(0)
NAN = np.array([[1.0, np.nan, 3.0, np.nan], [2.0, 2.0, -1.0, 2.0], [-np.inf] * 4])


def names(graph: Graph) -> set[str]:
    return {node.primitive.name for node in graph.nodes}


def results(graph: Graph, arguments: list[Any]) -> list[Any]:
    return [np.asarray(array_of(x)) for x in evaluate(graph, arguments)]


def check(function: Callable[..., Any], *args: Any) -> Graph:
    """The expanded graph, which gives the same."""
    graph = bp.jit(function).graph(*args)
    found = verify(expand(graph))
    pairs = zip(results(found, list(args)), results(graph, list(args)), strict=True)
    for got, expected in pairs:
        assert_compiled(got, expected)
    return found


def graph_of(primitive: Any, *args: Any, **params: Any) -> Graph:
    """One primitive as a graph."""
    inputs = tuple([leaf(type_of(x), frozenset()) for x in args])
    v: Value = made(primitive, inputs, **params)
    assert v.node is not None
    return Graph(inputs, (v.node,), (v,))


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (R.normal(size=7), R.normal(size=7)),
        (R.normal(size=(5, 7)), R.normal(size=7)),
        (R.normal(size=7), R.normal(size=(7, 5))),
        (R.normal(size=(5, 1)), R.normal(size=(1, 4))),
        (R.integers(-9, 9, (5, 7)), R.integers(-9, 9, (7, 4))),
        (R.normal(size=(3, 5, 7)), R.normal(size=(3, 7, 1))),
        (R.normal(size=(5, 0)), R.normal(size=(0, 4))),
    ],
)
def test_thin_and_integer_products(x: Any, y: Any) -> None:
    assert "contract" not in names(check(lambda x, y: x @ y, x, y))


def test_products_of_matrices_stay() -> None:
    assert "contract" in names(
        check(lambda x, y: x @ y, R.normal(size=(5, 7)), R.normal(size=(7, 4)))
    )


def test_a_product_of_several_axes_and_one_column() -> None:
    params = {"x_batch": (1,), "y_batch": (0,), "x_sum": (0, 3), "y_sum": (2, 1)}
    x, y = R.normal(size=(4, 3, 2, 5)), R.normal(size=(3, 5, 4))
    graph = graph_of(contract, x, y, **params)
    found = verify(expand(graph))
    assert "contract" not in names(found)
    assert_compiled(results(found, [x, y])[0], results(graph, [x, y])[0])


@pytest.mark.parametrize("index", [[0, 3, 2], [-1, -4, 3]])
def test_one_place_in_each_row(index: list[int]) -> None:
    x, i = R.normal(size=(3, 4)), np.array(index)
    found = check(lambda x, i: np.take_along_axis(x, i[:, None], axis=1), x, i)
    assert "gather" not in names(found)
    slope = bp.grad(lambda x, i: np.sum(np.take_along_axis(x, i[:, None], axis=1) ** 2))
    assert "scatter_add" not in names(check(slope, x, i))


@pytest.mark.parametrize("wrong", [4, -5])
def test_an_index_out_of_range_is_an_error_as_before(wrong: int) -> None:
    x, i = R.normal(size=(3, 4)), np.array([0, wrong, 2])
    graph = bp.jit(lambda x, i: np.take_along_axis(x, i[:, None], axis=1)).graph(x, i)
    found = expand(graph)
    assert "wrap_index" in names(found)
    for g in (graph, found):
        with pytest.raises(IndexError, match=f"index {wrong} is out of bounds"):
            evaluate(g, [x, i])


def test_long_rows_are_read_at_their_index() -> None:
    x, i = R.normal(size=(2, ONE_HOT + 1)), np.array([0, -1])
    assert "gather" in names(check(lambda x, i: np.take_along_axis(x, i[:, None], axis=1), x, i))


def test_a_row_with_an_infinity_is_read_without_it() -> None:
    """A comparison chooses; a product with zeros would give NaN."""
    x, i = np.array([[np.inf, 1.0, np.nan]]), np.array([1])
    check(lambda x, i: np.take_along_axis(x, i[:, None], axis=1), x, i)


def test_a_sum_of_nothing() -> None:
    updates, index = np.zeros((0, 2)), np.zeros(0, np.int64)
    graph = graph_of(ix.scatter_add, updates, index, shape=(3, 2))
    found = verify(expand(graph))
    assert not found.nodes
    assert np.array_equal(results(found, [updates, index])[0], np.zeros((3, 2)))


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("name", ["argmax", "argmin"])
@pytest.mark.parametrize("x", [NAN, np.array([[3, 1, 3], [1, 1, 1]]), R.normal(size=(5, 6))])
def test_extremes_are_the_first_of_equals_and_nan_is_one(name: str, axis: int, x: Any) -> None:
    found = check(lambda x: getattr(np, name)(x, axis=axis), x)
    assert not names(found) & {"argmax", "argmin"}


@pytest.mark.parametrize("primitive", [rd.reduce_max, rd.reduce_min])
def test_a_fold_of_one_is_a_reshape(primitive: Any) -> None:
    x = R.normal(size=(3, 1, 2))
    graph = graph_of(primitive, x, axes=(1,))
    found = verify(expand(graph))
    assert names(found) == {"reshape"}
    assert np.array_equal(results(found, [x])[0], x[:, 0])


def test_any_of_one_number() -> None:
    x = np.array([[0.0], [2.0], [np.nan]])
    check(lambda x: np.any(x, axis=1), x)
