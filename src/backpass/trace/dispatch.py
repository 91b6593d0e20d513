"""Which function of `ops/` answers which NumPy function, ufunc or method: its tables, joined.

Read by the Tracer's protocols and by the coverage table of the documentation.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from backpass.ops import (
    calculus,
    choosing,
    counting,
    creation,
    elementwise,
    indexing,
    inspection,
    joining,
    linalg,
    norms,
    product,
    reduction,
    shape,
    sorting,
    special,
    statistics,
    ufuncs,
    writing,
)

Function = Callable[..., Any]

FUNCTIONS: dict[Function, Function] = {
    **elementwise.FUNCTIONS,
    **reduction.FUNCTIONS,
    **shape.FUNCTIONS,
    **joining.FUNCTIONS,
    **indexing.FUNCTIONS,
    **product.FUNCTIONS,
    **special.FUNCTIONS,
    **linalg.FUNCTIONS,
    **norms.FUNCTIONS,
    **creation.FUNCTIONS,
    **sorting.FUNCTIONS,
    **calculus.FUNCTIONS,
    **statistics.FUNCTIONS,
    **choosing.FUNCTIONS,
    **counting.FUNCTIONS,
}
METHODS: dict[str, Function] = {
    **elementwise.METHODS,
    **reduction.METHODS,
    **shape.METHODS,
    **indexing.METHODS,
    **product.METHODS,
    **sorting.METHODS,
    **choosing.METHODS,
    **counting.METHODS,
}
UFUNCS: dict[np.ufunc, Function] = {
    **ufuncs.UFUNCS,
    **elementwise.UFUNCS,
    **product.UFUNCS,
    **counting.UFUNCS,
}
REDUCE = reduction.REDUCE
ACCUMULATE = {**reduction.ACCUMULATE, **calculus.ACCUMULATE}
VIEWS = shape.VIEWS | joining.VIEWS | {indexing.diagonal}
WRITES = writing.WRITES
WRITING_METHODS = writing.WRITING_METHODS
INSPECTION = inspection.INSPECTION


def ufunc_rule(ufunc: np.ufunc) -> Function | None:
    """The function for a ufunc of NumPy, or of scipy.special, which is known by its name."""
    rule = UFUNCS.get(ufunc)
    if rule is None and ufunc.__name__ in special.NAMED:
        module = sys.modules.get("scipy.special")
        if getattr(module, ufunc.__name__, None) is ufunc:
            return special.NAMED[ufunc.__name__]
    return rule
