"""The losses equal PyTorch's: values and gradients for every option, eager and under jit; and what
they refuse.
"""

import warnings
from typing import Any

import numpy as np
import pytest
from tests.compiled import assert_compiled
from tests.conftest import Peer

import backpass as bp
from backpass import nn

F = nn.functional
RNG = np.random.default_rng(7)
REDUCTIONS = ["none", "mean", "sum"]
LAYOUTS = [(6, 4), (4,), (3, 4, 5), (2, 4, 3, 2)]
POSITIVE = RNG.uniform(0.1, 2.0, (5, 3))
SIGNED = RNG.normal(size=(5, 3))
SIGNS = np.where(RNG.random((5, 3)) < 0.5, -1.0, 1.0)
PROBABILITIES = RNG.uniform(size=(5, 3))
EXTREME = np.array([[1000.0, -1000.0, 0.0], [1e-3, -30.0, 30.0], [1.0, 2.0, -1.0]])
Arrays = tuple[np.ndarray, ...]


def compare(torch: Any, name: str, arrays: Arrays, options: dict[str, Any], wrt: int = 1) -> None:
    """Value and gradients with respect to the first `wrt` arrays, ours eager, ours under jit, and
    torch's.
    """
    theirs = {k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    tensors = [torch.tensor(x, requires_grad=i < wrt) for i, x in enumerate(arrays)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's advice on reductions
        expected = getattr(torch.nn.functional, name)(*tensors, **theirs)
    weights = np.cos(np.arange(expected.numel())).reshape(tuple(expected.shape))
    (expected * torch.tensor(weights)).sum().backward()

    def total(*xs: Any) -> Any:
        return np.sum(getattr(F, name)(*xs, **options) * weights)

    value = getattr(F, name)(*arrays, **options)
    np.testing.assert_allclose(value, expected.detach().numpy(), rtol=1e-12, atol=1e-12)
    slopes = bp.grad(total, argnums=tuple(range(wrt)))
    fast = bp.jit(slopes)(*arrays)
    for found, quick, tensor in zip(slopes(*arrays), fast, tensors, strict=False):
        np.testing.assert_allclose(found, tensor.grad.numpy(), rtol=1e-12, atol=1e-12)
        assert_compiled(quick, found)


def labels_for(shape: tuple[int, ...], ignored: bool) -> np.ndarray:
    """Integer labels for scores of a shape, some of them 2 to be ignored."""
    rest = shape[:1] + shape[2:] if len(shape) > 1 else ()
    labels = np.asarray(RNG.integers(0, 4, rest))
    if ignored and labels.ndim:
        labels.flat[0] = 2
        labels.flat[1] = 1
    return labels


@pytest.mark.parametrize("shape", LAYOUTS)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("ignore", [-100, 2])
def test_cross_entropy(
    shape: tuple[int, ...],
    reduction: str,
    weighted: bool,
    smoothing: float,
    ignore: int,
    peer: Peer,
) -> None:
    options: dict[str, Any] = {"reduction": reduction, "label_smoothing": smoothing}
    options |= {"ignore_index": ignore, "weight": RNG.uniform(0.5, 2.0, 4) if weighted else None}
    labels = labels_for(shape, ignore == 2)
    if not labels.ndim and ignore == 2:
        labels = np.asarray(1)
    compare(peer("torch"), "cross_entropy", (RNG.normal(size=shape) * 5.0, labels), options)


@pytest.mark.parametrize("shape", LAYOUTS)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_cross_entropy_of_probabilities(
    shape: tuple[int, ...], reduction: str, weighted: bool, smoothing: float, peer: Peer
) -> None:
    options: dict[str, Any] = {"reduction": reduction, "label_smoothing": smoothing}
    options["weight"] = RNG.uniform(0.5, 2.0, 4) if weighted else None
    targets = RNG.uniform(size=shape)
    compare(peer("torch"), "cross_entropy", (RNG.normal(size=shape), targets), options, wrt=2)


@pytest.mark.parametrize("shape", LAYOUTS)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True])
def test_nll_loss(shape: tuple[int, ...], reduction: str, weighted: bool, peer: Peer) -> None:
    options: dict[str, Any] = {"reduction": reduction, "ignore_index": 2}
    options["weight"] = RNG.uniform(0.5, 2.0, 4) if weighted else None
    labels = labels_for(shape, True) if len(shape) > 1 else np.asarray(1)
    compare(peer("torch"), "nll_loss", (RNG.normal(size=shape), labels), options)


CASES: list[tuple[str, Arrays, dict[str, Any], int]] = [
    ("binary_cross_entropy", (PROBABILITIES, PROBABILITIES.T.reshape(5, 3).copy()), {}, 2),
    ("binary_cross_entropy", (PROBABILITIES, PROBABILITIES > 0.5), {"weight": POSITIVE}, 1),
    ("binary_cross_entropy_with_logits", (EXTREME, PROBABILITIES[:3]), {}, 2),
    (
        "binary_cross_entropy_with_logits",
        (EXTREME, PROBABILITIES[:3]),
        {"weight": POSITIVE[:3], "pos_weight": np.array([0.5, 2.0, 3.0])},
        2,
    ),
    ("mse_loss", (SIGNED, POSITIVE), {}, 2),
    ("l1_loss", (np.round(SIGNED), np.zeros((5, 3))), {}, 2),
    ("smooth_l1_loss", (SIGNED, POSITIVE), {}, 2),
    ("smooth_l1_loss", (SIGNED, POSITIVE), {"beta": 0.3}, 2),
    ("smooth_l1_loss", (SIGNED, POSITIVE), {"beta": 0.0}, 2),
    ("smooth_l1_loss", (np.array([1.0, -1.0, 0.0]), np.zeros(3)), {}, 2),
    ("huber_loss", (SIGNED, POSITIVE), {}, 2),
    ("huber_loss", (SIGNED, POSITIVE), {"delta": 0.3}, 2),
    ("huber_loss", (np.array([1.0, -1.0, 0.0]), np.zeros(3)), {}, 2),
    ("kl_div", (SIGNED, np.round(POSITIVE)), {}, 1),
    ("kl_div", (SIGNED, POSITIVE), {}, 2),
    ("kl_div", (SIGNED, SIGNED.T.reshape(5, 3).copy()), {"log_target": True}, 2),
    ("poisson_nll_loss", (SIGNED, POSITIVE * 3.0), {"full": True}, 1),
    ("poisson_nll_loss", (POSITIVE, POSITIVE * 3.0), {"log_input": False}, 2),
    ("gaussian_nll_loss", (SIGNED, POSITIVE, POSITIVE), {}, 3),
    ("gaussian_nll_loss", (SIGNED, POSITIVE, np.full((5, 1), 1e-9)), {"full": True}, 2),
    ("gaussian_nll_loss", (SIGNED, POSITIVE, POSITIVE[:, :1].copy()), {}, 3),
    ("hinge_embedding_loss", (SIGNED, SIGNS), {"margin": 0.5}, 1),
    ("margin_ranking_loss", (SIGNED, POSITIVE, SIGNS), {"margin": 0.2}, 2),
    ("cosine_embedding_loss", (SIGNED, POSITIVE, SIGNS[:, 0].copy()), {"margin": 0.1}, 2),
    ("cosine_embedding_loss", (SIGNED[0], POSITIVE[0], np.asarray(1.0)), {}, 2),
]


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(("name", "arrays", "options", "wrt"), CASES, ids=lambda v: str(v)[:30])
def test_losses(
    name: str, arrays: Arrays, options: dict[str, Any], wrt: int, reduction: str, peer: Peer
) -> None:
    given = tuple([x.astype(np.float64) for x in arrays])
    compare(peer("torch"), name, given, {**options, "reduction": reduction}, wrt)


def test_binary_cross_entropy_at_zero_and_one_is_finite_as_in_torch(peer: Peer) -> None:
    torch = peer("torch")
    x, t = np.array([0.0, 1.0, 0.0, 1.0]), np.array([0.0, 1.0, 1.0, 0.0])
    tensor = torch.tensor(x, requires_grad=True)
    expected = torch.nn.functional.binary_cross_entropy(tensor, torch.tensor(t))
    expected.backward()
    value, slope = bp.value_and_grad(F.binary_cross_entropy)(x, t)
    assert value == expected.item() == 50.0
    np.testing.assert_allclose(slope, tensor.grad.numpy(), rtol=1e-8)  # torch's 1e-12 is a float32


def test_kl_div_batchmean(peer: Peer) -> None:
    compare(peer("torch"), "kl_div", (SIGNED, POSITIVE), {"reduction": "batchmean"}, 2)


def test_cosine_similarity(peer: Peer) -> None:
    compare(peer("torch"), "cosine_similarity", (SIGNED, POSITIVE), {"dim": 1}, 2)


MODULES: list[tuple[str, dict[str, Any], str, Arrays]] = [
    ("CrossEntropyLoss", {"label_smoothing": 0.1}, "cross_entropy", (SIGNED, np.arange(5) % 3)),
    ("NLLLoss", {"weight": POSITIVE[0]}, "nll_loss", (SIGNED, np.arange(5) % 3)),
    ("BCELoss", {}, "binary_cross_entropy", (PROBABILITIES, PROBABILITIES)),
    (
        "BCEWithLogitsLoss",
        {"pos_weight": POSITIVE[0]},
        "binary_cross_entropy_with_logits",
        (SIGNED, PROBABILITIES),
    ),
    ("MSELoss", {"reduction": "sum"}, "mse_loss", (SIGNED, POSITIVE)),
    ("L1Loss", {}, "l1_loss", (SIGNED, POSITIVE)),
    ("SmoothL1Loss", {"beta": 0.5}, "smooth_l1_loss", (SIGNED, POSITIVE)),
    ("HuberLoss", {"delta": 0.5}, "huber_loss", (SIGNED, POSITIVE)),
    ("KLDivLoss", {"reduction": "batchmean"}, "kl_div", (SIGNED, POSITIVE)),
    ("PoissonNLLLoss", {"full": True}, "poisson_nll_loss", (SIGNED, POSITIVE)),
    ("GaussianNLLLoss", {}, "gaussian_nll_loss", (SIGNED, POSITIVE, POSITIVE)),
    ("HingeEmbeddingLoss", {"margin": 0.5}, "hinge_embedding_loss", (SIGNED, SIGNS)),
    ("MarginRankingLoss", {"margin": 0.5}, "margin_ranking_loss", (SIGNED, POSITIVE, SIGNS)),
    ("CosineEmbeddingLoss", {}, "cosine_embedding_loss", (SIGNED, POSITIVE, SIGNS[:, 0])),
]


@pytest.mark.parametrize(
    ("name", "options", "function", "arrays"), MODULES, ids=lambda v: str(v)[:30]
)
def test_modules_are_their_functions(
    name: str, options: dict[str, Any], function: str, arrays: Arrays
) -> None:
    assert getattr(nn, name)(**options)(*arrays) == getattr(F, function)(*arrays, **options)


def test_weights_of_a_loss_are_buffers_and_options_are_checked() -> None:
    loss = nn.CrossEntropyLoss(np.ones(3))
    assert list(loss.state_dict()) == ["weight"]
    with pytest.raises(TypeError, match="label_smooth"):
        nn.CrossEntropyLoss(label_smooth=0.1)
    with pytest.raises(ValueError, match="'batchmean' is not one of"):
        nn.MSELoss(reduction="batchmean")
    with pytest.raises(TypeError, match="by name"):
        nn.HuberLoss(0.5)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.int64])
def test_labels_of_any_integer_dtype(dtype: type) -> None:
    scores = RNG.normal(size=(3, 300))
    labels = np.array([0, 5, 100], dtype)
    expected = F.cross_entropy(scores, labels.astype(np.int64))
    assert F.cross_entropy(scores, labels) == expected
    assert_compiled(bp.jit(F.cross_entropy)(scores, labels), expected)


def test_stable_at_extremes() -> None:
    scores = np.array([[1000.0, -1000.0], [-1000.0, 1000.0]])
    value, slope = bp.value_and_grad(F.cross_entropy)(scores, np.array([0, 0]))
    assert value == 1000.0
    np.testing.assert_array_equal(slope, [[0.0, 0.0], [-0.5, 0.5]])


def test_all_ignored_is_nan_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(F.cross_entropy(np.ones((2, 3)), np.array([-100, -100])))


@pytest.mark.parametrize("wrap", [lambda f: f, bp.jit], ids=["eager", "jit"])
@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_outside_of_the_classes_is_refused(wrap: Any, label: int) -> None:
    with pytest.raises(IndexError):
        wrap(F.cross_entropy)(np.ones((2, 3)), np.array([0, label]))


def test_messages() -> None:
    scores = np.ones((4, 3))
    with pytest.raises(IndexError, match=r"label 7 is outside of \[0, 3\).*1 of 4"):
        F.cross_entropy(scores, np.array([0, 7, 1, 2]))
    with pytest.raises(TypeError, match=r"use integers \(y.astype\(int\)\) of shape \(4,\)"):
        F.cross_entropy(scores, np.zeros(4))
    with pytest.raises(ValueError, match=r"need labels of shape \(4,\), got \(3,\)"):
        F.cross_entropy(scores, np.zeros(3, int))
    with pytest.raises(ValueError, match=r"input \(4, 1\), target \(4,\)"):
        F.mse_loss(np.ones((4, 1)), np.ones(4))
    with pytest.raises(ValueError, match="probabilities in"):
        F.binary_cross_entropy(np.array([1.5]), np.array([1.0]))
    with pytest.raises(ValueError, match="reduction='avg'"):
        F.mse_loss(scores, scores, reduction="avg")
    with pytest.raises(ValueError, match="shape \\(2,\\) for 3 classes"):
        F.cross_entropy(scores, np.zeros(4, int), np.ones(2))
    for wrong in (
        lambda: F.huber_loss(scores, scores, delta=0.0),
        lambda: F.smooth_l1_loss(scores, scores, beta=-1.0),
        lambda: F.cross_entropy(scores, np.zeros(4, int), label_smoothing=2.0),
        lambda: F.gaussian_nll_loss(scores, scores, np.ones(7)),
    ):
        with pytest.raises(ValueError, match=r"delta|beta|label_smoothing|var"):
            wrong()
