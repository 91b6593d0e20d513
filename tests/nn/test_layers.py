"""Layers equal PyTorch's with its weights: outputs and gradients to 1e-12 in float64, eager and
under jit.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tests.conftest import Peer

import backpass as bp
from backpass import nn
from backpass.nn import functional as F

Build = Callable[[Any], Any]
RNG = np.random.default_rng(11)
LAYERS: list[tuple[str, Build, list[tuple[int, ...]]]] = [
    ("linear", lambda n: n.Linear(4, 3), [(5, 4)]),
    ("linear-3d", lambda n: n.Linear(4, 3, bias=False), [(2, 5, 4)]),
    ("linear-1d", lambda n: n.Linear(4, 3), [(4,)]),
    ("bilinear", lambda n: n.Bilinear(4, 3, 2), [(5, 4), (5, 3)]),
    ("bilinear-no-bias", lambda n: n.Bilinear(4, 3, 2, bias=False), [(2, 5, 4), (2, 5, 3)]),
    ("layer-norm", lambda n: n.LayerNorm(6), [(4, 6)]),
    ("layer-norm-2", lambda n: n.LayerNorm((3, 6), eps=1e-3), [(4, 3, 6)]),
    ("layer-norm-plain", lambda n: n.LayerNorm(6, elementwise_affine=False), [(4, 6)]),
    ("layer-norm-no-bias", lambda n: n.LayerNorm(6, bias=False), [(4, 6)]),
    ("rms-norm", lambda n: n.RMSNorm(6), [(4, 6)]),
    ("rms-norm-eps", lambda n: n.RMSNorm((3, 6), eps=1e-2), [(4, 3, 6)]),
    ("group-norm", lambda n: n.GroupNorm(2, 6), [(4, 6)]),
    ("group-norm-4d", lambda n: n.GroupNorm(3, 6, affine=False), [(4, 6, 3, 2)]),
    ("batch-norm", lambda n: n.BatchNorm1d(6), [(4, 6)]),
    ("batch-norm-3d", lambda n: n.BatchNorm1d(6), [(4, 6, 3)]),
    ("batch-norm-plain", lambda n: n.BatchNorm1d(6, affine=False), [(4, 6)]),
    ("batch-norm-average", lambda n: n.BatchNorm1d(6, momentum=None), [(4, 6)]),
    ("batch-norm-untracked", lambda n: n.BatchNorm1d(6, track_running_stats=False), [(4, 6)]),
    ("flatten", lambda n: n.Flatten(), [(4, 2, 3)]),
    ("flatten-some", lambda n: n.Flatten(0, 1), [(4, 2, 3)]),
    ("unflatten", lambda n: n.Unflatten(1, (2, 3)), [(4, 6)]),
    ("unflatten-rest", lambda n: n.Unflatten(-1, (-1, 3)), [(4, 6)]),
    (
        "mlp",
        lambda n: n.Sequential(
            n.Linear(4, 8), n.Tanh(), n.LayerNorm(8), n.Linear(8, 8), n.ReLU(), n.Linear(8, 2)
        ),
        [(7, 4)],
    ),
    (
        "mlp-batch-norm",
        lambda n: n.Sequential(
            n.Linear(4, 8), n.BatchNorm1d(8), n.GELU(), n.Sequential(n.Linear(8, 3), n.Softmax(-1))
        ),
        [(7, 4)],
    ),
]
each = pytest.mark.parametrize(
    ("build", "shapes"), [r[1:] for r in LAYERS], ids=[r[0] for r in LAYERS]
)


def pair(torch: Any, build: Build) -> tuple[Any, Any]:
    """Ours and torch's module in float64 with the same parameters, through the state_dict."""
    theirs = build(torch.nn).double()
    with torch.no_grad():
        for p in theirs.parameters():
            p.copy_(torch.tensor(RNG.normal(size=tuple(p.shape))))
    ours = build(nn).double()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    return ours, theirs


def square(module: Any, *xs: Any) -> Any:
    """A scalar that depends on every output in its own way."""
    y = module(*xs)
    return np.sum(np.square(y - 0.3) * np.cos(np.arange(y.size)).reshape(y.shape))


def check_state(ours: Any, theirs: Any) -> None:
    """All arrays, the running statistics among them, agree."""
    for name, tensor in theirs.state_dict().items():
        found = ours.state_dict()[name]
        np.testing.assert_allclose(found, tensor.numpy(), rtol=1e-12, atol=1e-14, err_msg=name)
        assert found.dtype == tensor.numpy().dtype


@each
@pytest.mark.parametrize("mode", ["eager", "jit"])
@pytest.mark.parametrize("training", [True, False])
def test_outputs_gradients_and_state_equal_torch(
    build: Build, shapes: list[tuple[int, ...]], mode: str, training: bool, peer: Peer
) -> None:
    torch = peer("torch")
    ours, theirs = pair(torch, build)
    ours.train(training)
    theirs.train(training)
    transform = bp.value_and_grad(square, argnums=tuple(range(1 + len(shapes))))
    function = bp.jit(transform) if mode == "jit" else transform
    for _ in range(2):
        xs = [RNG.normal(size=shape) for shape in shapes]
        tensors = [torch.tensor(x, requires_grad=True) for x in xs]
        theirs.zero_grad()
        y = theirs(*tensors)
        factor = torch.tensor(np.cos(np.arange(y.numel())).reshape(tuple(y.shape)))
        total = ((y - 0.3).square() * factor).sum()
        total.backward()
        value, (grads, *slopes) = function(ours, *xs)
        terms = float(((y - 0.3).square() * factor).abs().sum())  # they cancel in the total
        np.testing.assert_allclose(value, total.item(), rtol=1e-12, atol=1e-14 * terms)
        for name, p in theirs.named_parameters():
            np.testing.assert_allclose(grads[name], p.grad.numpy(), rtol=1e-11, atol=1e-12)
        for slope, t in zip(slopes, tensors, strict=True):
            np.testing.assert_allclose(slope, t.grad.numpy(), rtol=1e-11, atol=1e-12)
        check_state(ours, theirs)


@each
def test_torch_loads_our_state(build: Build, shapes: list[tuple[int, ...]], peer: Peer) -> None:
    torch = peer("torch")
    ours, theirs = build(nn).double().eval(), build(torch.nn).double().eval()
    state = {k: torch.tensor(v) for k, v in ours.state_dict().items()}
    theirs.load_state_dict(state, strict=True)
    xs = [RNG.normal(size=shape) for shape in shapes]
    expected = theirs(*map(torch.tensor, xs)).detach().numpy()
    np.testing.assert_allclose(ours(*xs), expected, rtol=1e-12, atol=1e-12)


@each
def test_repr_and_dtype_equal_torch(
    build: Build, shapes: list[tuple[int, ...]], peer: Peer
) -> None:
    torch = peer("torch")
    ours, theirs = build(nn), build(torch.nn)
    assert repr(ours) == repr(theirs)
    assert {k: v.dtype for k, v in ours.state_dict().items()} == {
        k: v.numpy().dtype for k, v in theirs.state_dict().items()
    }
    y = ours(*[np.ones(shape, np.float32) for shape in shapes])
    assert y.dtype == np.float32


@pytest.mark.parametrize("padding", [None, 2, -1])
@pytest.mark.parametrize("mode", ["eager", "jit"])
def test_embedding(padding: int | None, mode: str, peer: Peer) -> None:
    torch = peer("torch")
    ours, theirs = pair(torch, lambda n: n.Embedding(5, 3, padding_idx=padding))
    index = np.array([[0, 2, 2], [4, 4, 1]])

    def total(module: Any, index: Any) -> Any:
        return np.sum(np.square(module(index)))

    theirs(torch.tensor(index)).square().sum().backward()
    transform = bp.grad(total)
    grads = (bp.jit(transform) if mode == "jit" else transform)(ours, index)
    np.testing.assert_allclose(grads["weight"], theirs.weight.grad.numpy(), rtol=1e-12)
    assert repr(ours) == repr(theirs)


@pytest.mark.parametrize("index", [-1, 5])
@pytest.mark.parametrize("wrap", [lambda f: f, bp.jit], ids=["eager", "jit"])
def test_an_index_outside_of_the_table_is_refused(index: int, wrap: Any) -> None:
    table = nn.Embedding(5, 3)
    with pytest.raises(IndexError):
        wrap(lambda m, i: m(i))(table, np.array([0, index]))


def test_embedding_options() -> None:
    assert not nn.Embedding(4, 2, padding_idx=1).weight.read()[1].any()
    frozen = nn.Embedding.from_pretrained(np.ones((3, 2)))
    assert not frozen.weight.requires_grad and frozen.weight.dtype == np.float64
    with pytest.raises(TypeError, match="max_norm is not built"):
        nn.Embedding(4, 2, max_norm=1.0)
    with pytest.raises(ValueError, match="padding_idx=4"):
        nn.Embedding(4, 2, padding_idx=4)
    with pytest.raises(TypeError, match="indices must be integers"):
        frozen(np.array([0.5]))


def test_running_statistics_move_eager_in_grad_and_in_jit_alike() -> None:
    x = RNG.normal(size=(8, 3))
    found = []
    for transform in (
        lambda f: f,
        lambda f: lambda *a: bp.grad(f)(*a),
        bp.jit,
        lambda f: bp.jit(bp.grad(f)),
        lambda f: lambda m, x: bp.hessian(f, argnums=1)(m, x),
    ):
        layer = nn.BatchNorm1d(3).double()
        transform(lambda m, x: np.sum(m(x) ** 3))(layer, x)
        batches = layer.state_dict()["num_batches_tracked"]
        assert batches.dtype == np.int64 and batches == 1
        found.append(np.concatenate([layer.running_mean.read(), layer.running_var.read()]))
    expected = np.concatenate([0.1 * x.mean(0), 0.9 + 0.1 * x.var(0, ddof=1)])
    for statistics in found:
        np.testing.assert_allclose(statistics, expected, rtol=1e-13)


def test_messages_name_shapes() -> None:
    model = nn.Sequential(nn.Linear(4, 3))
    model.__backpass_cells__()
    with pytest.raises(ValueError, match=r"\(2, 5\) should end in 4 features, as 0.weight"):
        model(np.ones((2, 5)))
    for wrong, match in (
        (lambda: nn.BatchNorm1d(3)(np.ones((1, 3))), "more than one value per channel"),
        (lambda: nn.BatchNorm1d(3)(np.ones((2, 4))), r"expected \(N, 3\)"),
        (lambda: nn.LayerNorm(3)(np.ones((2, 4))), r"should end in \(3,\)"),
        (lambda: nn.GroupNorm(2, 4)(np.ones((2, 3))), r"expected \(N, 4"),
        (lambda: nn.GroupNorm(2, 3), "do not divide"),
        (lambda: nn.Bilinear(2, 3, 1)(np.ones((2, 3)), np.ones((2, 3))), "bilinear"),
        (lambda: nn.Flatten(2)(np.ones((2, 3))), "no such axes"),
        (lambda: nn.Unflatten(1, (2, 2))(np.ones((2, 3))), "does not unflatten"),
        (lambda: nn.Dropout(1.5), "no probability"),
    ):
        with pytest.raises(ValueError, match=match):
            wrong()


def test_what_is_no_number_is_refused() -> None:
    for wrong, words in (
        (np.array([["a", "b", "c"]]), "got <U1"),
        (np.array([[1.0, None, 2.0]], object), "got object"),
        (np.ones((1, 3), complex), "got complex128"),
        (None, "None was given"),
    ):
        with pytest.raises(TypeError, match=words):
            nn.Linear(3, 2)(wrong)


def test_a_function_cannot_drop_without_a_stream() -> None:
    with pytest.raises(ValueError, match=r"make self.dropout = nn.Dropout\(p\)"):
        F.dropout(np.ones(3))
    assert F.dropout(np.ones(3), training=False).tolist() == [1.0] * 3
