"""Parameter and Buffer: the Cells of a Module, with torch's names for what they are.

A Parameter is differentiated where `requires_grad` is set; a Buffer never is, and is part of the
`state_dict` where `persistent` is set. Both are one array with an identity, so assigning one
Parameter to two modules ties them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from backpass.errors import DTypeError
from backpass.trace import Cell
from backpass.transforms import stop_gradient


class Parameter(Cell):
    """An array that training changes.

    Args:
        data: the initial value, of a floating dtype; it is copied.
        requires_grad: whether transforms differentiate with respect to it.

    Raises:
        TypeError: (DTypeError) `data` is not floating.

    >>> w = Parameter(np.ones(2))
    >>> (w * 3).tolist(), w.requires_grad
    ([3.0, 3.0], True)
    """

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        array = np.asarray(data)
        if array.dtype.kind != "f":
            raise DTypeError(
                f"Parameter: dtype {array.dtype} has no derivative; use floats, or nn.Buffer for "
                "other arrays"
            )
        super().__init__(array, trainable=requires_grad)

    @property
    def requires_grad(self) -> bool:
        """Whether transforms differentiate with respect to it."""
        return self.trainable

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self.trainable = bool(value)

    def __getattr__(self, name: str) -> Any:
        if name == "grad":
            raise AttributeError(
                f"{self.describe()} holds no gradient; bp.value_and_grad(loss)(model, x, y) "
                "returns (value, grads), and grads[name] is that of the parameter called name"
            )
        return super().__getattr__(name)

    def numel(self) -> int:
        """The number of elements."""
        return int(self.size)

    def detach(self) -> Any:
        """The value, through which no derivative flows: the array, or a traced one."""
        return stop_gradient(self.read())

    def requires_grad_(self, requires_grad: bool = True) -> Parameter:
        """Set `requires_grad`; returns the Parameter."""
        self.trainable = bool(requires_grad)
        return self


class Buffer(Cell):
    """An array that belongs to a module's state and is not differentiated.

    Args:
        data: the initial value, of any dtype; it is copied.
        persistent: whether it is part of the `state_dict`.
    """

    __slots__ = ("persistent",)

    def __init__(self, data: Any, persistent: bool = True) -> None:
        super().__init__(data, trainable=False)
        self.persistent = persistent

    def __deepcopy__(self, memo: dict[int, Any]) -> Cell:
        new: Any = super().__deepcopy__(memo)
        new.persistent = self.persistent
        return new

    def __reduce__(self) -> Any:
        return _restored_buffer, (self._array, self.persistent, self.name)


def _restored_buffer(array: Any, persistent: bool, name: str) -> Buffer:
    buffer = Buffer(array, persistent)
    buffer.name = name
    return buffer
