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
from backpass.ops.elementwise import where as choose
from backpass.ops.indexing import setitem
from backpass.ops.operand import broadcast_to, cast_to, dtype_of, operand, shape_of

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


WRITES: dict[Function, tuple[str, Function]] = {
    np.copyto: ("dst", copyto),
    np.fill_diagonal: ("a", fill_diagonal),
    np.put_along_axis: ("arr", put_along_axis),
}
