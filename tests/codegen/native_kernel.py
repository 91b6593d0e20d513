"""Runs one emitted kernel on real threads: what the engine does, in a few lines, for tests of emitters."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sequence
from typing import Any

import llvmlite.binding as llvm
import numpy as np

from backpass.codegen.machine import Machine
from backpass.codegen.text import Module
from backpass.codegen.workspace import Workspace

# A team is two i64 on lines of their own: how many have come, and how often all have been there.
_BARRIER = """
declare i32 @sched_yield()
define void @bp_barrier(ptr %team, i64 %n) #0 {
entry:
  %alone = icmp eq i64 %n, 1
  br i1 %alone, label %go, label %enter
enter:
  %roundp = getelementptr i8, ptr %team, i64 64
  %round = load atomic i64, ptr %roundp acquire, align 8
  %before = atomicrmw add ptr %team, i64 1 acq_rel
  %come = add i64 %before, 1
  %last = icmp eq i64 %come, %n
  br i1 %last, label %open, label %wait
open:
  store atomic i64 0, ptr %team release, align 8
  %next = add i64 %round, 1
  store atomic i64 %next, ptr %roundp release, align 8
  br label %go
wait:
  %now = load atomic i64, ptr %roundp acquire, align 8
  %same = icmp eq i64 %now, %round
  br i1 %same, label %idle, label %go
idle:
  %ignored = call i32 @sched_yield()
  br label %wait
go:
  ret void
}
"""


def llvm_text(module: Module, machine: Machine) -> str:
    """The module with the barrier and the attributes of all functions."""
    width = machine.vector_bytes * 8
    attributes = f'attributes #0 = {{ nounwind "prefer-vector-width"="{width}" }}'
    return f"{module}\n{_BARRIER}\n{attributes}\n"


class NativeKernel:
    """A kernel as machine code, called with arrays of its buffers."""

    def __init__(self, module: Module, name: str, workspace: Workspace, machine: Machine) -> None:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        parsed = llvm.parse_assembly(llvm_text(module, machine))
        parsed.verify()
        target = llvm.Target.from_default_triple().create_target_machine(
            cpu=machine.cpu, features=machine.features, opt=2, reloc="pic", codemodel="small"
        )
        self.assembly = target.emit_assembly
        self.parsed = parsed
        self.engine = llvm.create_mcjit_compiler(parsed, target)
        self.engine.finalize_object()
        self.workspace = workspace
        self.address = self.engine.get_function_address(name)

    def call(self, buffers: Sequence[np.ndarray[Any, Any]], n: int = 1) -> int:
        """Run on `n` threads; gives the status."""
        team = np.zeros(32, np.int64)
        status = np.zeros(1, np.int64)
        work = self.workspace
        memory = np.full(work.shared + n * work.per_thread + 64, 0xFF, np.uint8)  # NaN
        scratch = memory.ctypes.data + -memory.ctypes.data % 64
        pointers = [buffer.ctypes.data for buffer in buffers]
        kinds = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, *[ctypes.c_void_p] * 2]
        function = ctypes.CFUNCTYPE(None, *kinds, *[ctypes.c_void_p] * len(pointers))(self.address)

        def one(tid: int) -> None:
            function(team.ctypes.data, tid, n, scratch, status.ctypes.data, *pointers)

        others = [threading.Thread(target=one, args=(tid,)) for tid in range(1, n)]
        for thread in others:
            thread.start()
        one(0)
        for thread in others:
            thread.join()
        return int(status[0])
