"""Randomness of networks: the seed sequence, dropout's masks eager and compiled, and the initial
distributions.
"""

import copy
import math
from typing import Any

import numpy as np
import pytest
from tests.conftest import Peer

import backpass as bp
from backpass import nn
from backpass.nn.rng import default_generator

X = np.random.default_rng(0).normal(size=(64, 32))


def test_a_model_is_a_function_of_the_seed() -> None:
    def build() -> dict[str, Any]:
        model = nn.Sequential(nn.Linear(4, 5), nn.Dropout(), nn.Embedding(3, 2), nn.Linear(5, 1))
        return {**model.state_dict(), **{k: v.read() for k, v in model.rng_cells().items()}}

    nn.manual_seed(3)
    first, second = build(), build()
    nn.manual_seed(3)
    again = build()
    nn.manual_seed(4)
    other = build()
    for name, array in first.items():
        np.testing.assert_array_equal(array, again[name])
        assert not np.array_equal(array, second[name]) and not np.array_equal(array, other[name])
    with pytest.raises(ValueError, match="at least 0"):
        nn.manual_seed(-1)


def test_dropout_has_the_same_bits_eager_in_grad_and_in_jit() -> None:
    layer = nn.Dropout(0.3)
    copies = [copy.deepcopy(layer) for _ in range(4)]
    fast = bp.jit(lambda m, x: m(x))

    def total(m: Any, x: Any) -> Any:
        return np.sum(m(x) * X)

    fast_slope = bp.jit(bp.grad(total, argnums=1))
    masks = []
    for _ in range(3):
        eager = layer(X)
        np.testing.assert_array_equal(fast(copies[0], X), eager)
        kept = eager != 0.0
        for slope in (bp.grad(total, argnums=1)(copies[1], X), fast_slope(copies[2], X)):
            np.testing.assert_array_equal(slope != 0.0, kept)
            np.testing.assert_allclose(slope, np.where(kept, X / 0.7, 0.0), rtol=1e-15)
        np.testing.assert_allclose(eager[kept], (X / 0.7)[kept], rtol=1e-15)
        masks.append(kept)
    assert not np.array_equal(masks[0], masks[1]) and not np.array_equal(masks[1], masks[2])
    for m in (layer, *copies[:3]):
        assert int(m.rng.read()[1]) == 3
    assert int(copies[3].rng.read()[1]) == 0


def test_two_dropouts_in_one_pass_and_two_passes_of_one_differ() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.drop = nn.Dropout(0.5)

        def forward(self, x: Any) -> Any:
            return np.stack([self.drop(x), self.drop(x)])

    module = Twice()
    eager = copy.deepcopy(module)(X)
    fast = bp.jit(lambda m, x: m(x))(module, X)
    np.testing.assert_array_equal(fast, eager)
    assert not np.array_equal(eager[0], eager[1])
    pair = nn.Sequential(nn.Dropout(0.5), nn.Dropout(0.5))
    assert not np.array_equal(pair[0](X), pair[1](X))


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_rate_and_expectation(p: float) -> None:
    x = np.ones((400, 250), np.float32)
    y = nn.Dropout(p)(x)
    assert y.dtype == np.float32
    assert abs((y == 0.0).mean() - p) <= 4.5 * np.sqrt(p * (1.0 - p) / x.size)
    if p < 1.0:
        np.testing.assert_allclose(y[y != 0.0], 1.0 / (1.0 - p), rtol=1e-6)


def test_evaluation_leaves_input_and_stream_alone() -> None:
    layer = nn.Dropout(0.5).eval()
    before = layer.rng.read().copy()
    np.testing.assert_array_equal(layer(X), X)
    np.testing.assert_array_equal(layer.rng.read(), before)
    assert layer.state_dict() == {} and list(layer.rng_cells()) == ["rng"]


def test_a_stream_continues_from_its_saved_state() -> None:
    layer = nn.Dropout(0.5)
    layer(X)
    saved = layer.rng.read().copy()
    expected = layer(X)
    other = nn.Dropout(0.5)
    other.rng.write(saved)
    np.testing.assert_array_equal(other(X), expected)


def test_the_stream_is_philox_with_its_key_and_counter() -> None:
    from backpass.prims.random import random_bits

    state = nn.RngState(key=5)
    state.bits((3,))
    expected = random_bits(np.asarray(np.uint64(5)), np.asarray(np.uint64(1)), shape=(7,))
    np.testing.assert_array_equal(state.bits((7,)), expected)
    assert state.uniform((4,)).shape == (4,)


SHAPE = (300, 200)
MOMENTS: dict[str, tuple[Any, float, float]] = {
    "uniform_": (lambda t: nn.init.uniform_(t, -1.0, 3.0), 1.0, 4.0 / math.sqrt(12.0)),
    "normal_": (lambda t: nn.init.normal_(t, 2.0, 3.0), 2.0, 3.0),
    "trunc_normal_": (lambda t: nn.init.trunc_normal_(t), 0.0, 0.8796),
    "xavier_uniform_": (lambda t: nn.init.xavier_uniform_(t, 2.0), 0.0, 2 * math.sqrt(2 / 500)),
    "xavier_normal_": (lambda t: nn.init.xavier_normal_(t), 0.0, math.sqrt(2 / 500)),
    "kaiming_uniform_": (lambda t: nn.init.kaiming_uniform_(t), 0.0, math.sqrt(2 / 200)),
    "kaiming_normal_": (
        lambda t: nn.init.kaiming_normal_(t, mode="fan_out", nonlinearity="tanh"),
        0.0,
        5 / 3 / math.sqrt(300),
    ),
    "lecun_uniform_": (lambda t: nn.init.lecun_uniform_(t), 0.0, math.sqrt(1 / 200)),
    "lecun_normal_": (lambda t: nn.init.lecun_normal_(t), 0.0, math.sqrt(1 / 200)),
}


@pytest.mark.parametrize("name", MOMENTS)
def test_moments_of_the_distributions(name: str) -> None:
    fill, mean, std = MOMENTS[name]
    weight = nn.Parameter(np.zeros(SHAPE, np.float32))
    assert fill(weight) is weight and weight.dtype == np.float32
    drawn = weight.read().astype(np.float64)
    assert abs(drawn.mean() - mean) < 5.0 * std / math.sqrt(drawn.size)
    assert abs(drawn.std() / std - 1.0) < 0.02


def test_bounds_and_constants() -> None:
    array = np.zeros((50, 40))
    assert (
        nn.init.uniform_(array, 2.0, 3.0) is array and (array >= 2.0).all() and (array < 3.0).all()
    )
    nn.init.trunc_normal_(array, 1.0, 2.0, 0.0, 1.5)
    assert (array >= 0.0).all() and (array <= 1.5).all()
    assert (nn.init.constant_(array, 4.0) == 4.0).all()
    np.testing.assert_array_equal(nn.init.eye_(array), np.eye(50, 40))
    assert (nn.init.ones_(array) == 1.0).all() and not nn.init.zeros_(array).any()
    nn.init.sparse_(array, 0.33, std=1.0)
    assert ((array == 0.0).sum(axis=0) == math.ceil(0.33 * 50)).all()


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 4), (3, 2, 4)])
def test_orthogonal(shape: tuple[int, ...]) -> None:
    weight = nn.init.orthogonal_(np.zeros(shape), gain=2.0).reshape(shape[0], -1) / 2.0
    rows, columns = weight.shape
    gram = weight @ weight.T if rows <= columns else weight.T @ weight
    np.testing.assert_allclose(gram, np.eye(min(rows, columns)), atol=1e-12)


def test_a_generator_decides_and_errors_say_why() -> None:
    one, two = (np.zeros(4) for _ in range(2))
    nn.init.normal_(one, generator=np.random.default_rng(1))
    nn.init.normal_(two, generator=np.random.default_rng(1))
    np.testing.assert_array_equal(one, two)
    assert default_generator().random() != default_generator().random()
    for wrong, match in (
        (lambda: nn.init.xavier_normal_(one), "at least two axes"),
        (lambda: nn.init.eye_(one), "two axes"),
        (lambda: nn.init.sparse_(one, 0.5), "two axes"),
        (lambda: nn.init.orthogonal_(one), "two axes"),
        (lambda: nn.init.trunc_normal_(one, a=9.0, b=10.0), "widen it"),
        (lambda: nn.init.calculate_gain("swish"), "not one of"),
        (lambda: nn.init.kaiming_normal_(np.ones((2, 2)), mode="fan"), "fan_in"),
    ):
        with pytest.raises(ValueError, match=match):
            wrong()


@pytest.mark.parametrize(
    ("name", "param"),
    [("linear", None), ("tanh", None), ("relu", None), ("leaky_relu", 0.3), ("selu", None)],
)
def test_gains_equal_torch(name: str, param: float | None, peer: Peer) -> None:
    torch = peer("torch")
    assert nn.init.calculate_gain(name, param) == torch.nn.init.calculate_gain(name, param)


LAYERS: dict[str, Any] = {
    "linear": lambda n: n.Linear(300, 400),
    "bilinear": lambda n: n.Bilinear(20, 30, 400),
    "embedding": lambda n: n.Embedding(500, 300),
    "layer-norm": lambda n: n.LayerNorm(10),
    "batch-norm": lambda n: n.BatchNorm1d(10),
    "prelu": lambda n: n.PReLU(3),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_start_as_torch_starts_them(name: str, peer: Peer) -> None:
    theirs = LAYERS[name](peer("torch").nn).state_dict()
    for key, found in LAYERS[name](nn).state_dict().items():
        expected = theirs[key].numpy()
        if expected.std() == 0.0:
            np.testing.assert_array_equal(found, expected)
            continue
        error = 6.0 / math.sqrt(found.size)
        assert abs(found.std() / expected.std() - 1.0) < error
        assert abs(found.mean() - expected.mean()) < error * expected.std()
        largest = [float(np.abs(v).max() / expected.std()) for v in (found, expected)]
        assert abs(largest[0] - largest[1]) < (0.05 if name != "embedding" else 1.5)
