"""Series: a program run on one batch of rows after another, many in one native call.

Between two batches nothing but native code runs: it copies the rows of the next batch out of whole
tables into the program's arguments, moves the pointers of the outputs on, and runs the step. So a
step of ten microseconds costs ten microseconds, and what Python does is paid once for many. The
bits are those of single calls, for it is the same code on the same values.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from backpass.codegen.program import Program
from backpass.codegen.runtime import slot_offset
from backpass.codegen.series_text import SERIES, SERIES_BYTES
from backpass.ir import TensorType
from backpass.ir.graph import Array

WORK = 100_000_000  # weighed operations in a call: 1 to 5 ms, at most 100 on a slow machine
MOST_BYTES = 1 << 20  # of results that are kept for the caller


class Series:
    """Runs a program on batches.

    Args:
        program: it must be `program.single`.
        batched: how many of its inputs, the first ones, are batches of rows (axis 0). The rest are
            the same arrays for each batch, and may be written in place.
        stop: the number of a returned boolean scalar: where it is False, the run ends.

    Attributes:
        rows: in a batch.
        at_most: batches in one call. It depends on the program alone, not on time or threads.
    """

    def __init__(self, program: Program, batched: int, stop: int | None = None) -> None:
        if not program.single:
            raise ValueError("a program with reference calls runs batch by batch")
        self.program = program
        self.types = [program.image.types[slot] for slot in program.input_slots[:batched]]
        lengths = {t.shape[0] if t.shape else 0 for t in self.types}
        if len(lengths) != 1 or 0 in lengths:
            raise ValueError(
                f"batches of {sorted(lengths)} rows; each input needs the same, from 1"
            )
        self.rows = lengths.pop()
        self.stop = stop
        self._batches: list[Array] = []  # made when the first series runs
        held = sum([t.nbytes for t in program.result_types])
        self.at_most = max(1, min(WORK // max(program.work(), 1), MOST_BYTES // max(held, 1)))

    def takes(self, tables: Sequence[Array], rows: int) -> bool:
        """Whether batches of so many rows of these tables are the program's: plain arrays of the
        rows' types.
        """
        fits = len(tables) == len(self.types) and rows == self.rows
        return fits and all([_is_table(x, t) for x, t in zip(tables, self.types, strict=True)])

    def __call__(
        self, tables: Sequence[Array], order: Array, rest: Sequence[Array]
    ) -> tuple[int, list[Array]]:
        """Run a batch for each row of `order`.

        Args:
            tables: (N, ...) for each batched input; see `takes`.
            order: (count, rows) int64, from 0 to N - 1.
            rest: the arrays of the other inputs.

        Returns:
            How many batches ran to their end before one failed or said stop, which has changed
            nothing that is in place; and each result with the batches along a new axis 0.

        Raises:
            ValueError: tables or order do not fit.
            IndexError: a row is out of range.
        """
        order = np.ascontiguousarray(order, np.int64)
        if order.ndim != 2 or order.shape[1] != self.rows:
            raise ValueError(f"order {order.shape} for batches of {self.rows} rows")
        if not self.takes(tables, self.rows):
            raise ValueError("a series takes plain arrays of the types of its rows")
        known = min([len(table) for table in tables])
        if order.size and not (order.min() >= 0 and order.max() < known):
            raise IndexError(f"a row of a batch lies outside the {known:,} rows")
        count = len(order)
        types = self.program.result_types
        stacks = [np.empty((count, *t.shape), t.dtype) for t in types]
        if not count:
            return 0, stacks
        if not self._batches:
            self._batches = [np.empty(t.shape, t.dtype) for t in self.types]
        table = self._table(tables, order, stacks)
        self.program.enter_series([*self._batches, *rest], [s[0, ...] for s in stacks], table)
        return int(table[SERIES["done"] // 8]), stacks

    def _table(self, tables: Sequence[Array], order: Array, stacks: Sequence[Array]) -> Array:
        """The words that `bp_series` reads."""
        program = self.program
        gathers = [
            (x.ctypes.data, t.nbytes // self.rows, slot_offset(slot))
            for x, t, slot in zip(tables, self.types, program.input_slots, strict=False)
            if program.uses(slot)
        ]
        outputs = [
            (slot_offset(slot), t.nbytes)
            for t, slot in zip(program.result_types, program.output_slots, strict=True)
            if program.uses(slot)
        ]
        head = [0] * (SERIES_BYTES // 8)
        for name, value in (
            ("count", len(order)),
            ("stop", 0 if self.stop is None else stacks[self.stop].ctypes.data),
            ("order", order.ctypes.data),
            ("rows", self.rows),
            ("gathers", len(gathers)),
            ("outputs", len(outputs)),
        ):
            head[SERIES[name] // 8] = value
        words = [*head, *[w for g in gathers for w in g], *[w for o in outputs for w in o]]
        return np.array(words, np.uint64)


def _is_table(x: Array, t: TensorType) -> bool:
    return (
        type(x) is np.ndarray
        and x.dtype == t.dtype
        and x.dtype.isnative
        and x.shape[1:] == t.shape[1:]
        and x.ndim == len(t.shape)
        and x.flags.c_contiguous
        and x.flags.aligned
    )
