"""NumPy's functions that write into their first argument, as functions that return the new array.

The Tracer takes what they return as its new Value. `WRITES` maps each to the name of the argument
that it writes into, and to the function.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from backpass.errors import UnsupportedError
from backpass.ir import Operand
from backpass.ops.elementwise import clip
from backpass.ops.elementwise import where as choose
from backpass.ops.indexing import setitem, take
from backpass.ops.operand import broadcast_to, cast_to, dtype_of, operand, shape_of
from backpass.ops.reduction import cumsum
from backpass.ops.shape import ravel, reshape
from backpass.ops.sorting import partition, sort
from backpass.ops.ufuncs import ufunc
from backpass.prims import elementwise as el
from backpass.prims.rules import full_like

Function = Callable[..., Any]


def copyto(dst: Operand, src: Any, casting: str = "same_kind", where: Any = True) -> Operand:
    """dst with src in its place, where the mask is true."""
    new = broadcast_to(cast_to(operand(src), dtype_of(dst)), shape_of(dst))
    return new if where is True else choose(where, new, dst)


def fill_diagonal(a: Operand, val: Any, wrap: bool = False) -> Operand:
    """a with val on its main diagonal."""
    if wrap:
        raise UnsupportedError(
            "np.fill_diagonal: wrap=True is not supported on traced arrays; fill the diagonal of "
            "each block by an index"
        )
    n = np.arange(min(shape_of(a)))
    return setitem(a, (n,) * len(shape_of(a)), val)


def put_along_axis(arr: Operand, indices: Any, values: Any, axis: int | None) -> Operand:
    """arr with values at the positions of an index array along one axis."""
    if axis is None:
        raise UnsupportedError(
            "np.put_along_axis: axis=None is not supported on traced arrays; use x.reshape(-1)"
        )
    ndim = len(shape_of(arr))
    grid = np.indices(shape_of(operand(indices)), sparse=True)
    index = tuple([indices if i == axis % ndim else g for i, g in enumerate(grid)])
    return setitem(arr, index, values)


def _repeated(values: Any, count: int, like: Operand) -> Operand:
    """The first `count` of the values, repeated without end."""
    v = ravel(cast_to(operand(values), dtype_of(like)))
    if not shape_of(v)[0]:
        raise ValueError("cannot write values of an empty array")
    return take(v, np.arange(count) % shape_of(v)[0])


def putmask(a: Operand, mask: Any, values: Any) -> Operand:
    """a with values[i] at its i-th element (values repeated) where the mask holds."""
    count = int(np.prod(shape_of(a), dtype=int))
    return choose(mask, reshape(_repeated(values, count, a), shape_of(a)), a)


def place(arr: Operand, mask: Any, vals: Any) -> Operand:
    """arr with the values, one after the other, where the mask holds."""
    held = cast_to(ravel(mask), np.dtype(np.intp))
    turn = cumsum(held)
    v = ravel(cast_to(operand(vals), dtype_of(arr)))
    if not shape_of(v)[0]:
        raise ValueError("place: cannot insert from an empty array")
    order = take(v, _from_zero(turn), mode="wrap")
    return choose(mask, reshape(order, shape_of(arr)), arr)


def _from_zero(turn: Operand) -> Operand:
    """One less, so that counting starts at 0."""
    return el.sub(turn, full_like(turn, 1))


def put(a: Operand, ind: Any, v: Any, mode: str = "raise") -> Operand:
    """a with values at the flat indices `ind`."""
    index = ravel(operand(ind))
    n = int(np.prod(shape_of(a), dtype=int))
    if mode == "wrap":
        index = ufunc(np.remainder, index, n)
    elif mode == "clip":
        index = clip(index, 0, n - 1)
    values = _repeated(v, shape_of(index)[0], a)
    return reshape(setitem(ravel(a), index, values), shape_of(a))


def partition_in_place(a: Operand, kth: Any, axis: int = -1, **options: Any) -> Operand:
    """The method x.partition, which has no result."""
    return partition(a, kth, axis)


WRITES: dict[Function, tuple[str, Function]] = {
    np.copyto: ("dst", copyto),
    np.fill_diagonal: ("a", fill_diagonal),
    np.put_along_axis: ("arr", put_along_axis),
    np.putmask: ("a", putmask),
    np.place: ("arr", place),
    np.put: ("a", put),
}
# Methods that write into their array and return nothing.
WRITING_METHODS: dict[str, Function] = {"sort": sort, "partition": partition_in_place, "put": put}
