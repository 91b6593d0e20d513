"""Module: registration by assignment, torch's traversals, state_dict and its errors, ties, copies,
keys for jit.
"""

import copy
import pickle
from collections import OrderedDict
from typing import Any, cast

import numpy as np
import pytest
from tests.conftest import Peer

import backpass as bp
from backpass import nn
from backpass.errors import CheckpointError, DTypeError
from backpass.nn.module import Module

RNG = np.random.default_rng(5)


class Tied(nn.Module):
    """Two layers that share a weight, a buffer of either kind, an empty place, and an option."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(3, 3)
        self.b = nn.Linear(3, 3, bias=False)
        self.b.weight = self.a.weight
        self.register_buffer("scale", np.full(3, 2.0, np.float32))
        self.register_buffer("scratch", np.zeros(2), persistent=False)
        self.register_parameter("empty", None)
        self.factor = 1.0

    def forward(self, x: Any) -> Any:
        """b(a(x)) scaled."""
        return self.b(self.a(x)) * self.scale * self.factor


def model() -> nn.Sequential:
    """A model with every kind of Cell."""
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))


def total(module: Any, x: Any) -> Any:
    """A scalar of all outputs."""
    return np.sum(np.square(module(x)))


def build_tied(n: Any) -> Any:
    """The same nested, shared structure in ours and in torch."""
    shared = n.Linear(3, 3)
    inner = n.Sequential(shared, n.ReLU(), n.BatchNorm1d(3))
    net = n.ModuleDict({"first": inner, "again": n.ModuleList([shared, n.Linear(3, 3)])})
    net["again"][1].weight = shared.weight
    return net


def test_traversals_equal_torch(peer: Peer) -> None:
    torch = peer("torch")
    ours, theirs = build_tied(nn), build_tied(torch.nn)
    for method in ("named_parameters", "named_buffers", "named_modules", "named_children"):
        assert [n for n, _ in getattr(ours, method)()] == [n for n, _ in getattr(theirs, method)()]
    for method in ("named_parameters", "named_buffers", "named_modules"):
        given = {"remove_duplicate": False}
        found = [n for n, _ in getattr(ours, method)(**given)]
        assert found == [n for n, _ in getattr(theirs, method)(**given)]
    for method in ("parameters", "buffers", "modules", "children"):
        assert len(list(getattr(ours, method)())) == len(list(getattr(theirs, method)()))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert repr(ours) == repr(theirs)
    assert [n for n, _ in ours.named_parameters(prefix="x", recurse=False)] == []


def test_assignment_registers_and_keeps_identity() -> None:
    m = Tied()
    assert m.b.weight is m.a.weight
    assert [n for n, _ in m.named_parameters()] == ["a.weight", "a.bias"]
    assert list(m.state_dict()) == ["scale", "a.weight", "a.bias", "b.weight"]
    assert m.empty is None and "empty" not in m.state_dict()
    assert [n for n, _ in m.named_buffers()] == ["scale", "scratch"]
    assert m.get_submodule("a") is m.a and m.get_submodule("") is m
    assert m.get_parameter("a.bias") is m.a.bias and m.get_buffer("scale") is m.scale
    assert "scale" in dir(m)
    del m.a
    assert not hasattr(m, "a") and list(m.state_dict()) == ["scale", "b.weight"]


def test_an_array_assigned_to_a_buffer_is_written_into_it() -> None:
    m = Tied()
    buffer = m.scale
    m.scale = np.ones(3)
    m.scale += 1
    assert m.scale is buffer and buffer.read().tolist() == [2.0, 2.0, 2.0]
    with pytest.raises(ValueError, match="cannot write shape"):
        m.scale = np.ones(4)
    m.scale = None
    assert "scale" not in m.state_dict()
    m.scale = np.ones(3)
    assert "scale" in m.state_dict()


def test_registration_errors() -> None:
    m = Tied()
    with pytest.raises(TypeError, match="cannot assign ndarray to a registered parameter"):
        m.a.weight = np.ones((3, 3))  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(TypeError, match="has no derivative"):
        nn.Parameter(np.arange(3))
    with pytest.raises(KeyError, match="already has an attribute"):
        m.register_buffer("factor", np.ones(1))
    with pytest.raises(KeyError, match="without"):
        m.add_module("x.y", nn.ReLU())
    with pytest.raises(TypeError, match=r"expected an nn.Module"):
        m.add_module("x", 3)  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match=r"expected an nn.Parameter"):
        m.register_parameter("x", np.ones(1))  # pyright: ignore[reportArgumentType]
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = m.nothing
    with pytest.raises(AttributeError, match="no child 'c'"):
        m.get_submodule("c.d")
    with pytest.raises(TypeError, match=r"Drop the line"):
        m.zero_grad()
    with pytest.raises(NotImplementedError, match="no forward"):
        nn.Module()(1)

    class Early(nn.Module):
        def __init__(self) -> None:
            self.x = 1

    with pytest.raises(AttributeError, match=r"super\(\).__init__"):
        Early()


def test_tied_weights_sum_their_gradients(peer: Peer) -> None:
    torch = peer("torch")
    m = Tied().double()
    x = RNG.normal(size=(4, 3))
    grads = bp.grad(total)(m, x)
    assert list(grads) == ["a.weight", "a.bias"]
    w, b = (torch.tensor(m.state_dict()[k], requires_grad=True) for k in ("a.weight", "a.bias"))
    y = ((torch.tensor(x) @ w.T + b) @ w.T) * 2.0
    y.square().sum().backward()
    np.testing.assert_allclose(grads["a.weight"], w.grad.numpy(), rtol=1e-12)
    np.testing.assert_allclose(bp.jit(bp.grad(total))(m, x)["a.weight"], grads["a.weight"], 1e-13)


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_keep_ties_flags_and_share_nothing(clone: Any) -> None:
    m = Tied().eval()
    m.a.bias.requires_grad = False
    other = clone(m)
    assert other.b.weight is other.a.weight and other.a.weight is not m.a.weight
    assert not other.a.bias.requires_grad and not other.b.training
    assert list(other.state_dict()) == list(m.state_dict())
    x = np.ones((2, 3), np.float32)
    np.testing.assert_array_equal(other(x), m(x))
    m.a.weight.write(np.zeros((3, 3)))
    assert other.a.weight.read().any()
    assert list(other.__backpass_cells__()) == list(m.__backpass_cells__())
    stream = clone(nn.Dropout(0.5))
    assert type(stream.rng) is nn.RngState


def test_state_dict_holds_copies_and_loads() -> None:
    a, b = model(), model()
    state = a.state_dict()
    assert state["1.num_batches_tracked"].dtype == np.int64
    state["0.weight"][...] = 7.0
    assert not (a[0].weight.read() == 7.0).any()
    found = b.load_state_dict(state)
    assert found.missing_keys == [] and found.unexpected_keys == []
    assert (b[0].weight.read() == 7.0).all()
    b.load_state_dict({"0.weight": np.zeros((4, 3), np.float64)}, strict=False)
    assert b[0].weight.dtype == np.float32 and not b[0].weight.read().any()


def test_all_that_does_not_fit_is_listed_and_nothing_is_changed() -> None:
    m = model()
    before = m.state_dict()
    state = {**before, "extra": np.ones(2), "3.weight": np.ones((2, 5))}
    state["1.num_batches_tracked"] = np.array(0.5)
    del state["0.bias"]
    state["0.weight"] = np.ones((4, 3))
    with pytest.raises(ValueError, match="does not fit Sequential") as caught:
        m.load_state_dict(state)
    for part in (
        "missing: 0.bias float32[4]",
        "unexpected: extra",
        "wrong shape: 3.weight is [2, 5] in the state and [2, 4] in the model",
        "wrong dtype: 1.num_batches_tracked is float64",
    ):
        assert part in str(caught.value)
    for name, array in m.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    with pytest.raises(ValueError, match="wrong shape"):
        m.load_state_dict(state, strict=False)
    del state["3.weight"], state["1.num_batches_tracked"]
    found = m.load_state_dict(state, strict=False)
    assert found.missing_keys == ["0.bias", "1.num_batches_tracked", "3.weight"]
    assert found.unexpected_keys == ["extra"]


def test_a_tied_name_may_be_absent_but_not_contradict() -> None:
    m = Tied()
    state = m.state_dict()
    del state["b.weight"]
    assert m.load_state_dict(state).missing_keys == []
    state["b.weight"] = state["a.weight"] + 1.0
    with pytest.raises(ValueError, match=r"conflicting: a.weight and b.weight"):
        m.load_state_dict(state)


def test_modes_flags_and_dtypes() -> None:
    m = model()
    assert m.train(False) is m and not any(part.training for part in m.modules())
    assert m.train().training
    m.requires_grad_(False)
    assert not any(p.requires_grad for p in m.parameters())
    assert dict(bp.grad(total)(m.eval(), np.ones((2, 3)))) == {}
    m[0].weight.requires_grad_()
    assert list(bp.grad(total)(m, np.ones((2, 3)))) == ["0.weight"]
    m.double()
    assert m[1].running_mean.dtype == np.float64 and m[1].num_batches_tracked.dtype == np.int64
    assert m.float()[0].weight.dtype == np.float32
    assert m.rng_cells()["2.rng"].dtype == np.uint64
    with pytest.raises(TypeError, match="not a floating dtype"):
        m.to(np.int64)
    seen: list[str] = []
    m.apply(lambda part: seen.append(type(part).__name__))
    assert seen == ["Linear", "BatchNorm1d", "Dropout", "Linear", "Sequential"]


def test_cells_are_parameters_buffers_and_streams_by_name() -> None:
    m = model()
    cells = m.__backpass_cells__()
    assert list(cells)[:2] == ["0.weight", "0.bias"] and list(cells)[-1] == "2.rng"
    assert [c.name for c in cells.values()] == list(cells)
    assert m.__backpass_cells__() is cells  # kept while nothing changes
    m.append(nn.Linear(2, 1))
    assert "4.weight" in m.__backpass_cells__()
    assert [p.name for p in m.parameters()] == [n for n, _ in m.named_parameters()]


CHANGES = {
    "option": lambda m: setattr(m[2], "p", 0.25),
    "mode": lambda m: m[2].eval(),
    "integer for float": lambda m: setattr(m, "k", 1.0),
    "trainable": lambda m: m[0].weight.requires_grad_(False),
    "child": lambda m: m.__setitem__(2, nn.Identity()),
    "hook": lambda m: m[0].register_forward_hook(lambda *_: None),
    "inside a list": lambda m: m.sizes.append(3),
    "method": lambda m: setattr(m, "forward", lambda x: x),
    "tie": lambda m: setattr(m[0], "bias", m[1].bias),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_what_running_depends_on_changes_the_key(change: Any) -> None:
    m = model()
    m.k, m.sizes, m.nothing = 1, [1, 2], float("nan")
    key = m.__backpass_static__()
    assert hash(key) == hash(m.__backpass_static__()) and key == m.__backpass_static__()
    m.k = 1
    assert key == m.__backpass_static__()
    change(m)
    assert key != m.__backpass_static__()


def test_equal_models_have_equal_keys_and_so_has_one_with_another_parameter() -> None:
    key = model().__backpass_static__()
    m = model()
    assert key == m.__backpass_static__()
    m[3].bias = nn.Parameter(np.zeros(2))
    assert key == m.__backpass_static__()


def test_which_of_two_cells_stands_where_is_part_of_the_key() -> None:
    a, b = nn.Parameter(np.ones(2)), nn.Parameter(np.zeros(2))
    m = nn.ParameterList([a, b, a])
    key = m.__backpass_static__()
    m[2] = b
    assert key != m.__backpass_static__()


def test_jit_traces_anew_for_a_changed_attribute_and_mode() -> None:
    m = Tied().double()
    x = np.ones((2, 3))
    fast = bp.jit(lambda m, x: m(x))
    np.testing.assert_allclose(fast(m, x), m(x))
    m.factor = 3.0
    np.testing.assert_allclose(fast(m, x), m(x))
    net, x = model().double(), RNG.normal(size=(8, 3))
    net.eval()
    np.testing.assert_allclose(fast(net, x), net(x))
    net.train()
    assert not np.array_equal(fast(net, x), fast(net, x))  # dropout moves on


def test_hooks_see_and_replace_outputs() -> None:
    m = nn.Sequential(nn.Identity(), nn.Identity())
    seen: list[Any] = []
    with m[0].register_forward_hook(lambda part, args, out: seen.append((part, args, out))):
        assert m(2.0) == 2.0
    m(3.0)
    assert seen == [(m[0], (2.0,), 2.0)]
    handle = m[1].register_forward_hook(lambda part, args, out: out * 10.0)
    assert m(2.0) == 20.0
    handle.remove()
    handle.remove()
    assert m(2.0) == 2.0


def test_sequential() -> None:
    m = nn.Sequential(OrderedDict([("first", nn.Linear(2, 3)), ("act", nn.ReLU())]))
    assert list(m.state_dict()) == ["first.weight", "first.bias"] and len(m) == 2
    assert m[0] is m.first and m[-1] is m.act and type(m[:1]) is nn.Sequential
    assert list(m[1:]._modules) == ["act"]
    n = nn.Sequential(nn.ReLU(), nn.Tanh())
    assert n.append(nn.Identity()) is n
    n.insert(0, nn.Linear(2, 2))
    assert [type(x).__name__ for x in n] == ["Linear", "ReLU", "Tanh", "Identity"]
    popped = n.pop(1)
    assert isinstance(popped, nn.ReLU) and list(n._modules) == ["0", "1", "2"]
    del n[1:]
    n[0] = nn.Sigmoid()
    assert repr(n) == "Sequential(\n  (0): Sigmoid()\n)"
    with pytest.raises(IndexError, match="out of range for 1"):
        _ = n[1]


def test_lists_and_dictionaries() -> None:
    layers = nn.ModuleList([nn.Linear(2, 2) for _ in range(3)])
    layers += [nn.ReLU()]
    assert len(layers) == 4 and list(layers[1:3].state_dict()) == [
        "0.weight",
        "0.bias",
        "1.weight",
        "1.bias",
    ]
    named = nn.ModuleDict([("a", nn.Linear(1, 1))])
    named["b"] = nn.ReLU()
    assert "a" in named and list(named) == ["a", "b"] and len(named) == 2
    assert [*named.keys()] == [k for k, _ in named.items()] and len([*named.values()]) == 2
    assert isinstance(named.pop("b"), nn.ReLU)
    with pytest.raises(KeyError):
        del named["b"]
    weights = nn.ParameterList([np.ones(2), nn.Parameter(np.zeros(3))])
    weights.append(np.ones(1))
    assert list(weights.state_dict()) == ["0", "1", "2"] and weights[-1].shape == (1,)
    assert len(weights[:2]) == 2 and "float64[3]" in repr(weights)
    assert nn.Identity(3, x=2)(5) == 5


def test_summary_counts_and_changes_nothing() -> None:
    m = model()
    before, mode = m.state_dict(), m.training
    table = m.summary((8, 3))
    assert [(r.name, r.type, r.output_shape, r.parameters) for r in table.rows] == [
        ("0", "Linear", (8, 4), 16),
        ("1", "BatchNorm1d", (8, 4), 8),
        ("2", "Dropout", (8, 4), 0),
        ("3", "Linear", (8, 2), 10),
    ]
    assert (table.total, table.trainable, table.nbytes) == (34, 34, 136)
    assert "34 parameters (34 trainable), 136 bytes" in str(table)
    assert m.training is mode and all(part.training for part in m.modules())
    for name, array in m.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    tied = Tied()
    tied.a.bias.requires_grad = False
    assert [r.parameters for r in tied.summary(np.ones((2, 3), np.float32)).rows] == [12, 0]
    assert (tied.summary((2, 3)).total, tied.summary((2, 3)).trainable) == (12, 9)
    words = nn.Sequential(nn.Embedding(5, 3), nn.Flatten())
    assert words.summary((2, 4), dtype=np.int64).rows[1].output_shape == (2, 12)


def test_a_module_is_used_by_many_threads_each_with_its_own_gradient() -> None:
    from concurrent.futures import ThreadPoolExecutor

    m = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1)).double()
    xs = [RNG.normal(size=(4, 3)) for _ in range(8)]
    expected = [bp.grad(total)(m, x)["0.weight"] for x in xs]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda x: bp.grad(total)(m, x)["0.weight"], xs))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_all_names_are_there() -> None:
    assert all(hasattr(nn, name) for name in nn.__all__)
    assert all(hasattr(nn.functional, name) for name in nn.functional.__all__)
    assert issubclass(nn.Linear, Module)


def test_a_state_of_another_form_says_what_it_is() -> None:
    linear = nn.Linear(3, 2)
    state = linear.state_dict()
    cases: tuple[tuple[Any, str], ...] = (
        ("model.safetensors", r"got str; read a file first"),
        ({"model": state}, r"model is itself a mapping: load state\['model'\]"),
        ({f"net.{k}": v for k, v in state.items()}, r"begin with 'net\.': load"),
        ({**state, "bias": [[1.0], [1.0, 2.0]]}, "bias cannot be read as an array"),
    )
    for given, words in cases:
        with pytest.raises(CheckpointError, match=words):
            linear.load_state_dict(cast(Any, given))


def test_tensors_that_require_a_gradient_load(peer: Peer) -> None:
    torch = peer("torch")
    theirs, ours = torch.nn.Linear(3, 2), nn.Linear(3, 2)
    ours.load_state_dict(dict(theirs.named_parameters()))
    np.testing.assert_array_equal(ours.weight, theirs.weight.detach().numpy())
    with pytest.raises(CheckpointError, match=r"weight cannot be read.*bfloat16"):
        ours.load_state_dict(theirs.bfloat16().state_dict())


def test_torchs_habits_on_parameters_and_modules() -> None:
    linear = nn.Linear(3, 2)
    assert sum([p.numel() for p in linear.parameters()]) == 8
    grads = bp.grad(lambda m: np.sum(m.weight.detach() * m.weight))(linear)
    np.testing.assert_array_equal(grads["weight"], linear.weight)
    assert not hasattr(linear.weight, "grad")
    with pytest.raises(AttributeError, match=r"weight .* holds no gradient; bp.value_and_grad"):
        _ = linear.weight.grad
    with pytest.raises(DTypeError, match="no devices to choose from"):
        linear.to("cuda:0")


class Masked(nn.Module):
    """A module that keeps an array as a plain attribute, as it should not but may."""

    def __init__(self, mask: Any) -> None:
        super().__init__()
        self.mask = mask

    def forward(self, x: Any) -> Any:
        return x * self.mask


@pytest.mark.parametrize("held", [lambda a: a, lambda a: a[:], lambda a: a[::2]])
def test_a_plain_array_written_in_place_is_never_stale_under_jit(held: Any) -> None:
    array = np.ones((4, 2))
    module = Masked(held(array))
    run = bp.jit(lambda module, x: module(x))
    x = np.full(module.mask.shape, 2.0)
    assert run(module, x).tolist() == x.tolist()
    array[0, 1] = 5.0
    assert run(module, x).tolist() == module(x).tolist() and run(module, x)[0, 1] == 10.0


def test_arrays_of_equal_contents_share_a_program_and_read_only_ones_count_by_identity() -> None:
    one, two = Masked(np.arange(3.0)), Masked(np.arange(3.0))
    assert one.__backpass_static__() == two.__backpass_static__()
    for module in (one, two):
        module.mask.flags.writeable = False
        module.mask = module.mask.view()
    assert one.__backpass_static__() != two.__backpass_static__()
