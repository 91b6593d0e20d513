"""Tracer: a Value with NumPy's operators and protocols. Nothing else knows operators.

`np.*` on a Tracer arrives in `__array_ufunc__` or `__array_function__`, which look up a function of
`ops/` in `dispatch.py`. In-place code (`x[i] = v`, `x += y`, `out=x`) gives the Tracer another
Value: see `shared`. What Python needs as a number is in `concrete`. A Tracer lives inside a
transform only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from backpass.errors import TracingError, UnsupportedError, instead_of_torch
from backpass.ir import Operand, Value, array_of, is_live
from backpass.ir.graph import user_line
from backpass.ops import indexing
from backpass.ops import shape as shape_ops
from backpass.ops.operand import broadcast_to, cast_to, holds_value, operand
from backpass.trace.callables import CALLABLES
from backpass.trace.concrete import Concrete
from backpass.trace.dispatch import (
    FUNCTIONS,
    INSPECTION,
    METHODS,
    WRITES,
    WRITING_METHODS,
)
from backpass.trace.flat import Flat
from backpass.trace.memory import ARRAYS, gives_view, index_gives_array, index_gives_view
from backpass.trace.shared import share, share_as_index
from backpass.trace.ufuncs import call_ufunc, masked_ufunc, ufunc_method

# Methods whose result is an array where the array they are called on is one, even of rank 0.
KEEPS_KIND = frozenset({"copy", "astype"})


class Tracer(Concrete, np.lib.mixins.NDArrayOperatorsMixin):
    """A traced array. It answers to NumPy's functions, operators and array methods."""

    __slots__ = ()
    __array_priority__ = 1000

    # -- what it is

    @property
    def __class__(self) -> type:  # pyright: ignore[reportIncompatibleMethodOverride]
        """What NumPy would have here, for isinstance(x, np.ndarray); type(x) is Tracer."""
        return (self._value.weak or self.dtype.type) if self._scalar else np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        return self._value.type.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._value.type.dtype

    @property
    def ndim(self) -> int:
        return len(self._value.type.shape)

    @property
    def size(self) -> int:
        return self._value.type.size

    @property
    def nbytes(self) -> int:
        return self._value.type.nbytes

    @property
    def itemsize(self) -> int:
        return self._value.type.dtype.itemsize

    @property
    def T(self) -> Tracer:
        return _result(shape_ops.transpose, shape_ops.transpose(self.value), self)

    @property
    def mT(self) -> Tracer:
        return _result(shape_ops.matrix_transpose, shape_ops.matrix_transpose(self.value), self)

    @property
    def real(self) -> Tracer:
        return self

    @property
    def imag(self) -> Any:
        return np.zeros_like(self)

    @property
    def flat(self) -> Flat:
        return Flat(self)

    @flat.setter
    def flat(self, new: Any) -> None:
        Flat(self)[:] = new

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of an unsized traced array (its shape is ())")
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))  # each is read when its turn comes

    def __repr__(self) -> str:
        shown = "" if self._value.array is None else f", array={self._value.array!r}"
        return f"Tracer({self._value.type}{shown})"

    def __hash__(self) -> int:
        return id(self)

    def __format__(self, spec: str) -> str:
        if not spec or self._value.array is None:
            return repr(self) if self._value.array is None else format(str(self._value.array), spec)
        return format(self._value.array[()], spec)

    def __copy__(self) -> Tracer:
        return self.copy()

    def __deepcopy__(self, memo: object) -> Tracer:
        return self.copy()

    # -- NumPy's protocols

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        if method == "__call__" and not options:
            return wrap(call_ufunc(ufunc, [_input(x) for x in inputs], options))
        out = options.pop("out", None)
        if method == "__call__" and out is not None and options.get("where", True) is not True:
            given = {k: unwrap(v) for k, v in options.items()}
            result = wrap(masked_ufunc(ufunc, unwrap(inputs), given, unwrap(out)))
        elif method == "__call__":
            result = wrap(call_ufunc(ufunc, [_input(x) for x in inputs], options))
        elif method == "at":
            return _ufunc_at(ufunc, *inputs)
        else:
            given = {k: unwrap(v) for k, v in options.items()}
            result = wrap(ufunc_method(ufunc, method, [_input(x) for x in inputs], given))
        return result if out is None else _write_out(ufunc.__name__, out, result)

    def __array_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...],
        options: dict[str, Any],
    ) -> Any:
        rule = FUNCTIONS.get(function)
        if rule is None:
            if function in INSPECTION:
                return INSPECTION[function](*args, **options)
            if function in CALLABLES:
                return CALLABLES[function](*args, **options)
            if function in WRITES:
                return _write(function, args, options)
            raise _no_rule(function)
        out = options.pop("out", None)
        plain = {k: unwrap(v) for k, v in options.items()}
        result = _result(rule, rule(*map(unwrap, args), **plain), *args, *options.values())
        return result if out is None else _write_out(function.__name__, (out,), result)

    def __getattr__(self, name: str) -> Any:
        if name in WRITING_METHODS:
            return self._writing(WRITING_METHODS[name])
        rule = METHODS.get(name)
        if rule is None:
            if name.startswith("__"):
                raise AttributeError(name)
            raise AttributeError(
                f"traced arrays have no attribute {name!r}{instead_of_torch(name)}"
            )

        def method(*args: Any, **options: Any) -> Any:
            out = options.pop("out", None)
            plain = {k: unwrap(v) for k, v in options.items()}
            result = _result(rule, rule(self.value, *map(unwrap, args), **plain), self)
            if name in KEEPS_KIND and not self._scalar:
                result = result if type(result) is Tracer else Tracer(result)
                result._scalar = False
            return result if out is None else _write_out(name, (out,), result)

        return method

    def _writing(self, rule: Callable[..., Any]) -> Callable[..., None]:
        """x.sort() and its kind: they write into x and return nothing."""

        def method(*args: Any, **options: Any) -> None:
            plain = {k: unwrap(v) for k, v in options.items()}
            self.rebind(rule(self.value, *map(unwrap, args), **plain))

        return method

    def __getitem__(self, index: Any) -> Any:
        plain = _index(index)
        value: Any = indexing.getitem(self.value, plain)
        found = Tracer(value, scalar=not index_gives_array(plain))
        if index_gives_view(plain, self.ndim):
            share_as_index(found, self, plain)
        return found

    def __setitem__(self, index: Any, new: Any) -> None:
        self.rebind(indexing.setitem(self.value, _index(index), unwrap(new)))

    def fill(self, number: Any) -> None:
        """Every element set to one number, in place."""
        self[...] = number

    # NDArrayOperatorsMixin sends in-place operators to ufuncs with out=(self,); it has no @=.
    def __imatmul__(self, other: Any) -> Tracer:
        self.rebind(_same_type(unwrap(np.matmul(self, other)), self, "@="))
        return self


def unwrap(x: Any) -> Any:
    """Tracers and Cells inside x, to any depth of lists, tuples and slices, as Values."""
    if type(x) is Tracer:
        return x.value
    if type(x) in (list, tuple):
        return type(x)([unwrap(v) for v in x])
    if type(x) is slice:
        return slice(*[_bound(v) for v in (x.start, x.stop, x.step)])
    read = getattr(x, "__backpass_read__", None)
    return unwrap(read()) if read is not None and not isinstance(x, type) else x


def _input(x: Any) -> Any:
    """An operand of a ufunc; a list of traced numbers is an array to it."""
    plain = unwrap(x)
    return operand(plain) if holds_value(plain) else plain


def _index(index: Any) -> Any:
    """An index without Tracers; a traced integer that is known is NumPy's plain number."""
    if type(index) is tuple:
        return tuple(map(_index, index))
    if type(index) is Tracer and index._scalar and index.dtype.kind in "iu":
        array = index.value.array
        return index.value if array is None else int(array)
    return unwrap(index)


def _bound(x: Any) -> Any:
    return int(x) if type(x) is Tracer else x


def wrap(x: Any) -> Any:
    """Values inside x, to any depth of lists and tuples, as Tracers."""
    if type(x) is Value:
        return Tracer(x)
    if type(x) in (list, tuple):
        return type(x)([wrap(v) for v in x])
    if isinstance(x, tuple) and hasattr(x, "_fields"):  # what np.linalg.svd and its kind return
        return type(x)(*[wrap(v) for v in x])
    return x


def to_result(x: Any) -> Any:
    """What a transform hands out: a Tracer while an outer one traces, else an array or scalar."""
    value = unwrap(x)
    if is_live(value):
        return Tracer(value)
    array = array_of(operand(value))
    return array[()] if array.ndim == 0 else array


def _result(rule: Callable[..., Any], found: Any, *args: Any) -> Any:
    """Results as Tracers; what NumPy would make as a view joins the family of its base."""
    wrapped = wrap(found)
    several = isinstance(wrapped, (list, tuple))
    parts = [p for p in (wrapped if several else (wrapped,)) if type(p) is Tracer]
    if rule in ARRAYS:
        for part in parts:
            part._scalar = False
    viewed = gives_view(rule, args)
    for base in args:
        if type(base) is Tracer:
            for part in parts:
                if viewed or part._value is base._value:
                    share(part, base)
    return wrapped


def _no_rule(function: Callable[..., Any]) -> UnsupportedError:
    module = getattr(function, "__module__", "numpy")
    return UnsupportedError(
        f"{module}.{function.__name__} has no rule for traced arrays (called at {user_line()}); "
        "docs/coverage.md lists what has. Call it on arrays outside of the transform, or write it "
        "with functions that have a rule"
    )


def _ufunc_at(ufunc: np.ufunc, target: Any, index: Any, *more: Any) -> None:
    """np.add.at(x, index, v): unbuffered, so repeated indices add up."""
    if ufunc not in (np.add, np.subtract) or type(target) is not Tracer:
        raise UnsupportedError(
            f"{ufunc.__name__}.at has no rule for this target (called at {user_line()})"
        )
    target.rebind(
        indexing.add_at(target.value, unwrap(index), unwrap(more[0]), negate=ufunc is np.subtract)
    )


def _write(function: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> None:
    """np.copyto(x, v) and its kind: x takes the Value that the rule returns."""
    name, rule = WRITES[function]
    target = args[0] if args else options.pop(name)
    if type(target) is not Tracer:
        raise TracingError(
            f"np.{function.__name__} at {user_line()} would write a traced value into a plain "
            "NumPy array, which cannot hold it; make the array with bp.numpy.zeros"
        )
    plain = {k: unwrap(v) for k, v in options.items()}
    target.rebind(rule(target.value, *map(unwrap, args[1:]), **plain))


def _write_out(name: str, out: Any, result: Any) -> Any:
    """out=x with a traced x gives x the result; a plain array cannot hold one."""
    targets: tuple[Any, ...] = out if isinstance(out, tuple) else (out,)
    if len(targets) != 1:
        return tuple([_write_out(name, x, r) for x, r in zip(targets, result, strict=True)])
    target = targets[0]
    if target is None:
        return result
    if type(target) is not Tracer:
        write = getattr(target, "__backpass_write__", None)
        if write is not None:
            write(result)
            return target
        raise TracingError(
            f"{name} at {user_line()} would write a traced value into a plain NumPy array (out= or "
            "an operator such as +=), which cannot hold it. Write total = total + x, or make the "
            "array with bp.numpy.zeros"
        )
    if target._scalar:  # `s += 1`: NumPy makes a new scalar, and other names of s keep the old one
        return result
    target.rebind(_same_type(unwrap(result), target, name))
    return target


def _same_type(result: Any, target: Tracer, name: str) -> Operand:
    value = operand(result)
    if not np.can_cast(value.dtype, target.dtype, "same_kind"):
        raise TypeError(
            f"{name}: cannot write {value.dtype} into an array of {target.dtype} in place"
        )
    return broadcast_to(cast_to(value, target.dtype), target.shape)
