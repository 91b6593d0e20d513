"""The activations equal PyTorch's: values, first and second derivatives, on a grid with every kink
and both extremes.
"""

import warnings
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from tests.compiled import assert_compiled
from tests.conftest import Peer

import backpass as bp
from backpass import nn

KINKS = [-1000.0, -40.0, -3.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0, 6.0, 21.0, 40.0, 1000.0]
GRID = np.sort(np.concatenate([np.linspace(-7.0, 7.0, 57) + 0.01, KINKS]))
ACTIVATIONS: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("ReLU", (), {}),
    ("ReLU6", (), {}),
    ("LeakyReLU", (), {}),
    ("LeakyReLU", (0.2,), {}),
    ("ELU", (), {}),
    ("ELU", (0.7,), {}),
    ("CELU", (), {}),
    ("CELU", (2.0,), {}),
    ("SELU", (), {}),
    ("GELU", (), {}),
    ("GELU", (), {"approximate": "tanh"}),
    ("SiLU", (), {}),
    ("Mish", (), {}),
    ("Tanh", (), {}),
    ("Sigmoid", (), {}),
    ("LogSigmoid", (), {}),
    ("Softplus", (), {}),
    ("Softplus", (2.0, 10.0), {}),
    ("Softsign", (), {}),
    ("Tanhshrink", (), {}),
    ("Hardtanh", (), {}),
    ("Hardtanh", (-2.0, 0.5), {}),
    ("Hardsigmoid", (), {}),
    ("Hardswish", (), {}),
    ("Softshrink", (), {}),
    ("Hardshrink", (), {}),
    ("Threshold", (0.5, -2.0), {}),
    ("PReLU", (), {}),
]
ROWS = ["Softmax", "Softmin", "LogSoftmax"]
each = pytest.mark.parametrize(("name", "args", "options"), ACTIVATIONS, ids=str)


def torch_derivatives(torch: ModuleType, module: Any, x: np.ndarray) -> list[np.ndarray]:
    """Value, first and second derivative of an elementwise module of torch."""
    t = torch.tensor(x, requires_grad=True)
    y = module(t)
    (first,) = torch.autograd.grad(y.sum(), t, create_graph=True)
    second = torch.zeros_like(t)
    # torch has no second derivative of Hardsigmoid; it is zero.
    if first.requires_grad and not isinstance(module, torch.nn.Hardsigmoid):
        (found,) = torch.autograd.grad(first.sum(), t, allow_unused=True)
        second = second if found is None else found
    return [v.detach().numpy() for v in (y, first, second)]


def derivatives(module: Any, x: np.ndarray) -> list[np.ndarray]:
    """The same of ours."""

    def total(x: Any) -> Any:
        return np.sum(module(x))

    first = bp.grad(total)
    return [module(x), first(x), bp.grad(lambda x: np.sum(first(x)))(x)]


@each
def test_value_and_two_derivatives_equal_torch(
    name: str, args: tuple[Any, ...], options: dict[str, Any], peer: Peer
) -> None:
    torch = peer("torch")
    ours = getattr(nn, name)(*args, **options)
    theirs = getattr(torch.nn, name)(*args, **options)
    expected = torch_derivatives(torch, theirs.double(), GRID)
    found = derivatives(ours.double(), GRID)
    for order, (a, b) in enumerate(zip(found, expected, strict=True)):
        assert np.isfinite(a).all()
        b = np.where(np.isnan(b), a, b)  # torch's second derivative of Mish is NaN at 1000
        rtol = 1e-7 if name == "Hardsigmoid" else 1e-12  # torch's 1/6 there is a float32
        np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-12, err_msg=f"{name} order {order}")


@each
def test_jit_equals_eager(name: str, args: tuple[Any, ...], options: dict[str, Any]) -> None:
    module = getattr(nn, name)(*args, **options).double()

    def total(module: Any, x: Any) -> Any:
        return np.sum(module(x) * np.arange(x.size))

    eager = bp.value_and_grad(total, argnums=1)(module, GRID)
    fast = bp.jit(bp.value_and_grad(total, argnums=1))(module, GRID)
    assert_compiled(fast[0], eager[0])
    assert_compiled(fast[1], eager[1])


@each
def test_dtype_and_nan_are_kept_without_a_warning(
    name: str, args: tuple[Any, ...], options: dict[str, Any]
) -> None:
    module = getattr(nn, name)(*args, **options)
    x = np.array([np.nan, 1.0, -1000.0, 1000.0], np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        y = module(x)
        dx = bp.grad(lambda x: np.sum(module(x[1:])))(x)
    assert y.dtype == np.float32 and dx.dtype == np.float32
    assert np.isnan(y[0]) and np.isfinite(y[1:]).all() and np.isfinite(dx).all()


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("shape", [(5,), (4, 5), (2, 3, 4), (2, 3, 2, 2)])
@pytest.mark.parametrize("dim", [None, 0, -1])
def test_softmax_family(name: str, shape: tuple[int, ...], dim: int | None, peer: Peer) -> None:
    torch = peer("torch")
    rng = np.random.default_rng(3)
    x, w = rng.normal(size=shape) * 30.0, rng.normal(size=shape)
    x.flat[0] = 1000.0
    t = torch.tensor(x, requires_grad=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        y = getattr(torch.nn, name)(dim)(t)
    (first,) = torch.autograd.grad((y * torch.tensor(w)).sum(), t, create_graph=True)
    (second,) = torch.autograd.grad((first * torch.tensor(w)).sum(), t)
    module = getattr(nn, name)(dim)
    slope = bp.grad(lambda x: np.sum(module(x) * w))
    np.testing.assert_allclose(module(x), y.detach().numpy(), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(slope(x), first.detach().numpy(), rtol=1e-12, atol=1e-12)
    curvature = bp.grad(lambda x: np.sum(slope(x) * w))(x)
    np.testing.assert_allclose(curvature, second.numpy(), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("dim", [0, -1])
def test_glu(dim: int, peer: Peer) -> None:
    torch = peer("torch")
    x = np.random.default_rng(0).normal(size=(4, 6)) * 100.0
    t = torch.tensor(x, requires_grad=True)
    y = torch.nn.GLU(dim)(t)
    y.square().sum().backward()
    module = nn.GLU(dim)
    np.testing.assert_allclose(module(x), y.detach().numpy(), rtol=1e-12, atol=1e-12)
    found = bp.grad(lambda x: np.sum(np.square(module(x))))(x)
    np.testing.assert_allclose(found, t.grad.numpy(), rtol=1e-12, atol=1e-12)
    with pytest.raises(ValueError, match="must be even"):
        nn.GLU()(np.ones((2, 3)))


@pytest.mark.parametrize("shape", [(3,), (5, 3), (5, 3, 2)])
def test_prelu_with_a_weight_for_each_channel(shape: tuple[int, ...], peer: Peer) -> None:
    torch = peer("torch")
    count = 1 if len(shape) == 1 else 3
    x = np.random.default_rng(1).normal(size=shape)
    x.flat[0] = 0.0
    theirs = torch.nn.PReLU(count).double()
    ours = nn.PReLU(count).double()
    theirs(torch.tensor(x)).square().sum().backward()
    grads = bp.grad(lambda m, x: np.sum(np.square(m(x))))(ours, x)
    np.testing.assert_allclose(grads["weight"], theirs.weight.grad.numpy(), rtol=1e-12)
    if count == 3:
        with pytest.raises(ValueError, match=r"expected \(1,\) or \(2,\)"):
            ours(np.ones((4, 2)))


def test_relu_has_derivative_zero_at_zero() -> None:
    assert bp.grad(nn.functional.relu)(0.0) == 0.0


def test_options_are_checked_and_shown() -> None:
    assert repr(nn.LeakyReLU(0.2)) == "LeakyReLU(negative_slope=0.2)"
    assert repr(nn.ReLU(inplace=True)) == "ReLU(inplace=True)"
    for wrong in (
        lambda: nn.ReLU(1, 2),
        lambda: nn.ELU(beta=1.0),
        lambda: nn.Threshold(0.5),
        lambda: nn.ELU(1.0, alpha=2.0),
    ):
        with pytest.raises(TypeError, match=r"ReLU|ELU|Threshold"):
            wrong()
    with pytest.raises(ValueError, match="approximate"):
        nn.GELU("erf")(np.ones(2))
    with pytest.raises(ValueError, match="no axis"):
        nn.Softmax(2)(np.ones((2, 2)))


def test_scalars_and_lists_are_taken() -> None:
    assert nn.functional.relu(-2.0) == 0.0
    assert nn.functional.sigmoid([0.0]).tolist() == [0.5]
    assert nn.functional.softmax(3.0) == 1.0 and nn.functional.log_softmax(3.0) == 0.0
    assert nn.functional.relu(np.array([-1, 2])).tolist() == [0.0, 2.0]
