"""The oracles are set up as the parity tests rely on: float64, the CPU, one thread."""

from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest

Peer = Callable[[str], ModuleType]
X = np.array([0.5, -1.25, 2.0])
# d/dx sum(x^3) = 3 x^2, which these numbers hold exactly in float64 and not all in float32 + 1e-9
GRADIENT = 3 * (X + 1e-9) ** 2


def test_jax_computes_in_float64_on_the_cpu(peer: Peer) -> None:
    jax = peer("jax")
    assert {device.platform for device in jax.devices()} == {"cpu"}
    gradient = jax.grad(lambda x: (x**3).sum())(X + 1e-9)
    assert gradient.dtype == np.float64
    np.testing.assert_allclose(gradient, GRADIENT, rtol=1e-14)


def test_torch_computes_in_float64_with_one_thread(peer: Peer) -> None:
    torch = peer("torch")
    assert torch.get_num_threads() == 1
    x = torch.tensor(X + 1e-9, requires_grad=True)
    (x**3).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), GRADIENT, rtol=1e-14)


def test_autograd_gives_the_gradient(peer: Peer) -> None:
    autograd = peer("autograd")
    gradient = autograd.grad(lambda x: (x**3).sum())(X + 1e-9)
    np.testing.assert_allclose(gradient, GRADIENT, rtol=1e-14)


def test_a_submodule_of_a_peer_is_set_up_too(peer: Peer) -> None:
    assert peer("jax.numpy").ones(1).dtype == np.float64


def test_another_library_is_no_peer(peer: Peer) -> None:
    with pytest.raises(ValueError, match="'numpy' is no peer; the peers are torch, jax, autograd"):
        peer("numpy")
