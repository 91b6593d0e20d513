"""Every rule of every primitive, checked from the sample inputs alone.

A primitive without a sample fails `test_every_primitive_has_a_sample`. The oracles are NumPy's own
result, central differences, JAX, a Python loop, and the identity <ct, J t> = <J^T ct, t>.
"""

from __future__ import annotations

import importlib
import itertools
import pkgutil
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tests.prims import samples_arrays, samples_elementwise, samples_special
from tests.prims.sample import Array, Sample, differences

import backpass as bp
from backpass import flow, prims
from backpass.ir import NotDifferentiable, Primitive, Scope, ScopeKind, leaf, type_of, verify
from backpass.trace import capture, unwrap, wrap

SAMPLES = [*samples_elementwise.SAMPLES, *samples_arrays.SAMPLES, *samples_special.SAMPLES]
SMOOTH = [s for s in SAMPLES if s.floats and any(y.dtype.kind == "f" for y in s.apply(*s.inputs))]
SMALL = [
    s for s in SMOOTH if sum(x.size for x in s.start()) and s.primitive.name != "stop_gradient"
]
STEP = 1e-3

each = pytest.mark.parametrize("sample", SAMPLES, ids=lambda s: s.name)
each_smooth = pytest.mark.parametrize("sample", SMOOTH, ids=lambda s: s.name)
each_small = pytest.mark.parametrize("sample", SMALL, ids=lambda s: s.name)


def primitives_of(package: Any) -> dict[Primitive, str]:
    """Every Primitive that a module of the package holds."""
    found: dict[Primitive, str] = {}
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        for name, x in vars(importlib.import_module(module.name)).items():
            if isinstance(x, Primitive):
                found.setdefault(x, f"{module.name}.{name}")
    return found


def gradient(sample: Sample, *xs: Any) -> list[Any]:
    """The gradient of the weighted outputs."""
    return list(bp.grad(sample.scalar, argnums=tuple(range(len(xs))))(*xs))


def close(got: Any, expected: Any, tolerance: float) -> None:
    """Equal up to a tolerance relative to the largest element."""
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape
    scale = max(1.0, float(np.max(np.abs(expected), initial=0.0)))
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance * scale)


def test_every_primitive_has_a_sample() -> None:
    sampled = {s.primitive for s in SAMPLES}
    there = {**primitives_of(prims), **primitives_of(flow)}
    assert sorted(name for p, name in there.items() if p not in sampled) == []


@each
def test_the_shape_rule_is_the_reference(sample: Sample) -> None:
    made = sample.prepare(*sample.inputs)
    stated = sample.primitive.shape(*map(type_of, made), **sample.params)
    found = sample.primitive.reference(*made, **sample.params)
    assert stated == tuple(map(type_of, (found,) if sample.primitive.single else found))


@each
def test_inputs_are_never_written(sample: Sample) -> None:
    before = [x.copy() for x in sample.inputs]
    frozen = [np.array(x) for x in sample.inputs]
    for x in frozen:
        x.flags.writeable = False
    sample.apply(*frozen)
    if sample in SMOOTH:
        gradient(sample, *sample.start())
        bp.jvp(sample.of_floats, sample.start(), sample.start())
    for x, old in zip(sample.inputs, before, strict=True):
        np.testing.assert_array_equal(x, old)


@each
def test_its_graph_is_sound(sample: Sample) -> None:
    with Scope(ScopeKind.COMPILE) as scope:
        inputs = [leaf(type_of(x), frozenset((scope,))) for x in sample.inputs]
        outputs = [unwrap(y) for y in sample.apply(*map(wrap, inputs))]
        graph = verify(capture(inputs, outputs, scope).graph)
    assert any(node.primitive is sample.primitive for node in graph)
    for y, expected in zip(outputs, sample.apply(*sample.inputs), strict=True):
        assert type_of(y) == type_of(expected)


@each_small
def test_vjp_against_central_differences(sample: Sample) -> None:
    expected = differences(sample.scalar, sample.start(), STEP)
    for got, want in zip(gradient(sample, *sample.start()), expected, strict=True):
        close(got, want, sample.tolerance)


@each_smooth
def test_vjp_has_the_type_of_its_input(sample: Sample) -> None:
    for got, x in zip(gradient(sample, *sample.start()), sample.start(), strict=True):
        assert (np.shape(got), got.dtype) == (x.shape, x.dtype)


@each_smooth
def test_jvp_and_vjp_are_adjoint(sample: Sample) -> None:
    rng = np.random.default_rng(3)
    tangents = [rng.uniform(-1, 1, x.shape) for x in sample.start()]
    cts = sample.weights(4)
    _, moved = bp.jvp(sample.of_floats, sample.start(), tangents)
    _, pull = bp.vjp(sample.of_floats, *sample.start())
    left = sum(float(np.sum(ct * t)) for ct, t in zip(cts, moved, strict=True))
    right = sum(float(np.sum(g * t)) for g, t in zip(pull(cts), tangents, strict=True))
    assert left == pytest.approx(right, rel=1e-12, abs=1e-12)


@each_small
def test_second_order_against_central_differences(sample: Sample) -> None:
    rng = np.random.default_rng(5)
    directions = [rng.uniform(0.5, 1.5, x.shape) for x in sample.start()]

    def slope(*xs: Any) -> Any:
        total: Any = 0.0
        for d, g in zip(directions, gradient(sample, *xs), strict=True):
            total = total + np.sum(d * g)
        return total

    expected = differences(slope, sample.start(), STEP)
    got = bp.grad(slope, argnums=tuple(range(len(directions))))(*sample.start())
    for own, want in zip(got, expected, strict=True):
        close(own, want, 10 * sample.tolerance)


def subsets(count: int) -> list[tuple[int, ...]]:
    """Every choice of at least one of `count` operands."""
    sizes = range(1, count + 1)
    return [c for n in sizes for c in itertools.combinations(range(count), n)]


@each
def test_batching_against_a_loop(sample: Sample) -> None:
    size = 3
    for chosen in subsets(len(sample.inputs)):
        axes = tuple(0 if i in chosen else None for i in range(len(sample.inputs)))
        stacked = [batch_of(x, size) if i in chosen else x for i, x in enumerate(sample.inputs)]
        got = bp.vmap(sample.apply, in_axes=axes)(*stacked)
        for k in range(size):
            one = [x[k] if i in chosen else x for i, x in enumerate(stacked)]
            for own, want in zip(got, sample.apply(*one), strict=True):
                np.testing.assert_allclose(own[k], want, rtol=1e-12, atol=1e-12)


def batch_of(x: Array, size: int) -> Array:
    """A few inputs near x, inside its domain; integers and flags repeat."""
    if x.dtype.kind != "f":
        return np.stack([x] * size)
    return np.stack([x * (1 + 0.01 * k) for k in range(size)])


@each_smooth
def test_batched_gradients_against_a_loop(sample: Sample) -> None:
    stacked = [batch_of(x, 3) for x in sample.start()]
    got = bp.vmap(lambda *xs: gradient(sample, *xs))(*stacked)
    for k in range(3):
        for own, want in zip(got, gradient(sample, *[x[k] for x in stacked]), strict=True):
            close(own[k], want, 1e-12)


LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "fortran": lambda x: np.asfortranarray(x) if x.ndim else x,
    "negative stride": lambda x: np.array(x[::-1])[::-1] if x.ndim else x,
    "every second": lambda x: np.repeat(x, 2, axis=-1)[..., ::2] if x.ndim else x,
    "big-endian": lambda x: x.astype(x.dtype.newbyteorder(">")),
    "unaligned": lambda x: unaligned(x),
    "read-only": lambda x: np.broadcast_to(x, x.shape),
}


def unaligned(x: Array) -> Array:
    """The same numbers one byte off their alignment."""
    raw = np.zeros(x.nbytes + 1, np.uint8)
    moved = raw[1:].view(x.dtype).reshape(x.shape)
    moved[...] = x
    return moved


@pytest.mark.parametrize("layout", LAYOUTS)
@each_smooth
def test_layouts_in_memory_do_not_matter(sample: Sample, layout: str) -> None:
    arranged = [LAYOUTS[layout](x) for x in sample.start()]
    expected, pull = bp.vjp(sample.of_floats, *sample.start())
    got, pull_arranged = bp.vjp(sample.of_floats, *arranged)
    cts = sample.weights(6)
    pairs = zip([*got, *pull_arranged(cts)], [*expected, *pull(cts)], strict=True)
    for own, want in pairs:
        close(own, want, 1e-13)


@each_smooth
def test_repeated_elements_of_stride_zero(sample: Sample) -> None:
    repeated = [np.broadcast_to(x[:1], x.shape) if x.ndim else x for x in sample.start()]
    if sample.primitive.name in ("svd", "qr", "pinv", "eigh", "solve", "inv", "cholesky"):
        repeated = [x if x.ndim == 2 else y for x, y in zip(sample.start(), repeated, strict=True)]
    expected = gradient(sample, *[np.array(x) for x in repeated])
    for own, want in zip(gradient(sample, *repeated), expected, strict=True):
        close(own, want, 1e-13)


@pytest.mark.parametrize(
    "sample", [s for s in SMOOTH if s.primitive.name != "cast"], ids=lambda s: s.name
)
def test_float32_stays_float32(sample: Sample) -> None:
    single = [x.astype(np.float32) for x in sample.start()]
    inputs = [x.astype(np.float32) if x.dtype == np.float64 else x for x in sample.inputs]
    narrow = Sample(
        sample.primitive, tuple(inputs), sample.params, None, sample.wrt, sample.prepare
    )
    values, pull = bp.vjp(narrow.of_floats, *single)
    cts = [np.ones_like(y) for y in values]
    _, moved = bp.jvp(narrow.of_floats, single, single)
    assert {y.dtype for y in [*values, *pull(cts), *moved]} == {np.dtype(np.float32)}


@pytest.mark.parametrize("sample", [s for s in SMOOTH if s.peer is not None], ids=lambda s: s.name)
def test_vjp_against_jax(sample: Sample, peer: Any) -> None:
    jax, jnp = peer("jax"), peer("jax.numpy")

    def theirs(*xs: Any) -> list[Any]:
        given: list[Any] = list(sample.inputs)
        for i, x in zip(sample.floats, xs, strict=True):
            given[i] = x
        out = sample.peer(jnp, *given)  # type: ignore[misc]
        found = out if isinstance(out, tuple) else (out,)
        return [y for y in found if y.dtype.kind == "f"]

    values, pull = jax.vjp(theirs, *sample.start())
    own, own_pull = bp.vjp(sample.of_floats, *sample.start())
    if sample.primitive.name not in ("stop_gradient", "spacing"):
        for got, want in zip(own, values, strict=True):
            close(got, want, 1e-10)
    cts = sample.weights(7)
    expected = pull([jnp.asarray(ct) for ct in cts])
    for got, want in zip(own_pull(cts), expected, strict=True):
        close(got, want, 1e-10)


def test_most_differentiable_primitives_have_a_peer() -> None:
    differentiable = {s.primitive for s in SMOOTH if s.primitive not in _special()}
    without = differentiable - {s.primitive for s in SMOOTH if s.peer is not None}
    # eigh and svd have signs of their own; the others exist in no library, or change the dtype
    names = {p.name for p in without if not isinstance(p.vjp, NotDifferentiable)}
    assert names <= {"eigh", "svd", "cofactor", "cofactor_slope", "custom_vjp"}


def _special() -> set[Primitive]:
    return {s.primitive for s in samples_special.SAMPLES}
