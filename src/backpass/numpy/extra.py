"""Functions that NumPy lacks and its users reach for: logsumexp."""

from __future__ import annotations

from typing import Any

from backpass.ir import is_live
from backpass.ops import reduction
from backpass.trace import to_result, unwrap, wrap
from backpass.trace.cells import read_cells


def logsumexp(a: Any, axis: Any = None, b: Any = None, keepdims: bool = False) -> Any:
    """log(sum(b exp(a))) over `axis` without overflow (scipy.special.logsumexp).

    >>> import numpy as np
    >>> logsumexp(np.array([1000.0, 1000.0]))
    np.float64(1000.6931471805599)
    """
    found = reduction.logsumexp(unwrap(read_cells(a)), axis, unwrap(read_cells(b)), keepdims)
    return wrap(found) if is_live(found) else to_result(found)
