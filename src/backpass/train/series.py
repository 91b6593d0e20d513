"""Many batches in one native call: what a training step and an evaluator have in common there.

A series stands for the single calls: it gives what they would have given, up to the first batch
that fails, whose single call then says why. How many batches one call takes depends on the program
alone, and calls begin at multiples of that, so that nothing depends on the clock.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from backpass.jit import BatchSeries, Jitted
from backpass.train.batches import Batch, Rows

Arguments = Callable[[Batch], tuple[Any, ...]]


@dataclass(frozen=True, slots=True, eq=False)
class Ran:
    """What a series gave.

    Attributes:
        count: batches that ran whole; fewer than asked for if the next one must be called alone.
        outputs: what the function returns, with a new axis 0 for the batches.
        targets: (count * batch size, ...), None without.
    """

    count: int
    outputs: Any
    targets: Any


class SeriesOf:
    """The series of one function of a batch, made anew when the model's mode or the batch changes.

    Args:
        function: jitted, or not, and then there is no series.
        arguments: what it is called with for a batch.
        stop: see `Jitted.series`.
    """

    def __init__(
        self, function: Any, arguments: Arguments, stop: Callable[[Any], Any] | None = None
    ) -> None:
        self.function, self.arguments, self.stop = function, arguments, stop
        self._made: BatchSeries | None = None

    def at_most(self, rows: Rows | None) -> int:
        """How many batches one call takes; 1 if they must be called singly."""
        series = None if rows is None else self._series(rows)
        return 1 if series is None else series.at_most

    def run(self, rows: Rows, begin: int, count: int) -> Ran:
        """Run batches `begin` to `begin + count`, after `at_most` of these rows."""
        series = self._series(rows)
        if series is None:
            return Ran(0, None, rows.targets(begin, 0))
        done, outputs = series(rows.tables, rows.order[begin : begin + count])
        return Ran(done, outputs, rows.targets(begin, done))

    def _series(self, rows: Rows) -> BatchSeries | None:
        found = self._made
        if found is None or not found.takes(rows.tables, rows.batch_size) or not found.holds():
            found = self._made = self._make(rows)
        return found

    def _make(self, rows: Rows) -> BatchSeries | None:
        """The series for batches of these rows, if there is one."""
        if not isinstance(self.function, Jitted) or not len(rows.order):
            return None
        made = self.function.series(*self.arguments(rows.blank()), stop=self.stop)
        return made if made is not None and made.takes(rows.tables, rows.batch_size) else None


def until_boundary(begin: int, end: int, step: int) -> int:
    """How many batches to run from `begin` on: to the next multiple of `step`, or to `end`.

    >>> until_boundary(5, 100, 8), until_boundary(8, 10, 8)
    (3, 2)
    """
    return min(step - begin % step, end - begin)


__all__ = ["Ran", "SeriesOf", "until_boundary"]
