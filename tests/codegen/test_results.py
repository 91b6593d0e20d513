"""Large results: used again when nobody has them, and never while anybody can reach them."""

import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import backpass as bp
from backpass.codegen import results
from backpass.codegen.results import KEPT, LARGE, MOST_BYTES, Results
from backpass.ir import TensorType

SIZE = LARGE // 8


def made(*sizes: int) -> Results:
    return Results([TensorType((n,), np.dtype(np.float64)) for n in sizes])


def test_a_large_result_that_is_gone_is_used_again_and_a_small_one_is_not_kept() -> None:
    of = made(SIZE, 4)
    first, small = of.fresh()
    address, gone = first.ctypes.data, weakref.ref(small)
    del first, small
    assert of.fresh()[0].ctypes.data == address
    assert gone() is None


@pytest.mark.parametrize(
    "hold",
    [
        lambda a: a,
        lambda a: a[3:],
        lambda a: memoryview(a),
        lambda a: a.reshape(2, -1).T,
        lambda a: weakref.ref(a),
        lambda a: np.frombuffer(a),
        lambda a: {"x": [a]},
    ],
)
def test_a_result_that_anything_refers_to_is_left_alone(hold: Callable[[np.ndarray], Any]) -> None:
    of = made(SIZE)
    held = hold(of.fresh()[0])
    kept = of._kept[0][0]
    kept[:] = 7.0
    del kept
    for _ in range(2 * KEPT + 1):
        of.fresh()[0][:] = 1.0
    array = held() if isinstance(held, weakref.ref) else held
    if isinstance(array, dict):
        array = array["x"][0]
    assert array is None or np.all(np.asarray(array) == 7.0)


@pytest.mark.parametrize(
    "change",
    [
        lambda a: setattr(a.flags, "writeable", False),
        lambda a: setattr(a, "shape", (2, SIZE // 2)),
        lambda a: a.resize((SIZE // 2,), refcheck=False),
    ],
)
def test_a_result_that_was_made_another_array_is_not_returned_again(
    change: Callable[[np.ndarray], None],
) -> None:
    of = made(SIZE)
    change(of.fresh()[0])
    again = of.fresh()[0]
    assert again.shape == (SIZE,) and again.flags.writeable and again.flags.owndata


def test_what_is_kept_is_bounded() -> None:
    of = made(SIZE)
    many = [of.fresh()[0] for _ in range(5)]
    assert len({a.ctypes.data for a in many}) == 5
    assert len(of._kept[0]) == KEPT
    assert not made(MOST_BYTES // 8)._kept
    assert len(made(*[MOST_BYTES // 32] * 6)._kept) == 2


def test_threads_never_get_one_array_at_a_time() -> None:
    of, clashes = made(SIZE), []

    def work(number: int) -> None:
        for _ in range(300):
            (a,) = of.fresh()
            a[:64] = number
            if np.any(a[:64] != number):
                clashes.append(number)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not clashes


def test_where_references_cannot_be_counted_nothing_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(results, "_idle_count", lambda: 0)
    of = made(SIZE)
    assert not of._kept and of.fresh()[0].shape == (SIZE,)


def test_a_jitted_function_gives_independent_results() -> None:
    f = bp.jit(lambda x: x + 1.0)
    x = np.zeros(SIZE)
    kept = [f(x + i) for i in range(5)]
    assert [a[0] for a in kept] == [1.0, 2.0, 3.0, 4.0, 5.0]
    address = f(x).ctypes.data
    assert f(x).ctypes.data == address
