"""Workers that share their caller's CPU move away, with their set of CPUs as it was."""

import ctypes
import os
import sys
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from tests.codegen.native_steps import adder

from backpass.codegen import threads
from backpass.codegen.runtime import CPU_SET_BYTES, MEETINGS, SERVICES
from backpass.codegen.services import get, put, services

GETCPU = ctypes.CFUNCTYPE(ctypes.c_int)
AFFINITY = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_size_t, ctypes.c_void_p)
NAMES = ("getcpu", "getaffinity", "setaffinity")


class System:
    """A system that says where a thread is, and keeps what it is asked for."""

    def __init__(self, cpus: set[int], here: Callable[[int], int]) -> None:
        self.cpus, self.here = cpus, here
        self.calls = 0
        self.asked: list[set[int]] = []
        functions = (GETCPU(self.getcpu), AFFINITY(self.get), AFFINITY(self.set))
        self.functions = dict(zip(NAMES, functions, strict=True))

    def getcpu(self) -> int:
        self.calls += 1
        return self.here(self.calls)

    def get(self, thread: int, size: int, at: int) -> int:
        mask = sum([1 << cpu for cpu in self.cpus])
        ctypes.memmove(at, mask.to_bytes(size, "little"), size)
        return 0

    def set(self, thread: int, size: int, at: int) -> int:
        assert (thread, size) == (0, CPU_SET_BYTES)
        mask = int.from_bytes(ctypes.string_at(at, size), "little")
        self.asked.append({cpu for cpu in range(8 * size) if mask >> cpu & 1})
        return 0


@pytest.fixture(autouse=True)
def fresh_team(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A team of two, and the services as they were."""
    monkeypatch.setenv("BACKPASS_NUM_THREADS", "2")
    assert threads.stop()
    before = {name: get(services(), SERVICES[name]) for name in NAMES}
    yield
    assert threads.stop()
    for name, address in before.items():
        put(services(), SERVICES[name], address)


def run(system: System, jobs: int) -> list[set[int]]:
    """What the worker of a team of two asked of a system in some jobs."""
    for name, function in system.functions.items():
        address = ctypes.cast(function, ctypes.c_void_p).value
        put(services(), SERVICES[name], address or 0)
    native = adder(100, parallel=True)
    x, y, z = np.arange(100) + 0.5, np.ones(100), np.zeros(100)
    for _ in range(jobs):
        assert native.entry(x, y, z) is None
    np.testing.assert_array_equal(z, x + 1)
    return system.asked


def test_a_worker_that_always_meets_its_caller_moves_and_is_free_again() -> None:
    cpus = {1, 3, 70, 1023}
    for here in (3, 70, 1023):
        assert threads.stop()
        found = run(System(cpus, lambda _, here=here: here), 2 * MEETINGS)
        assert found == [cpus - {here}, cpus] * 2


def test_a_worker_that_meets_its_caller_now_and_then_stays() -> None:
    assert run(System({0, 1}, lambda _: 1), MEETINGS - 1) == []
    assert threads.stop()
    assert run(System({0, 1}, lambda call: call % 2), 5 * MEETINGS) == []


@pytest.mark.parametrize("here", [-1, 8 * CPU_SET_BYTES, 5])
def test_a_worker_that_has_nowhere_to_go_stays(here: int) -> None:
    assert run(System({5}, lambda _: here), 3 * MEETINGS) == []


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the system has no such sets")
def test_the_systems_own_sets_are_left_as_they_were() -> None:
    assert sys.platform != "linux" or get(services(), SERVICES["getcpu"])
    native = adder(100, parallel=True)
    x, y, z = np.arange(100) + 0.5, np.ones(100), np.zeros(100)
    everywhere = os.sched_getaffinity(0)
    try:
        native.entry(x, y, z)
        (worker,) = threads.team().workers
        assert worker.native_id is not None
        os.sched_setaffinity(0, {min(everywhere)})
        for _ in range(20 * MEETINGS):
            native.entry(x, y, z)
        assert os.sched_getaffinity(worker.native_id) == everywhere
    finally:
        os.sched_setaffinity(0, everywhere)
