"""Which sums change only the rows that they name, and that their indices are checked before."""

from __future__ import annotations

import numpy as np
import pytest
from tests.codegen.steps import graph_from

from backpass.ir import Graph, Value, show, verify
from backpass.ir.graph import made
from backpass.passes.sparse import checked_indices, sparse_updates
from backpass.prims import elementwise as el
from backpass.prims import index as ix
from backpass.prims import rules as ru

TABLE, ROWS, INDEX = np.zeros((50, 8)), np.zeros((3, 8)), np.zeros(3, np.int64)


def graph(shape: tuple[int, int] = (50, 8), index: np.ndarray = INDEX) -> Graph:
    """table - 0.5 * (the gradient of reading rows of it)."""

    def outputs(x: Value, u: Value, i: Value) -> list[Value]:
        read = made(ix.gather, (x, i))
        g = made(ix.scatter_add, (made(el.mul, (read, u)), i), shape=shape)
        rate = made(ru.broadcast, (constant,), shape=shape, axes=(0, 1))
        return [made(el.sub, (x, made(el.mul, (rate, g))))]

    (constant,) = graph_from(lambda c: [c], np.float64(0.5)).inputs
    found = graph_from(outputs, np.zeros(shape), np.zeros((*index.shape, 8)), index)
    return Graph((*found.inputs, constant), found.nodes, found.outputs)


def test_indices_are_wrapped_once_for_all_that_read_them() -> None:
    assert show(verify(checked_indices(graph()))) == (
        "graph(%0: float64[50,8], %1: float64[3,8], %2: int64[3], %3: float64[]):\n"
        "  %4: int64[3] = wrap_index(%2) extent=50\n"
        "  %5: float64[3,8] = gather(%0, %4)\n"
        "  %6: float64[3,8] = mul(%5, %1)\n"
        "  %7: float64[50,8] = scatter_add(%6, %4) shape=(50,8)\n"
        "  %8: float64[50,8] = broadcast(%3) axes=(0,1) shape=(50,8)\n"
        "  %9: float64[50,8] = mul(%8, %7)\n"
        "  %10: float64[50,8] = sub(%0, %9)\n"
        "  return %10"
    )
    again = checked_indices(checked_indices(graph()))
    assert show(again) == show(checked_indices(graph()))


@pytest.mark.parametrize(("rows", "found"), [(5, 0), (6, 1), (50, 1)])
def test_a_table_has_sixteen_elements_for_each_row_that_is_read(rows: int, found: int) -> None:
    given = graph((rows, 8))
    assert len(sparse_updates(given)) == found
    assert (checked_indices(given) is given) == (not found)


def test_other_integers_are_no_positions() -> None:
    assert not sparse_updates(graph(index=INDEX.astype(np.int32)))
