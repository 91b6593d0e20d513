"""What a thread holds while it compiles, so that a child forked meanwhile finds it free.

A fork copies locks as they are and only the thread that forked, so a lock that another thread held
stays taken for ever in the child. Invariant: what is here is free in a child, unless the forking
thread itself holds it.
"""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache


class ForkedLock:
    """A lock that its thread may take again, and that is another in each process."""

    __slots__ = ("_lock", "_process")

    def __init__(self) -> None:
        self._lock, self._process = threading.RLock(), os.getpid()

    def here(self) -> threading.RLock:
        """The lock of this process, to be held by `with`."""
        if self._process != os.getpid():
            self._lock, self._process = threading.RLock(), os.getpid()
        return self._lock


class _Collector:
    """Whether `uncollected` has the cyclic garbage collector turned off."""

    off = False


@contextmanager
def uncollected() -> Iterator[None]:
    """Without the cyclic garbage collector: a graph is many objects and no cycle, and looking at
    them again and again took 40 % of the time of a long trace.
    """
    _mind_forks()
    enabled = gc.isenabled()
    if enabled:
        gc.disable()
        _Collector.off = True
    try:
        yield
    finally:
        if enabled:
            _Collector.off = False
            gc.enable()


@lru_cache(maxsize=1)
def _mind_forks() -> None:
    os.register_at_fork(after_in_child=_collect_again)


def _collect_again() -> None:
    """Turn the collector on in a child that was forked while another thread compiled."""
    if _Collector.off:
        _Collector.off = False
        gc.enable()


__all__ = ["ForkedLock", "uncollected"]
