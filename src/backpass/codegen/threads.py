"""The team: workers that wait in native code for a program to run, and the process's services.

A worker is a Python thread that enters the native loop `bp_worker` once and stays there without the
interpreter's lock. The team starts when the first parallel program runs, with as many threads as
`config.num_threads()` says, or as many as the system allows. It runs one job at a time.

Invariant: the number of threads never changes a bit of a result, so whatever cannot be had
(threads, or a free team) is done without. A forked child has no workers; it starts its own.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import platform
import sys
import threading
import time
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from backpass import config
from backpass.codegen import engine
from backpass.codegen.machine import host
from backpass.codegen.runtime import SERVICES, SERVICES_BYTES, TEAM, TEAM_BYTES, team_text

Block = np.ndarray[tuple[int], np.dtype[np.uint8]]

_SPIN_SECONDS = 4e-6
_FUTEX_NUMBERS = {"x86_64": 202, "aarch64": 98, "arm64": 98, "riscv64": 98, "ppc64le": 221}
_STOP_SECONDS = 1.0


def aligned_block(size: int) -> Block:
    """Zeroed bytes that begin at a multiple of 64."""
    whole = np.zeros(size + 64, np.uint8)
    skip = -whole.ctypes.data % 64
    return whole[skip : skip + size]


def put(block: Block, offset: int, value: int) -> None:
    """Set the 64-bit word at `offset`."""
    block[offset : offset + 8].view(np.int64)[0] = np.uint64(value & (2**64 - 1)).astype(np.int64)


def get(block: Block, offset: int) -> int:
    """The 64-bit word at `offset`."""
    return int(block[offset : offset + 8].view(np.uint64)[0])


@dataclass(slots=True)
class Team:
    """Workers and the memory they share with whoever gives them a job."""

    block: Block
    workers: list[threading.Thread] = field(default_factory=list[threading.Thread])

    @property
    def address(self) -> int:
        return self.block.ctypes.data

    @property
    def size(self) -> int:
        """Threads that run a job, the caller's among them."""
        return get(self.block, TEAM["size"])


@dataclass(slots=True)
class _State:
    """What a process has of this module; a forked child changes it."""

    lock: threading.RLock = field(default_factory=threading.RLock)
    team: Team | None = None
    retired: list[Team] = field(default_factory=list[Team])  # native code may still look at them


_STATE = _State()


def team() -> Team:
    """The process's team, started if need be."""
    with _STATE.lock:
        if _STATE.team is None:
            _STATE.team = _started(config.num_threads())
            put(services(), SERVICES["team"], _STATE.team.address)
        return _STATE.team


def stop() -> bool:
    """End the workers; the next parallel program starts others. False: a program is running."""
    with _STATE.lock:
        old = _STATE.team
        if old is None:
            return True
        if not _native("bp_stop", ctypes.c_int64, ctypes.c_void_p)(old.address):
            return False
        put(services(), SERVICES["team"], 0)
        _STATE.team = None
        _STATE.retired.append(old)
    end = time.monotonic() + _STOP_SECONDS
    for worker in old.workers:
        worker.join(max(0.0, end - time.monotonic()))
    return True


def _started(wanted: int) -> Team:
    """A team of `wanted` threads, or of as many as can be had."""
    found = Team(aligned_block(TEAM_BYTES))
    put(found.block, TEAM["services"], services().ctypes.data)
    put(found.block, TEAM["spins"], _spins() if wanted <= config.available_cpus() else 1)
    loop = _native("bp_worker", None, ctypes.c_void_p, ctypes.c_int64)
    for tid in range(1, wanted):
        worker = threading.Thread(
            target=loop, args=(found.address, tid), name=f"backpass-{tid}", daemon=True
        )
        try:
            worker.start()
        except (RuntimeError, MemoryError):  # no more threads: RLIMIT_NPROC, memory, or at exit
            break
        found.workers.append(worker)
    put(found.block, TEAM["size"], 1 + len(found.workers))
    return found


@lru_cache(maxsize=1)
def services() -> Block:
    """The process's table of addresses that native code calls (`runtime.SERVICES`)."""
    block = aligned_block(SERVICES_BYTES)
    system: Any = ctypes.CDLL(None)
    for name, symbol in (
        ("yield", "sched_yield"),
        ("nanosleep", "nanosleep"),
        ("clock_gettime", "clock_gettime"),
    ):
        put(block, SERVICES[name], _address_of(getattr(system, symbol)))
    number = _FUTEX_NUMBERS.get(platform.machine())
    if sys.platform == "linux" and number is not None and sys.byteorder == "little":
        put(block, SERVICES["syscall"], _address_of(system.syscall))
        put(block, SERVICES["futex"], number)
    coarse = getattr(time, "CLOCK_MONOTONIC_COARSE", 6 if sys.platform == "linux" else None)
    put(block, SERVICES["clock"], time.CLOCK_MONOTONIC if coarse is None else coarse)
    put(block, SERVICES["generation"], 1)
    put(block, SERVICES["main_thread"], threading.main_thread().ident or 0)
    put(block, SERVICES["run"], _library().address("bp_run"))
    os.register_at_fork(after_in_child=_forget_workers)
    atexit.register(stop)
    return block


def _address_of(function: Any) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0


def _forget_workers() -> None:
    """In a forked child only the thread that forked goes on, and it is the main one."""
    block = services()
    put(block, SERVICES["team"], 0)
    put(block, SERVICES["generation"], get(block, SERVICES["generation"]) + 1)
    put(block, SERVICES["main_thread"], threading.get_ident())
    _STATE.lock = threading.RLock()
    if _STATE.team is not None:
        _STATE.retired.append(_STATE.team)
    _STATE.team = None


@lru_cache(maxsize=1)
def _library() -> engine.Library:
    return engine.load(team_text(), host())


def _native(name: str, result: Any, *arguments: Any) -> Any:
    """A function of the runtime for Python; the interpreter's lock is released while it runs."""
    return ctypes.CFUNCTYPE(result, *arguments)(_library().address(name))


@lru_cache(maxsize=1)
def _spins() -> int:
    """How many turns of a spinning loop fill the time before a thread yields or sleeps."""
    spin = _native("bp_spin", None, ctypes.c_int64)
    best = min(_timed(spin, 500) for _ in range(5))
    return max(1, int(_SPIN_SECONDS / best * 500))


def _timed(spin: Any, count: int) -> float:
    start = time.perf_counter()
    spin(count)
    return max(time.perf_counter() - start, 1e-9)
