"""NumPy's promotion rules, asked from NumPy itself.

Python scalars are weak, as NEP 50 says. Floating dtypes are the ones that carry derivatives;
complex numbers are not built yet and are refused by name.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from backpass.errors import DTypeError

DType = np.dtype[Any]
# A dtype, or the Python type of a weak scalar.
Promotable = DType | type[int] | type[float] | type[bool]


def is_float(dtype: DType) -> bool:
    """Whether the dtype carries derivatives."""
    return dtype.kind == "f"


def check_supported(dtype: DType, what: str) -> None:
    """Refuse what has no rules: complex, object, strings, dates, structured, extended floats."""
    if dtype.kind == "c":
        raise DTypeError(
            f"{what}: complex numbers ({dtype}) are not supported; split into two real arrays"
        )
    if dtype.kind not in "fiub" or dtype.itemsize > 8:
        raise DTypeError(
            f"{what}: arrays of dtype {dtype} are not supported; convert to float64 or an integer"
        )


def is_huge(x: Any) -> bool:
    """Whether a Python integer is beyond every integer dtype, so that it counts as a float."""
    return not -(2**63) <= x < 2**64


def promotable(x: object) -> Promotable:
    """What x brings to a promotion: its dtype, or its Python type if it is a bare scalar."""
    kind = type(x)
    if kind is float or kind is int or kind is bool:
        return float if kind is int and is_huge(x) else kind
    weak = getattr(x, "weak", None)
    if weak is not None:
        return weak
    dtype = getattr(x, "dtype", None)
    return dtype if isinstance(dtype, np.dtype) else _dtype_inside(x)


def _dtype_inside(x: object) -> DType:
    """The dtype of the array that a list becomes; what it holds may be traced."""
    dtype = np.asarray(x).dtype
    if not dtype.hasobject or not isinstance(x, (list, tuple)):
        return dtype
    known = [getattr(v, "dtype", None) for v in x]
    parts = [_dtype_inside(v) if d is None else d for v, d in zip(x, known, strict=True)]
    return np.result_type(*parts)


@lru_cache(maxsize=4096)
def ufunc_dtypes(ufunc: np.ufunc, inputs: tuple[Promotable, ...]) -> tuple[DType, ...]:
    """The dtypes of the loop that NumPy would run: those of the inputs, then of the outputs."""
    given = tuple([np.dtype(bool) if d is bool else d for d in inputs])
    if all([d in (int, float) for d in given]):
        given = tuple([np.dtype(d) for d in given])
    return ufunc.resolve_dtypes((*given, *[None] * ufunc.nout))


def common(*xs: object) -> DType:
    """The dtype that NumPy gives to these operands together."""
    weak = {float: 0.0, int: 0, bool: False}
    kinds = [promotable(x) for x in xs]
    return np.result_type(*[weak[d] if isinstance(d, type) else d for d in kinds])


def at_least_float(dtype: DType) -> DType:
    """The dtype of NumPy's true division and mean: floats stay, anything else becomes float64."""
    return dtype if is_float(dtype) else np.dtype(np.float64)
