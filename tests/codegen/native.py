"""Kernels compiled with a few lines of llvmlite, without the engine, for tests and benchmarks.

`NativeKernel(kernel)` compiles; calling it with flat arrays runs every thread's share, one after
the other or on real threads, and gives the status.
"""

from __future__ import annotations

import ctypes
import mmap
import threading
from collections.abc import Callable, Sequence
from typing import Any

import llvmlite.binding as llvm
import numpy as np

from backpass.codegen.text import Module
from backpass.codegen.workspace import Workspace

# A barrier of a team: threads count up, the last one starts the next round.
BARRIER = """
define void @bp_barrier(ptr %team, i64 %n) #0 {
entry:
  %round = getelementptr i64, ptr %team, i64 8
  %now = load atomic i64, ptr %round acquire, align 8
  %before = atomicrmw add ptr %team, i64 1 acq_rel, align 8
  %mine = add i64 %before, 1
  %last = icmp eq i64 %mine, %n
  br i1 %last, label %open, label %wait
open:
  store atomic i64 0, ptr %team release, align 8
  %next = add i64 %now, 1
  store atomic i64 %next, ptr %round release, align 8
  ret void
wait:
  %seen = load atomic i64, ptr %round acquire, align 8
  %same = icmp eq i64 %seen, %now
  br i1 %same, label %wait, label %done
done:
  ret void
}
"""


def parse(module: Module, cpu: str | None = None, passes: Sequence[str] = ()) -> tuple[Any, Any]:
    """The parsed text of a module, and the machine to compile it for."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    host = cpu or llvm.get_host_cpu_name()
    features = "" if cpu else llvm.get_host_cpu_features().flatten()
    width = "" if cpu else '"prefer-vector-width"="512"'
    text = f"{module}\n{BARRIER}\nattributes #0 = {{ nounwind {width} }}\n"
    parsed = llvm.parse_assembly(text)
    parsed.verify()
    target = llvm.Target.from_default_triple().create_target_machine(
        cpu=host, features=features, opt=3
    )
    if passes:
        builder = llvm.create_pass_builder(target, llvm.create_pipeline_tuning_options())
        manager = llvm.create_new_module_pass_manager()
        for name in passes:
            getattr(manager, f"add_{name}_pass")()
        manager.run(parsed, builder)
    return parsed, target


def buffer_of(size: int, guard: int = 64) -> np.ndarray:
    """`size` zero bytes, aligned to 64, with a guard of 0xAB bytes behind."""
    raw = np.zeros(size + guard + 64, np.uint8)
    start = -raw.ctypes.data % 64
    part = raw[start : start + size + guard]
    part[size:] = 0xAB
    return part


class NativeKernel:
    """One kernel as machine code."""

    def __init__(
        self,
        kernel: Any,
        emit: Callable[[Module, Any, str], Workspace],
        cpu: str | None = None,
        passes: Sequence[str] = (),
    ) -> None:
        self.module = Module()
        self.workspace = emit(self.module, kernel, "kernel")
        self._parsed, self._target = parse(self.module, cpu, passes)
        self.engine = llvm.create_mcjit_compiler(self._parsed, self._target)
        self.engine.finalize_object()
        self.address = self.engine.get_function_address("kernel")
        self._function: Any = None

    @property
    def assembly(self) -> str:
        """The machine's code as text."""
        return self._target.emit_assembly(self._parsed)

    def arguments(
        self, arrays: Sequence[np.ndarray], tid: int, n: int, team: Any, scratch: Any, status: Any
    ) -> list[Any]:
        """The arguments of one thread."""
        if self._function is None:
            kinds = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64]
            kinds += [ctypes.c_void_p] * (2 + len(arrays))
            self._function = ctypes.CFUNCTYPE(None, *kinds)(self.address)
        pointers = [a.ctypes.data for a in arrays]
        return [team.ctypes.data, tid, n, scratch.ctypes.data, status.ctypes.data, *pointers]

    def share(self, arrays: Sequence[np.ndarray], tid: int, n: int) -> int:
        """Run the share of one thread of a kernel without barriers. The status."""
        team, status = np.zeros(64, np.int64), np.zeros(1, np.int64)
        scratch = buffer_of(self.workspace.size(n))
        arguments = self.arguments(arrays, tid, n, team, scratch, status)
        self._function(*arguments)
        return int(status[0])

    def __call__(self, arrays: Sequence[np.ndarray], n: int = 1, real: bool = False) -> int:
        """Run all `n` shares; `real` threads where the kernel has barriers. The status."""
        team, status = np.zeros(64, np.int64), np.zeros(1, np.int64)
        size = self.workspace.size(n)
        scratch = buffer_of(size)
        calls = [self.arguments(arrays, t, n, team, scratch, status) for t in range(n)]
        if real and n > 1:
            threads = [threading.Thread(target=self._function, args=c) for c in calls]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        else:
            for call in calls:
                self._function(*call)
        assert (scratch[size:] == 0xAB).all(), "the kernel wrote behind its scratch"
        return int(status[0])


def guarded(array: np.ndarray, front: bool = False) -> np.ndarray:
    """A copy between two pages that can't be touched, against the last or (`front`) the first."""
    page = mmap.PAGESIZE
    size = -(-max(array.nbytes, 1) // page) * page
    memory = mmap.mmap(-1, size + 2 * page)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    for start in (address, address + page + size):
        if ctypes.CDLL(None).mprotect(ctypes.c_void_p(start), page, 0):
            raise OSError("mprotect failed")
    first = page if front else page + size - array.nbytes
    copy = np.frombuffer(memory, np.uint8)[first : first + array.nbytes].view(array.dtype)
    copy[:] = array
    return copy
