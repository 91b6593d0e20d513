"""Kernel: a loop nest as data. What is computed, and separately how it is scheduled.

A LoopKernel visits a domain of `extents`. Its first `outer` axes are the outer loops, whose
iterations are independent of each other; the rest are the inner loops. Its stages run one after the
other in each outer iteration: a stage with `loops` runs its ops for every point of the inner axes,
one without runs them once. Every op is one SSA value, numbered through the whole kernel. A value of
a looping stage is an element value and is seen in that stage alone; a value of a stage without
loops, and the result of a reduction, is a row value and is seen in all later stages.

So a softmax is three looping stages over a row, a batch norm the same over columns, a map one
looping stage, and a scalar program one stage without loops. Invariant: nothing here knows LLVM, and
the order of every floating-point operation follows from the kernel alone, never from the number of
threads. Next: `verify.py`, `interpret.py` (the oracle), `show.py`; `codegen/` makes native code.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import prod
from typing import Any

import numpy as np

DType = np.dtype[Any]

LANES = 16  # logical lanes of a reduction along the vector axis, on every machine


class Space(Enum):
    """Where a buffer of a kernel lies."""

    MEMORY = "memory"  # a pointer that the caller gives
    SCRATCH = "scratch"  # private to one outer iteration: no element outlives it


@dataclass(frozen=True, slots=True)
class Buffer:
    """A run of `size` elements that a kernel reads or writes."""

    dtype: DType
    size: int
    space: Space = Space.MEMORY
    written: bool = False


@dataclass(frozen=True, slots=True)
class Access:
    """The element `offset + sum(stride * index)` of a buffer; one stride for each kernel axis.

    In a stage without loops, and of a scratch buffer in the outer axes, the strides of the axes
    that are not visited are 0.
    """

    buffer: int
    offset: int
    strides: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Indexed:
    """An access whose last part is data: `access + sum(stride * wrap(args[k], extent))`.

    Index k is wrapped once where negative. Out of 0..extent it sets the kernel's status to 1, and
    the element read is that of index 0; nothing outside the buffer is touched.
    """

    access: Access
    strides: tuple[int, ...]
    extents: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Op:
    """One SSA value. `code` is one of:

    - `load` (param: Access; with one boolean arg, a guard: where it is False nothing is read, and
      the
      value is 0), `load_at` (param: Indexed; args: int64 indices), `store` (param: Access;
      one arg; its value is not used),
    - `const` (param: a Python number), `index` (param: an axis; int64),
    - `reduce` (param: "sum", "prod", "max", "min", "any", "all"; one arg): a row value, ready after
      its
      stage; max and min give NaN if any element is NaN,
    - `scan` (param: "sum", "prod"; one arg): the running reduction along the last inner axis,
      itself
      included; an element value,
    - `wrap` (param: an extent; one int64 arg): an index, counted from the end where it is negative;
      out
      of range the status becomes 1 and the value 0,
    - `acc`: in an epilogue, the product (Gemm) or the sum (ScatterAdd) at this place,
    - the name of an elementwise primitive (`add`, `exp`, `select`, `cast`, ...; see
      `codegen/arithmetic.py`). `dtype` is that of the result; booleans are np.bool_.
    """

    code: str
    args: tuple[int, ...]
    dtype: DType
    param: Any = None


@dataclass(frozen=True, slots=True)
class Stage:
    """Ops that run together: for every point of the inner axes if `loops`, else once."""

    loops: bool
    ops: tuple[Op, ...]


@dataclass(frozen=True, slots=True)
class Clip:
    """Outer axis `outer` counts blocks of inner axis `inner`; the last block may be cut.

    Inner axis `inner` runs to min(extents[inner], total - index[outer] * extents[inner]).
    """

    outer: int
    inner: int
    total: int


@dataclass(frozen=True, slots=True)
class Schedule:
    """How a LoopKernel runs. It never changes the result but for the order of a reduction.

    `vector` is the axis along which lanes go: the last outer axis (each lane is another row) or an
    inner axis, or None for scalar code. `unroll` (1 to 8) is how many vectors are worked on at
    once. A reduction along a vectorised inner axis keeps unroll * LANES partial results, number l
    those of the positions l modulo unroll * LANES, which run with the other inner axes outside, in
    their order; neighbouring vectors are joined first, then the lanes of the one that is left by
    halves: 8 pairs, 4, 2, 1. `parallel` says whether outer iterations are shared among threads;
    small kernels are not. With `band`, share b is the iterations [b * band, (b + 1) * band) of the
    one outer axis, as far as it has them.
    """

    vector: int | None = None
    unroll: int = 1
    parallel: bool = False
    band: int = 0


@dataclass(frozen=True, slots=True)
class LoopKernel:
    """A loop nest over `extents`; see the module. `clip` cuts the last block of a split axis."""

    name: str
    buffers: tuple[Buffer, ...]
    extents: tuple[int, ...]
    outer: int
    stages: tuple[Stage, ...]
    clip: Clip | None = None
    schedule: Schedule = Schedule()

    @property
    def ops(self) -> tuple[Op, ...]:
        """The ops of all stages, by their numbers."""
        return tuple([op for stage in self.stages for op in stage.ops])


@dataclass(frozen=True, slots=True)
class Gemm:
    """c[b, i, j] = sum over k of x[b, i, k] * y[b, k, j], and what is done with it.

    The axes of its accesses are (batch, row, column, depth): `x` has stride 0 along columns, `y`
    along rows. `epilogue` is one run of ops over (batch, row, column), axes 0, 1, 2, in which `acc`
    is the product; it must store something. Its loads may not read what its stores write, except at
    the same element. With `bands`, which divide the rows, share b of that many is band b of the
    rows, on every machine; else the shares are the emitter's.
    """

    name: str
    buffers: tuple[Buffer, ...]
    batch: int
    rows: int
    columns: int
    depth: int
    dtype: DType
    x: Access
    y: Access
    epilogue: tuple[Op, ...]
    parallel: bool = False
    bands: int = 0


@dataclass(frozen=True, slots=True)
class ScatterAdd:
    """out[wrap(indices[n]), :] += updates[n, :] for n in order; out is set to zeros first.

    `indices` are k buffers of int64, one for each n, over the leading `extents` of out; `width` is
    the number of elements below them. Updates are read over the axes (*counts, column), the product
    of `counts` being the number of n. Threads own columns or ranges of rows, so each sum has the
    order of n. An index out of range sets the status to 1 and adds nothing.

    With an `epilogue`, over (0, row, column) and with `acc` as the sum, out is what it stores:
    x - t or x + t, where t depends on the sum and on single numbers alone (`change.py`). Then
    indices are in range, and rows that no index names are not visited where they would keep their
    value.
    """

    name: str
    buffers: tuple[Buffer, ...]
    out: int
    updates: Access
    indices: tuple[int, ...]
    extents: tuple[int, ...]
    counts: tuple[int, ...]
    width: int
    parallel: bool = False
    epilogue: tuple[Op, ...] = ()

    @property
    def count(self) -> int:
        """How many rows are added."""
        return prod(self.counts)

    @property
    def rows(self) -> int:
        """The rows of out."""
        return prod(self.extents)


Kernel = LoopKernel | Gemm | ScatterAdd
