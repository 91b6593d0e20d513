"""The step of the README: a Module, a loss and an optimizer under bp.jit train as eagerly, and as
PyTorch does.
"""

import copy
from typing import Any

import numpy as np
import pytest
from tests.compiled import assert_compiled
from tests.conftest import Peer

import backpass as bp
from backpass import nn, optim

RNG = np.random.default_rng(2)
X = RNG.normal(size=(48, 6))
Y = np.argmax(X @ RNG.normal(size=(6, 3)), axis=1)


def network(n: Any) -> Any:
    """An MLP with batch normalization, ours or torch's."""
    return n.Sequential(
        n.Linear(6, 16, bias=False),
        n.BatchNorm1d(16),
        n.GELU(),
        n.Linear(16, 16),
        n.SiLU(),
        n.Linear(16, 3),
    )


def loss(model: Any, x: Any, y: Any) -> Any:
    """Cross-entropy of the model's scores."""
    return nn.functional.cross_entropy(model(x), y)


def step(model: Any, optimizer: Any, x: Any, y: Any) -> Any:
    """One step of training."""
    value, grads = bp.value_and_grad(loss)(model, x, y)
    optimizer.step(grads)
    return value


def train(run: Any, model: Any, steps: int) -> list[float]:
    """The losses of a training run in batches of 16."""
    optimizer = optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for i in range(steps):
        batch = slice(16 * (i % 3), 16 * (i % 3) + 16)
        losses.append(float(run(model, optimizer, X[batch], Y[batch])))
    return losses


def test_fifty_steps_equal_torch(peer: Peer) -> None:
    torch = peer("torch")
    model, theirs = network(nn).double(), network(torch.nn).double()
    theirs.load_state_dict({k: torch.tensor(v) for k, v in model.state_dict().items()})
    optimizer = torch.optim.AdamW(theirs.parameters(), lr=1e-2)
    expected = []
    for i in range(50):
        batch = slice(16 * (i % 3), 16 * (i % 3) + 16)
        optimizer.zero_grad()
        value = torch.nn.functional.cross_entropy(
            theirs(torch.tensor(X[batch])), torch.tensor(Y[batch])
        )
        value.backward()
        optimizer.step()
        expected.append(value.item())
    np.testing.assert_allclose(train(bp.jit(step), model, 50), expected, rtol=1e-10)
    for name, tensor in theirs.state_dict().items():
        found = model.state_dict()[name]
        np.testing.assert_allclose(found, tensor.numpy(), rtol=1e-9, atol=1e-10, err_msg=name)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_jit_trains_as_eagerly_with_dropout_and_batch_norm(dtype: type) -> None:
    model = nn.Sequential(network(nn), nn.Dropout(0.2), nn.Linear(3, 3)).to(dtype)
    other = copy.deepcopy(model)
    eager, fast = train(step, model, 30), train(bp.jit(step), other, 30)
    rtol = 1e-10 if dtype is np.float64 else 2e-3
    np.testing.assert_allclose(fast, eager, rtol=rtol)
    assert int(other[1].rng.read()[1]) == 30 == int(other[0][1].num_batches_tracked.read())
    for name, array in model.state_dict().items():
        np.testing.assert_allclose(other.state_dict()[name], array, rtol=rtol, atol=rtol)


def test_it_learns() -> None:
    nn.manual_seed(0)
    model = network(nn)
    losses = train(bp.jit(step), model, 120)
    assert losses[-1] < 0.1 * losses[0]
    assert np.mean(np.argmax(model.eval()(X), axis=1) == Y) > 0.97


def test_a_frozen_layer_stays() -> None:
    model = network(nn)
    model[0].requires_grad_(False)
    before = model.state_dict()
    train(bp.jit(step), model, 3)
    after = model.state_dict()
    np.testing.assert_array_equal(after["0.weight"], before["0.weight"])
    assert not np.array_equal(after["3.weight"], before["3.weight"])


def test_a_module_that_is_no_argument_of_a_jitted_function_is_refused() -> None:
    model = network(nn)
    with pytest.raises(TypeError, match="belongs to none of its arguments"):
        bp.jit(lambda x: model(x))(X)


def test_hessian_vector_products_through_a_module() -> None:
    model = nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.LayerNorm(4), nn.Linear(4, 3)).double()
    bp.check_grads(lambda x: loss(model, x, Y[:4]), (X[:4],), order=2)


def test_gradients_for_each_example_sum_to_those_of_the_batch() -> None:
    model = nn.Sequential(
        nn.Embedding(7, 4), nn.Flatten(-2), nn.LayerNorm(12), nn.Mish(), nn.Linear(12, 3)
    ).double()
    words = RNG.integers(0, 7, (6, 3))

    def total(model: Any, x: Any, y: Any) -> Any:
        return nn.functional.cross_entropy(model(x), y, reduction="sum")

    whole = bp.grad(total)(model, words, Y[:6])
    each = bp.vmap(bp.grad(total), in_axes=(None, 0, 0))(model, words, Y[:6])
    for name, gradient in whole.items():
        assert each[name].shape == (6, *gradient.shape)
        np.testing.assert_allclose(each[name].sum(axis=0), gradient, rtol=1e-12, atol=1e-14)


LAYOUTS: dict[str, Any] = {
    "transposed": lambda x: np.asfortranarray(x),
    "reversed": lambda x: np.ascontiguousarray(x[::-1])[::-1],
    "strided": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    "big-endian": lambda x: x.astype(x.dtype.newbyteorder(">")),
    "unaligned": lambda x: np.frombuffer(b"0" + x.tobytes(), x.dtype, offset=1).reshape(x.shape),
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
@pytest.mark.parametrize("wrap", [lambda f: f, bp.jit], ids=["eager", "jit"])
def test_inputs_of_any_memory_layout_give_the_same_and_are_not_written(
    layout: Any, wrap: Any
) -> None:
    models = [network(nn).double()]
    models.append(copy.deepcopy(models[0]))
    x, y = layout(X), Y.astype(">i4")
    if x.flags.owndata:
        x.flags.writeable = False
    found = wrap(bp.value_and_grad(loss))(models[0], x, y)
    expected = wrap(bp.value_and_grad(loss))(models[1], X, Y)
    assert_compiled(found[0], expected[0])
    np.testing.assert_allclose(found[1]["0.weight"], expected[1]["0.weight"], rtol=1e-9, atol=1e-15)
    np.testing.assert_array_equal(x, X)
