"""The team: workers that wait in native code for a program to run.

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
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from backpass import config
from backpass.codegen import engine
from backpass.codegen.machine import host
from backpass.codegen.once import once, process_lock
from backpass.codegen.runtime import SERVICES, TEAM, TEAM_BYTES
from backpass.codegen.services import Block, aligned_block, get, put, services
from backpass.codegen.team_text import team_text

_SPIN_SECONDS = 2e-6  # then it yields: more would hurt on a machine that others use too
_STOP_SECONDS = 1.0


@dataclass(slots=True)
class Team:
    """Workers and the memory they share with whoever gives them a job."""

    block: Block
    workers: list[threading.Thread] = field(default_factory=list[threading.Thread])

    @property
    def address(self) -> int:
        """Where it lies: `%team` of kernels."""
        return self.block.ctypes.data

    @property
    def size(self) -> int:
        """Threads that run a job, the caller's among them."""
        return get(self.block, TEAM["size"])


@dataclass(slots=True)
class _Now:
    """The process's team, and all it ever made: native code may still look at those it had."""

    team: Team | None = None
    made: list[Team] = field(default_factory=list[Team])

    def forget(self) -> None:
        """Have no team."""
        put(services(), SERVICES["team"], 0)
        self.team = None


_NOW = _Now()


def team() -> Team:
    """The process's team, started if need be.

    Raises:
        ConfigError: the environment asks for what is no number of threads.
    """
    with process_lock():
        if _NOW.team is None:
            _NOW.team = _started(config.num_threads())
            put(services(), SERVICES["team"], _NOW.team.address)
        return _NOW.team


def stop() -> bool:
    """End the workers; the next parallel program starts others. False: a program is running."""
    with process_lock():
        old = _NOW.team
        if old is None:
            return True
        if not _native("bp_stop", ctypes.c_int64, ctypes.c_void_p)(old.address):
            return False
        _NOW.forget()
    end = time.monotonic() + _STOP_SECONDS
    for worker in old.workers:
        worker.join(max(0.0, end - time.monotonic()))
    return True


def prepare() -> None:
    """Let native code run steps and start the team; done once."""
    _prepared()


@once
def _prepared() -> bool:
    put(services(), SERVICES["run"], _library().address("bp_run"))
    put(services(), SERVICES["start_team"], id(team))
    os.register_at_fork(after_in_child=_after_fork)
    atexit.register(stop)
    return True


def _after_fork() -> None:
    """In a forked child only the thread that forked goes on, and it is the main one."""
    block = services()
    put(block, SERVICES["generation"], get(block, SERVICES["generation"]) + 1)
    put(block, SERVICES["main_thread"], threading.get_ident())
    _NOW.forget()


def _started(wanted: int) -> Team:
    """A team of `wanted` threads, or of as many as can be had."""
    prepare()
    found = Team(aligned_block(TEAM_BYTES))
    _NOW.made.append(found)
    put(found.block, TEAM["services"], services().ctypes.data)
    put(found.block, TEAM["cpu"], -1)
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


@once
def _library() -> engine.Library:
    return engine.load(team_text(), host())


def _native(name: str, result: Any, *arguments: Any) -> Any:
    """A function of the runtime for Python; the interpreter's lock is released while it runs."""
    return ctypes.CFUNCTYPE(result, *arguments)(_library().address(name))


@once
def _spins() -> int:
    """How many turns of a spinning loop fill the time before a thread yields."""
    spin = _native("bp_spin", None, ctypes.c_int64)
    best = min(_timed(spin, 500) for _ in range(5))
    return max(1, int(_SPIN_SECONDS / best * 500))


def _timed(spin: Any, count: int) -> float:
    start = time.perf_counter()
    spin(count)
    return max(time.perf_counter() - start, 1e-9)
