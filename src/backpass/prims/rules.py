"""How the families build their primitives: shape rules, vjp rules by input, batch rules.

Conventions of every rule: operands may be arrays or traced Values, and a rule is written with
primitives, so that it works on both. A batch, where there is one, is at axis 0. `scale` (the strong
zero) multiplies a cotangent by a local derivative in the elementwise families; it lives here
because each of them needs it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from backpass.errors import DTypeError, NotDifferentiableError, ShapeError
from backpass.ir import (
    Lowering,
    NotDifferentiable,
    NotLowered,
    Operand,
    Primitive,
    TensorType,
    type_of,
)
from backpass.ir.graph import (
    Array,
    BatchRule,
    Params,
    Partial,
    Pulled,
    Reference,
    ShapeRule,
    VjpRule,
    tensor_type,
)

INTERPRETED = NotLowered("evaluated by its NumPy reference")
# rule(ct, y, *inputs, **params): the forms by number of arguments give lambdas their types.
Pull = (
    Callable[[Operand, Operand, Operand], Operand]
    | Callable[[Operand, Operand, Operand, Any], Operand]
    | Callable[[Operand, Operand, Operand, Any, Any], Operand]
    | Callable[[Operand, Operand, Operand, Any, Any, Any], Operand]
    | Callable[..., Operand | Partial]
)
# rule(ct, wanted, inputs, params) -> one cotangent or None for each input
JointPull = Callable[[Operand, tuple[bool, ...], tuple[Operand, ...], Params], Pulled]
# rule(x, **params)
BatchOne = (
    Callable[[Operand], Operand]
    | Callable[[Operand, Any], Operand]
    | Callable[[Operand, Any, Any], Operand]
    | Callable[[Operand, Any, Any, Any], Operand]
)


def per_input(*rules: Pull | NotDifferentiable) -> VjpRule:
    """A vjp from one rule an input, `rule(ct, y, *xs, **params)`; only the wanted ones run."""

    def vjp(
        cts: tuple[Operand | None, ...],
        wanted: tuple[bool, ...],
        outputs: tuple[Operand, ...],
        inputs: tuple[Operand, ...],
        params: Params,
    ) -> Pulled:
        ct = cts[0]
        found: list[Operand | Partial | None] = []
        for rule, want in zip(rules, wanted, strict=True):
            if ct is None or not want or isinstance(rule, NotDifferentiable):
                found.append(None)
            else:
                found.append(rule(ct, outputs[0], *inputs, **params))
        return found

    return vjp


def jointly(rule: JointPull) -> VjpRule:
    """A vjp from one rule for all inputs of a primitive of one output."""

    def vjp(
        cts: tuple[Operand | None, ...],
        wanted: tuple[bool, ...],
        outputs: tuple[Operand, ...],
        inputs: tuple[Operand, ...],
        params: Params,
    ) -> Pulled:
        ct = cts[0]
        return [None] * len(inputs) if ct is None else rule(ct, wanted, inputs, params)

    return vjp


def no_gradient(reason: str) -> VjpRule:
    """A vjp that gives no cotangent to any input: the derivative is zero wherever it exists."""

    def vjp(
        cts: tuple[Operand | None, ...],
        wanted: tuple[bool, ...],
        outputs: tuple[Operand, ...],
        inputs: tuple[Operand, ...],
        params: Params,
    ) -> list[Operand | None]:
        return [None] * len(inputs)

    vjp.__doc__ = reason
    return vjp


def refuse(primitive: str, rule: NotDifferentiable) -> NotDifferentiableError:
    """The error for a derivative that a primitive states it cannot have."""
    return NotDifferentiableError(f"{primitive} has no derivative here: {rule.reason}")


def same_type(*types: TensorType, **_: Any) -> tuple[TensorType, ...]:
    """Shape rule of elementwise primitives: all inputs have one type, and so has the output."""
    check_one_type("an elementwise primitive", types)
    return (types[0],)


def same_shape(dtype: type[np.generic]) -> Callable[..., tuple[TensorType, ...]]:
    """Shape rule: the inputs' shape with another dtype."""
    out = np.dtype(dtype)

    def shape(*types: TensorType, **_: Any) -> tuple[TensorType, ...]:
        check_one_type("a comparison", types)
        return (tensor_type(types[0].shape, out),)

    return shape


def check_one_type(what: str, types: Sequence[TensorType]) -> None:
    """Primitives never broadcast nor promote."""
    for t in types[1:]:
        if t.shape != types[0].shape:
            raise ShapeError(f"{what} got shapes {types[0]} and {t}")
        if t.dtype != types[0].dtype:
            raise DTypeError(f"{what} got dtypes {types[0]} and {t}")


def zeros_like(x: Operand) -> Array:
    """An array of zeros of x's type; a splat, so it takes no memory."""
    return full_like(x, 0.0)


def full_like(x: Operand, number: float) -> Array:
    """An array that repeats one number, of x's type; a splat."""
    t = type_of(x)
    one = np.array(number, t.dtype)
    one.flags.writeable = False
    return np.broadcast_to(one, t.shape)


def lead(x: Operand, batched: bool, size: int) -> Operand:
    """x with the batch at axis 0, repeated there if it had none."""
    if batched:
        return x
    return broadcast(x, shape=(size, *type_of(x).shape), axes=(0,))


def batch_elementwise(primitive: Callable[[], Primitive]) -> BatchRule:
    """Batch rule of a primitive that acts on every element alone."""

    def batch(
        inputs: tuple[Operand, ...], batched: tuple[bool, ...], size: int, params: Params
    ) -> tuple[tuple[Operand, ...], tuple[bool, ...]]:
        led = [lead(x, b, size) for x, b in zip(inputs, batched, strict=True)]
        return (primitive()(*led, **params),), (True,)

    return batch


def batch_one(rule: BatchOne) -> BatchRule:
    """Batch rule of a primitive of one input and output: `rule(x, **params)` on the batched x."""
    mapped: Callable[..., Operand] = rule

    def batch(
        inputs: tuple[Operand, ...], batched: tuple[bool, ...], size: int, params: Params
    ) -> tuple[tuple[Operand, ...], tuple[bool, ...]]:
        return (mapped(inputs[0], **params),), (True,)

    return batch


def shifted(axes: Sequence[int]) -> tuple[int, ...]:
    """Axes after a batch axis has come to the front."""
    return tuple([a + 1 for a in axes])


def elementwise(
    name: str,
    reference: Reference,
    vjp: VjpRule,
    shape: ShapeRule = same_type,
) -> Primitive:
    """A primitive that acts on every element alone, over operands of one type."""
    primitive = Primitive(
        name=name,
        shape=shape,
        reference=reference,
        vjp=vjp,
        batch=batch_elementwise(lambda: primitive),
        lower=Lowering.ELEMENTWISE,
        single=True,
    )
    return primitive


def _scale_reference(ct: Array, d: Array) -> Array:
    """ct * d, and exactly 0 where ct is 0.

    NaN can only come from there, so the mask is rarely built. Walks back and compiled programs run
    with NumPy's floating-point warnings off.
    """
    product = np.multiply(ct, d)
    total = np.add.reduce(product, axis=None)
    if total != total:
        return np.where(ct == 0, np.zeros((), product.dtype), product)
    return product


scale = elementwise(
    "scale",
    _scale_reference,
    per_input(
        lambda ct, y, c, d: scale(ct, d),
        lambda ct, y, c, d: gate(ct, c),
    ),
)


def _gate_reference(x: Array, y: Array) -> Array:
    """x * y, and exactly 0 where either is 0."""
    product = np.multiply(x, y)
    total = np.add.reduce(product, axis=None)
    if total != total:
        return np.where((x == 0) | (y == 0), np.zeros((), product.dtype), product)
    return product


# gate: the derivative of scale in d. It multiplies a cotangent of second order with one of first
# order, and where either is exactly zero nothing flows: second derivatives keep the strong zero.
gate = elementwise(
    "gate",
    _gate_reference,
    per_input(
        lambda ct, z, x, y: gate(ct, y),
        lambda ct, z, x, y: gate(ct, x),
    ),
)


def _broadcast_reference(x: Array, shape: tuple[int, ...], axes: tuple[int, ...]) -> Array:
    """A read-only view with stride 0 along the new axes: np.broadcast_to at a fifth of its cost."""
    x = np.asarray(x)
    if not x.flags.c_contiguous or not x.size or 0 in shape:
        return np.broadcast_to(np.expand_dims(x, axes), shape)
    strides = (0,) * len(shape)
    if x.ndim:
        own = iter(x.strides)
        strides = tuple([0 if i in axes else next(own) for i in range(len(shape))])
    view = np.ndarray(shape, x.dtype, x, 0, strides)
    view.flags.writeable = False
    return view


def _broadcast_shape(
    t: TensorType, shape: tuple[int, ...], axes: tuple[int, ...]
) -> tuple[TensorType, ...]:
    kept = tuple([n for i, n in enumerate(shape) if i not in axes])
    if kept != t.shape:
        raise ShapeError(f"broadcast: {t} does not fill {shape} outside of the new axes {axes}")
    return (tensor_type(tuple(shape), t.dtype),)


def _broadcast_batch(
    inputs: tuple[Operand, ...], batched: tuple[bool, ...], size: int, params: Params
) -> tuple[tuple[Operand, ...], tuple[bool, ...]]:
    shape, axes = (size, *params["shape"]), shifted(params["axes"])
    return (broadcast(inputs[0], shape=shape, axes=axes),), (True,)


# broadcast: repeat x along new axes. `axes` are their places in the result.
broadcast = Primitive(
    name="broadcast",
    shape=_broadcast_shape,
    reference=_broadcast_reference,
    vjp=per_input(lambda ct, y, x, shape, axes: reduce_sum(ct, axes=axes)),
    batch=_broadcast_batch,
    lower=Lowering.VIEW,
    single=True,
)


def reduced_type(t: TensorType, axes: tuple[int, ...]) -> TensorType:
    """The type after `axes` are gone."""
    return tensor_type(tuple([n for i, n in enumerate(t.shape) if i not in axes]), t.dtype)


# reduce_sum: the adjoint of broadcast.
reduce_sum = Primitive(
    name="sum",
    shape=lambda t, axes: (reduced_type(t, axes),),
    reference=lambda x, axes: np.sum(x, axis=axes, dtype=x.dtype),
    vjp=per_input(lambda ct, y, x, axes: broadcast(ct, shape=type_of(x).shape, axes=axes)),
    batch=batch_one(lambda x, axes: reduce_sum(x, axes=shifted(axes))),
    lower=Lowering.REDUCTION,
    single=True,
)
