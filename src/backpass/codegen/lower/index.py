"""Index arithmetic: the place of an element as affine forms of the loop variables.

A kernel's domain is a list of extents, one for each loop variable. A `Form` is
`constant + sum(coefficient * variable)`; a place in an array of n axes is n Forms. What a view (a
reshape, a transpose, ...) does to a place is computed here; a reshape may need a division, which is
affine only where the variables allow it: `NotAffineError` says that they do not, `SplitError` which
variable would have to be two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from backpass.ir import Node
from backpass.prims import rules as ru
from backpass.prims import shape as sh
from backpass.prims.barrier import barrier


class Form(NamedTuple):
    """constant + sum(coefs[v] * variable v)."""

    constant: int
    coefs: tuple[int, ...]


Place = tuple[Form, ...]
Extents = Sequence[int]


class NotAffineError(Exception):
    """An index that no affine form of the variables gives."""


class SplitError(NotAffineError):
    """It would be affine if variable `axis` were two, the inner one of extent `inner`."""

    def __init__(self, axis: int, inner: int) -> None:
        super().__init__(axis, inner)
        self.axis = axis
        self.inner = inner


def number(value: int, variables: int) -> Form:
    """A form that is a number."""
    return Form(value, (0,) * variables)


def variable(axis: int, variables: int) -> Form:
    """A form that is one variable."""
    return Form(0, tuple([int(i == axis) for i in range(variables)]))


def scaled(f: Form, factor: int, offset: int = 0) -> Form:
    """factor * f + offset."""
    return Form(f.constant * factor + offset, tuple([c * factor for c in f.coefs]))


def total(forms: Sequence[Form], variables: int) -> Form:
    """The sum of forms."""
    coefs = [0] * variables
    for f in forms:
        for i, c in enumerate(f.coefs):
            coefs[i] += c
    return Form(sum([f.constant for f in forms]), tuple(coefs))


def bounds(f: Form, extents: Extents) -> tuple[int, int]:
    """The least and the greatest value over the domain."""
    low = high = f.constant
    for c, n in zip(f.coefs, extents, strict=True):
        if c > 0:
            high += c * (n - 1)
        else:
            low += c * (n - 1)
    return low, high


def row_major(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides in elements of a C-contiguous array."""
    strides = [1] * len(shape)
    for i in range(len(shape) - 2, -1, -1):
        strides[i] = strides[i + 1] * shape[i + 1]
    return tuple(strides)


def linear(place: Place, shape: Sequence[int], variables: int) -> Form:
    """The position of a place in the memory of a C-contiguous array."""
    return total([scaled(f, s) for f, s in zip(place, row_major(shape), strict=True)], variables)


def divided(f: Form, divisor: int, extents: Extents) -> tuple[Form, Form]:
    """Quotient and remainder of a form by a number, if both are affine."""
    if divisor == 1:
        return f, number(0, len(extents))
    rest = Form(f.constant % divisor, tuple([c if c % divisor else 0 for c in f.coefs]))
    low, high = bounds(rest, extents)
    if low < 0 or high >= divisor:
        for axis, (c, n) in enumerate(zip(rest.coefs, extents, strict=True)):
            if c > 0 and divisor % c == 0 and n % (divisor // c) == 0 and n > divisor // c:
                raise SplitError(axis, divisor // c)
        raise NotAffineError(f"{f} by {divisor}")
    quotient = Form(
        (f.constant - rest.constant) // divisor,
        tuple([(c - r) // divisor for c, r in zip(f.coefs, rest.coefs, strict=True)]),
    )
    return quotient, rest


def unravelled(position: Form, shape: Sequence[int], extents: Extents) -> Place:
    """The place in an array of `shape` whose position is given; the origin in an empty one."""
    if 0 in shape:
        return tuple([number(0, len(extents)) for _ in shape])
    place: list[Form] = []
    for n in reversed(shape):
        position, rest = divided(position, n, extents)
        place.append(rest)
    return tuple(reversed(place))


def split(f: Form, axis: int, inner: int) -> Form:
    """The form after variable `axis` has become two: outer at `axis`, inner of extent `inner`."""
    c = f.coefs[axis]
    return Form(f.constant, (*f.coefs[:axis], c * inner, c, *f.coefs[axis + 1 :]))


VIEWS = frozenset({ru.broadcast, sh.reshape, sh.transpose, sh.flip, sh.slice_})


def through(node: Node, place: Place, extents: Extents) -> Place:
    """Where a view reads its input for its element at `place`. The node is one of VIEWS."""
    params: Any = node.params
    shape = node.inputs[0].shape
    primitive = node.primitive
    if primitive is barrier:
        return place
    if primitive is ru.broadcast:
        axes = params["axes"]
        return tuple([f for i, f in enumerate(place) if i not in axes])
    if primitive is sh.transpose:
        found = list(place)
        for i, axis in enumerate(params["order"]):
            found[axis] = place[i]
        return tuple(found)
    if primitive is sh.flip:
        return tuple(
            [
                scaled(f, -1, n - 1) if i in params["axes"] else f
                for i, (f, n) in enumerate(zip(place, shape, strict=True))
            ]
        )
    if primitive is sh.slice_:
        return tuple(
            [
                scaled(f, s, a)
                for f, a, s in zip(place, params["starts"], params["steps"], strict=True)
            ]
        )
    position = linear(place, node.types[0].shape, len(extents))
    return unravelled(position, shape, extents)


def onward(node: Node, place: Place, extents: Extents) -> Place | None:
    """The place of a view's element whose input is read at `place`; None where there is none alone.

    The inverse of `through` for transposes and reshapes; other views do not give every element of
    their input once.
    """
    if node.primitive is barrier:
        return place
    if node.primitive is sh.transpose:
        order: tuple[int, ...] = node.params["order"]
        return tuple([place[axis] for axis in order])
    if node.primitive is sh.reshape:
        position = linear(place, node.inputs[0].shape, len(extents))
        return unravelled(position, node.types[0].shape, extents)
    axes: tuple[int, ...] = node.params.get("axes", ())
    if node.primitive is ru.broadcast and all([node.types[0].shape[a] == 1 for a in axes]):
        rest = iter(place)
        zero = number(0, len(extents))
        return tuple([zero if i in axes else next(rest) for i in range(len(node.types[0].shape))])
    return None


def domain_of(shape: Sequence[int]) -> tuple[list[int], Place]:
    """A domain of its own for an array: one variable for each axis longer than 1."""
    extents = [n for n in shape if n != 1]
    place: list[Form] = []
    axis = 0
    for n in shape:
        if n == 1:
            place.append(number(0, len(extents)))
        else:
            place.append(variable(axis, len(extents)))
            axis += 1
    return extents, tuple(place)
