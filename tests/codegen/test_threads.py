"""The team of threads: right at every size, and never in the way of fork, exit or other threads."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from tests.codegen.native_steps import adder, rounds, run_script, said

from backpass.codegen import threads
from backpass.codegen.llvm import llvm
from backpass.codegen.runtime import SERVICES, runtime_text
from backpass.codegen.services import get, put, services
from backpass.codegen.team_text import team_text
from backpass.errors import ConfigError

ROUNDS = 2000


@pytest.fixture(autouse=True)
def fresh_team(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A team of two, unless a test says otherwise, and none left over."""
    monkeypatch.setenv("BACKPASS_NUM_THREADS", "2")
    assert threads.stop()
    yield
    assert threads.stop()


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_a_barrier_holds_back_every_thread(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setenv("BACKPASS_NUM_THREADS", str(size))
    native, places, total = rounds(ROUNDS)
    for run in (1, 2, 3):
        assert native.entry() is None
        assert places[:size].tolist() == [run * ROUNDS] * size
        assert not places[size:].any()
        assert total[0] == size * run * ROUNDS * (run * ROUNDS + 1) // 2
    assert threads.team().size == size
    assert len([t for t in threading.enumerate() if t.name.startswith("backpass")]) == size - 1


def test_a_program_may_have_fewer_threads_than_the_team(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKPASS_NUM_THREADS", "5")
    for most in (1, 2, 4, 9):
        native, places, _ = rounds(100, threads_at_most=most)
        for run in (1, 2, 3):
            assert native.entry() is None
            assert places[:6].tolist() == ([100 * run] * min(most, 5) + [0] * 6)[:6]
    assert threads.team().size == 5


def test_every_share_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKPASS_NUM_THREADS", "3")
    for size in (0, 1, 2, 7, 1000):
        x, y, z = np.arange(size) + 0.5, np.ones(size), np.zeros(size)
        assert adder(size, parallel=True).entry(x, y, z) is None
        np.testing.assert_array_equal(z, x + 1)


def test_the_environment_decides_when_the_team_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BACKPASS_NUM_THREADS", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert threads.team().size == 4
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert threads.team().size == 4
    assert threads.stop()
    assert threads.team().size == 2
    assert threads.stop()
    native, _, _ = rounds(1)
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    with pytest.raises(ConfigError, match="OMP_NUM_THREADS"):
        native.entry()
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert native.entry() is None


def test_sleeping_workers_wake_up() -> None:
    native, places, _ = rounds(1)
    for _ in range(20):
        threading.Event().wait(0.003)
        assert native.entry() is None
    assert places[0] == 20


def test_without_the_futex_of_linux_workers_nap() -> None:
    """As on other systems: who waits long sleeps for short times."""
    table, at = services(), SERVICES["syscall"]
    syscall = get(table, at)
    put(table, at, 0)
    try:
        native, places, total = rounds(200)
        for _ in range(5):
            threading.Event().wait(0.003)
            assert native.entry() is None
        assert places[:2].tolist() == [1000, 1000]
        assert total[0] == 1000 * 1001
        assert threads.stop()
    finally:
        put(table, at, syscall)


def test_a_program_that_is_not_parallel_starts_no_thread() -> None:
    native, places, _ = rounds(10, parallel=False)
    assert native.entry() is None
    assert places[:2].tolist() == [10, 0]
    assert not [t for t in threading.enumerate() if t.name.startswith("backpass")]


@pytest.mark.parametrize("allowed", [0, 1, 2])
def test_threads_that_cannot_be_had_are_done_without(
    monkeypatch: pytest.MonkeyPatch, allowed: int
) -> None:
    started = threading.Thread.start
    count = [0]

    def start(thread: threading.Thread) -> None:
        count[0] += 1
        if count[0] > allowed:
            raise RuntimeError("can't start new thread")
        started(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    monkeypatch.setenv("BACKPASS_NUM_THREADS", "4")
    native, places, total = rounds(50)
    assert native.entry() is None
    assert threads.team().size == allowed + 1
    assert places.sum() == 50 * (allowed + 1)
    assert total[0] == (allowed + 1) * 50 * 51 // 2


def test_a_process_that_may_have_no_more_threads() -> None:
    """RLIMIT_NPROC does not bind root, so the script becomes a user who has no other process."""
    script = """
        import os, resource, threading
        from tests.codegen.native_steps import rounds
        from backpass.codegen import threads
        native, places, total = rounds(50)
        threading.Thread(target=int).start()
        resource.setrlimit(resource.RLIMIT_NPROC, (3, 3))
        os.getuid() or os.setresuid(54321, 54321, 54321)
        print(native.entry(), 1 <= (size := threads.team().size) <= 3, places.sum() == 50 * size)
    """
    assert said(script, env={"BACKPASS_NUM_THREADS": "8"}) == "None True True"


def test_fork_after_use() -> None:
    script = """
        import os, threading
        from tests.codegen.native_steps import rounds
        from backpass.codegen import threads
        native, places, total = rounds(100)
        native.entry()
        child = os.fork()
        if child == 0:
            for _ in range(3):
                assert native.entry() is None
            workers = [t for t in threads.team().workers if t.is_alive()]
            grandchild = os.fork()
            if grandchild == 0:
                assert native.entry() is None
                os._exit(40 + int(places[1]) // 100)
            status = os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1])
            os._exit(status if len(workers) == 1 and places[1] == 400 else 1)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        print(native.entry(), places[1])
    """
    assert said(script).split() == ["45", "None", "200"]


def test_multiprocessing_by_fork() -> None:
    script = """
        import multiprocessing, numpy as np
        from tests.codegen.native_steps import adder
        native = adder(1000, parallel=True)
        x = np.linspace(0, 1, 1000)
        def work(i):
            z = np.zeros(1000)
            assert native.entry(x, x * i, z) is None
            return z.tobytes()
        here = [work(i) for i in range(8)]
        with multiprocessing.get_context("fork").Pool(3) as pool:
            print(pool.map(work, range(8)) == here)
    """
    assert said(script) == "True"


def test_fork_while_another_thread_runs_a_program_or_compiles() -> None:
    """The child has no part of either, and goes on at once; the parent's runs end as they would."""
    script = """
        import os, threading, time
        from backpass.codegen import engine
        from backpass.codegen.machine import host
        from tests.codegen.native_steps import rounds
        native, places, total = rounds(200)
        native.entry()
        stop = False
        def run():
            while not stop: native.entry()
        def compile():
            i = 0
            while not stop:
                i += 1
                engine.load(f"define i64 @f() #0 {{ ret i64 {i} }}\\n", host())
        workers = [threading.Thread(target=run), threading.Thread(target=compile)]
        for t in workers: t.start()
        codes = []
        for i in range(6):
            child = os.fork()
            if child == 0:
                assert native.entry() is None
                engine.load(f"define i64 @g() #0 {{ ret i64 {i} }}\\n", host())
                os._exit(7)
            codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
            time.sleep(0.002)
        stop = True
        for t in workers: t.join()
        before = int(places[0])
        native.entry()
        print(set(codes), places[0] - before)
    """
    assert said(script, env={"BACKPASS_CACHE_DIR": "/proc/nowhere"}) == "{7} 200"


def test_fork_inside_a_signal_handler_that_runs_inside_a_step() -> None:
    """The child lacks the workers of the step that it is in: it leaves the step, with status -3."""
    script = """
        import os, signal
        from tests.codegen.native_steps import rounds
        native, places, total = rounds(30_000_000)
        child = []
        def handler(*_):
            signal.setitimer(signal.ITIMER_REAL, 0)
            child.append(os.fork())
            if child[0]: raise KeyboardInterrupt
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        try:
            code = native.entry()
        except KeyboardInterrupt:
            code = "interrupted"
        if child[0] == 0:
            os._exit(11 if code == -3 else 12)
        print(code, os.waitstatus_to_exitcode(os.waitpid(child[0], 0)[1]))
    """
    assert said(script) == "interrupted 11"


@pytest.mark.parametrize("parallel", [False, True])
def test_sixteen_python_threads_get_the_serial_bits(parallel: bool) -> None:
    """Of one program, whose slots they share, and of programs of their own."""
    size, calls = 5000, 60
    shared = adder(size, parallel=parallel)
    own = [adder(size + i, parallel=parallel) for i in range(16)]
    wrong: list[object] = []

    def work(i: int) -> None:
        rng = np.random.default_rng(i)
        for _ in range(calls):
            for native, n in ((shared, size), (own[i], size + i)):
                x, y, z = rng.normal(size=n), rng.normal(size=n), np.zeros(n)
                code = native.entry(x, y, z)
                if code is not None or z.tobytes() != (x + y).tobytes():
                    wrong.append((i, code))

    workers = [threading.Thread(target=work, args=(i,)) for i in range(16)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert wrong == []


def test_a_team_is_not_stopped_while_it_works() -> None:
    native, _, _ = rounds(20_000)
    worker = threading.Thread(target=native.entry)
    worker.start()
    outcomes = {threads.stop() for _ in range(3)}
    worker.join()
    assert outcomes <= {True, False}
    assert threads.stop()


@pytest.mark.parametrize(
    "last",
    [
        "",
        "import time; time.sleep(0.05)",
        "sys.exit(0)",
        "import atexit; atexit.register(native.entry)",
        "threading.Thread(target=forever, daemon=True).start(); import time; time.sleep(0.1)",
    ],
    ids=["spinning", "asleep", "exit", "used at exit", "running at exit"],
)
def test_the_interpreter_ends_without_a_hang(last: str) -> None:
    script = f"""
import sys, threading
from tests.codegen.native_steps import rounds
native, places, total = rounds(1000)
def forever():
    while True: native.entry()
native.entry()
{last}
"""
    done = run_script(script, timeout=20, env={"BACKPASS_NUM_THREADS": "3"})
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("processor", ["x86_64", "aarch64", "riscv64"])
def test_the_runtime_is_code_for_other_processors(
    monkeypatch: pytest.MonkeyPatch, processor: str
) -> None:
    monkeypatch.setattr("platform.machine", lambda: processor)
    step = """
define void @step(ptr %context, i64 %tid, i64 %n) #0 {
  %stop = call i32 @bp_boundary(ptr %context, i64 %tid, i64 %n)
  ret void
}
"""
    llvm().initialize_all_targets()
    llvm().initialize_all_asmprinters()
    target = llvm().Target.from_triple(f"{processor}-unknown-linux-gnu").create_target_machine()
    for text in (team_text(), step + runtime_text(step)):
        module = llvm().parse_assembly(text + "\nattributes #0 = { nounwind }\n")
        module.verify()
        assert len(target.emit_object(module)) > 500


def test_more_threads_than_processors_finish(monkeypatch: pytest.MonkeyPatch) -> None:
    size = 4 * (os.cpu_count() or 1)
    monkeypatch.setenv("BACKPASS_NUM_THREADS", str(size))
    native, places, _ = rounds(200)
    assert native.entry() is None
    assert places[:size].tolist() == [200] * size
