"""jit: from a call's signature to a Program, and the call of it.

The function is traced once for each signature (structure, shapes, dtypes, and what Modules and
optimizers say of themselves) over abstract values; the Graph goes through the passes and is
compiled. Cells of argument Modules and optimizers are extra inputs, and what the function writes to
them becomes extra outputs, written back in place.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from backpass.dtypes import check_supported
from backpass.errors import TracingError
from backpass.ir import Graph, Scope, ScopeKind, is_live, leaf, type_of
from backpass.ops.operand import operand
from backpass.ready import Guard, Ready, guard_of
from backpass.trace import Cell, Tracer, bound, capture, is_stateful, to_result, unwrap
from backpass.trace.cells import is_bound, numbered, renamed
from backpass.trace.draws import draws_said
from backpass.trace.forks import ForkedLock, uncollected
from backpass.transforms.arguments import flat_outputs, is_zero_rank_array, weak_type
from backpass.tree import Tree, flatten, unflatten

if TYPE_CHECKING:
    from backpass.codegen import Program, Series

Function = Callable[..., Any]
READY = 4  # signatures that a jitted function knows the short way for


@dataclass(frozen=True, slots=True)
class Compiled:
    """A program for one signature: which of the call's Cells it writes, how its outputs are nested.

    Cells are known by their place among the Cells of the arguments, so that models of one shape
    share a program and no model is kept alive by it.
    """

    program: Program
    written: tuple[int, ...]
    structure: Tree


class BatchSeries:
    """A jitted step that runs on one batch of rows after another, many in one native call.

    Made by `Jitted.series`; the Modules and optimizers are those of that call.

    Attributes:
        at_most: how many batches to run in one call, so that it takes milliseconds.
    """

    def __init__(self, ready: Ready, series: Series) -> None:
        self._ready, self._series = ready, series
        self.at_most = series.at_most

    def holds(self) -> bool:
        """Whether it is still what a call would run: nobody changed a mode, or froze a layer."""
        return self._ready.has_its_cells() and all([g.holds() for g in self._ready.guards])

    def takes(self, tables: Sequence[np.ndarray], rows: int) -> bool:
        """Whether batches of so many rows of these tables are of the types that it is for."""
        return self._series.takes(tables, rows)

    def __call__(self, tables: Sequence[np.ndarray], order: np.ndarray) -> tuple[int, Any]:
        """Run a batch for each row of `order`, (count, rows) int64, of the tables, (N, ...) each.

        Returns:
            How many were run whole before one failed or said stop, which has changed nothing; and
            what the step returns, with a new axis 0 for the batches.
        """
        done, outputs = self._series(tables, order, self._ready.arrays)
        return done, unflatten(self._ready.structure, outputs)


class _ClosesOverTracedError(TracingError):
    """The function needs an outer transform beyond its arguments: it runs inside that one."""


class Jitted:
    """A function that is compiled on its first call with each signature. Made by `jit`."""

    def __init__(self, function: Function, static_argnums: tuple[int, ...]) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.static_argnums = static_argnums
        self._compiled: dict[Hashable, Compiled] = {}
        self._ready: list[Ready] = []
        self._lock = ForkedLock()

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Run the compiled function; inside another transform it is traced as part of it."""
        if not options and not is_bound() and not Scope.any_open():
            for ready in self._ready:
                result = ready.call(args)
                if result is not NotImplemented:
                    return result
        return self._run(args, options)

    def _run(self, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """The long way: look at every argument, and compile if this signature is new."""
        found = _Arguments(args, options, self.static_argnums)
        if found.traced():
            return self.function(*args, **options)
        try:
            compiled = self._get(found)
        except _ClosesOverTracedError:
            return self.function(*args, **options)
        cells = [cell.read() for cell in found.cells]
        arrays = _apart(found.arrays, cells) if compiled.written else found.arrays
        outputs = compiled.program([*arrays, *cells])
        if not options and not self.static_argnums:
            self._keep(compiled, found, [guard_of(x) for x in args])
        structure = renamed(compiled.structure, found.cells)
        return unflatten(structure, [to_result(x) for x in outputs])

    def _keep(self, compiled: Compiled, found: _Arguments, guards: Sequence[Guard | None]) -> None:
        """Try this way first from now on, if it can be short; those whose Modules are gone go."""
        sure = [g for g in guards if g is not None]
        if len(sure) == len(guards):
            others = [r for r in self._ready if r.is_alive()]
            self._ready = [_ready(compiled, found, sure), *others][:READY]

    def series(self, *args: Any, stop: Callable[[Any], Any] | None = None) -> BatchSeries | None:
        """The same call as a `BatchSeries`: the arrays among `args` are batches to be filled.

        Args:
            args: as of a call; all arrays have the rows of a batch along axis 0.
            stop: takes from what the step returns the boolean scalar whose False ends a series.

        Returns:
            None if it must be called batch by batch: it calls back into Python, or an argument is
            of a kind that only a call can look at.
        """
        found = _Arguments(args, {}, ())
        guards = [g for g in map(guard_of, args) if g is not None]
        if len(guards) < len(args) or self.static_argnums or is_bound() or found.traced():
            return None
        compiled = self._get(found)
        if not compiled.program.single:
            return None
        places = unflatten(compiled.structure, list(range(len(compiled.program.result_types))))
        series = _compiler().Series(
            compiled.program, len(found.arrays), None if stop is None else stop(places)
        )
        return BatchSeries(_ready(compiled, found, guards), series)

    def graph(self, *args: Any, **options: Any) -> Graph:
        """The graph that a call with these arguments runs, after the passes."""
        return self._get(_Arguments(args, options, self.static_argnums)).program.graph

    def plan(self, *args: Any, **options: Any) -> Any:
        """What a call with these arguments does, without running it: a `codegen.plan.Plan`.

        It has `peak_bytes` (what a call needs besides its arguments), `flops`, `bytes`, `kernels`
        with shapes and texts, and the graph `before` and `after` the passes; it prints as a table.

        >>> import numpy as np
        >>> jit(lambda x: x @ x).plan(np.ones((4, 4))).flops
        128
        """
        return _compiler().plan_of(
            self._get(_Arguments(args, options, self.static_argnums)).program
        )

    def profile(self, *args: Any, repeats: int = 20, **options: Any) -> Any:
        """Time each kernel of a call on copies of these arguments: a `codegen.profile.Profile`.

        Args:
            args, options: as of the call; nothing of them is changed.
            repeats: runs of each kernel, of which the median counts.

        Returns:
            For each kernel seconds, GFLOP/s, GB/s and percent of the machine's peak, which is
            measured once in a process (under a second); it prints as a table.
        """
        found = _Arguments(args, options, self.static_argnums)
        arrays = [*found.arrays, *[cell.read() for cell in found.cells]]
        return _compiler().profile_of(self._get(found).program, arrays, repeats)

    def operands(self, *args: Any, **options: Any) -> list[tuple[Any, Cell | None]]:
        """What a call feeds to its `graph`: each array, and the Cell it is read from, if any."""
        found = _Arguments(args, options, self.static_argnums)
        return [*((array, None) for array in found.arrays), *((c.read(), c) for c in found.cells)]

    def _get(self, found: _Arguments) -> Compiled:
        key = found.signature()
        compiled = self._compiled.get(key)
        if compiled is None:
            with self._lock.here(), uncollected():
                compiled = self._compiled.get(key)
                if compiled is None:
                    compiled = self._compiled[key] = _compile(self.function, found)
        return compiled

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else functools.partial(self, instance)


class _Arguments:
    """The arguments of one call: arrays to feed, Cells to bind, and the rest, which is static."""

    __slots__ = ("arrays", "cells", "dynamic", "leaves", "places", "stateful", "structure")

    def __init__(
        self, args: tuple[Any, ...], options: dict[str, Any], static: tuple[int, ...]
    ) -> None:
        skipped = {i % len(args) for i in static if args}
        given = tuple([_Static(x) if i in skipped else x for i, x in enumerate(args)])
        self.leaves, self.structure = flatten((given, options))
        self.stateful = [x for x in self.leaves if is_stateful(x)]
        self.dynamic = [i for i, x in enumerate(self.leaves) if _is_array(x)]
        self.arrays: list[Any] = []
        if not self.traced():
            self.arrays = [operand(self.leaves[i]) for i in self.dynamic]
        cells: dict[Cell, None] = {}
        for x in self.stateful:
            cells.update(dict.fromkeys(x.__backpass_cells__().values()))
        cells.update(dict.fromkeys([x for x in self.leaves if isinstance(x, Cell)]))
        self.cells = tuple(cells)

    def traced(self) -> bool:
        """Whether an outer transform is tracing any argument."""
        return any([isinstance(x, Tracer) and is_live(x.value) for x in self.leaves]) or any(
            [
                isinstance(cell.read(), Tracer)
                for x in self.stateful
                for cell in x.__backpass_cells__().values()
            ]
        )

    def signature(self) -> Hashable:
        """Equal for two calls that may share a program."""
        parts: list[Hashable] = [self.structure]
        dynamic = set(self.dynamic)
        places = {cell: i for i, cell in enumerate(self.cells)}
        for i, x in enumerate(self.leaves):
            if i in dynamic:
                parts.append(weak_type(x))
            elif is_stateful(x):
                own = tuple([(name, places[c]) for name, c in x.__backpass_cells__().items()])
                parts.append((type(x), x.__backpass_static__(), own))
            elif isinstance(x, Cell):
                parts.append((Cell, places[x]))
            else:
                parts.append(_static_key(x))
        parts.extend([type_of(x) for x in self.arrays])
        parts.extend([(c.shape, c.dtype, c.trainable) for c in self.cells])
        return tuple(parts)


@dataclass(frozen=True, slots=True, eq=False)
class _Static:
    """An argument that is part of the signature, by its value."""

    value: Any


def _typed(value: Any) -> Hashable:
    """The types in a value: (1,) and (1.0,) are equal, and other programs."""
    if isinstance(value, tuple):
        return type(value), tuple(map(_typed, value))
    return type(value)


def _static_key(x: Any) -> Hashable:
    value = x.value if isinstance(x, _Static) else x
    try:
        hash(value)
    except TypeError as error:
        raise TracingError(
            f"jit: a static argument of type {type(value).__name__} is not hashable; make it a "
            "tuple or a frozen object, or pass an array"
        ) from error
    return _typed(value), value


def _is_array(x: Any) -> bool:
    return isinstance(x, (np.ndarray, np.generic, int, float, Tracer)) and not isinstance(
        x, bool | Cell
    )


def _compile(function: Function, found: _Arguments) -> Compiled:
    """Trace and compile one signature."""
    with Scope(ScopeKind.COMPILE) as scope:
        own = frozenset((scope,))
        for x in found.arrays:
            check_supported(type_of(x).dtype, "jit")
        weak = [weak_type(found.leaves[i]) for i in found.dynamic]
        inputs = [leaf(type_of(x), own, None, w) for x, w in zip(found.arrays, weak, strict=True)]
        states = [leaf(type_of(c.array), own) for c in found.cells]
        leaves = [x.value if isinstance(x, _Static) else x for x in found.leaves]
        for i, v in zip(found.dynamic, inputs, strict=True):
            leaves[i] = Tracer(v, scalar=not is_zero_rank_array(leaves[i]))
        args, options = unflatten(found.structure, leaves)
        bindings = {c: Tracer(v) for c, v in zip(found.cells, states, strict=True)}
        with bound(bindings, closed=True) as overlay, draws_said(function):
            out = function(*args, **options)
        outputs, structure = flat_outputs(out)
        written = [c for c in overlay.written if c in bindings]
        news = [operand(unwrap(overlay.values[c])) for c in written]
        captured = capture([*inputs, *states], [*outputs, *news], scope)
    if captured.free:
        raise _ClosesOverTracedError(
            "jit: the function uses a traced value of an outer transform that is not an argument, "
            "so it has no graph of its own; pass the value as an argument"
        )
    places = {cell: i for i, cell in enumerate(found.cells)}
    written_places = tuple([places[c] for c in written])
    updates = {len(outputs) + k: len(inputs) + p for k, p in enumerate(written_places)}
    program = _compiler().compile_graph(captured.graph, updates)
    return Compiled(program, written_places, numbered(structure, places))


def _ready(compiled: Compiled, found: _Arguments, guards: Sequence[Guard]) -> Ready:
    structure = renamed(compiled.structure, found.cells)
    return Ready(compiled.program, structure, found.cells, guards)


def _compiler() -> Any:
    """The room `codegen`, entered when the first function is compiled.

    Its import costs as much as all the rest, and who only differentiates never needs it. No cycle
    is
    hidden by this: the layers are checked with the import above that the type checker sees.
    """
    return importlib.import_module("backpass.codegen")


def _apart(arrays: list[Any], cells: list[Any]) -> list[Any]:
    """The arrays, copied where they are a Cell's own memory, which the program may write to."""
    owned = {id(c) for c in cells}
    return [np.array(x) if id(x) in owned or id(x.base) in owned else x for x in arrays]


def jit(function: Function | None = None, *, static_argnums: int | Sequence[int] = ()) -> Any:
    """Compile a function of arrays, containers of them, Modules and optimizers.

    Args:
        function: NumPy code without Python branches on array values. Arrays and numbers are traced;
            strings, booleans, None and `static_argnums` are part of the signature. Modules and
            optimizers among the arguments are updated in place. What it closes over, and random
            numbers that it draws from NumPy, are constants from the first call on.
        static_argnums: positions whose values are fixed at compile time (hashable).

    Returns:
        A function with the same arguments. The first call with each signature compiles. Inside
        another transform it runs as part of it.

    Raises:
        TypeError: (TracingError) where Python needs the value of a traced array, naming the line
            and `bp.cond`.

    >>> import numpy as np
    >>> jit(lambda x: np.sum(x**2))(np.array([1.0, 2.0]))
    np.float64(5.0)
    """
    static = (static_argnums,) if isinstance(static_argnums, int) else tuple(static_argnums)
    if function is None:
        return lambda f: Jitted(f, static)
    return Jitted(function, static)


__all__ = ["BatchSeries", "Jitted", "jit"]
