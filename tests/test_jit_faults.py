"""Jitted functions in bad company: forks, many Python threads, Ctrl-C, a damaged or shared cache.

The parts have these tests of their own (tests/codegen: threads, entry, cache); here it is the whole
way, from the call of a jitted training step.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.codegen.native_steps import run_script, said

import backpass as bp

# A step that two threads share, and `digest(n)`: n steps from the start, as a hash.
STEP = """
    import hashlib
    import numpy as np
    import backpass as bp
    from backpass import nn, optim

    @bp.jit
    def step(model, optimizer, x, y):
        loss = lambda model: nn.functional.cross_entropy(model(x), y)
        value, grads = bp.value_and_grad(loss)(model)
        optimizer.step(grads)
        return value

    def made():
        bp.manual_seed(3)
        model = nn.Sequential(nn.Linear(64, 256), nn.GELU(), nn.Dropout(0.1), nn.Linear(256, 5))
        optimizer = optim.AdamW(model.parameters(), lr=1e-2)
        rng = np.random.default_rng(0)
        return model, optimizer, rng.normal(size=(256, 64)).astype(np.float32), np.arange(256) % 5

    def digest(count, arguments=None):
        arguments = arguments or made()
        sums = hashlib.sha256()
        for _ in range(count):
            sums.update(step(*arguments).tobytes())
        for part in arguments[:2]:
            for cell in part.__backpass_cells__().values():
                sums.update(cell.array.tobytes())
        return sums.hexdigest()

    def parallel():
        return any(k.parallel for k in step.plan(*made()).kernels)
"""


def test_a_forked_child_goes_on_with_the_same_bits() -> None:
    script = """
    import multiprocessing, os
    arguments = made()
    step(*arguments)
    back, forth = os.pipe()
    child = os.fork()
    if child == 0:
        told = [digest(5, arguments), digest(5)]
        bp.jit(lambda x: x * 3.0)(np.ones(7))  # it may compile, too
        os.write(forth, " ".join(told).encode())
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    said = os.read(back, 1000).decode().split()
    here = [digest(5, arguments), digest(5)]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        pooled = set(pool.map(digest, [5] * 4))
    print(said == here, pooled == {here[1]}, parallel())
    """
    assert said(STEP + script) == "True True True"


def test_a_child_that_was_forked_while_another_thread_compiled_compiles_too() -> None:
    script = """
    import gc, os, threading, time
    inside, leave = threading.Event(), threading.Event()

    @bp.jit
    def slow(x):
        if threading.current_thread() is not threading.main_thread():
            inside.set()
            leave.wait()
        return np.sum(x * 2.0)

    thread = threading.Thread(target=slow, args=(np.ones(3),))
    thread.start()
    inside.wait()
    child = os.fork()
    if child == 0:
        os._exit(0 if slow(np.ones(4)) == 8.0 and gc.isenabled() else 1)
    end = time.monotonic() + 20.0
    done, status = 0, None
    while not done and time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        time.sleep(0.01)
    if not done:
        os.kill(child, 9)
        os.waitpid(child, 0)
    leave.set()
    thread.join()
    print(done == child, status, gc.isenabled())
    """
    assert said(STEP + script) == "True 0 True"


def test_models_of_one_shape_share_a_program() -> None:
    script = """
    digests = {digest(3) for _ in range(4)}
    model, optimizer, x, y = made()
    other = optim.AdamW([{"params": p} for p in model.parameters()], lr=1e-2)
    before = len(step._compiled)
    step(model, other, x, y)  # one parameter a group
    model[0].weight = model[0].weight  # the same again
    step(model, optimizer, x, y)
    print(len(digests), before, len(step._compiled))
    """
    assert said(STEP + script) == "1 1 2"


def test_sixteen_python_threads_train_models_of_their_own() -> None:
    """One jitted step that all call first at once; each model gets the bits of a serial run."""
    script = """
    import threading
    found, start = {}, threading.Barrier(16)
    def work(i):
        arguments = mine[i]
        start.wait()
        found[i] = digest(20, arguments)
    mine = [made() for _ in range(16)]
    workers = [threading.Thread(target=work, args=(i,)) for i in range(16)]
    for w in workers: w.start()
    for w in workers: w.join()
    print(len(found), set(found.values()) == {digest(20)}, parallel())
    """
    assert said(STEP + script, timeout=120) == "16 True True"


@pytest.mark.parametrize("size", [7, 200_000])
def test_sixteen_python_threads_call_one_function(size: int) -> None:
    fast = bp.jit(bp.value_and_grad(lambda x: np.sum(np.sin(x) * x)))
    rng = np.random.default_rng(size)
    inputs = [rng.normal(size=size) for _ in range(16)]
    results: dict[int, set[bytes]] = {i: set() for i in range(16)}

    def work(i: int) -> None:
        for _ in range(20):
            value, gradient = fast(inputs[i])
            results[i].add(value.tobytes() + gradient.tobytes())

    workers = [threading.Thread(target=work, args=(i,)) for i in range(16)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for i in range(16):
        value, gradient = fast(inputs[i])
        assert results[i] == {value.tobytes() + gradient.tobytes()}


def test_ctrl_c_during_a_long_call_changes_nothing() -> None:
    """It ends between two kernels; the next call runs, and every array is as it was."""
    script = """
    import os, signal, threading, time
    import numpy as np
    import backpass as bp
    from backpass.trace import Cell

    @bp.jit
    def long(cell, x):
        y = cell.read() @ x
        for _ in range(COUNT):
            y = np.tanh(y @ x)
        cell.write(y)
        return np.sum(y)

    rng = np.random.default_rng(0)
    x = rng.normal(size=(700, 700)) / 30
    cell = Cell(rng.normal(size=(700, 700)))
    before = cell.array.copy()
    long.plan(cell, x)
    times = []
    def send():
        time.sleep(0.3)
        times.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)
    for _ in range(2):
        sender = threading.Thread(target=send)
        sender.start()
        try:
            long(cell, x)
            print("it ran to its end")
        except KeyboardInterrupt:
            times.append(time.monotonic())
        sender.join()
    same = cell.array.tobytes() == before.tobytes()
    short = bp.jit(lambda a: a @ a)(x)
    print(same, np.allclose(short, x @ x), max(times[1] - times[0], times[3] - times[2]))
    """
    found = said(script.replace("COUNT", "400"), timeout=120).split()
    assert found[:2] == ["True", "True"], found
    assert float(found[2]) < 1.0  # the promise is 0.1 s; this machine may be busy


SHORT = STEP + "    print(digest(3))\n"


def test_a_damaged_cache_is_said_once_and_made_again(tmp_path: Path) -> None:
    env = {"BACKPASS_CACHE_DIR": str(tmp_path / "cache")}
    expected = said(SHORT, env=env)
    files = sorted((tmp_path / "cache").iterdir())
    assert files
    for file in files:
        sound = file.read_bytes()
        file.write_bytes(sound[: len(sound) // 2] + b"\0" * 8 + sound[len(sound) // 2 + 8 :])
    done = run_script(SHORT, env=env)
    assert (done.returncode, done.stdout.strip()) == (0, expected)
    assert done.stderr.count("Warning") == 1
    assert said(SHORT, env=env) == expected


def test_eight_processes_train_with_a_cold_cache(tmp_path: Path) -> None:
    root = Path(__file__).parents[1]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(root), str(root / "src")]),
        "BACKPASS_NUM_THREADS": "2",
        "BACKPASS_CACHE_DIR": str(tmp_path / "cache"),
    }
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(SHORT)]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, env=environment, **pipes) for _ in range(8)]
    ends = [process.communicate(timeout=120) for process in processes]
    assert {end[1] for end in ends} == {""}
    assert len({end[0] for end in ends}) == 1
    alone = said(SHORT, env={"BACKPASS_CACHE_DIR": str(tmp_path / "other")})
    assert ends[0][0].strip() == alone
    names = [sorted(p.name for p in (tmp_path / d).iterdir()) for d in ("cache", "other")]
    assert names[0] == names[1]
