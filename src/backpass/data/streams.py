"""Ready-made batches from the user, and why a one-shot iterator lasts for one epoch only.

A generator is used up when it has been read once: a second epoch would silently see nothing.
`BatchStream` gives the first epoch and raises at the second, naming the cause.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from backpass.errors import DataError
from backpass.wording import quote


def one_shot_name(source: object) -> str | None:
    """How to call `source` if it can be read only once (`generator 'rows'`), else None."""
    if not (hasattr(source, "__next__") and iter_returns_itself(source)):
        return None
    name = getattr(source, "__name__", None)
    kind = type(source).__name__
    return kind if name is None else f"{kind} {quote(name)}"


def iter_returns_itself(source: Any) -> bool:
    """Whether iterating `source` gives `source`: the mark of what can be read only once."""
    try:
        return iter(source) is source
    except TypeError:
        return False


class BatchStream:
    """Batches that the user makes: an iterable of batches, or a function that gives one.

    Args:
        source: an iterable that can be read again (a list, another loader), a one-shot iterator
            (good for one epoch), or a function of no arguments that returns an iterable.

    Raises:
        DataError: `source` cannot be iterated.

    >>> stream = BatchStream(batch for batch in [1, 2, 3])
    >>> list(stream.batches(epoch=1))
    [1, 2, 3]
    >>> list(stream.batches(epoch=2))
    Traceback (most recent call last):
    backpass.errors.DataError: The data is a generator '<genexpr>', a one-shot iterator: epoch 1 \
used it up and nothing is left for epoch 2. Pass arrays, a list, or a function that makes a new \
iterator for each epoch.
    """

    def __init__(self, source: Iterable[Any] | Callable[[], Iterable[Any]]) -> None:
        if not callable(source) and not hasattr(source, "__iter__"):
            raise DataError(
                f"A {type(source).__name__} is no source of batches. Give an iterable of batches, "
                "or a function that returns one."
            )
        self._source = source
        self._one_shot = one_shot_name(source)
        self._used_in: int | None = None

    def batches(self, epoch: int, start: int = 0) -> Iterator[Any]:
        """The batches of `epoch` from number `start` on; DataError if they are used up."""
        if self._one_shot is not None:
            if self._used_in is not None:
                raise DataError(
                    f"The data is a {self._one_shot}, a one-shot iterator: epoch {self._used_in} "
                    f"used it up and nothing is left for epoch {epoch}. Pass arrays, a list, or a "
                    "function that makes a new iterator for each epoch."
                )
            self._used_in = epoch
        source: Any = self._source
        makes_one = callable(source) and not hasattr(source, "__iter__")
        fresh: Any = source() if makes_one else source
        return self._counted(iter(fresh), epoch, start)

    @staticmethod
    def _counted(batches: Iterator[Any], epoch: int, start: int) -> Iterator[Any]:
        number = start
        for batch in islice(batches, start, None):
            number += 1
            yield batch
        if number == 0:
            raise DataError(
                f"The data gave no batch in epoch {epoch}: it is empty, or was already used up."
            )
