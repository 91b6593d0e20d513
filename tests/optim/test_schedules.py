"""Schedules give torch's sequences for 100 steps, and a jitted step sees them without compiling."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tests.compiled import assert_compiled
from tests.conftest import Peer
from tests.optim.problems import PROBLEMS

import backpass as bp
from backpass import optim
from backpass.errors import DTypeError, OptimizerError, TracingError
from backpass.optim import lr_scheduler as ours
from backpass.trace import Cell

Make = Callable[[Any, Any], Any]  # (the module of schedules, the optimizer) -> schedule

SCHEDULES: dict[str, Make] = {
    "step": lambda m, o: m.StepLR(o, 7, 0.5),
    "multi-step": lambda m, o: m.MultiStepLR(o, [3, 10, 10, 50], 0.3),
    "constant": lambda m, o: m.ConstantLR(o, 0.25, 9),
    "linear": lambda m, o: m.LinearLR(o, 0.1, 0.8, 20),
    "exponential": lambda m, o: m.ExponentialLR(o, 0.93),
    "polynomial": lambda m, o: m.PolynomialLR(o, 40, 2.0),
    "lambda": lambda m, o: m.LambdaLR(o, lambda t: 1.0 / (1 + t)),
    "lambdas": lambda m, o: m.LambdaLR(o, [lambda t: 0.9**t, lambda t: 1.0 + t]),
    "cosine": lambda m, o: m.CosineAnnealingLR(o, 30, 0.001),
    "restarts": lambda m, o: m.CosineAnnealingWarmRestarts(o, 7, 1, 0.001),
    "longer restarts": lambda m, o: m.CosineAnnealingWarmRestarts(o, 5, 3),
    "one cycle": lambda m, o: m.OneCycleLR(o, 0.7, 101),
    "one cycle, linear, groups": lambda m, o: m.OneCycleLR(
        o, [0.5, 0.9], epochs=6, steps_per_epoch=20, anneal_strategy="linear", pct_start=0.4
    ),
    "one cycle, three phases": lambda m, o: m.OneCycleLR(
        o, 0.7, total_steps=110, three_phase=True, base_momentum=0.6, div_factor=10.0
    ),
    "one cycle, fixed momentum": lambda m, o: m.OneCycleLR(o, 0.7, 101, cycle_momentum=False),
    "warm-up, then cosine": lambda m, o: m.SequentialLR(
        o, [m.LinearLR(o, 0.1, 1.0, 10), m.CosineAnnealingLR(o, 90)], [10]
    ),
    "five in a row": lambda m, o: m.SequentialLR(
        o,
        [
            m.ConstantLR(o, 0.1, 5),
            m.ExponentialLR(o, 0.9),
            m.CosineAnnealingWarmRestarts(o, 10),
            m.PolynomialLR(o, 15),
            m.StepLR(o, 4),
        ],
        [10, 30, 60, 80],
    ),
    "chained": lambda m, o: m.ChainedScheduler(
        [m.ConstantLR(o, 0.1, 20), m.ExponentialLR(o, 0.97), m.StepLR(o, 30)]
    ),
    "a chain in a row": lambda m, o: m.SequentialLR(
        o,
        [m.ChainedScheduler([m.LinearLR(o), m.ExponentialLR(o, 0.9)]), m.MultiStepLR(o, [3, 6])],
        [20],
    ),
}
each_schedule = pytest.mark.parametrize("name", SCHEDULES)


def own_optimizer(kind: str = "SGD") -> Any:
    momentum = {"momentum": 0.9} if kind == "SGD" else {}
    groups = [{"params": [Cell(np.ones(2))]}, {"params": [Cell(np.ones(3))], "lr": 0.3}]
    return getattr(optim, kind)(groups, lr=0.1, **momentum)


def rates(optimizer: Any) -> list[Any]:
    return [
        (float(g["lr"]), g["betas"][0] if "betas" in g else g["momentum"])
        for g in optimizer.param_groups
    ]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", ["SGD", "Adam"])
@each_schedule
def test_the_sequence_is_torchs(peer: Peer, name: str, kind: str) -> None:
    torch = peer("torch")
    momentum = {"momentum": 0.9} if kind == "SGD" else {}
    groups = [
        {"params": [torch.nn.Parameter(torch.ones(2))]},
        {"params": [torch.nn.Parameter(torch.ones(3))], "lr": 0.3},
    ]
    theirs = getattr(torch.optim, kind)(groups, lr=0.1, **momentum)
    own = own_optimizer(kind)
    expected = SCHEDULES[name](torch.optim.lr_scheduler, theirs)
    schedule = SCHEDULES[name](ours, own)
    for t in range(100):
        np.testing.assert_allclose(
            rates(own), rates(theirs), rtol=1e-12, atol=1e-15, err_msg=str(t)
        )
        assert schedule.get_last_lr() == [g["lr"] for g in own.param_groups]
        theirs.step()
        expected.step()
        schedule.step()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"mode": "max", "patience": 2, "factor": 0.5},
        {"patience": 3, "cooldown": 4, "threshold": 0.05},
        {"patience": 1, "threshold_mode": "abs", "threshold": 0.02, "min_lr": 0.01},
        {"mode": "max", "patience": 1, "threshold_mode": "abs", "min_lr": [0.05, 0.001]},
    ],
    ids=str,
)
def test_the_plateau_sequence_is_torchs(peer: Peer, options: dict[str, Any]) -> None:
    torch = peer("torch")
    groups = [
        {"params": [torch.nn.Parameter(torch.ones(2))]},
        {"params": [torch.nn.Parameter(torch.ones(3))], "lr": 0.3},
    ]
    theirs, own = torch.optim.SGD(groups, lr=0.1, momentum=0.9), own_optimizer()
    expected = torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, **options)
    schedule = ours.ReduceLROnPlateau(own, **options)
    metrics = 1.0 / (1 + np.arange(100)) + 0.1 * np.random.default_rng(0).normal(size=100)
    metrics[50] = np.nan
    for metric in metrics:
        expected.step(metric)
        schedule.step(metric)
        np.testing.assert_allclose(rates(own), rates(theirs), rtol=1e-12)
    assert schedule.best == expected.best


@each_schedule
def test_saved_and_loaded_it_continues(name: str) -> None:
    one = own_optimizer()
    schedule = SCHEDULES[name](ours, one)
    for _ in range(33):
        schedule.step()
    saved = json.loads(json.dumps(schedule.state_dict()))
    arrays = one.state_arrays()
    two = own_optimizer()
    resumed = SCHEDULES[name](ours, two)
    resumed.load_state_dict(saved)
    two.load_state_arrays(arrays)
    for _ in range(33):
        schedule.step()
        resumed.step()
        assert rates(two) == rates(one)
        assert resumed.get_last_lr() == schedule.get_last_lr()


def test_the_plateau_is_saved_and_loaded() -> None:
    one, two = own_optimizer(), own_optimizer()
    schedule, resumed = (ours.ReduceLROnPlateau(o, patience=2, cooldown=1) for o in (one, two))
    for metric in (1.0, 0.5, 0.6, 0.7):
        schedule.step(metric)
    resumed.load_state_dict(json.loads(json.dumps(schedule.state_dict())))
    for metric in (0.8, 0.4, 0.5, 0.5, 0.5, 0.5):
        schedule.step(metric)
        resumed.step(metric)
        assert rates(two) == rates(one)
    assert rates(one)[0][0] < 0.1


def test_warm_up_and_cosine_in_one() -> None:
    optimizer = own_optimizer()
    schedule = ours.WarmupCosine(
        optimizer, warmup_steps=10, total_steps=50, eta_min=0.01, start_factor=0.1
    )
    found = [optimizer.param_groups[0]["lr"]]
    for _ in range(60):
        schedule.step()
        found.append(optimizer.param_groups[0]["lr"])
    np.testing.assert_allclose(found[:11], np.linspace(0.01, 0.1, 11), rtol=1e-12)
    cosine = 0.01 + 0.09 * (1 + np.cos(np.pi * np.arange(41) / 40)) / 2
    np.testing.assert_allclose(found[10:51], cosine, rtol=1e-12)
    assert found[50:] == [0.01] * 11


@pytest.mark.parametrize("name", ["one cycle", "cosine", "warm-up, then cosine"])
def test_a_jitted_step_follows_without_compiling_again(name: str) -> None:
    p = PROBLEMS["mlp"]
    one, two = p.model(), p.model()
    eager, jitted = (optim.SGD(m.parameters(), lr=0.1, momentum=0.9) for m in (one, two))
    schedules = [SCHEDULES[name](ours, o) for o in (eager, jitted)]
    compiled = []

    def step(model: Any, optimizer: Any, x: Any, y: Any) -> Any:
        compiled.append(1)
        value, grads = bp.value_and_grad(p.loss)(model, x, y)
        optimizer.step(grads)
        return value

    fast = bp.jit(step)
    for t in range(20):
        fast(two, jitted, *p.batch(t))
        value, grads = bp.value_and_grad(p.loss)(one, *p.batch(t))
        eager.step(grads)
        for schedule in schedules:
            schedule.step()
    assert compiled == [1]
    for key, value in one.arrays().items():
        assert_compiled(two.arrays()[key], value)


def test_what_is_refused() -> None:
    optimizer = own_optimizer()
    for words, error, make in [
        ("not an Optimizer", DTypeError, lambda: ours.StepLR(object(), 3)),  # pyright: ignore[reportArgumentType]
        ("initial_lr", OptimizerError, lambda: ours.StepLR(optimizer, 3, last_epoch=4)),
        ("expected 2 values", OptimizerError, lambda: ours.LambdaLR(optimizer, [abs])),
        ("step_size", OptimizerError, lambda: ours.StepLR(optimizer, 0)),
        ("factor", OptimizerError, lambda: ours.ConstantLR(optimizer, 1.5)),
        ("start_factor", OptimizerError, lambda: ours.LinearLR(optimizer, 0.0)),
        ("T_max", OptimizerError, lambda: ours.CosineAnnealingLR(optimizer, 0)),
        ("T_0", OptimizerError, lambda: ours.CosineAnnealingWarmRestarts(optimizer, 0)),
        ("either total_steps", OptimizerError, lambda: ours.OneCycleLR(optimizer, 0.1)),
        (
            "positive integer epochs",
            OptimizerError,
            lambda: ours.OneCycleLR(optimizer, 0.1, None, -1, 5),
        ),
        ("pct_start", OptimizerError, lambda: ours.OneCycleLR(optimizer, 0.1, 9, pct_start=2.0)),
        (
            "'cos' or 'linear'",
            OptimizerError,
            lambda: ours.OneCycleLR(optimizer, 0.1, 9, anneal_strategy="x"),
        ),
        (
            "support momentum",
            OptimizerError,
            lambda: ours.OneCycleLR(optim.Adagrad([Cell([1.0])]), 0.1, 9),
        ),
        ("at least one", OptimizerError, lambda: ours.ChainedScheduler([])),
        (
            "needs a metric",
            OptimizerError,
            lambda: ours.ChainedScheduler([ours.ReduceLROnPlateau(optimizer)]),
        ),
        (
            "has another",
            OptimizerError,
            lambda: ours.ChainedScheduler([ours.StepLR(own_optimizer(), 3)], optimizer),
        ),
        (
            "one milestone less",
            OptimizerError,
            lambda: ours.SequentialLR(optimizer, [ours.StepLR(optimizer, 3)], [1]),
        ),
        ("Factor", OptimizerError, lambda: ours.ReduceLROnPlateau(optimizer, factor=1.0)),
        ("mode must be", OptimizerError, lambda: ours.ReduceLROnPlateau(optimizer, mode="low")),
        (
            "threshold_mode",
            OptimizerError,
            lambda: ours.ReduceLROnPlateau(optimizer, threshold_mode="x"),
        ),
        ("warmup_steps", OptimizerError, lambda: ours.WarmupCosine(optimizer, 9, 9)),
    ]:
        with pytest.raises(error, match=words):
            make()


def test_a_step_after_the_end_of_the_cycle_is_refused() -> None:
    schedule = ours.OneCycleLR(own_optimizer(), 0.1, 5)
    for _ in range(5):
        schedule.step()
    with pytest.raises(OptimizerError, match="total_steps=5"):
        schedule.step()


def test_a_schedule_inside_of_jit_is_refused() -> None:
    optimizer = own_optimizer()
    schedule = ours.StepLR(optimizer, 3)

    def step(optimizer: Any) -> Any:
        schedule.step()
        return np.float64(0.0)

    with pytest.raises(TracingError, match="call it outside"):
        bp.jit(step)(optimizer)
