"""A graph that was compiled before is run from the disk, and only the very same graph is."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import backpass as bp
from backpass import config, nn, optim
from backpass.codegen import Program, Series, build, cache, engine, image, plan_of
from backpass.codegen.machine import host
from backpass.ir import Graph, TensorType, constant, leaf, verify
from backpass.ir.graph import made
from backpass.prims import elementwise as el

X = np.random.default_rng(0).normal(size=(5, 7))
STRIPES = np.array([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0])


def graph_of(function: Any, *args: Any) -> Graph:
    return verify(bp.jit(function).graph(*args))


def key_of(function: Any, *args: Any) -> str | None:
    return image.key_of(graph_of(function, *args), {}, host(), 2)


@pytest.fixture(autouse=True)
def _empty(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A cache of its own for each test."""
    monkeypatch.setenv("BACKPASS_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "_SESSION", cache._Session())


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[Graph]:
    """The graphs that went through the compiler's stations."""
    found: list[Graph] = []
    whole = build.build

    def noting(graph: Graph, *args: Any, **options: Any) -> Any:
        found.append(graph)
        return whole(graph, *args, **options)

    monkeypatch.setattr(build, "build", noting)
    return found


def test_the_second_program_is_run_from_the_disk(built: list[Graph]) -> None:
    def function(x: Any) -> Any:
        return np.exp(x) @ x.T * 2.0 + STRIPES[:5], x[::2] - STRIPES, np.sum(x)

    graph = graph_of(function, X)  # jit has made one, under the key of what it traced
    built.clear()
    first, second = (Program(graph) for _ in range(2))
    assert len(built) == 1
    for a, b in zip(first([X]), second([X]), strict=True):
        assert a.tobytes() == b.tobytes() and a.shape == b.shape and a.dtype == b.dtype
    np.testing.assert_array_equal(second([X])[1], X[::2] - STRIPES)
    assert len(built) == 1
    assert str(plan_of(first)) == str(plan_of(second))  # which needs the stations
    assert len(built) == 2
    assert first.work() == second.work() > 0


def test_a_training_step_updates_in_place_from_the_disk(built: list[Graph]) -> None:
    def trained() -> list[bytes]:
        nn.manual_seed(0)
        model = nn.Sequential(nn.Linear(7, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))
        optimizer = optim.AdamW(model.parameters(), lr=0.1)

        @bp.jit
        def step(model: Any, optimizer: Any, x: Any, y: Any) -> Any:
            value, gradients = bp.value_and_grad(lambda m: nn.functional.cross_entropy(m(x), y))(
                model
            )
            optimizer.step(gradients)
            return value

        y = np.array([0, 1, 2, 1, 0])
        losses = [float(step(model, optimizer, X.astype(np.float32), y)) for _ in range(3)]
        with pytest.raises(IndexError):
            step(model, optimizer, X.astype(np.float32), y + 1)
        cells = [*model.__backpass_cells__().values(), *optimizer.__backpass_cells__().values()]
        return [np.array(losses).tobytes(), *[np.array(c.read()).tobytes() for c in cells]]

    assert trained() == trained()
    assert len(built) == 1


def test_a_series_from_the_disk(built: list[Graph]) -> None:
    results, graph = [], graph_of(lambda x: np.tanh(x) * STRIPES, X)
    built.clear()
    for _ in range(2):
        program = Program(graph)
        results.append(Series(program, 1)([np.tile(X, (3, 1))], np.arange(15).reshape(3, 5), []))
    assert len(built) == 1
    assert results[0][0] == results[1][0] == 3
    np.testing.assert_array_equal(results[0][1], results[1][1])


def test_any_difference_of_the_graph_makes_another_key() -> None:
    nan = np.nan
    other = STRIPES.copy()
    other[6] = np.nextafter(64.0, 65.0)
    functions: list[tuple[Any, ...]] = [
        (lambda x: x + 1.0, X),
        (lambda x: x + 2.0, X),
        (lambda x: x - 1.0, X),
        (lambda x: x + 1.0, X[:4]),
        (lambda x: x + 1.0, X.astype(np.float32)),
        (lambda x: x + STRIPES, X),
        (lambda x: x + other, X),
        (lambda x: x + np.full(7, 64.0), X),
        (lambda x: x + nan, X),
        (lambda x: x + 0.0, X),
        (lambda x: np.sum(x, axis=0), X),
        (lambda x: np.sum(x, axis=1), X),
        (lambda x: (x + 1.0, x), X),
        (lambda x: (x, x + 1.0), X),
        (lambda x, y: x - y, X, X),
        (lambda x, y: y - x, X, X),
        (lambda x: x.astype(np.float32), X),
        (lambda x: x.astype(np.int64), X),
    ]
    keys = [key_of(*parts) for parts in functions]
    assert None not in keys and len(set(keys)) == len(keys)
    assert keys == [key_of(*parts) for parts in functions]


def test_the_key_names_updates_machine_and_threads() -> None:
    graph = graph_of(lambda x: (x + 1.0, x * 2.0), X)
    machine = host()
    ways = [
        image.key_of(graph, {}, machine, 2),
        image.key_of(graph, {0: 0}, machine, 2),
        image.key_of(graph, {1: 0}, machine, 2),
        image.key_of(graph, {}, machine, 3),
        image.key_of(graph, {}, replace(machine, cpu="x86-64"), 2),
    ]
    assert len(set(ways)) == len(ways)


def test_the_key_names_the_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = image.compiler_source()
    copied = tmp_path / "backpass"
    shutil.copytree(Path(image.__file__).parent.parent, copied)
    monkeypatch.setattr(image, "__file__", str(copied / "codegen" / "image.py"))
    assert image.compiler_source.__wrapped__() == before
    with open(copied / "codegen" / "lower" / "groups.py", "a", encoding="utf-8") as file:
        file.write("# changed\n")
    assert image.compiler_source.__wrapped__() != before
    shutil.rmtree(copied / "passes")
    with pytest.raises(OSError, match="no sources"):
        image.compiler_source.__wrapped__()


def test_a_traced_graph_has_a_key_of_its_own(built: list[Graph]) -> None:
    """jit's own program of this graph is found again; one that skips the passes is another."""
    graph = graph_of(lambda x: np.tanh(x) * 2.0, X)
    plain = image.key_of(graph, {}, host(), 2)
    assert image.key_of(graph, {}, host(), 2, traced=True) not in (plain, None)
    for _ in range(2):
        program = Program(graph, traced=True)
        np.testing.assert_allclose(program([X])[0], np.tanh(X) * 2.0, rtol=1e-14)
    assert len(built) == 1


def test_a_rule_by_hand_is_found_after_the_passes(built: list[Graph]) -> None:
    """No text stands for its function, but the passes have no use for that."""

    @bp.custom_vjp
    def doubled(x: Any) -> Any:
        return x * 2.0

    doubled.defvjp(lambda x: (x * 2.0, ()), lambda _, ct: (ct * 2.0,))
    for _ in range(2):
        bp.jit(bp.grad(lambda x: np.sum(doubled(x) ** 2)))(X)
    assert len(built) == 1


def test_arrays_that_are_one_are_named_so() -> None:
    """The passes compute once what reads one large array, and look at no bytes of two."""
    one, other = np.arange(100.0), np.arange(100.0)
    one.flags.writeable = other.flags.writeable = False
    x = leaf(TensorType((100,), one.dtype), frozenset())

    def graph(second: Any) -> Graph:
        a = made(el.add, (x, constant(one)))
        b = made(el.add, (x, constant(second)))
        nodes = [v.node for v in (a, b) if v.node is not None]
        return verify(Graph((x,), tuple(nodes), (a, b)))

    keys = [image.key_of(graph(second), {}, host(), 2, traced=True) for second in (one, other)]
    assert None not in keys and keys[0] != keys[1]


def test_reference_calls_are_compiled_each_time(built: list[Graph]) -> None:
    graph = graph_of(lambda x: np.linalg.inv(x @ x.T) * 2.0, X)
    built.clear()
    for _ in range(2):
        program = Program(graph)
        np.testing.assert_allclose(program([X])[0], np.linalg.inv(X @ X.T) * 2.0)
    assert len(built) == 2


def test_a_primitive_of_the_same_name_is_another() -> None:
    """Whatever its name is, what decides is the rule that it has."""
    graph = graph_of(lambda x: np.sin(x), X)
    (node,) = graph.nodes

    def mine(x: Any) -> Any:
        return np.cos(x)

    changed = replace(node.primitive, reference=mine)
    object.__setattr__(node, "primitive", changed)
    assert image.key_of(graph, {}, host(), 2) != key_of(lambda x: np.sin(x), X)


def test_what_has_no_exact_name_has_no_key() -> None:
    graph = graph_of(lambda x: np.sum(x, axis=0), X)
    (node,) = graph.nodes
    node.params["axes"] = (lambda: 0,)  # pyright: ignore[reportIndexIssue]
    assert image.key_of(graph, {}, host(), 2) is None


@pytest.mark.parametrize("fault", ["flipped", "short", "empty", "no code", "other program's code"])
def test_a_damaged_cache_costs_a_compilation(built: list[Graph], fault: str) -> None:
    graph = graph_of(lambda x: np.tanh(x) + STRIPES, X)
    built.clear()
    expected = Program(graph)([X])[0]
    key = image.key_of(graph, {}, host(), config.num_threads())
    assert key is not None
    path = config.cache_dir() / f"{key}.bpo"
    content = path.read_bytes()
    if fault == "no code":
        for other in config.cache_dir().glob("*.bpo"):
            if other != path:
                other.unlink()
    elif fault == "other program's code":
        found = image.read(key)
        assert found is not None
        cache.write(key, image._encoded(found[0], engine.key_of("", host())))
    else:
        damaged = {
            "flipped": content[:-9] + b"!" + content[-8:],
            "short": content[:-1],
            "empty": b"",
        }
        path.write_bytes(damaged[fault])
    if fault in ("flipped", "short", "empty"):
        with pytest.warns(RuntimeWarning, match="damaged"):
            program = Program(graph)
    else:
        program = Program(graph)
    assert len(built) == 2
    np.testing.assert_array_equal(program([X])[0], expected)
    Program(graph)
    assert len(built) == 2


def test_large_constants_are_not_written(built: list[Graph]) -> None:
    table = np.random.default_rng(0).normal(size=(1500, 1500))
    graph = graph_of(lambda x: x[0, 0] + table, X)
    built.clear()
    for _ in range(2):
        Program(graph)
    assert len(built) == 2
    assert cache.contents().bytes < 1 << 20
