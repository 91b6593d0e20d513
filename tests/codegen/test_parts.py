"""A module that is cut into parts is the same library."""

from __future__ import annotations

import ctypes
import re
import threading
from pathlib import Path

import numpy as np
import pytest
from tests.codegen.training import training_step

from backpass import nn, optim
from backpass.codegen import cache, engine, parts
from backpass.codegen.machine import host

MODULE = """
declare double @llvm.fma.f64(double, double, double)
@table = internal constant [2 x i64] [i64 ptrtoint (ptr @long to i64), i64 7], align 8

define internal double @small(double %x) #0 {
  %y = call double @llvm.fma.f64(double %x, double %x, double 1.0)
  ret double %y
}
define internal double @long(double %x) #0 {
entry:
LINES
  %p = call { double, double } @pair(double %x)
  %q = extractvalue { double, double } %p, 0
  %y = call double @small(double %q)
  ret double %y
}
define internal { double, double } @pair(double %x) #0 {
entry:
LINES
  %a = insertvalue { double, double } zeroinitializer, double %x, 0
  ret { double, double } %a
}
define double @one(double %x) #0 {
entry:
LINES
  %y = call double @long(double %x)
  %z = call double @small(double %y)
  ret double %z
}
define double @two(double %x) #0 {
entry:
LINES
  %f = load ptr, ptr @table
  %y = call double %f(double %x)
  %z = call double @one(double %y)
  ret double %z
}
define double @short(double %x) #0 { ret double %x }
""".replace("LINES", "\n".join([f"  %a{i} = fadd double %x, {i}.0" for i in range(150)]))


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Parts of any size, on any number of CPUs, and a cache of its own for each test."""
    monkeypatch.setattr(parts, "LINES", 1)
    monkeypatch.setattr("backpass.config.available_cpus", lambda: 3)
    monkeypatch.setenv("BACKPASS_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "_SESSION", cache._Session())


def defined(text: str) -> list[str]:
    return re.findall(r"^define .*?@(\w+)\(", text, re.M)


@pytest.mark.parametrize("most", [2, 3, 4, 9])
def test_each_function_is_in_one_part_with_copies_of_the_small_ones(most: int) -> None:
    texts = parts.cut(MODULE, most)
    assert len(texts) == min(most, 5)
    places = {
        name: [name in defined(t) for t in texts]
        for name in ("long", "pair", "one", "two", "short")
    }
    assert all([sum(found) == 1 for found in places.values()])
    for text in texts:
        assert ("@small(" in text) == ("@small(" in text and "small" in defined(text))
        for name in ("long", "one"):
            calls = f"@{name}" in text and name not in defined(text)
            assert calls == (f"declare double @{name}(double %x) #0" in text)
        assert ("@table" in text) == ("@table = internal constant" in text)


def test_a_short_module_stays_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "LINES", 1500)
    assert parts.cut(MODULE, 4) == [MODULE]
    monkeypatch.setattr(parts, "LINES", 1)
    assert parts.cut(MODULE, 1) == [MODULE]


def test_parts_call_each_other_and_come_back_from_the_disk() -> None:
    def results(library: engine.Library) -> list[float]:
        kind = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)
        return [kind(library.address(name))(2.0) for name in ("one", "two", "short")]

    assert len(engine.compile_parts(engine._whole(MODULE, host()), host())) == 3
    wanted = [26.0, 677.0, 2.0]
    assert results(engine.load(MODULE, host())) == wanted
    kept = engine.load_kept(engine.key_of(MODULE, host()), ["one", "two", "short"])
    assert kept is not None and results(kept) == wanted


def test_an_error_of_a_part_is_raised_when_all_have_ended() -> None:
    broken = MODULE.replace("  %z = call double @one", "  %z = call doubel @one")
    with pytest.raises(RuntimeError, match="expected"):
        engine.load(broken, host())
    engine.load(MODULE, host())


def test_without_threads_the_parts_are_compiled_one_after_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    assert all(engine.compile_parts(engine._whole(MODULE, host()), host()))


@pytest.mark.parametrize("content", [b"", b"\1", b"\0" * 8, b"\1" + b"\0" * 7, b"\2" * 80])
def test_what_is_no_content_of_objects_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="not the content"):
        engine._unpacked(content)


def trained() -> list[bytes]:
    nn.manual_seed(0)
    model = nn.Sequential(nn.Linear(30, 64), nn.LayerNorm(64), nn.Tanh(), nn.Linear(64, 10))
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(64, 30)).astype(np.float32), rng.integers(0, 10, 64)

    step = training_step()
    losses = [float(step(model, optimizer, x, y)) for _ in range(5)]
    return [np.array(losses).tobytes(), *[np.array(p).tobytes() for p in model.parameters()]]


def test_a_training_step_in_parts_gives_the_same_bits(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    counts: list[int] = []
    whole = parts.cut

    def noting(text: str, most: int) -> list[str]:
        found = whole(text, most)
        counts.append(len(found))
        return found

    monkeypatch.setattr(engine, "cut", noting)
    several = trained()
    monkeypatch.setattr(parts, "LINES", 1 << 30)
    monkeypatch.setenv("BACKPASS_CACHE_DIR", str(tmp_path / "other"))
    assert trained() == several
    assert 3 in counts and counts[-1] == 1
