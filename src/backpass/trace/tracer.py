"""Tracer: a Value with NumPy's operators and protocols. Nothing else knows operators.

`np.*` on a Tracer arrives in `__array_ufunc__` or `__array_function__`, which look up a function of
`ops/` in `dispatch.py`. In-place code (`x[i] = v`, `x += y`, `out=x`) gives the Tracer another
Value. Where NumPy would share memory between two arrays, writing to one makes the other stale:
using it raises an AliasError that names both lines, since it would read old values here and new
ones in NumPy. A Tracer lives inside a transform only.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import numpy as np

from backpass.errors import AliasError, TracingError, UnsupportedError, instead_of_torch
from backpass.ir import Operand, SourceLine, Value, array_of, constant, is_live, leaf, type_of
from backpass.ir.graph import ScopeKind, user_line
from backpass.ops import indexing
from backpass.ops import shape as shape_ops
from backpass.ops.operand import broadcast_to, cast_to, operand
from backpass.trace.callables import CALLABLES
from backpass.trace.dispatch import (
    FUNCTIONS,
    INSPECTION,
    METHODS,
    WRITES,
    WRITING_METHODS,
)
from backpass.trace.flat import Flat
from backpass.trace.memory import ARRAYS, gives_view, index_gives_array, index_gives_view
from backpass.trace.ufuncs import call_ufunc, masked_ufunc, ufunc_method

# Methods whose result is an array where the array they are called on is one, even of rank 0.
KEEPS_KIND = frozenset({"copy", "astype"})


class Tracer(np.lib.mixins.NDArrayOperatorsMixin):
    """A traced array. It answers to NumPy's functions, operators and array methods."""

    __slots__ = ("__weakref__", "_family", "_origin", "_scalar", "_stale", "_value")
    __array_priority__ = 1000

    def __init__(self, value: Operand, *, scalar: bool = True) -> None:
        self._value = value if type(value) is Value else constant(value)
        self._scalar = scalar and not self._value.type.shape  # a NumPy scalar: not written to
        self._family: list[weakref.ref[Tracer]] | None = None
        self._stale: tuple[SourceLine | None, SourceLine | None] | None = None
        self._origin: tuple[Tracer, Any] | None = None  # the array and index that this is a view of

    # -- what it is

    @property
    def value(self) -> Value:
        """The Value; raises AliasError if memory that NumPy shares with it was written since."""
        if self._stale is not None:
            made, written = self._stale
            raise AliasError(
                "this array shares memory with another in NumPy (made at "
                f"{made or self._value.node}), and the other was written in place at {written}; "
                "traced arrays do not share memory. "
                "Copy before writing (x.copy()), or read again after it"
            )
        return self._value

    @property
    def __class__(self) -> type:  # pyright: ignore[reportIncompatibleMethodOverride]
        """What NumPy would have here, for isinstance(x, np.ndarray); type(x) is Tracer."""
        return (self._value.weak or self.dtype.type) if self._scalar else np.ndarray

    @property
    def is_scalar(self) -> bool:
        """Whether NumPy would have a scalar here, which nothing can be written to."""
        return self._scalar

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

    # -- where Python needs a number

    def __bool__(self) -> bool:
        if self._value.array is not None:
            return bool(self._value.array)
        raise TracingError(
            f"the truth value of a traced array is asked for at {user_line()}, but {self._kind()} "
            "traces without values: a Python `if` or `while` cannot depend on one. Use "
            "bp.cond(predicate, true_fn, false_fn, *operands) or np.where(condition, x, y)"
        )

    def __index__(self) -> int:
        return int(self._exact("an integer index"))

    # The next four step: flat wherever they have a derivative, so as an int nothing is lost.
    def __int__(self) -> int:
        return int(self._known("int()"))

    def __floor__(self) -> int:
        return math.floor(self._known("math.floor()")[()])

    def __ceil__(self) -> int:
        return math.ceil(self._known("math.ceil()")[()])

    def __round__(self, ndigits: int | None = None) -> Any:
        if self.shape:
            raise TypeError("round() of a traced array that is not a scalar; use np.round")
        if ndigits is None:
            return round(self._known("round()")[()])
        return np.round(self, ndigits)

    def __float__(self) -> float:
        return float(self._exact("float() or a function of the math module"))

    def __complex__(self) -> NoReturn:
        raise TracingError("complex() of a traced array: complex numbers are not supported")

    def item(self, *args: Any) -> Any:
        """The Python number of a traced integer or boolean.

        Refused for floats, whose derivative it would lose.
        """
        return self._exact("item()").item(*args)

    def tolist(self) -> Any:
        """A nested list of Python numbers, under the same condition as `item`."""
        return self._exact("tolist()").tolist()

    def _exact(self, what: str) -> Any:
        """The array of a known integer or boolean: no derivative is lost by leaving the trace."""
        array = self._known(what)
        if array.dtype.kind == "f" and is_live(self._value):
            raise TracingError(
                f"{what} at {user_line()} would take a traced {self._value.type} out of the trace "
                "and lose its derivative; use NumPy's functions on it, or bp.stop_gradient(x) if "
                "no derivative is wanted. NumPy also asks for a number when a traced value is "
                "written into an element of a plain array: make that array with bp.numpy.zeros or "
                "np.zeros_like(x)"
            )
        return array

    def _known(self, what: str) -> Any:
        """The array, where this transform has one."""
        array = self.value.array
        if array is None:
            raise TracingError(
                f"{what} is asked of a traced array at {user_line()}, but {self._kind()} traces "
                "without values. To write into an array, make it with bp.numpy.zeros or "
                "np.zeros_like(x); a number for a shape or range(n) belongs in static_argnums"
            )
        return array

    def _kind(self) -> str:
        kinds = [s.kind for s in self._value.scopes if s.alive]
        return (kinds[0] if kinds else ScopeKind.COMPILE).value

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        array = self._value.array
        if array is not None and (array.dtype.kind != "f" or not is_live(self._value)):
            return np.array(array, dtype=dtype)
        raise TracingError(
            f"a traced array cannot become a plain NumPy array (at {user_line()}): its derivative "
            "would be lost. Common causes: np.array([...]) or np.asarray of traced values (use "
            "bp.numpy.array or np.stack); writing a traced value into an array made with "
            "np.zeros or np.empty (make it with bp.numpy.zeros or np.zeros_like(x)); indexing a "
            "plain array with a traced index (use bp.numpy.asarray(table)[index])"
        )

    # -- NumPy's protocols

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        if method == "__call__" and not options:
            return wrap(call_ufunc(ufunc, [unwrap(x) for x in inputs], options))
        out = options.pop("out", None)
        if method == "__call__" and out is not None and options.get("where", True) is not True:
            given = {k: unwrap(v) for k, v in options.items()}
            result = wrap(masked_ufunc(ufunc, unwrap(inputs), given, unwrap(out)))
        elif method == "__call__":
            result = wrap(call_ufunc(ufunc, [unwrap(x) for x in inputs], options))
        elif method == "at":
            return _ufunc_at(ufunc, *inputs)
        else:
            given = {k: unwrap(v) for k, v in options.items()}
            result = wrap(ufunc_method(ufunc, method, [unwrap(x) for x in inputs], given))
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
            _shared(found, self)
            found._origin = (self, plain)
        return found

    def __setitem__(self, index: Any, new: Any) -> None:
        self.rebind(indexing.setitem(self.value, _index(index), unwrap(new)))

    def fill(self, number: Any) -> None:
        """Every element set to one number, in place."""
        self[...] = number

    def rebind(self, value: Operand, through: tuple[Tracer, ...] = ()) -> None:
        """Take another Value of the same type, as an in-place write does.

        A write to x[index] reaches x too (`through` are the views it came by); whatever else NumPy
        would let share this memory becomes stale.
        """
        if type(value) is Value:
            kept = value
        else:  # a plain result stays traced: a constant of the same scopes
            kept = leaf(type_of(value), self._value.scopes, np.asarray(value))
        chain = (self, *through)
        if self._origin is not None:
            base, index = self._origin
            base.rebind(indexing.setitem(base.value, index, kept), chain)
        elif self._family is not None:
            self._mark_relatives(chain)
        self._value = kept

    def _mark_relatives(self, chain: tuple[Tracer, ...]) -> None:
        """Make stale all that shares memory with this array but was not written to."""
        line = user_line()
        family: list[weakref.ref[Tracer]] = self._family or []
        for reference in family:
            other = reference()
            if other is not None and all([other is not t for t in chain]):
                node = other._value.node
                other._stale = (node.source if node is not None else None, line)
                other._family = other._origin = None
        family[:] = [weakref.ref(tracer) for tracer in chain]

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
                    _shared(part, base)
    return wrapped


def _shared(view: Any, base: Tracer) -> Any:
    """Note that NumPy would let these two share memory."""
    if type(view) is Tracer and view is not base:
        family = base._family
        if family is None:
            family = base._family = [weakref.ref(base)]
        elif len(family) > 64 and not len(family) & (len(family) - 1):  # at powers of two
            family[:] = [r for r in family if r() is not None]
        family.append(weakref.ref(view))
        view._family = family
    return view


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
