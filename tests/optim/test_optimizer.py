"""What holds for every optimizer: jit, groups, which gradients, saving."""

import copy
import json
import pickle
import warnings
from typing import Any

import numpy as np
import pytest
from tests.compiled import assert_compiled
from tests.optim.problems import OPTIONS, PROBLEMS, Model, train

import backpass as bp
from backpass import nn, optim
from backpass.errors import (
    BackpassError,
    CheckpointError,
    DTypeError,
    OptimizerError,
    ShapeError,
    UnsupportedError,
)
from backpass.trace import Cell
from backpass.trace.cells import Gradients

ALL_OPTIONS = [*OPTIONS, ("Lion", {}), ("Lion", {"lr": 0.01, "weight_decay": 0.1})]
each_option = pytest.mark.parametrize(("name", "options"), ALL_OPTIONS)
MLP = PROBLEMS["mlp"]


def make(name: str, options: dict[str, Any], model: Model) -> Any:
    return getattr(optim, name)(model.parameters(), **options)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@each_option
def test_jit_takes_the_eager_steps(name: str, options: dict[str, Any], dtype: Any) -> None:
    eager, jitted = MLP.model(dtype), MLP.model(dtype)
    one, two = make(name, options, eager), make(name, options, jitted)
    losses = train(MLP, eager, one, 10)
    np.testing.assert_allclose(train(MLP, jitted, two, 10, jit=True), losses, rtol=1e-5)
    for key, value in eager.arrays().items():
        assert_compiled(jitted.arrays()[key], value)
    for key, value in one.state_arrays().items():
        assert_compiled(two.state_arrays()[key], value)


@each_option
def test_parameters_and_state_stay_where_they_are(name: str, options: dict[str, Any]) -> None:
    model = MLP.model(np.float32)
    optimizer = make(name, options, model)
    cells = optimizer.__backpass_cells__()
    before = {k: (c.read().__array_interface__["data"][0], c.dtype) for k, c in cells.items()}
    train(MLP, model, optimizer, 2)
    train(MLP, model, optimizer, 2, jit=True)
    after = {k: (c.read().__array_interface__["data"][0], c.dtype) for k, c in cells.items()}
    assert after == before
    assert all(np.isfinite(a).all() for a in model.arrays().values())


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize("jit", [True, False])
@each_option
def test_a_checkpoint_continues_bitwise(
    name: str, options: dict[str, Any], flat: bool, jit: bool
) -> None:
    model = MLP.model()
    optimizer = make(name, options, model)
    train(MLP, model, optimizer, 4)
    other = Model(model.arrays())
    resumed = make(name, options, other)
    if flat:
        resumed.load_state_arrays(optimizer.state_arrays())
    else:
        resumed.load_state_dict(pickle.loads(pickle.dumps(optimizer.state_dict())))
    train(MLP, model, optimizer, 4, jit=jit, first=4)
    train(MLP, other, resumed, 4, jit=jit, first=4)
    for key, value in model.arrays().items():
        assert np.array_equal(other.arrays()[key], value)


@each_option
def test_a_copy_of_model_and_optimizer_trains_apart(name: str, options: dict[str, Any]) -> None:
    model = MLP.model()
    optimizer = make(name, options, model)
    train(MLP, model, optimizer, 2)
    other, twin = copy.deepcopy((model, optimizer))
    kept = model.arrays()
    train(MLP, other, twin, 2)
    assert all(np.array_equal(model.arrays()[k], v) for k, v in kept.items())
    train(MLP, model, optimizer, 2)
    assert all(np.array_equal(model.arrays()[k], v) for k, v in other.arrays().items())


def test_a_state_dict_is_a_copy_in_torchs_structure() -> None:
    model = MLP.model()
    optimizer = optim.Adam(model.parameters(), lr=0.1)
    saved = optimizer.state_dict()
    train(MLP, model, optimizer, 1)
    assert saved["state"][0]["step"] == 0
    assert set(saved["state"]) == {0, 1, 2, 3}
    assert set(saved["state"][0]) == {"step", "exp_avg", "exp_avg_sq"}
    (group,) = saved["param_groups"]
    assert group["params"] == [0, 1, 2, 3]
    assert group["betas"] == (0.9, 0.999)
    json.dumps(saved["param_groups"])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@each_option
def test_a_large_parameter_is_updated_in_pieces_to_the_same_bits(
    name: str, options: dict[str, Any], dtype: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    r = np.random.default_rng(0)
    start = r.normal(size=(7, 11)).astype(dtype)
    grads = r.normal(size=(4, 11, 7)).astype(dtype).swapaxes(1, 2)  # not contiguous
    results = []
    for size in (1 << 40, 10):
        monkeypatch.setattr("backpass.optim.optimizer.PIECE", size)
        model = Model({"w": start, "b": start[0]})
        optimizer = make(name, options, model)
        for g in grads:
            optimizer.step([g, g[0]])
        results.append(model.arrays() | optimizer.state_arrays())
    whole, pieces = results
    assert whole.keys() == pieces.keys()
    assert all(np.array_equal(pieces[k], v) for k, v in whole.items())
    assert not np.array_equal(whole["w"], start)


# -- groups


def test_groups_have_their_own_hyperparameters() -> None:
    w, b = Cell(np.ones(3), name="w"), Cell(np.ones(2), name="b")
    optimizer = optim.SGD([{"params": [w]}, {"params": b, "lr": 1.0}], lr=0.5)
    optimizer.step([np.ones(3), np.ones(2)])
    assert w.read().tolist() == [0.5] * 3
    assert b.read().tolist() == [0.0] * 2
    optimizer.param_groups[0]["lr"] = 0.25
    optimizer.step([np.ones(3), None])
    assert w.read().tolist() == [0.25] * 3


def test_a_group_can_join_later() -> None:
    w, b = Cell(np.ones(3), name="w"), Cell(np.ones(2), name="b")
    optimizer = optim.Adam([w], lr=0.5)
    optimizer.add_param_group({"params": [b], "lr": 0.1})
    optimizer.step({"b": np.ones(2)})
    np.testing.assert_allclose(b.read(), 0.9)
    assert "state.b.exp_avg" in optimizer.__backpass_cells__()


def test_hyperparameters_in_cells_do_not_compile_again_and_others_do() -> None:
    model = MLP.model()
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    traced = []

    def step(model: Any, optimizer: Any, x: Any, y: Any) -> Any:
        traced.append(1)
        value, grads = bp.value_and_grad(MLP.loss)(model, x, y)
        optimizer.step(grads)
        return value

    jitted = bp.jit(step)
    jitted(model, optimizer, *MLP.batch(0))
    before = model.arrays()
    optimizer.param_groups[0]["lr"] = 0.0
    optimizer.param_groups[0]["momentum"] = 0.5
    jitted(model, optimizer, *MLP.batch(1))
    assert len(traced) == 1
    assert all(np.array_equal(model.arrays()[k], v) for k, v in before.items())
    optimizer.param_groups[0]["weight_decay"] = 0.1
    jitted(model, optimizer, *MLP.batch(2))
    assert len(traced) == 2


def test_momentum_set_later_gets_its_buffer() -> None:
    late, early = MLP.model(), MLP.model()
    one = optim.SGD(late.parameters(), lr=0.1)
    one.param_groups[0]["momentum"] = 0.9
    two = optim.SGD(early.parameters(), lr=0.1, momentum=0.9)
    train(MLP, late, one, 3, jit=True)
    train(MLP, early, two, 3)
    for key, value in early.arrays().items():
        assert_compiled(late.arrays()[key], value)


def test_a_numpy_hyperparameter_does_not_promote_a_float32_step() -> None:
    w = Cell(np.ones(3, np.float32), name="w")
    scalars: dict[str, Any] = {"lr": np.float64(0.1), "weight_decay": np.float64(0.1)}
    optimizer = optim.Adam([w], **scalars, eps=np.float64(1e-8))
    plain = Cell(np.ones(3, np.float32), name="w")
    other = optim.Adam([plain], lr=0.1, weight_decay=0.1, eps=1e-8)
    for _ in range(3):
        optimizer.step([np.full(3, 0.3, np.float32)])
        other.step([np.full(3, 0.3, np.float32)])
    assert np.array_equal(w.read(), plain.read())


# -- which gradients


def test_frozen_parameters_are_skipped() -> None:
    model = MLP.model(frozen=("w1", "b2"))
    before = model.arrays()
    optimizer = optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.1)
    train(MLP, model, optimizer, 3)
    train(MLP, model, optimizer, 3, jit=True)
    changed = {k for k, v in model.arrays().items() if not np.array_equal(v, before[k])}
    assert changed == {"b1", "w2"}
    steps = {k: int(a) for k, a in optimizer.state_arrays().items() if k.endswith(".step")}
    assert steps == {
        "state.w1.step": 0,
        "state.b1.step": 6,
        "state.w2.step": 6,
        "state.b2.step": 0,
    }


class Tied(Model):
    """One Cell under two attributes."""

    def __getattr__(self, name: str) -> Any:
        return super().__getattr__("w" if name in ("encoder", "decoder") else name)


@pytest.mark.parametrize("jit", [False, True])
def test_tied_parameters_are_updated_once_with_the_sum_of_their_gradients(jit: bool) -> None:
    model = Tied({"w": np.array([1.0, 2.0])})
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    def step(model: Any, optimizer: Any) -> Any:
        def loss(m: Any) -> Any:
            return np.sum(m.encoder * np.array([1.0, 2.0])) + np.sum(m.decoder**2)

        value, grads = bp.value_and_grad(loss)(model)
        optimizer.step(grads)
        return value

    (bp.jit(step) if jit else step)(model, optimizer)
    np.testing.assert_allclose(model.w, [1.0 - 0.1 * 3.0, 2.0 - 0.1 * 6.0])


def test_gradients_by_name_in_order_by_cell_and_of_several_arguments_agree() -> None:
    r = np.random.default_rng(0)
    g = {"w": r.normal(size=3), "b": r.normal(size=2)}
    results = []
    for kind in ("names", "order", "cells", "arguments"):
        w, b = (
            Cell(np.ones(3), name="w", trainable=True),
            Cell(np.ones(2), name="b", trainable=True),
        )
        grads: Any = {
            "names": g,
            "order": [g["w"], g["b"]],
            "cells": {b: g["b"], w: g["w"]},
            "arguments": bp.grad(lambda w, b: np.sum(w * g["w"]) + np.sum(b * g["b"]), (0, 1))(
                w, b
            ),
        }[kind]
        optim.SGD([w, b], lr=0.1).step(grads)
        results.append(np.concatenate([w.read(), b.read()]))
    assert all(np.allclose(x, results[0], rtol=1e-15) for x in results)


def test_names_that_are_given_count() -> None:
    cell = Cell(np.ones(2))
    optimizer = optim.SGD([("body.weight", cell)], lr=1.0)
    optimizer.step({"body.weight": np.ones(2)})
    assert cell.read().tolist() == [0.0, 0.0]
    assert optimizer.param_groups[0]["param_names"] == ["body.weight"]


def test_an_optimizer_of_a_part_ignores_the_gradients_of_the_rest() -> None:
    model = MLP.model()
    before = model.arrays()
    optimizer = optim.SGD([model.cells["w2"]], lr=0.1)
    train(MLP, model, optimizer, 1)
    assert {k for k, v in model.arrays().items() if not np.array_equal(v, before[k])} == {"w2"}


def test_the_parameter_keeps_its_dtype_for_a_gradient_of_another() -> None:
    w = Cell(np.ones(2, np.float32), name="w")
    optim.Adam([w], lr=0.1).step({"w": np.ones(2)})
    assert w.read().dtype == np.float32


def test_no_gradients_change_nothing() -> None:
    w = Cell(np.ones(2), name="w")
    optim.Adam([w]).step({})
    optim.Adam([w]).step([None])
    assert w.read().tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("grads", "error", "words"),
    [
        ({"w": np.ones(3), "c": np.ones(1)}, OptimizerError, "unknown parameters: c; .*: b$"),
        ([np.ones(3)], OptimizerError, "1 gradients for 2 parameters"),
        ({"w": np.ones(4)}, ShapeError, r"of w has shape \(4,\), the parameter \(3,\)"),
        ({"w": np.ones(3), "b": np.ones((1, 2))}, ShapeError, "of b has shape"),
        ({"w": 1.0}, DTypeError, "the gradient of w is a float"),
        (np.ones(3), DTypeError, "got ndarray"),
        (None, DTypeError, "got NoneType.*value_and_grad"),
        ((1.0, Gradients({}, ())), DTypeError, "the pair .value, grads."),
    ],
)
def test_wrong_gradients_are_refused_before_anything_changes(
    grads: Any, error: type[BackpassError], words: str
) -> None:
    w, b = Cell(np.ones(3), name="w"), Cell(np.ones(2), name="b")
    optimizer = optim.SGD([w, b], lr=0.1)
    with pytest.raises(error, match=words):
        optimizer.step(grads)
    assert w.read().tolist() == [1.0] * 3


def test_gradients_of_another_model_are_refused() -> None:
    mine, other = MLP.model(), MLP.model()
    optimizer = optim.SGD(mine.parameters(), lr=0.1)
    grads = bp.grad(MLP.loss)(other, *MLP.batch(0))
    with pytest.raises(OptimizerError, match="are they of another model"):
        optimizer.step(grads)


@pytest.mark.parametrize("jit", [True, False])
def test_a_layer_replaced_after_the_optimizer_was_made_is_told(jit: bool) -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    def step(model: Any, optimizer: Any, x: Any) -> None:
        optimizer.step(bp.grad(lambda model: np.sum(model(x)))(model))

    run = bp.jit(step) if jit else step
    x = np.ones((2, 3), np.float32)
    model[1] = nn.Linear(4, 1)
    with pytest.warns(UserWarning, match="model's 1.weight, 1.bias .* is not trained"):
        run(model, optimizer, x)
    before = np.array(model[1].weight)
    optimizer.add_param_group({"params": model[1].parameters()})
    model.eval()  # compiles anew
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(model, optimizer, x)
    assert not np.array_equal(model[1].weight, before)


def test_parts_and_frozen_parameters_are_no_replaced_layers() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))
    head = optim.SGD(model[1].parameters(), lr=0.1)
    body = optim.SGD(model[0].parameters(), lr=0.1)
    model[0].bias.requires_grad = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        grads = bp.grad(lambda model: np.sum(model(np.ones((2, 3)))))(model)
        head.step(grads)
        body.step(grads)


@each_option
def test_a_gradient_that_does_not_depend_on_the_data(name: str, options: dict[str, Any]) -> None:
    """The bias of a sum has a constant gradient: a plain array beside traced state."""

    def step(model: Any, optimizer: Any, x: Any) -> None:
        optimizer.step(bp.grad(lambda model: np.sum(model(x)))(model))

    found = []
    for run in (step, bp.jit(step)):
        bp.manual_seed(0)
        model = nn.Linear(3, 2)
        optimizer = getattr(optim, name)(model.parameters(), **options)
        for _ in range(3):
            run(model, optimizer, np.ones((2, 3), np.float32))
        found.append(np.array(model.bias))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-6)


def test_torchs_calls_say_what_to_write_instead() -> None:
    optimizer = optim.SGD([Cell(np.ones(2))], lr=0.1)
    with pytest.raises(UnsupportedError, match="Drop the line"):
        optimizer.zero_grad()
    with pytest.raises(DTypeError, match=r"bp.value_and_grad\(loss\)\(model, x, y\)"):
        optimizer.step()
    with pytest.raises(DTypeError, match=r"a dict with the key 'params'.*got list"):
        optimizer.add_param_group([Cell(np.ones(2))])  # pyright: ignore[reportArgumentType]
    for lr in (None, "0.1", [0.1]):
        with pytest.raises(DTypeError, match="lr must be a number"):
            optim.SGD([Cell(np.ones(2))], lr=lr)  # pyright: ignore[reportArgumentType]


def test_state_keeps_its_names_when_a_parameter_is_renamed() -> None:
    cells = [Cell(np.ones(2), name="weight"), Cell(np.ones(2), name="weight"), Cell(np.ones(2))]
    optimizer = optim.Adam(cells)
    names = set(optimizer.state_arrays())
    for i, cell in enumerate(cells):
        cell.name = f"layer{i}.weight"
    optimizer.step({"layer1.weight": np.ones(2)})
    assert set(optimizer.state_arrays()) == names
    assert {"state.weight.step", "state.weight#1.step", "state.2.step"} <= names
    assert optimizer.state_arrays()["state.weight#1.step"] == 1


@pytest.mark.parametrize("jit", [False, True])
def test_a_model_may_change_its_dtype_under_the_optimizer(jit: bool) -> None:
    model = MLP.model()
    optimizer = optim.AdamW(model.parameters(), lr=0.1)
    train(MLP, model, optimizer, 2, jit=jit)
    for cell in model.cells.values():
        cell.cast(np.float32)
    train(MLP, model, optimizer, 2, jit=jit)
    assert all(a.dtype == np.float32 for a in model.arrays().values())


# -- what is refused at construction


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("SGD", {"lr": -1.0}, "Invalid learning rate: -1.0"),
        ("SGD", {"lr": float("nan")}, "Invalid learning rate: nan"),
        ("SGD", {"momentum": -0.1}, "Invalid momentum value: -0.1"),
        ("SGD", {"weight_decay": -0.1}, "Invalid weight_decay value: -0.1"),
        ("SGD", {"nesterov": True}, "Nesterov momentum requires a momentum and zero dampening"),
        ("Adam", {"betas": (1.0, 0.9)}, "Invalid beta parameter at index 0: 1.0"),
        ("Adam", {"betas": (0.9, -0.1)}, "Invalid beta parameter at index 1: -0.1"),
        ("Adam", {"eps": -1e-8}, "Invalid epsilon value: -1e-08"),
        ("NAdam", {"momentum_decay": -1}, "Invalid momentum_decay value: -1"),
        ("RMSprop", {"alpha": -1}, "Invalid alpha value: -1"),
        ("Adagrad", {"lr_decay": -1}, "Invalid lr_decay value: -1"),
        (
            "Adagrad",
            {"initial_accumulator_value": -1},
            "Invalid initial_accumulator_value value: -1",
        ),
        ("Adadelta", {"rho": 1.5}, "Invalid rho value: 1.5"),
        ("LBFGS", {"lr": -1}, "Invalid learning rate: -1"),
        ("LBFGS", {"line_search_fn": "armijo"}, "only 'strong_wolfe' is supported"),
    ],
)
def test_impossible_hyperparameters_are_refused_in_torchs_words(
    name: str, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(OptimizerError, match=words):
        getattr(optim, name)([Cell(np.ones(2))], **options)
    if name != "LBFGS" or "lr" in options:
        with pytest.raises(OptimizerError, match=words):
            getattr(optim, name)([{"params": [Cell(np.ones(2))], **options}])


@pytest.mark.parametrize(
    ("params", "error", "words"),
    [
        ([], OptimizerError, "empty parameter list"),
        (iter(()), OptimizerError, "empty parameter list"),
        (Cell(np.ones(2)), DTypeError, "must be an iterable"),
        (MLP.model(), DTypeError, r"did you mean model.parameters\(\)"),
        ([np.ones(2)], DTypeError, "one of them is a ndarray"),
        ([Cell(np.ones(2, int))], DTypeError, "not floating"),
        ({Cell(np.ones(2)): 1}.keys(), None, ""),
        ([{"lr": 0.1}], DTypeError, "key 'params'"),
        ([{"params": {Cell(np.ones(2))}}], DTypeError, "sets have none"),
        ([("a", Cell(np.ones(2))), Cell(np.ones(2))], OptimizerError, "need names, or none"),
    ],
)
def test_what_is_no_list_of_parameters_is_refused(
    params: Any, error: type[BackpassError] | None, words: str
) -> None:
    if error is None:
        optim.SGD(params)
        return
    with pytest.raises(error, match=words):
        optim.SGD(params)


def test_one_parameter_twice_is_refused() -> None:
    cell = Cell(np.ones(2), name="w")
    with pytest.raises(OptimizerError, match=r"cell w .* stands twice"):
        optim.SGD([cell, cell])
    with pytest.raises(OptimizerError, match="more than one parameter group"):
        optim.SGD([{"params": [cell]}, {"params": [cell]}])


def test_a_state_that_does_not_fit_is_refused_and_changes_nothing() -> None:
    model = MLP.model()
    optimizer = optim.Adam(model.parameters())
    train(MLP, model, optimizer, 2)
    kept = optimizer.state_arrays()
    saved = optimizer.state_dict()
    two_groups = {**saved, "param_groups": saved["param_groups"] * 2}
    short = {**saved, "param_groups": [{**saved["param_groups"][0], "params": [0]}]}
    reshaped = copy.deepcopy(saved)
    reshaped["state"][1]["exp_avg"] = np.ones(9)
    sgd = optim.SGD(model.parameters(), momentum=0.9).state_dict()
    sgd["param_groups"] = saved["param_groups"]
    for wrong, words in [
        (two_groups, "different number of parameter groups: 2, here 1"),
        (short, "match the size of optimizer's group 0"),
        (reshaped, r"exp_avg of cell b1 .*expected shape \(4,\), saved is \(9,\)"),
        (sgd, "another optimizer"),
        ({}, "'param_groups', 'state'"),
    ]:
        with pytest.raises(CheckpointError, match=words):
            optimizer.load_state_dict(wrong)
    with pytest.raises(CheckpointError, match=r"missing .*state\.b1\.exp_avg.*unexpected .*extra"):
        optimizer.load_state_arrays(
            {k: v for k, v in kept.items() if k != "state.b1.exp_avg"} | {"extra": np.ones(1)}
        )
    with pytest.raises(CheckpointError, match="expected shape"):
        optimizer.load_state_arrays(kept | {"state.b1.exp_avg": np.ones(9)})
    assert all(np.array_equal(optimizer.state_arrays()[k], v) for k, v in kept.items())


def test_the_public_names_are_listed_and_are_there() -> None:
    assert len(set(optim.__all__)) == len(optim.__all__)
    assert all(hasattr(optim, name) for name in optim.__all__)
    assert all(hasattr(optim.lr_scheduler, name) for name in optim.lr_scheduler.__all__)
