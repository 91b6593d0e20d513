"""x.flat of a traced array: its elements in C order, to read, write and walk over.

NumPy's reads of `x.flat` are copies and its writes reach x; so it is here, by a line of the
elements that is written and put back.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np


class Flat:
    """The flat iterator of `array`, a Tracer."""

    __slots__ = ("array",)

    def __init__(self, array: Any) -> None:
        self.array = array

    def __len__(self) -> int:
        return self.array.size

    def __iter__(self) -> Iterator[Any]:
        return iter(self.array.flatten())

    def __getitem__(self, index: Any) -> Any:
        return self.array.flatten()[index]

    def __setitem__(self, index: Any, new: Any) -> None:
        """The new values, repeated without end as NumPy does, at the places of the index."""
        line = self.array.flatten()
        line[index] = np.resize(new, np.shape(line[index])) if np.ndim(new) else new
        self.array.rebind(line.reshape(self.array.shape).value)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self.array.__array__(dtype, copy)
