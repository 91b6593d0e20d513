"""DataLoader: batches of arrays, in an order that depends on (seed, epoch) alone.

So the state of a run is three numbers (seed, epoch, batch index): `batches(epoch, start=k)` goes on
in the middle of an epoch with the very batches that would have come. Batches are fresh native
arrays: the data are never written, and a memory map is read batch by batch.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from backpass.data.batch_sources import BatchSource, batch_source
from backpass.data.permutation import check_whole, permutation
from backpass.errors import DataError
from backpass.wording import count


class DataLoader:
    """Shuffled batches of data that can be read again and again.

    Args:
        data: one or more arrays of one length; or one tuple or mapping of arrays; or one data set
            with `__len__` and `__getitem__` whose samples are arrays, numbers, tuples or mappings.
        batch_size: rows in a batch; the last one of an epoch may have fewer.
        shuffle: a new order each epoch; False keeps the order of the data.
        seed: 0 <= seed < 2**64.
        drop_last: leave out a last batch that is not full.

    Iterating the loader itself runs epoch 1, the next time epoch 2, and so on; `batches` takes the
    epoch as an argument and leaves that count alone.

    Raises:
        DataError: lengths that differ, no rows, an iterator, a batch size below 1.

    >>> import numpy as np
    >>> loader = DataLoader(np.arange(5), np.arange(5) * 10, batch_size=2, shuffle=False)
    >>> for x, y in loader:
    ...     print(x, y)
    [0 1] [ 0 10]
    [2 3] [20 30]
    [4] [40]
    """

    def __init__(
        self,
        *data: Any,
        batch_size: int = 32,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        self._source: BatchSource = batch_source(data)
        self.batch_size = check_whole("batch_size", batch_size, 1)
        self.shuffle = bool(shuffle)
        self.seed = check_whole("seed", seed, 0, 2**64 - 1)
        self.drop_last = bool(drop_last)
        self._next_epoch = 1
        self._newest_order: tuple[int, np.ndarray] | None = None
        if len(self) == 0:
            raise DataError(
                f"{count(self.n_samples, 'row')} make no full batch of {self.batch_size:,}, and "
                "drop_last leaves out what is not full. Set drop_last=False, or a smaller batch."
            )

    @property
    def n_samples(self) -> int:
        """The number of rows."""
        return self._source.n_samples

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        full, rest = divmod(self.n_samples, self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def indices(self, epoch: int) -> np.ndarray:
        """(n_samples,) int64: the order of the rows in `epoch` (0 <= epoch < 2**64)."""
        return self._order(epoch).copy()

    def _order(self, epoch: int) -> np.ndarray:
        """As `indices`; the newest one is kept."""
        check_whole("epoch", epoch, 0, 2**64 - 1)
        if not self.shuffle:
            return np.arange(self.n_samples, dtype=np.int64)
        if self._newest_order is None or self._newest_order[0] != epoch:
            self._newest_order = (epoch, permutation(self.n_samples, self.seed, epoch))
        return self._newest_order[1]

    def batches(self, epoch: int, start: int = 0) -> Iterator[Any]:
        """The batches of `epoch` from number `start` (counted from 0) on.

        A batch is a tuple of arrays, also when there is only one, or a dict if the data was a
        mapping. `start` may be `len(self)`: nothing is left then.
        """
        order = self._order(epoch)
        check_whole("start", start, 0, len(self))
        return self._batches(order, start)

    def _batches(self, order: np.ndarray, start: int) -> Iterator[Any]:
        for number in range(start, len(self)):
            begin = number * self.batch_size
            yield self._source.gather(order[begin : begin + self.batch_size])

    def __iter__(self) -> Iterator[Any]:
        epoch = self._next_epoch
        self._next_epoch += 1
        return self.batches(epoch)

    def set_epoch(self, epoch: int) -> None:
        """The next `for ... in loader` runs this epoch."""
        self._next_epoch = check_whole("epoch", epoch, 0, 2**64 - 1)

    @property
    def arrays(self) -> tuple[np.ndarray, ...] | Mapping[str, np.ndarray] | None:
        """The arrays behind the loader, for whoever gathers by `indices`; None for a data set."""
        return self._source.arrays
