"""What a process makes once: under one lock, which no other thread holds while the process forks.

So a forked child never finds the lock taken by a thread that it does not have, nor LLVM in the
middle of something. Invariant: nobody waits for another thread's work while holding the lock.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import lru_cache, wraps
from typing import TypeVar

_T = TypeVar("_T")
_LOCK = threading.RLock()


def process_lock() -> threading.RLock:
    """The lock; it may be taken again by the thread that has it."""
    _hold_over_forks()
    return _LOCK


def once(make: Callable[[], _T]) -> Callable[[], _T]:
    """Decorate a function without arguments: it runs once, and all callers get what it made."""
    made = lru_cache(maxsize=1)(make)

    @wraps(make)
    def get() -> _T:
        with process_lock():
            return made()

    return get


@lru_cache(maxsize=1)
def _hold_over_forks() -> None:
    os.register_at_fork(
        before=_LOCK.acquire, after_in_parent=_LOCK.release, after_in_child=_LOCK.release
    )
