"""Clipping against torch.nn.utils, in any structure, and under jit."""

from typing import Any

import numpy as np
import pytest
from tests.conftest import Peer
from tests.optim.problems import PROBLEMS

import backpass as bp
from backpass import optim
from backpass.errors import DTypeError, NonFiniteError, OptimizerError, TracingError
from backpass.trace import Cell
from backpass.trace.cells import Gradients

NORMS = [1.0, 2.0, 3.0, 0.5, np.inf]
r = np.random.default_rng(0)
ARRAYS = {"w": r.normal(size=(3, 4)), "b": r.normal(size=4), "scale": r.normal(size=())}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("max_norm", [0.1, 2.0, 1e6])
@pytest.mark.parametrize("norm_type", NORMS)
def test_the_norm_is_clipped_as_in_torch(
    peer: Peer, norm_type: float, max_norm: float, dtype: Any
) -> None:
    torch = peer("torch")
    grads = {k: np.asarray(v, dtype) for k, v in ARRAYS.items()}
    parameters = [torch.nn.Parameter(torch.zeros(g.shape)) for g in grads.values()]
    parameters = [p.to(torch.float64 if dtype is np.float64 else torch.float32) for p in parameters]
    parameters = [torch.nn.Parameter(p.detach()) for p in parameters]
    for p, g in zip(parameters, grads.values(), strict=True):
        p.grad = torch.tensor(g)
    expected = torch.nn.utils.clip_grad_norm_(parameters, max_norm, norm_type)
    clipped, total = optim.clip_grad_norm(grads, max_norm, norm_type)
    bound = 1e-12 if dtype is np.float64 else 1e-5
    np.testing.assert_allclose(total, expected.numpy(), rtol=bound)
    for p, g in zip(parameters, clipped.values(), strict=True):
        assert g.dtype == dtype
        np.testing.assert_allclose(g, p.grad.numpy(), rtol=bound)


@pytest.mark.parametrize("value", [0.1, 1.0, 1e6])
def test_values_are_clipped_as_in_torch(peer: Peer, value: float) -> None:
    torch = peer("torch")
    parameters = [torch.nn.Parameter(torch.zeros(g.shape).double()) for g in ARRAYS.values()]
    for p, g in zip(parameters, ARRAYS.values(), strict=True):
        p.grad = torch.tensor(g)
    torch.nn.utils.clip_grad_value_(parameters, value)
    clipped = optim.clip_grad_value(ARRAYS, value)
    for p, g in zip(parameters, clipped.values(), strict=True):
        np.testing.assert_array_equal(g, p.grad.numpy())


def test_nothing_is_written_and_the_structure_is_kept() -> None:
    kept = {k: v.copy() for k, v in ARRAYS.items()}
    nested = {"a": [ARRAYS["w"], (ARRAYS["b"], None)]}
    clipped, _ = optim.clip_grad_norm(nested, 0.5)
    assert isinstance(clipped["a"][1], tuple)
    assert clipped["a"][1][1] is None
    optim.clip_grad_value(ARRAYS, 0.1)
    assert all(np.array_equal(ARRAYS[k], v) for k, v in kept.items())


def test_gradients_stay_gradients_and_step() -> None:
    p = PROBLEMS["mlp"]
    model = p.model()
    grads = bp.grad(p.loss)(model, *p.batch(0))
    clipped, _ = optim.clip_grad_norm(grads, 0.01)
    assert isinstance(clipped, Gradients)
    assert clipped.by_cell().keys() == grads.by_cell().keys()
    np.testing.assert_allclose(optim.global_norm(clipped), 0.01, rtol=1e-3)
    before = model.arrays()
    optim.SGD(model.parameters(), lr=1.0).step(clipped)
    moved = {k: before[k] - v for k, v in model.arrays().items()}
    np.testing.assert_allclose(optim.global_norm(moved), optim.global_norm(clipped), rtol=1e-10)


@pytest.mark.parametrize("norm_type", NORMS)
def test_jit_clips_as_eager(norm_type: float) -> None:
    def both(grads: Any) -> Any:
        clipped, total = optim.clip_grad_norm(grads, 0.5, norm_type)
        return optim.clip_grad_value(clipped, 0.2), total

    (eager, total), (jitted, other) = both(ARRAYS), bp.jit(both)(ARRAYS)
    np.testing.assert_allclose(other, total, rtol=1e-15)
    for key, value in eager.items():
        np.testing.assert_allclose(jitted[key], value, rtol=1e-15)


def test_edges() -> None:
    assert optim.global_norm({}) == 0.0
    assert optim.global_norm([np.zeros((0, 3))]) == 0.0
    assert optim.clip_grad_norm([np.zeros(3)], 1.0)[0][0].tolist() == [0.0] * 3
    bad = [np.array([np.nan, 1.0])]
    assert np.isnan(optim.clip_grad_norm(bad, 1.0)[0][0]).all()
    with pytest.raises(NonFiniteError, match=r"total norm of order 2\.0"):
        optim.clip_grad_norm(bad, 1.0, error_if_nonfinite=True)
    with pytest.raises(TracingError, match="return the norm"):
        bp.jit(lambda g: optim.clip_grad_norm(g, 1.0, error_if_nonfinite=True))(np.ones(2))
    with pytest.raises(OptimizerError, match="norm_type must be positive"):
        optim.global_norm(bad, 0)


@pytest.mark.parametrize("kind", [iter, list])
def test_parameters_in_the_place_of_gradients_are_refused(kind: Any) -> None:
    cells = kind([Cell(np.ones(2))])
    with pytest.raises(DTypeError, match="parameters hold no gradients here"):
        optim.clip_grad_norm(cells, 1.0)
    with pytest.raises(DTypeError, match="parameters hold no gradients here"):
        optim.clip_grad_value(cells, 1.0)
