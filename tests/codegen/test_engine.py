"""LLVM text becomes machine code that runs, for this machine and for older ones."""

from __future__ import annotations

import ctypes
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.codegen.native_steps import said

from backpass.codegen import engine
from backpass.codegen.machine import Machine, cache_sizes, host

VECTOR = """
declare <16 x float> @llvm.fma.v16f32(<16 x float>, <16 x float>, <16 x float>)
define void @fma(ptr %x, ptr %y) #0 {
  %a = load <16 x float>, ptr %x, align 4
  %b = load <16 x float>, ptr %y, align 4
  %c = call <16 x float> @llvm.fma.v16f32(<16 x float> %a, <16 x float> %b, <16 x float> %a)
  store <16 x float> %c, ptr %y, align 4
  ret void
}
"""


def test_the_host_is_a_machine() -> None:
    machine = host()
    assert machine.cpu
    assert machine.vector_bytes in (16, 32, 64)
    assert machine.vector_registers in (16, 32)
    assert 8 << 10 <= machine.l1 <= machine.l2 <= machine.l3
    assert host() is machine


def test_cache_sizes_are_read_as_the_kernel_writes_them(tmp_path: Path) -> None:
    rows = [("1", "Data", "48K"), ("1", "Instruction", "64K"), ("2", "Unified", "2M")]
    for i, (level, kind, size) in enumerate(rows):
        folder = tmp_path / f"index{i}"
        folder.mkdir()
        for name, text in (("level", level), ("type", kind), ("size", size)):
            (folder / name).write_text(text + "\n")
    assert cache_sizes(tmp_path) == (48 << 10, 2 << 20, 2 << 20)
    (tmp_path / "index0" / "size").write_text("nonsense")
    assert cache_sizes(tmp_path)[0] == 32 << 10
    assert cache_sizes(tmp_path / "absent") == (32 << 10, 512 << 10, 8 << 20)


@pytest.mark.parametrize(
    "machine",
    [
        host(),
        replace(host(), cpu="haswell", features="", vector_bytes=32),
        replace(host(), cpu="x86-64", features="", vector_bytes=16),
    ],
    ids=lambda machine: machine.cpu,
)
def test_vectors_run_on_every_machine_and_give_the_same_bits(machine: Machine) -> None:
    if "x86" not in engine.triple() and machine is not host():
        pytest.skip("the other processors are of x86")
    library = engine.load(VECTOR, machine)
    x, y = np.linspace(0.1, 3, 16, dtype=np.float32), np.linspace(-5, 1, 16, dtype=np.float32)
    wanted = (x.astype(np.float64) * y + x).astype(np.float32)
    ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(library.address("fma"))(
        x.ctypes.data, y.ctypes.data
    )
    assert y.tobytes() == wanted.tobytes()


def test_the_machine_code_is_for_the_machine() -> None:
    if "x86" not in engine.triple():
        pytest.skip("the registers of x86")
    wide = Machine("znver4", "", 64, 32, 1, 1, 1)
    assert "zmm" in engine.assembly(VECTOR, wide)
    narrow = engine.assembly(VECTOR, replace(wide, cpu="haswell", vector_bytes=32))
    assert "ymm" in narrow and "zmm" not in narrow


def test_no_multiplication_and_addition_are_joined_unasked() -> None:
    text = """
define double @f(double %a, double %b, double %c) #0 {
  %m = fmul double %a, %b
  %s = fadd double %m, %c
  ret double %s
}
"""
    library = engine.load(text, host())
    function = ctypes.CFUNCTYPE(ctypes.c_double, *[ctypes.c_double] * 3)(library.address("f"))
    a = 1 + 2.0**-30
    assert function(a, a, -1.0) == a * a - 1.0


def test_memory_functions_of_the_process_can_be_called() -> None:
    text = """
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
define void @clear(ptr %x, i64 %n) #0 {
  call void @llvm.memset.p0.i64(ptr %x, i8 7, i64 %n, i1 false)
  ret void
}
"""
    x = np.zeros(100_000, np.uint8)
    library = engine.load(text, host())
    ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(library.address("clear"))(
        x.ctypes.data, x.size
    )
    assert (x == 7).all()


def test_text_that_llvm_cannot_read_is_an_error_with_its_reason() -> None:
    with pytest.raises(RuntimeError, match="expected"):
        engine.load("define void @f() #0 { retvoid }", host())


def test_importing_starts_nothing() -> None:
    script = """
        import sys, threading, os
        import backpass.codegen.engine, backpass.codegen.entry, backpass.codegen.threads
        from backpass.codegen import once
        print(threading.active_count(), once._hold_over_forks.cache_info().currsize)
    """
    assert said(script) == "1 0"


def test_many_libraries_do_not_keep_memory() -> None:
    """Code is unloaded with its Library: 2,000 loads leave the process as large as 200 did."""
    script = """
        import resource
        from backpass.codegen import engine
        from backpass.codegen.machine import host
        def load(i):
            engine.load(f"define i64 @f() #0 {{ ret i64 {i % 3} }}\\n", host())
        for i in range(200): load(i)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for i in range(2000): load(i)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    """
    assert int(said(script)) < 40_000  # KiB: 20 KiB a library would be more than its code
