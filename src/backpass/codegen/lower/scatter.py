"""From a sum at integer positions to a ScatterAdd, what is made of the sum included.

Updates are read where they lie, through views: the rows of a mean's gradient are repeated and need
not be written out. Where their place is no affine one, or their columns do not lie side by side,
they are copied into order first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from math import prod

import numpy as np

from backpass.codegen.lower.elements import Elements, MustCopyError, Spot, key_of
from backpass.codegen.lower.groups import Group, core, is_view, seen_at
from backpass.codegen.lower.index import Form, NotAffineError, domain_of, linear
from backpass.codegen.lower.schedule import Bound, Buffers
from backpass.codegen.lower.stages import Stages
from backpass.ir import Node, Value
from backpass.loops import Access, Buffer, Op, ScatterAdd

PARALLEL = 1 << 16  # elements of an array that threads share
PARALLEL_ROWS = 1 << 14  # elements of rows that threads share
POSITION = 16  # operations of finding a position's row
INT64 = np.dtype(np.int64)


def scatter_kernel(name: str, node: Node) -> Bound:
    """The sums of all rows."""
    out = Buffer(node.types[0].dtype, node.types[0].size, written=True)
    updates, access, counts = _updates(node, 1)
    kernel = _kernel(name, node, [out, updates], access, counts)
    keys = (node, key_of(core(node.inputs[0])), *map(key_of, node.inputs[1:]))
    return Bound(
        replace(kernel, parallel=out.size >= PARALLEL), keys, out.size + kernel.count * kernel.width
    )


def update_kernel(name: str, group: Group, stored: set[Node], node: Node) -> Bound:
    """The sums and what is made of them, for the rows that an index names. `node` is stored."""
    head = group.head
    assert head is not None
    elements = Elements(group, stored)
    place = group.places[node]
    entry = elements.element(Value(node.types[0], node, 0, None, frozenset()), place)
    whole = linear(place, node.types[0].shape, len(group.extents))
    elements.store(entry, node, whole)
    entries = Stages(elements.entries, group.extents, 0).entries
    k = len(head.inputs) - 1
    shape = head.types[0].shape
    rows, width = prod(shape[:k]), prod(shape[k:])
    buffers = Buffers((1, rows, width), None)
    ops: list[Op] = []
    numbers: dict[int, int] = {}
    for i, e in enumerate(entries):
        if isinstance(e.param, Spot):
            f = e.param.form
            if f != whole and any(f.coefs):
                raise AssertionError(f"{name}: reads {e.param.key} at other elements")
            strides = (0, width, 1) if any(f.coefs) else (0, 0, 0)
            e = replace(e, param=replace(e.param, form=Form(f.constant, strides)))
        ops.extend(buffers.ops(e, numbers, len(ops)))
        numbers[i] = len(ops) - 1
    at = len(buffers.found)
    updates, access, counts = _updates(head, at)
    out = ops[-1].param.buffer
    kernel = _kernel(name, head, [*buffers.found, updates], access, counts)
    many = kernel.count * kernel.width >= PARALLEL_ROWS
    kernel = replace(kernel, out=out, parallel=many, epilogue=tuple(ops))
    keys = (*buffers.keys, key_of(core(head.inputs[0])), *map(key_of, head.inputs[1:]))
    return Bound(kernel, keys, kernel.count * (len(ops) * width + POSITION))


def _kernel(
    name: str, node: Node, buffers: list[Buffer], access: Access, counts: tuple[int, ...]
) -> ScatterAdd:
    """A kernel without an epilogue, its first buffer out, its last the indices."""
    indices = node.inputs[1:]
    k, first, shape = len(indices), len(buffers), node.types[0].shape
    for i, v in enumerate(node.inputs):
        if i and v.node is not None and is_view(v.node):
            raise MustCopyError(node, i)
    return ScatterAdd(
        name,
        (*buffers, *[Buffer(INT64, prod(counts)) for _ in indices]),
        0,
        access,
        tuple(range(first, first + k)),
        tuple(shape[:k]),
        counts,
        prod(shape[k:]),
    )


def _updates(node: Node, place: int) -> tuple[Buffer, Access, tuple[int, ...]]:
    """The buffer (number `place`) of the updates, the access to them, and the axes of positions."""
    v, lead = node.inputs[0], node.inputs[1].ndim
    c = core(v)
    extents, where = domain_of(v.shape)
    try:
        form = linear(seen_at(v, where, extents), c.shape, len(extents))
    except NotAffineError as failed:
        raise MustCopyError(node, 0) from failed
    positions = sum([n != 1 for n in v.shape[:lead]])
    counts, strides = _joined(extents[:positions], form.coefs[:positions])
    columns, steps = _joined(extents[positions:], form.coefs[positions:])
    if len(columns) > 1 or (columns and steps[0] not in (0, 1)):
        raise MustCopyError(node, 0)
    access = Access(place, form.constant, (*(strides or [0]), steps[0] if steps else 1))
    return Buffer(c.dtype, c.type.size), access, tuple(counts) or (1,)


def _joined(extents: Sequence[int], strides: Sequence[int]) -> tuple[list[int], list[int]]:
    """Axes in memory one after the other as one."""
    sizes, steps = list(extents), list(strides)
    for a, b in reversed(list(pairwise(range(len(sizes))))):
        if steps[a] == steps[b] * sizes[b]:
            sizes[a : b + 1], steps[a : b + 1] = [sizes[a] * sizes[b]], [steps[b]]
    return sizes, steps
