"""The native entry takes arrays that fit, says which does not, and leaves no trace of a call."""

from __future__ import annotations

import ctypes
import gc
import signal
import sys
import threading
import time
from typing import Any

import numpy as np
import pytest
from tests.codegen.native_steps import (
    F8,
    OUT_OF_RANGE,
    Native,
    adder,
    rounds,
    said,
)

from backpass.codegen import engine, entry
from backpass.codegen.entry import ArgumentSpec, Context, fitting
from backpass.codegen.machine import host

LONG = 2_000_000_000  # rounds: hours


@pytest.fixture(params=["native", "ctypes"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each test runs through the builtin, and through what replaces it elsewhere."""
    if request.param == "ctypes":
        monkeypatch.setattr(entry, "fast_entries_work", lambda: False)
    return request.param


def taker(*specs: ArgumentSpec) -> Native:
    """entry(*arrays) that does nothing."""
    context = Context(len(specs), specs)
    library = engine.load("define void @f(ptr %c, i64 %t, i64 %n) #0 { ret void }\n", host())
    return Native(entry.make_entry(library, "f", context), context)


def test_this_python_has_the_native_entry() -> None:
    assert entry.fast_entries_work()
    assert type(adder(3).entry).__name__ == "builtin_function_or_method"


@pytest.mark.parametrize("short", [False, True])
@pytest.mark.parametrize("parallel", [False, True])
def test_a_program_runs(way: str, parallel: bool, short: bool) -> None:
    native = adder(100, parallel=parallel, short=short)
    x, y, z = np.arange(100.0), np.ones(100), np.zeros(100)
    for _ in range(3):
        assert native.entry(x, y, z) is None
        np.testing.assert_array_equal(z, x + 1)
        x = x * 2


class Sub(np.ndarray):
    """A subclass may mean anything by its attributes."""


def _unaligned() -> np.ndarray:
    return np.zeros(97, np.uint8)[1:].view(F8)


def _read_only() -> np.ndarray:
    x = np.zeros(12)
    x.flags.writeable = False
    return x


def _shaped() -> np.ndarray:
    return np.zeros((3, 4))


MISFITS = {
    "dtype": np.zeros((3, 4), np.float32),
    "same size": np.zeros((3, 4), np.int64),
    "byte order": np.zeros((3, 4), ">f8"),
    "shape": np.zeros((4, 3)),
    "rank": np.zeros((3, 4, 1)),
    "flat": np.zeros(12),
    "strided": np.zeros((3, 8))[:, ::2],
    "fortran": np.zeros((4, 3)).T,
    "negative stride": np.zeros((3, 4))[::-1],
    "unaligned": _unaligned().reshape(3, 4),
    "read-only": _read_only().reshape(3, 4),
    "subclass": np.zeros((3, 4)).view(Sub),
    "list": [[0.0] * 4] * 3,
    "number": 1.0,
    "none": None,
    "type": np.ndarray,
    "dtype object": F8,
}


@pytest.mark.parametrize("name", MISFITS)
def test_what_does_not_fit_is_named_and_nothing_runs(way: str, name: str) -> None:
    specs = [ArgumentSpec(i, F8, (3, 4), writeable=True) for i in range(3)]
    native = taker(*specs)
    good: list[Any] = [_shaped() for _ in range(3)]
    assert native.entry(*good) is None
    for i in range(3):
        arguments = list(good)
        arguments[i] = MISFITS[name]
        assert native.entry(*arguments) == i


def test_only_what_is_written_must_be_writeable(way: str) -> None:
    x = _read_only()
    z = np.zeros(12)
    assert adder(12).entry(x, x, z) is None
    assert adder(12).entry(z, z, x) == 2


@pytest.mark.parametrize("count", [0, 1, 2, 4, 5])
def test_a_wrong_number_of_arguments_is_told_by_the_first_wrong_place(way: str, count: int) -> None:
    assert adder(3).entry(*[np.zeros(3)] * count) == min(count, 3)


@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (1,), (1, 1, 1), (2,) * 20])
def test_shapes_of_every_rank(way: str, shape: tuple[int, ...]) -> None:
    native = taker(ArgumentSpec(0, F8, shape))
    assert native.entry(np.zeros(shape)) is None
    assert native.entry(np.zeros((*shape, 1))) == 0
    assert native.entry(np.zeros((3,))) == 0


def test_equal_dtypes_that_are_other_objects_fit(way: str) -> None:
    other = np.dtype(np.float64, metadata={"unit": "m"})
    x = np.zeros(4, other)
    assert x.dtype is not F8
    assert taker(ArgumentSpec(0, F8, (4,))).entry(x) is None


@pytest.mark.parametrize("again", [False, True])
def test_what_shares_memory_with_what_is_written_is_named(way: str, again: bool) -> None:
    """Nothing runs; the argument that is only read is named, so that it can be copied."""
    size, memory = 4, np.zeros(20)
    x, y, z, near = memory[:4], memory[4:8], memory[8:12], memory[7:11]
    native = adder(size)
    if again:
        assert native.entry(x, y, z) is None
    memory[:] = np.arange(20)
    before = memory.copy()
    for arguments, wrong in (
        ((x, z, z), 1),
        ((near, y, z), 0),
        ((x, y, near), 1),
        ((z, z, z), 0),
        ((x, y, x), 0),
        ((x, memory[10:14], z), 1),
    ):
        for _ in range(2):
            assert native.entry(*arguments) == 3 + wrong
    np.testing.assert_array_equal(memory, before)
    assert native.entry(x, y, z) is None
    assert native.entry(x, x, z) is None
    assert native.entry(x, near.copy(), y) is None


def test_two_that_are_written_may_not_meet(way: str) -> None:
    native = taker(ArgumentSpec(0, F8, (4,), True), ArgumentSpec(1, F8, (4,), True))
    memory = np.zeros(12)
    assert native.entry(memory[:4], memory[3:7]) in (2, 3)
    assert native.entry(memory[:4], memory[4:8]) is None
    assert native.entry(memory[4:8], memory[:4]) is None
    empty = taker(ArgumentSpec(0, F8, (0,), True), ArgumentSpec(1, F8, (4,), True))
    nothing = np.ndarray((0,), F8, memory, offset=16)
    assert memory.ctypes.data < nothing.ctypes.data < memory.ctypes.data + 32
    assert empty.entry(nothing, memory[:4]) is None


def test_a_call_that_fails_forgets_no_argument(way: str) -> None:
    """The arguments before the one that does not fit were bound, and are compared later."""
    native, memory = adder(4), np.zeros(12)
    x, z = memory[:4], memory[4:8]
    assert native.entry(x, x, z) is None
    assert native.entry(z, [0.0] * 4, z) == 1
    assert native.entry(z, x, z) == 3
    assert native.entry(x, x, z) is None


def test_dtypes_that_no_program_takes_are_refused() -> None:
    for dtype in ("U3", "O", "M8[s]", ">f4", [("a", "f4")]):
        with pytest.raises(TypeError, match="native numbers"):
            Context(1, [ArgumentSpec(0, np.dtype(dtype), (2,))])
    with pytest.raises(IndexError, match="slot 1 of 1"):
        Context(1, [ArgumentSpec(1, F8, (2,))])


@pytest.mark.parametrize(
    "value",
    [
        np.zeros((3, 8))[:, ::2],
        np.arange(12.0).reshape(4, 3).T,
        np.arange(12.0).reshape(3, 4)[::-1],
        np.arange(12, dtype=">f8").reshape(3, 4),
        _unaligned().reshape(3, 4),
        np.arange(12.0).reshape(3, 4).view(Sub),
        _read_only().reshape(3, 4),
    ],
    ids=["strided", "fortran", "negative", "byte order", "unaligned", "subclass", "read-only"],
)
def test_a_fitting_array_has_the_same_values(value: np.ndarray) -> None:
    for writeable in (False, True):
        spec = ArgumentSpec(0, F8, (3, 4), writeable)
        made = fitting(spec, value)
        assert spec.fits(made)
        assert taker(spec).entry(made) is None
        np.testing.assert_array_equal(made, value)


def test_a_fitting_array_shares_memory_where_it_can() -> None:
    plain = np.zeros(3)
    assert fitting(ArgumentSpec(0, F8, (3,), True), plain) is plain
    assert np.shares_memory(fitting(ArgumentSpec(0, F8, (3,), True), plain.view(Sub)), plain)
    longs = np.zeros(3, np.longlong)
    spec = ArgumentSpec(0, np.dtype(np.int64), (3,), True)
    made = fitting(spec, longs)
    assert spec.fits(made) and np.shares_memory(made, longs)
    with pytest.raises(ValueError, match=r"shape \(3,\), not \(4,\)"):
        fitting(spec, np.zeros(4))
    with pytest.raises(ValueError, match="dtype int64, not float64"):
        fitting(spec, plain)


def test_the_status_of_a_step_comes_back(way: str) -> None:
    context = Context(0)
    function = entry.make_entry(engine.load(OUT_OF_RANGE, host()), "out", context)
    assert [function(), function()] == [-1, -1]
    assert context.status == 1


def test_the_entry_keeps_alive_what_it_needs(way: str) -> None:
    native, places, total = rounds(5, parallel=False)
    function = native.entry
    del native
    places_at = ctypes.c_int64.from_address(places.ctypes.data)
    del places, total
    gc.collect()
    junk = [np.zeros(1024, np.int64) for _ in range(50)]
    assert function() is None
    assert places_at.value == 5
    assert not any(x.any() for x in junk)


def test_references_stay_balanced() -> None:
    """A million calls of each kind: no object gains or loses a reference, and no memory is kept."""
    script = """
        import gc, resource, sys
        import numpy as np
        from tests.codegen.native_steps import adder
        native, short = adder(4), adder(4, short=True)
        x, y, z, bad = np.zeros(4), np.zeros(4), np.zeros(4), np.zeros(4, ">f8")
        objects = [x, y, z, bad, None, 1, 2, np.ndarray, x.dtype]
        objects += [native.context.block, native.entry]
        def calls(n):
            for _ in range(n):
                native.entry(x, y, z)
                short.entry(x, y, z)
                native.entry(x, bad, z)
                native.entry(x, y)
        calls(1000)
        before = [sys.getrefcount(o) for o in objects]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        calls(1_000_000)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak
        after = [sys.getrefcount(o) for o in objects]
        print(max(abs(a - b) for a, b in zip(after, before)), grown)
    """
    references, kilobytes = map(int, said(script).split())
    assert references < 10  # the script's own lists hold small numbers too
    assert kilobytes < 2000


def test_programs_that_are_dropped_leave_no_memory() -> None:
    script = """
        import gc, resource
        from tests.codegen.native_steps import adder
        import numpy as np
        x = np.zeros(4)
        def use(n):
            for _ in range(n):
                assert adder(4).entry(x, x, x.copy()) is None
            gc.collect()
        use(200)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        use(2000)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak)
    """
    assert int(said(script)) < 40_000  # KiB


def interrupted_after(seconds: float, handler: Any, function: Any) -> tuple[BaseException, float]:
    """What a call raises when a signal comes, and how long after the signal it does."""
    came = [0.0]

    def handle(*arguments: Any) -> None:
        came[0] = came[0] or time.monotonic()
        handler(*arguments)

    old = signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    start = time.monotonic()
    try:
        with pytest.raises(BaseException) as caught:
            function()
        return caught.value, time.monotonic() - start - seconds
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


@pytest.mark.parametrize("parallel", [False, True])
def test_an_interrupt_ends_a_long_step(way: str, parallel: bool) -> None:
    native, _, _ = rounds(LONG, parallel=parallel)

    def control_c(*_: Any) -> None:
        raise KeyboardInterrupt("now")

    for _ in range(2):
        error, late = interrupted_after(0.15, control_c, native.entry)
        assert isinstance(error, KeyboardInterrupt) and str(error) == "now"
        assert late < 1.0  # the promise is 0.1 s; this machine may be busy
    assert native.context.status == 2


def test_sigint_of_the_terminal(way: str) -> None:
    script = f"""
        import os, signal, threading, time
        from backpass.codegen import entry
        if {way == "ctypes"}: entry.fast_entries_work = lambda: False
        from tests.codegen.native_steps import rounds
        native, _, _ = rounds({LONG})
        sent = [0.0]
        def send():
            time.sleep(0.3)
            sent[0] = time.monotonic()
            os.kill(os.getpid(), signal.SIGINT)
        threading.Thread(target=send).start()
        try:
            native.entry()
        except KeyboardInterrupt:
            print(time.monotonic() - sent[0])
    """
    assert float(said(script)) < 1.0


def test_a_handler_that_returns_does_not_end_the_step(way: str) -> None:
    native, places, _ = rounds(3_000_000, parallel=False)
    calls: list[float] = []
    old = signal.signal(signal.SIGALRM, lambda *_: calls.append(time.monotonic()))
    try:
        while not calls:
            signal.setitimer(signal.ITIMER_REAL, 1e-3)
            before = int(places[0])
            assert native.entry() is None
            assert places[0] == before + 3_000_000
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


def test_a_handler_may_run_another_program_and_not_the_same(way: str) -> None:
    native, _, _ = rounds(LONG)
    other, places, _ = rounds(7)

    def handler(*_: Any) -> None:
        other.entry()
        native.entry()

    error, _ = interrupted_after(0.1, handler, native.entry)
    assert isinstance(error, RuntimeError) and "again by a signal handler" in str(error)
    assert places[0] == 7


def test_other_python_threads_run_during_a_step(way: str) -> None:
    native, _, _ = rounds(LONG, parallel=False)
    ticks = [0]
    done = threading.Event()

    def tick() -> None:
        while not done.is_set():
            ticks[0] += 1
            time.sleep(0.001)

    def control_c(*_: Any) -> None:
        raise KeyboardInterrupt

    worker = threading.Thread(target=tick)
    worker.start()
    try:
        interrupted_after(0.3, control_c, native.entry)
    finally:
        done.set()
        worker.join()
    assert ticks[0] > 20


def test_a_thread_that_is_not_the_main_one_is_not_interrupted(way: str) -> None:
    script = f"""
        import signal, threading
        from backpass.codegen import entry
        if {way == "ctypes"}: entry.fast_entries_work = lambda: False
        from tests.codegen.native_steps import rounds
        native, places, _ = rounds(5_000_000, parallel=False)
        results = []
        worker = threading.Thread(target=lambda: results.append(native.entry()))
        def handler(*_): raise KeyboardInterrupt
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        try:
            worker.start()
            while True: pass
        except KeyboardInterrupt:
            worker.join()
        print(results, places[0])
    """
    assert said(script) == "[None] 5000000"


@pytest.mark.skipif("x86" not in engine.triple(), reason="sets a register of x86")
@pytest.mark.parametrize("parallel", [False, True])
def test_subnormal_numbers_are_kept_in_every_thread(way: str, parallel: bool) -> None:
    """Whatever mode a caller's thread was put into, a step has IEEE's, and the caller its own."""
    text = """
declare void @llvm.x86.sse.ldmxcsr(ptr)
declare void @llvm.x86.sse.stmxcsr(ptr)
define i32 @set(i32 %mode) #0 {
  %old = alloca i32
  %new = alloca i32
  call void @llvm.x86.sse.stmxcsr(ptr %old)
  store i32 %mode, ptr %new
  call void @llvm.x86.sse.ldmxcsr(ptr %new)
  %was = load i32, ptr %old
  ret i32 %was
}
"""
    library = engine.load(text, host())
    set_mode = ctypes.CFUNCTYPE(ctypes.c_uint32, ctypes.c_uint32)(library.address("set"))
    x, z = np.full(64, 5e-324), np.zeros(64)
    native = adder(64, parallel=parallel)
    flushing = 0x9FC0  # flush to zero, subnormals are zero
    old = set_mode(flushing)
    code = native.entry(x, x, z)
    after = set_mode(old)
    assert code is None
    assert after & 0xFFC0 == flushing
    assert (z == 1e-323).all() and z[0] > 0


def test_an_entry_belongs_to_its_context() -> None:
    """Two entries of one library do not see each other's arrays."""
    first, a, _ = rounds(3, parallel=False)
    second, b, _ = rounds(3, parallel=False)
    first.entry()
    first.entry()
    second.entry()
    assert (a[0], b[0]) == (6, 3)
    assert sys.getrefcount(first.entry) >= 2
