"""Forward hooks: functions that a Module calls after its `forward`, and the handle that takes one
away again.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from backpass.nn import structure

ForwardHook = Callable[[Any, tuple[Any, ...], Any], Any]
_numbers = itertools.count()


class RemovableHandle:
    """What `register_forward_hook` returns: `remove()` takes the hook away; it is a context manager
    too.
    """

    __slots__ = ("hooks", "number")

    def __init__(self, hooks: dict[int, ForwardHook], hook: ForwardHook) -> None:
        self.hooks = hooks
        self.number = next(_numbers)
        hooks[self.number] = hook
        structure.changed()

    def remove(self) -> None:
        """Take the hook away; the second time does nothing."""
        self.hooks.pop(self.number, None)
        structure.changed()

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()
