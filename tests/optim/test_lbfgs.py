"""LBFGS against torch's: the same evaluations, steps and memory; and what it refuses."""

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from tests.conftest import Peer
from tests.optim.problems import PROBLEMS, Model

import backpass as bp
from backpass import optim
from backpass.errors import CheckpointError, OptimizerError, TracingError
from backpass.optim.line_search import Line, Trial, strong_wolfe
from backpass.trace import Cell

OPTIONS: list[dict[str, Any]] = [
    {"line_search_fn": "strong_wolfe"},
    {"line_search_fn": "strong_wolfe", "history_size": 3, "max_iter": 7},
    {"line_search_fn": "strong_wolfe", "lr": 5.0, "max_iter": 4},
    {"line_search_fn": "strong_wolfe", "lr": 0.01, "max_eval": 6},
    {"lr": 0.1, "max_iter": 8},
    {"lr": 0.05, "history_size": 2, "max_iter": 5},
    {"lr": 0.1, "max_eval": 3},
]


def rosenbrock(x: Any) -> Any:
    return ((1 - x[:-1]) ** 2).sum() + 100 * ((x[1:] - x[:-1] ** 2) ** 2).sum()


def run_torch(
    torch: ModuleType, loss: Any, weights: dict[str, Any], options: dict[str, Any], steps: int
) -> tuple[list[float], Any]:
    optimizer = torch.optim.LBFGS(weights.values(), **options)

    def closure() -> Any:
        optimizer.zero_grad()
        value = loss(weights)
        value.backward()
        return value

    return [optimizer.step(closure).item() for _ in range(steps)], optimizer


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("problem", PROBLEMS)
def test_steps_are_torchs(peer: Peer, problem: str, options: dict[str, Any]) -> None:
    torch = peer("torch")
    p = PROBLEMS[problem]
    batch = p.batch(0)
    weights, model = p.torch_parameters(torch), p.model()
    tensors = [torch.tensor(x) for x in batch]
    expected, theirs = run_torch(
        torch, lambda w: p.torch_loss(torch, w, *tensors), weights, options, 3
    )
    optimizer = optim.LBFGS(model.parameters(), **options)
    value_and_grad = bp.jit(bp.value_and_grad(p.loss))
    losses = [float(optimizer.step(lambda: value_and_grad(model, *batch))) for _ in range(3)]
    np.testing.assert_allclose(losses, expected, rtol=1e-9, atol=1e-14)
    for name, w in weights.items():
        np.testing.assert_allclose(model.cells[name].read(), w.detach().numpy(), rtol=1e-6)
    state = theirs.state[next(iter(weights.values()))]
    assert optimizer.memory.func_evals == state["func_evals"]
    assert optimizer.memory.n_iter == state["n_iter"]


@pytest.mark.parametrize("options", OPTIONS[:4], ids=str)
def test_every_trial_on_rosenbrock_is_torchs(peer: Peer, options: dict[str, Any]) -> None:
    torch = peer("torch")
    start = np.array([-1.2, 1.0, -0.5, 0.8])
    weights = {"x": torch.nn.Parameter(torch.tensor(start))}
    expected, theirs = run_torch(torch, lambda w: rosenbrock(w["x"]), weights, options, 2)
    model = Model({"x": start})
    optimizer = optim.LBFGS(model.parameters(), **options)
    both = bp.value_and_grad(lambda m: rosenbrock(m.x))
    losses = [float(optimizer.step(lambda: both(model))) for _ in range(2)]
    np.testing.assert_allclose(losses, expected, rtol=1e-9)
    assert optimizer.memory.func_evals == theirs.state[weights["x"]]["func_evals"]
    np.testing.assert_allclose(model.x, weights["x"].detach().numpy(), rtol=1e-8)


def test_rosenbrock_is_minimized() -> None:
    model = Model({"x": np.array([-1.2, 1.0, -0.5, 0.8])})
    optimizer = optim.LBFGS(model.parameters(), max_iter=200, line_search_fn="strong_wolfe")
    optimizer.step(lambda: bp.value_and_grad(lambda m: rosenbrock(m.x))(model))
    np.testing.assert_allclose(model.x, 1.0, atol=1e-6)


def test_float32_parameters_stay_float32_and_in_place() -> None:
    model = Model({"x": np.array([3.0, -2.0], np.float32)})
    address = model.x.__array_interface__["data"][0]
    optimizer = optim.LBFGS(model.parameters(), line_search_fn="strong_wolfe")
    optimizer.step(lambda: bp.value_and_grad(lambda m: np.sum(m.x**2))(model))
    assert model.x.dtype == np.float32
    assert model.x.__array_interface__["data"][0] == address
    np.testing.assert_allclose(model.x, 0.0, atol=1e-6)


@pytest.mark.parametrize("flat", [True, False])
def test_a_checkpoint_continues_bitwise(flat: bool) -> None:
    p = PROBLEMS["mlp"]
    options: dict[str, Any] = {"max_iter": 4, "line_search_fn": "strong_wolfe"}
    model = p.model()
    optimizer = optim.LBFGS(model.parameters(), **options)
    both = bp.value_and_grad(p.loss)
    for _ in range(2):
        optimizer.step(lambda: both(model, *p.batch(0)))
    other = Model(model.arrays())
    resumed = optim.LBFGS(other.parameters(), **options)
    if flat:
        resumed.load_state_arrays(optimizer.state_arrays())
    else:
        resumed.load_state_dict(optimizer.state_dict())
    for _ in range(2):
        optimizer.step(lambda: both(model, *p.batch(0)))
        resumed.step(lambda: both(other, *p.batch(0)))
    assert all(np.array_equal(other.arrays()[k], v) for k, v in model.arrays().items())


def test_frozen_parameters_stay() -> None:
    p = PROBLEMS["mlp"]
    model = p.model(frozen=("w1",))
    before = model.arrays()
    optimizer = optim.LBFGS(model.parameters(), line_search_fn="strong_wolfe")
    optimizer.step(lambda: bp.value_and_grad(p.loss)(model, *p.batch(0)))
    changed = {k for k, v in model.arrays().items() if not np.array_equal(v, before[k])}
    assert changed == {"b1", "w2", "b2"}


def test_a_loss_that_is_nan_ends_the_search() -> None:
    cell = Cell([1.0], name="x")
    optimizer = optim.LBFGS([cell], line_search_fn="strong_wolfe", max_iter=3)
    calls = []

    def closure() -> tuple[Any, Any]:
        calls.append(1)
        return (1.0 if len(calls) == 1 else np.nan), [np.array([1.0])]

    optimizer.step(closure)
    assert len(calls) <= 10


def test_the_search_needs_few_trials_where_the_first_step_is_good() -> None:
    def evaluate(t: float) -> tuple[float, np.ndarray[Any, Any]]:
        return (t - 1.0) ** 2, np.array([2.0 * (t - 1.0)])

    loss, gradient = evaluate(0.0)
    line = Line(Trial(0.0, loss, gradient, -2.0), np.array([1.0]), evaluate)
    found, trials = strong_wolfe(line, 1.0)
    assert (found.step, trials) == (1.0, 1)
    found, trials = strong_wolfe(line, 1e-3)
    assert abs(found.slope) <= 0.9 * 2.0
    assert found.loss < loss


def valley(t: Any) -> tuple[Any, Any]:
    """A narrow well at 0.98 in a wide bowl: its walls send the search to the ends of a bracket."""
    u = 40.0 * (t - 0.98)
    well = 1.0 / (1.0 + u * u)
    return 0.01 * t * t - 0.1 * t - well, 0.02 * t - 0.1 + 80.0 * u * well * well


def ripples(t: Any) -> tuple[Any, Any]:
    """A parabola with many local minima."""
    return (t - 3.0) ** 2 + 2.0 * np.sin(9.0 * t), 2.0 * (t - 3.0) + 18.0 * np.cos(9.0 * t)


def wall(t: Any) -> tuple[Any, Any]:
    """Falls slowly, then rises like exp."""
    return np.exp(30.0 * (t - 1.0)) - t, 30.0 * np.exp(30.0 * (t - 1.0)) - 1.0


def quartic(t: Any) -> tuple[Any, Any]:
    """Flat around its minimum."""
    return (t - 2.0) ** 4, 4.0 * (t - 2.0) ** 3


@pytest.mark.parametrize("function", [valley, ripples, wall, quartic])
def test_every_trial_of_the_search_is_torchs(peer: Peer, function: Any) -> None:
    torch = peer("torch")
    search = peer("torch.optim.lbfgs")._strong_wolfe
    value, slope = function(0.0)
    sign = -np.sign(slope)  # the search goes downhill
    for first in np.geomspace(1e-3, 20.0, 40):
        tried: dict[str, list[float]] = {"ours": [], "theirs": []}

        def evaluate(t: float, log: list[float]) -> tuple[float, Any]:
            log.append(float(t))
            y, dy = function(sign * t)
            return float(y), np.array([sign * dy])

        def theirs(x: Any, t: Any, d: Any) -> Any:
            y, g = evaluate(float(t), tried["theirs"])  # noqa: B023
            return y, torch.tensor(g)

        start = Trial(0.0, float(value), np.array([sign * slope]), float(sign * slope))
        line = Line(start, np.array([1.0]), lambda t: evaluate(t, tried["ours"]))  # noqa: B023
        found, trials = strong_wolfe(line, float(first))
        one = torch.ones(1, dtype=torch.float64)
        g = torch.tensor(start.gradient)
        f, _, t, count = search(theirs, None, float(first), one, float(value), g, g.dot(one))
        np.testing.assert_allclose(tried["ours"], tried["theirs"], rtol=1e-7)
        np.testing.assert_allclose([found.step, found.loss], [float(t), f], rtol=1e-7)
        assert trials == count


def test_what_it_refuses() -> None:
    cell = Cell([1.0], name="x", trainable=True)
    optimizer = optim.LBFGS([cell])
    with pytest.raises(OptimizerError, match="needs a closure"):
        optimizer.step({"x": np.ones(1)})  # pyright: ignore[reportArgumentType]
    with pytest.raises(OptimizerError, match="doesn't support per-parameter options"):
        optim.LBFGS([{"params": [cell]}, {"params": [Cell([2.0])]}])
    with pytest.raises(TracingError, match=r"call it outside of bp\.jit"):
        bp.jit(lambda o: o.step(lambda: (0.0, [np.ones(1)])))(optimizer)
    big = optim.LBFGS([Cell(np.ones(3))])
    big.step(lambda: (1.0, [np.ones(3)]))
    with pytest.raises(CheckpointError, match="of 3 numbers, the parameters have 1"):
        optimizer.load_state_dict(big.state_dict())
    with pytest.raises(CheckpointError, match="not a state of LBFGS"):
        optimizer.load_state_dict({**optimizer.state_dict(), "state": {0: {"exp_avg": 1}}})
