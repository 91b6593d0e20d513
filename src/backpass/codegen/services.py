"""Blocks of memory that native code and Python share, and the process's table of services.

The table (`runtime.SERVICES`) holds the addresses of what native code calls: the system's waiting
and waking, Python's interpreter lock and signals. Code reads them from there, so that it can be
kept on disk.
"""

from __future__ import annotations

import ctypes
import platform
import sys
import threading
import time
from typing import Any

import numpy as np

from backpass.codegen.once import once
from backpass.codegen.runtime import SERVICES, SERVICES_BYTES

Block = np.ndarray[tuple[int], np.dtype[np.uint8]]

_FUTEX_NUMBERS = {"x86_64": 202, "aarch64": 98, "riscv64": 98, "ppc64le": 221}
_COARSE_CLOCK = 6  # of Linux: to a few milliseconds, and read in 5 ns
_SYSTEM = {"yield": "sched_yield", "nanosleep": "nanosleep", "clock_gettime": "clock_gettime"}
_PLACES = {  # of threads, on Linux
    "getcpu": "sched_getcpu",
    "getaffinity": "sched_getaffinity",
    "setaffinity": "sched_setaffinity",
}
_PYTHON = {
    "save_thread": "PyEval_SaveThread",
    "restore_thread": "PyEval_RestoreThread",
    "check_signals": "PyErr_CheckSignals",
    "thread_ident": "PyThread_get_thread_ident",
    "call_no_args": "PyObject_CallNoArgs",
    "call_one_arg": "PyObject_CallOneArg",
    "decref": "Py_DecRef",
    "incref": "Py_IncRef",
    "long": "PyLong_FromLong",
}


def aligned_block(size: int) -> Block:
    """Zeroed bytes that begin at a multiple of 64."""
    whole = np.zeros(size + 64, np.uint8)
    skip = -whole.ctypes.data % 64
    return whole[skip : skip + size]


def put(block: Block, offset: int, value: int) -> None:
    """Set the 64-bit word at `offset`."""
    block[offset : offset + 8].view(np.uint64)[0] = value % 2**64


def get(block: Block, offset: int) -> int:
    """The 64-bit word at `offset`, not negative."""
    return int(block[offset : offset + 8].view(np.uint64)[0])


@once
def services() -> Block:
    """The process's table. `threads.py` and `entry.py` add their own functions to it."""
    block = aligned_block(SERVICES_BYTES)
    system: Any = ctypes.CDLL(None)
    for library, table in ((system, _SYSTEM), (ctypes.pythonapi, _PYTHON)):
        for name, symbol in table.items():
            put(block, SERVICES[name], _address_of(getattr(library, symbol)))
    linux = sys.platform == "linux"
    if linux and all([hasattr(system, symbol) for symbol in _PLACES.values()]):
        for name, symbol in _PLACES.items():
            put(block, SERVICES[name], _address_of(getattr(system, symbol)))
    number = _FUTEX_NUMBERS.get(platform.machine())
    if linux and number is not None and sys.byteorder == "little":
        put(block, SERVICES["syscall"], _address_of(system.syscall))
        put(block, SERVICES["futex"], number)
    put(block, SERVICES["clock"], _COARSE_CLOCK if linux else time.CLOCK_MONOTONIC)
    put(block, SERVICES["none"], id(None))
    put(block, SERVICES["ndarray"], id(np.ndarray))
    put(block, SERVICES["generation"], 1)
    put(block, SERVICES["main_thread"], threading.main_thread().ident or 0)
    return block


def _address_of(function: Any) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0
