"""TensorType, Value, Node, Primitive, Graph: pure data, linked from results back to inputs.

Invariant: a Node is made only by calling a Primitive, after its inputs, so `Node.order` rises along
every edge and sorting by it is a topological sort. There is no tape and no ambient builder: a graph
is whatever can be reached from its outputs. A Value belongs to the Scopes (calls of a transform)
whose leaves it depends on; when those are closed the Value is just its array, and primitives
applied to it run at once on NumPy and build nothing. Next: `prims/` for the primitives,
`transforms/reverse.py` for the walk back.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar, dataclass_transform, final

import numpy as np
import numpy.typing as npt

from backpass.errors import LeakedTracerError

Array = npt.NDArray[Any]
Params = Mapping[str, Any]
T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def record(kind: type[T]) -> type[T]:
    """A slotted dataclass with an identity that the type checker holds to be frozen.

    Every traced operation makes two of them, and a frozen dataclass takes four times as long to
    make, since it writes each field around its own refusal to be written.
    """
    return dataclass(slots=True, eq=False)(kind)


@dataclass(frozen=True, slots=True)
class TensorType:
    """Shape and dtype of one tensor."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def size(self) -> int:
        """Number of elements, as a Python integer (it cannot overflow)."""
        count = 1
        for extent in self.shape:
            count *= extent
        return count

    @property
    def nbytes(self) -> int:
        """Bytes of the elements without padding."""
        return self.size * self.dtype.itemsize

    def __str__(self) -> str:
        return f"{self.dtype.name}[{','.join(map(str, self.shape))}]"


class ScopeKind(Enum):
    """What opened a scope: it decides what an error says when a traced value is misused."""

    DERIVATIVE = "grad"
    LINEAR = "jvp"
    BATCH = "vmap"
    COMPILE = "jit"


class Scope:
    """The extent of one call of a transform. Closed when the user's function has returned."""

    __slots__ = ("alive", "kind")

    def __init__(self, kind: ScopeKind) -> None:
        self.kind = kind
        self.alive = True

    def __enter__(self) -> Scope:
        _depth.open += 1
        return self

    def __exit__(self, *_: object) -> None:
        _depth.open -= 1
        self.alive = False

    @staticmethod
    def any_open() -> bool:
        """Whether a transform is running a function on this thread."""
        return _depth.open > 0


class _Depth(threading.local):
    open = 0


_depth = _Depth()


NO_SCOPES: frozenset[Scope] = frozenset()


class SourceLine(NamedTuple):
    """The line of the user's code that asked for a node."""

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} in {self.function}"


@final
@record
class Value:
    """One output of a Node, or a leaf (`node is None`): an input of a graph or a constant.

    `array` is the concrete array where it is known. `scopes` are the scopes it was made in the
    reach of.
    """

    type: TensorType
    node: Node | None
    index: int
    array: Array | None
    scopes: frozenset[Scope]
    weak: type[float] | type[int] | None = (
        None  # a bare Python scalar: it decides no dtype (NEP 50)
    )

    @property
    def shape(self) -> tuple[int, ...]:
        return self.type.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.type.dtype

    @property
    def ndim(self) -> int:
        return len(self.type.shape)

    def __repr__(self) -> str:
        return f"Value({self.type})"


Operand = Value | Array


@record
class Node:
    """One application of a primitive; `types` and `arrays` (where known) are of its outputs."""

    primitive: Primitive
    inputs: tuple[Value, ...]
    params: Params
    types: tuple[TensorType, ...]
    arrays: tuple[Array | None, ...]
    scopes: frozenset[Scope]
    order: int
    source: SourceLine | None

    def outputs(self) -> tuple[Value, ...]:
        """Its outputs as Values."""
        if len(self.types) == 1:  # most of them
            return (Value(self.types[0], self, 0, self.arrays[0], self.scopes),)
        return tuple(
            [Value(t, self, i, self.arrays[i], self.scopes) for i, t in enumerate(self.types)]
        )

    def __repr__(self) -> str:
        return f"Node({self.primitive.name}: {', '.join(map(str, self.types))})"


@dataclass(frozen=True, slots=True)
class NotDifferentiable:
    """States that a vjp rule cannot exist, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class NotLowered:
    """States that a primitive has no native lowering and is evaluated by its NumPy reference."""

    reason: str


class Lowering(Enum):
    """How the compiler treats a primitive; `codegen/lower/` has one place for each."""

    ELEMENTWISE = "each element alone: fused, where `codegen/arithmetic.py` knows its name"
    VIEW = "another order of the same elements: folded into how they are read"
    PAD = "a view with a border of zeros: a guarded read"
    PIECES = "an array put together from parts: one store each"
    REDUCTION = "a fold over `axes`"
    SCAN = "a running fold along `axis`"
    PRODUCT = "a matrix product"
    GATHER = "a read at integer positions"
    SCATTER = "a sum at integer positions"
    RANDOM = "random bits from keys and counters"


# Rules of shape and reference are called as rule(*inputs, **params). The forms with a number of
# arguments are for lambdas: a lambda's arguments get their types from the form with as many.
Types = tuple[TensorType, ...]
ShapeRule = (
    Callable[..., Types]
    | Callable[[TensorType, Any], Types]
    | Callable[[TensorType, Any, Any], Types]
    | Callable[[TensorType, Any, Any, Any], Types]
)
Reference = (
    Callable[..., Any]
    | Callable[[Array, Any], Any]
    | Callable[[Array, Any, Any], Any]
    | Callable[[Array, Any, Any, Any], Any]
)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Partial:
    """A cotangent of `type` that is zero outside of one place, as reading x[i] gives for x.

    `add_to(buffer)` adds it to an array. A rule may answer with one where the cotangent is an
    array; then n reads of one array cost what they read, not n times the array.
    """

    type: TensorType
    add_to: Callable[[Array], None]


Pulled = Sequence["Operand | Partial | None"]
# (cts, wanted, outputs, inputs, params) -> one cotangent or None for each input
VjpRule = Callable[
    [
        tuple["Operand | None", ...],
        tuple[bool, ...],
        tuple["Operand", ...],
        tuple["Operand", ...],
        Params,
    ],
    Pulled,
]
# (inputs, batched, size, params) -> (outputs, which outputs carry the batch at axis 0)
BatchRule = Callable[
    [tuple["Operand", ...], tuple[bool, ...], int, Params],
    tuple[tuple["Operand", ...], tuple[bool, ...]],
]


@dataclass(frozen=True, slots=True, eq=False)
class Primitive:
    """An operation with every rule it has, in one place. No field has a default: a gap is stated.

    `shape` maps input types to output types; `reference` computes arrays with NumPy and is the
    oracle of compiled code; `vjp` maps cotangents of the outputs to cotangents of the inputs and is
    linear in them; `batch` maps the primitive over a leading axis; `lower` says how the compiler
    treats it. Where `single`, there is one output and `reference` returns one array; else both are
    tuples. Primitives never broadcast nor promote.
    """

    name: str
    shape: ShapeRule
    reference: Reference
    vjp: VjpRule | NotDifferentiable
    batch: BatchRule
    lower: Lowering | NotLowered
    single: bool

    def __call__(self, *operands: Operand, **params: Any) -> Any:
        """Apply to operands: at once if none is being traced, else as a new Node."""
        scopes = live_scopes(operands)
        if not scopes:
            arrays = [array_of(x) if type(x) is Value else x for x in operands]
            return self.reference(*arrays, **params)
        outputs = apply(self, operands, params, scopes)
        return outputs[0] if self.single else outputs

    def __repr__(self) -> str:
        return f"Primitive({self.name})"


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """A closed program: `nodes` in topological order compute `outputs` from `inputs`.

    Leaves that are not inputs are constants and carry their array. An output may be an input or a
    constant.
    """

    inputs: tuple[Value, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[Value, ...]

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)


_orders = itertools.count()
# Types, lines and empty params are shared: a graph holds few kinds of each, and what is shared
# costs no memory a node, nor work of the garbage collector, which grows with the objects alive.
tensor_type = lru_cache(maxsize=1 << 14)(TensorType)
_source_line = lru_cache(maxsize=1 << 12)(SourceLine)
NO_PARAMS: Params = {}


def apply(
    primitive: Primitive,
    operands: Sequence[Operand],
    params: Params,
    scopes: frozenset[Scope],
    arrays: tuple[Array | None, ...] | None = None,
) -> tuple[Value, ...]:
    """Make a Node in `scopes`; evaluate it at once when every input has its array.

    `arrays` are its outputs where the caller has them already.
    """
    inputs = tuple([x if type(x) is Value else constant(x) for x in operands])
    known = [x.array for x in inputs if x.array is not None]
    if arrays is not None:
        types = tuple([tensor_type(a.shape, a.dtype) for a in arrays if a is not None])
    elif len(known) != len(inputs):
        types = primitive.shape(*[x.type for x in inputs], **params)
        arrays = (None,) * len(types)
    elif primitive.single:
        array = np.asarray(primitive.reference(*known, **params))
        types, arrays = (tensor_type(array.shape, array.dtype),), (array,)
    else:
        found = list(map(np.asarray, primitive.reference(*known, **params)))
        types, arrays = tuple([tensor_type(a.shape, a.dtype) for a in found]), tuple(found)
    order, source = next(_orders), _user_line()
    return Node(
        primitive, inputs, params or NO_PARAMS, types, arrays, scopes, order, source
    ).outputs()


def rebuild(node: Node, inputs: tuple[Value, ...]) -> Node:
    """The same application on other inputs of the same types; nothing is evaluated."""
    unknown = (None,) * len(node.types)
    return Node(
        node.primitive,
        inputs,
        node.params,
        node.types,
        unknown,
        NO_SCOPES,
        next(_orders),
        node.source,
    )


def made(
    primitive: Primitive, inputs: Sequence[Value], source: SourceLine | None = None, **params: Any
) -> Value:
    """The first output of a new Node outside of any scope, for passes; nothing is evaluated."""
    types = primitive.shape(*[v.type for v in inputs], **params)
    unknown = (None,) * len(types)
    node = Node(
        primitive,
        tuple(inputs),
        params or NO_PARAMS,
        types,
        unknown,
        NO_SCOPES,
        next(_orders),
        source,
    )
    return Value(types[0], node, 0, None, NO_SCOPES)


def leaf(
    kind: TensorType,
    scopes: frozenset[Scope],
    array: Array | None = None,
    weak: type[float] | type[int] | None = None,
) -> Value:
    """An input: abstract, or concrete where `array` is given; `weak` where a scalar came in."""
    return Value(kind, None, 0, array, scopes, weak)


def constant(x: object) -> Value:
    """A leaf that depends on nothing. An array that the caller may still write to is copied."""
    array = settled(np.asarray(x))
    return Value(tensor_type(array.shape, array.dtype), None, 0, array, NO_SCOPES)


def settled(array: Array) -> Array:
    """The array itself if nobody can write to its memory, else a read-only copy.

    A graph is read after the user's function has gone on, and may have reused its buffers. Axes
    that are repeated by a stride of 0 stay so.
    """
    owner: Any = array
    while isinstance(owner, np.ndarray) and not owner.flags.writeable:
        owner = owner.base
    if not isinstance(owner, np.ndarray):
        return array
    repeated = [n > 1 and s == 0 for n, s in zip(array.shape, array.strides, strict=True)]
    if not any(repeated):
        own = array.copy(order="K")
        own.flags.writeable = False
        return own
    own = array[tuple([slice(0, 1) if r else slice(None) for r in repeated])].copy()
    own.flags.writeable = False
    return np.broadcast_to(own, array.shape)


def is_live(x: object) -> bool:
    """Whether x depends on a leaf of a scope that is still open."""
    if type(x) is Value:
        for scope in x.scopes:  # asked of every operand, and any([...]) takes twice as long
            if scope.alive:
                return True
    return False


def live_scopes(operands: Sequence[object]) -> frozenset[Scope]:
    """The open scopes that any operand depends on."""
    found = NO_SCOPES
    for x in operands:
        if type(x) is Value and x.scopes is not found:
            alive = x.scopes
            for scope in alive:
                if not scope.alive:
                    alive = frozenset([s for s in alive if s.alive])
                    break
            found = alive if not found else found | alive
    return found


def array_of(x: Operand) -> Array:
    """The array of an operand that is not being traced."""
    if type(x) is not Value:
        return x
    if x.array is None:
        raise LeakedTracerError(
            f"a traced value {x.type}{_made_at(x)} is used after the transform that traced it has "
            "returned; return it from the transformed function instead of keeping it in an outside "
            "variable"
        )
    return x.array


def type_of(x: Operand) -> TensorType:
    """Shape and dtype of an operand."""
    if type(x) is Value:
        return x.type
    array = np.asarray(x)
    return tensor_type(array.shape, array.dtype)


def _made_at(x: Value) -> str:
    return "" if x.node is None or x.node.source is None else f" (made at {x.node.source})"


_ROOTS = tuple(
    [os.path.dirname(path) + os.sep for path in (os.path.dirname(__file__), np.__file__)]
)
_ours: dict[str, bool] = {}  # whether a file is of this package or NumPy, for those that were met


def _user_line() -> SourceLine | None:
    """The innermost frame outside this package and NumPy."""
    frame = sys._getframe(2)  # pyright: ignore[reportPrivateUsage]
    while frame is not None:
        code = frame.f_code
        ours = _ours.get(code.co_filename)
        if ours is None:
            ours = _ours[code.co_filename] = code.co_filename.startswith(_ROOTS)
        if not ours:
            return _source_line(code.co_filename, frame.f_lineno, code.co_name)
        frame = frame.f_back
    return None


def user_line() -> SourceLine | None:
    """The line of the user's code that is running, for error messages."""
    return _user_line()
