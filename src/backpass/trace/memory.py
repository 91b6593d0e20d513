"""What NumPy would do with memory: which results are views, and which of rank 0 are arrays.

Traced arrays share no memory; these answers tell the Tracer where NumPy's would, so that in-place
code means the same or raises an AliasError. Where the answer depends on strides, it is yes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from backpass.ir import Value
from backpass.ops import creation, elementwise, indexing, product, shape
from backpass.ops.index_parts import is_view
from backpass.trace.dispatch import VIEWS

Function = Callable[..., Any]
# NumPy returns arrays of rank 0 from these, scalars from all others. A scalar cannot be written to:
# `s += 1` makes a new one, and other names of the old one keep it.
ARRAYS: frozenset[Function] = frozenset(
    {
        *VIEWS,
        *shape.FUNCTIONS.values(),
        *creation.FUNCTIONS.values(),
        elementwise.where,
        elementwise.select,
        product.tensordot,
    }
)
MORE_VIEWS: frozenset[Function] = frozenset({indexing.diag, *indexing.DIAGONALS})


def gives_view(rule: Function, args: Sequence[Any]) -> bool:
    """Whether NumPy's function returns arrays that share memory with its arguments."""
    if rule is product.einsum:  # of one operand: a transpose or a diagonal
        return len(args) <= (2 if isinstance(args[0], str) else 3)
    return rule in VIEWS or rule in MORE_VIEWS


def index_gives_view(index: Any, ndim: int) -> bool:
    """Whether x[index] is a view in NumPy. A traced integer counts as a scalar, as it is there."""
    parts = index if isinstance(index, tuple) else (index,)
    plain = tuple([0 if _is_traced_integer(part) else part for part in parts])
    return is_view(plain, ndim)


def _is_traced_integer(part: Any) -> bool:
    return type(part) is Value and part.type.shape == () and part.type.dtype.kind in "iu"


def index_gives_array(index: Any) -> bool:
    """Whether x[index] is an array in NumPy even where its rank is 0: with an Ellipsis."""
    return index is Ellipsis or (isinstance(index, tuple) and any([p is Ellipsis for p in index]))
