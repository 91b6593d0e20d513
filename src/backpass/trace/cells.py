"""Cell: a named place for one array that outlives calls (a parameter, a buffer, a moment).

Outside of transforms a Cell reads and writes its own array, in place. Inside, the transform binds
the Cells of its arguments to Tracers on this thread only (an Overlay), so that one model can be
used by many threads; what was written is handed outward when the transform ends. Under jit the
overlay is closed: reading a Cell that is not an argument raises, because its array would be frozen
into the compiled program.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeGuard, runtime_checkable

import numpy as np

from backpass.errors import DTypeError, ShapeError, TracingError
from backpass.trace.tracer import Tracer, to_result
from backpass.tree import Tree


class Overlay:
    """What Cells read and write while one transform runs its function on this thread.

    `entering` maps what a Cell would read outside to what it reads here, at its first read.
    """

    __slots__ = ("closed", "entering", "outer", "values", "written")

    def __init__(
        self,
        values: dict[Cell, Any],
        outer: Overlay | None,
        closed: bool,
        entering: Callable[[Any], Any] | None = None,
    ) -> None:
        self.values = values
        self.outer = outer
        self.closed = closed
        self.entering = entering
        self.written: dict[Cell, None] = {}

    def find(self, cell: Cell) -> Any:
        """The current value of a cell, looking outward; None where no overlay holds it."""
        level: Overlay | None = self
        while level is not None:
            if cell in level.values:
                return level.values[cell]
            if level.entering is not None:
                level.values[cell] = level.entering(cell.read_in(level.outer))
                return level.values[cell]
            if level.closed:
                raise TracingError(
                    f"{cell.describe()} is used inside a jitted function but belongs to none of "
                    "its arguments; pass the Module or optimizer that holds it as an argument, or "
                    "its value would be frozen in"
                )
            level = level.outer
        return None

    def write(self, cell: Cell, value: Any) -> None:
        """Keep a value for a cell until the transform ends."""
        self.values[cell] = value
        self.written[cell] = None

    def hand_outward(self) -> None:
        """Hand what was written to the level outside: arrays, or Tracers of an outer transform."""
        for cell in self.written:
            cell.write(to_result(self.values[cell]))


class _Current(threading.local):
    overlay: Overlay | None = None


_current = _Current()


@contextmanager
def bound(
    values: Mapping[Cell, Any],
    *,
    closed: bool = False,
    entering: Callable[[Any], Any] | None = None,
) -> Iterator[Overlay]:
    """Let these Cells read as these values on this thread, for the extent of a transform's call."""
    outer = _current.overlay
    overlay = _current.overlay = Overlay(dict(values), outer, closed, entering)
    try:
        yield overlay
    except ValueError as error:
        # NumPy turns what a Tracer says when it is written into a plain array's element into
        # "setting an array element with a sequence"; say the reason instead.
        if isinstance(error.__cause__, TracingError):
            raise TracingError(
                f"a traced value cannot be an element of a plain NumPy array (at {_place(error)}): "
                "make the array with bp.numpy.zeros, bp.numpy.array or np.zeros_like(x)"
            ) from error
        raise
    finally:
        _current.overlay = outer


def _place(error: BaseException) -> str:
    """The line that raised an error."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{last.filename}:{last.lineno} in {last.name}"


def is_bound() -> bool:
    """Whether a transform has put other values in the place of Cells, on this thread."""
    return _current.overlay is not None


class Token:
    """Whether anything of a kind has changed: `current` is another object from then on."""

    __slots__ = ("current",)

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Something has changed."""
        self.current = object()


_token = Token()


def cells_token() -> object:
    """The same object as long as no Cell anywhere was given another array or made (un)trainable."""
    return _token.current


class Cell(np.lib.mixins.NDArrayOperatorsMixin):
    """One array with an identity. It answers to NumPy like the array it holds.

    Args:
        array: the initial value; the Cell keeps a contiguous copy of its own, in native byte order.
        trainable: whether a transform may differentiate with respect to it.
        name: what errors call it; a Module sets the qualified name.
    """

    __slots__ = ("__weakref__", "_array", "_trainable", "name")
    __array_priority__ = 900

    def __init__(self, array: Any, *, trainable: bool = False, name: str = "") -> None:
        own = np.array(array, order="C")
        self._array = own if own.dtype.isnative else own.astype(own.dtype.newbyteorder("="))
        self._trainable = trainable
        self.name = name

    @property
    def trainable(self) -> bool:
        """Whether a transform may differentiate with respect to it."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        if value is not self._trainable:
            self._trainable = value
            _token.renew()

    @property
    def array(self) -> np.ndarray[Any, Any]:
        """Its own memory, whatever a transform has put in its place."""
        return self._array

    def read(self) -> Any:
        """The current value: the array itself, or the Tracer that a transform put in its place."""
        return self.read_in(_current.overlay)

    def read_in(self, overlay: Overlay | None) -> Any:
        """The value that it has in an overlay."""
        found = overlay.find(self) if overlay is not None else None
        return self._array if found is None else found

    def write(self, value: Any) -> None:
        """A new value of the same shape, cast to the Cell's dtype; in place if none is traced."""
        shape = np.shape(value)
        if shape != self._array.shape:
            raise ShapeError(
                f"{self.describe()}: cannot write shape {shape} into shape {self._array.shape}"
            )
        overlay = _current.overlay
        if overlay is not None:
            overlay.write(self, value if value.dtype == self.dtype else value.astype(self.dtype))
            return
        if isinstance(value, Tracer):
            value = to_result(value)
            if isinstance(value, Tracer):
                raise TracingError(
                    f"{self.describe()}: a traced value cannot be kept after its transform"
                )
        np.copyto(self._array, value, casting="same_kind")

    @property
    def data(self) -> Any:
        """The array (torch's name). Assigning writes into it in place."""
        return self.read()

    @data.setter
    def data(self, value: Any) -> None:
        self.write(np.asarray(value) if not isinstance(value, Tracer) else value)

    @property
    def shape(self) -> tuple[int, ...]:
        return self._array.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._array.dtype

    def describe(self) -> str:
        """Name and type, for messages."""
        kind = type(self).__name__.lower()
        return f"{kind} {self.name or '(unnamed)'} {self.dtype.name}{list(self.shape)}"

    def cast(self, dtype: Any) -> None:
        """Hold the array in another floating dtype from now on."""
        new = np.dtype(dtype).newbyteorder("=")
        if new.kind != "f":
            raise DTypeError(f"{self.describe()}: cannot become {new}; use a floating dtype")
        self._array = self._array.astype(new)
        _token.renew()

    def __backpass_read__(self) -> Any:
        return self.read()

    def __backpass_write__(self, value: Any) -> None:
        self.write(value)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        value = self.read()
        if isinstance(value, Tracer):
            return value.__array__(dtype)
        return np.array(value, dtype=dtype) if copy else np.asarray(value, dtype=dtype)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        out = options.pop("out", None)
        result = getattr(ufunc, method)(*map(read_cells, inputs), **options)
        if out is None:
            return result
        (target,) = out
        if isinstance(target, Cell):
            target.write(np.broadcast_to(result, target.shape))
        else:
            np.positive(result, out=target)
        return target

    def __array_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        args: Sequence[Any],
        options: Mapping[str, Any],
    ) -> Any:
        return function(*map(read_cells, args), **{k: read_cells(v) for k, v in options.items()})

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in Cell.__slots__:
            raise AttributeError(name)
        return getattr(self.read(), name)

    def __getitem__(self, index: Any) -> Any:
        return self.read()[read_cells(index)]

    def __setitem__(self, index: Any, value: Any) -> None:
        if _current.overlay is None:
            self._array[read_cells(index)] = read_cells(value)
            return
        current = self.read()
        new = current.copy()
        new[index] = value
        self.write(new)

    def __len__(self) -> int:
        return len(self._array)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.read())

    def __bool__(self) -> bool:
        return bool(self.read())

    def __float__(self) -> float:
        return float(self.read())

    def __int__(self) -> int:
        return int(self.read())

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name + ', ' if self.name else ''}{self.read()!r})"

    def __copy__(self) -> Cell:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Cell:
        new = object.__new__(type(self))
        new._array = self._array.copy()
        new._trainable = self._trainable
        new.name = self.name
        memo[id(self)] = new
        return new

    def __reduce__(self) -> Any:
        return _restored, (type(self), self._array, self.trainable, self.name)


def _restored(kind: type[Cell], array: Any, trainable: bool, name: str) -> Cell:
    cell = object.__new__(kind)
    Cell.__init__(cell, array, trainable=trainable, name=name)
    return cell


def read_cells(x: Any) -> Any:
    """Cells inside x, to any depth of lists and tuples, as their current values."""
    if isinstance(x, Cell):
        return x.read()
    if type(x) in (list, tuple):
        return type(x)([read_cells(v) for v in x])
    return x


@runtime_checkable
class Stateful(Protocol):
    """An object whose arrays live in Cells: a Module or an optimizer."""

    def __backpass_cells__(self) -> Mapping[str, Cell]:
        """Every Cell once, by qualified name; the first name where one is shared."""
        ...

    def __backpass_static__(self) -> Hashable:
        """Everything else that running it may depend on; equal answers mean the same program."""
        ...


def version_of(x: Stateful) -> object | None:
    """What stays the same object as long as x has the same Cells and static part.

    It is what x says by the method `__backpass_version__`; None, where it has none or cannot know,
    means that it must be looked at.
    """
    version = getattr(x, "__backpass_version__", None)
    return None if version is None else version()


def is_stateful(x: object) -> TypeGuard[Stateful]:
    """Whether x is a Module or an optimizer; as isinstance(x, Stateful), at a tenth of its cost."""
    return hasattr(type(x), "__backpass_cells__")


class Gradients(dict[str, Any]):
    """Gradients of a Module by qualified parameter name; it remembers the Cell of each."""

    def __init__(self, values: Mapping[str, Any], cells: Sequence[Cell]) -> None:
        super().__init__(values)
        self.cells = tuple(cells)

    def by_cell(self) -> dict[Cell, Any]:
        """Cell to gradient."""
        return dict(zip(self.cells, self.values(), strict=True))

    def __tree_flatten__(self) -> tuple[list[Any], Any]:
        return list(self.values()), (tuple(self), self.cells)

    @classmethod
    def __tree_unflatten__(cls, key: Any, children: Sequence[Any]) -> Gradients:
        return cls(dict(zip(key[0], children, strict=True)), key[1])


def numbered(structure: Tree, places: Mapping[Cell, int]) -> Tree:
    """The structure with the Cells of Gradients replaced by their places."""
    children = tuple([numbered(c, places) for c in structure.children])
    if structure.kind is not Gradients:
        return Tree(structure.kind, structure.key, children)
    names, cells = structure.key
    return Tree(Gradients, (names, tuple([places.get(c, c) for c in cells])), children)


def renamed(structure: Tree, cells: Sequence[Cell]) -> Tree:
    """The structure with places replaced by the Cells of this call."""
    children = tuple([renamed(c, cells) for c in structure.children])
    if structure.kind is not Gradients:
        return Tree(structure.kind, structure.key, children)
    names, places = structure.key
    own = tuple([cells[p] if isinstance(p, int) else p for p in places])
    return Tree(Gradients, (names, own), children)
