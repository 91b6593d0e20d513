"""A series gives, bit for bit, what single calls give, and stops where a single call would."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import backpass as bp
from backpass import nn, optim
from backpass.codegen import Series, compile_graph, entry
from backpass.ir import verify

N = 200


def network(width: int) -> tuple[Any, Any]:
    nn.manual_seed(3)
    model = nn.Sequential(nn.Linear(6, width), nn.ReLU(), nn.Dropout(0.3), nn.Linear(width, 3))
    return model, optim.Adam(model.parameters(), lr=0.05)


@bp.jit
def step(model: Any, optimizer: Any, x: Any, y: Any) -> dict[str, Any]:
    """One step, kept only where its loss is finite; y is also given back."""
    cells = [*model.__backpass_cells__().values(), *optimizer.__backpass_cells__().values()]
    before = {c: c.read() for c in cells}
    loss, gradients = bp.value_and_grad(lambda model: nn.functional.cross_entropy(model(x), y))(
        model
    )
    optimizer.step(gradients)
    finite = np.isfinite(loss)
    for cell, old in before.items():
        if cell.read() is not old:
            cell.write(np.where(finite, cell.read(), old))
    return {"loss": loss, "finite": finite, "labels": y * 2}


def data() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return random.normal(size=(N, 6)).astype(np.float32), random.integers(0, 3, N)


def order_of(count: int, rows: int) -> np.ndarray:
    return np.random.default_rng(1).permutation(N)[: count * rows].reshape(count, rows)


def state(model: Any, optimizer: Any) -> list[bytes]:
    cells = [*model.__backpass_cells__().values(), *optimizer.__backpass_cells__().values()]
    return [np.array(c.read()).tobytes() for c in cells]


def singly(x: np.ndarray, y: np.ndarray, order: np.ndarray, width: int) -> Any:
    model, optimizer = network(width)
    results = [step(model, optimizer, x[rows], y[rows]) for rows in order]
    return results, state(model, optimizer)


@pytest.fixture(params=["native", "ctypes"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Through the builtin, and through what replaces it elsewhere."""
    if request.param == "ctypes":
        monkeypatch.setattr(entry, "fast_entries_work", lambda: False)
        step._compiled.clear()
        step._ready.clear()
    return request.param


@pytest.mark.parametrize("width", [8, 700])  # the second runs on all threads
def test_a_series_is_its_single_calls(way: str, width: int) -> None:
    x, y = data()
    order = order_of(12, 16)
    expected, after = singly(x, y, order, width)
    model, optimizer = network(width)
    series = step.series(model, optimizer, x[:16], y[:16], stop=lambda found: found["finite"])
    assert series is not None and series.takes((x, y), 16) and series.holds()
    done, found = series((x, y), order)
    assert done == 12
    for name in ("loss", "finite", "labels"):
        np.testing.assert_array_equal(found[name], [r[name] for r in expected])
    assert state(model, optimizer) == after


@pytest.mark.parametrize("fault", ["label", "nan"])
@pytest.mark.parametrize("at", [0, 5, 11])
def test_it_ends_before_the_batch_that_fails(way: str, fault: str, at: int) -> None:
    x, y = data()
    order = order_of(12, 16)
    if fault == "label":
        y[order[at, 3]] = 7
    else:
        x[order[at, 3]] = np.nan
    _, after = singly(x, y, order[:at], 8)
    model, optimizer = network(8)
    series = step.series(model, optimizer, x[:16], y[:16], stop=lambda found: found["finite"])
    assert series is not None
    assert series((x, y), order)[0] == at
    assert state(model, optimizer) == after
    if fault == "label":
        with pytest.raises(IndexError):
            step(model, optimizer, x[order[at]], y[order[at]])
        assert state(model, optimizer) == after


def test_single_calls_and_series_take_turns(way: str) -> None:
    x, y = data()
    order = order_of(12, 16)
    _, after = singly(x, y, order, 8)
    model, optimizer = network(8)
    series = step.series(model, optimizer, x[:16], y[:16])
    assert series is not None
    for begin in range(0, 12, 4):
        assert series((x, y), order[begin : begin + 3])[0] == 3
        step(model, optimizer, x[order[begin + 3]], y[order[begin + 3]])
    assert series((x, y), order[:0])[0] == 0
    assert state(model, optimizer) == after


def test_a_table_that_is_not_used_and_one_row() -> None:
    graph = verify(
        bp.jit(lambda x, unused: np.sum(x * 2.0)).graph(np.ones((1, 3)), np.ones((1, 5)))
    )
    series = Series(compile_graph(graph), 2)
    table = np.arange(12.0).reshape(4, 3)
    done, (sums,) = series([table, np.zeros((4, 5))], np.array([[2], [0]]), [])
    assert done == 2
    np.testing.assert_array_equal(sums, [42.0, 6.0])


@pytest.mark.parametrize("size", [1, 3, 7, 63, 64, 65, 130, 200])
def test_rows_of_every_length_are_copied_whole(size: int) -> None:
    table = np.random.default_rng(size).integers(0, 256, (9, size)).astype(np.uint8)
    graph = verify(bp.jit(lambda x: x + np.uint8(1)).graph(table[:4]))
    order = np.array([[8, 0, 3, 3], [1, 2, 4, 8]])
    done, (found,) = Series(compile_graph(graph), 1)([table], order, [])
    assert done == 2
    np.testing.assert_array_equal(found, table[order] + np.uint8(1))


def test_what_does_not_fit_is_refused() -> None:
    graph = verify(bp.jit(lambda x, y: np.sum(x) + np.sum(y)).graph(np.ones((2, 3)), np.ones(2)))
    series = Series(compile_graph(graph), 2)
    x, y = np.ones((5, 3)), np.ones(5)
    for tables in ([x], [x.astype(np.float32), y], [x[:, :2], y], [np.ones((5, 6))[:, ::2], y]):
        assert not series.takes(tables, 2)
        with pytest.raises(ValueError, match="plain arrays"):
            series(tables, np.array([[0, 1]]), [])
    with pytest.raises(ValueError, match="for batches of 2 rows"):
        series([x, y], np.array([[0, 1, 2]]), [])
    assert series.takes([x, y], 2) and not series.takes([x, y], 3)
    for row in (-1, 5):
        with pytest.raises(IndexError, match="outside the 5 rows"):
            series([x, y], np.array([[0, row]]), [])
    with pytest.raises(IndexError, match="outside the 4 rows"):  # of the shortest table
        series([x, y[:4]], np.array([[0, 4]]), [])
    with pytest.raises(ValueError, match="each input needs the same"):
        Series(compile_graph(graph), 0)


def test_an_array_that_does_not_fit_as_it_is_leaves_all_to_single_calls() -> None:
    w = np.arange(6.0).reshape(3, 2)
    graph = verify(bp.jit(lambda x, w: x @ w).graph(np.ones((2, 3)), w))
    series = Series(compile_graph(graph), 1)
    order = np.array([[0, 1], [1, 0]])
    assert series([np.ones((5, 3))], order, [w])[0] == 2
    assert series([np.ones((5, 3))], order, [np.asfortranarray(w)])[0] == 0


def test_how_many_at_once_depends_on_the_work_and_the_results() -> None:
    def of(function: Any, *args: Any) -> int:
        return Series(compile_graph(verify(bp.jit(function).graph(*args))), 1).at_most

    assert of(lambda x: x @ x.T @ x @ x.T @ x, np.ones((400, 400))) == 1
    assert of(lambda x: np.repeat(x, 1000, axis=1), np.ones((20, 20))) == 1
    assert of(lambda x: np.sum(x), np.ones((4, 4))) > 100


def test_no_series_of_what_calls_back_into_python() -> None:
    assert bp.jit(lambda x: np.linalg.inv(x)).series(np.eye(3)) is None
    assert bp.jit(lambda x, n: x * n, static_argnums=1).series(np.eye(3), 2) is None


def test_a_series_ends_when_the_mode_changes_or_a_layer_is_frozen() -> None:
    x, y = data()
    for change in (lambda m: m.eval(), lambda m: setattr(m[0].weight, "trainable", False)):
        model, optimizer = network(8)
        series = step.series(model, optimizer, x[:16], y[:16])
        assert series is not None and series.holds()
        change(model)
        assert not series.holds()
