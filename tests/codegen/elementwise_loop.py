"""A compiled loop over one elementwise operation: how the tests and benchmarks run `emit`.

The function takes a count, which must be a multiple of the width, and pointers to its inputs and
output.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import llvmlite.binding as llvm
import numpy as np

from backpass.codegen.arithmetic import emit
from backpass.codegen.text import BOOL, DType, Function, Module, Reg, llvm_type

INT8 = np.dtype(np.int8)


def machine(cpu: str | None = None) -> llvm.TargetMachine:
    """The target machine of this computer, or of a named processor."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_triple(llvm.get_process_triple())
    features = llvm.get_host_cpu_features().flatten() if cpu is None else ""
    return target.create_target_machine(
        cpu=cpu or llvm.get_host_cpu_name(), features=features, opt=3, jit=True
    )


def text_of(
    code: str, inputs: Sequence[DType], output: DType, width: int, fused: bool = True
) -> str:
    """The module of the loop."""
    module = Module(fused)
    pointers = [f"ptr %a{i}" for i in range(len(inputs))]
    f = Function(module, f"define void @run(i64 %n, {', '.join([*pointers, 'ptr %out'])}) #0")
    f.emit("br label %head")
    f.begin("head")
    f.emit("%i = phi i64 [ 0, %entry ], [ %next, %latch ]")
    args = [_load(f, f"%a{k}", dtype, width) for k, dtype in enumerate(inputs)]
    _store(f, emit(f, code, args, output), width)
    f.emit("br label %latch")
    f.begin("latch")
    f.emit(f"%next = add i64 %i, {width}")
    f.emit("%more = icmp slt i64 %next, %n")
    f.emit("br i1 %more, label %head, label %done")
    f.begin("done")
    f.emit("ret void")
    f.close()
    return f'{module}\nattributes #0 = {{ nounwind "prefer-vector-width"="512" }}\n'


def _memory(dtype: DType) -> DType:
    return INT8 if dtype == BOOL else dtype


def _address(f: Function, base: str, dtype: DType) -> str:
    return f.let_raw(f"getelementptr {llvm_type(_memory(dtype))}, ptr {base}, i64 %i")


def _load(f: Function, base: str, dtype: DType, width: int) -> Reg:
    kind = llvm_type(_memory(dtype), width)
    at = _address(f, base, dtype)
    reg = f.let(f"load {kind}, ptr {at}, align {dtype.itemsize}", _memory(dtype), width)
    if dtype == BOOL:
        zero = "0" if width == 1 else "zeroinitializer"
        return f.let(f"icmp ne {reg}, {zero}", BOOL, width)
    return reg


def _store(f: Function, reg: Reg, width: int) -> None:
    at = _address(f, "%out", reg.dtype)
    align = reg.dtype.itemsize
    if reg.dtype == BOOL:
        reg = f.let(f"zext {reg} to {llvm_type(INT8, width)}", INT8, width)
    f.emit(f"store {reg}, ptr {at}, align {align}")


class Loop:
    """An elementwise operation as machine code.

    Args:
        code, inputs, output: as `emit` takes them.
        width: lanes.
        cpu: a processor that this computer can stand in for, such as "haswell" or "x86-64".
        fused: as in Module.
        passes: whether LLVM's passes run; if not, only its code generator.
    """

    def __init__(
        self,
        code: str,
        inputs: Sequence[DType],
        output: DType,
        width: int,
        cpu: str | None = None,
        fused: bool = True,
        passes: bool = True,
    ) -> None:
        self.output = output
        self.width = width
        self.text = text_of(code, inputs, output, width, fused)
        machine_ = machine(cpu)
        parsed = llvm.parse_assembly(self.text)
        parsed.verify()
        if passes:
            options = llvm.create_pipeline_tuning_options(speed_level=2)
            builder = llvm.create_pass_builder(machine_, options)
            builder.getModulePassManager().run(parsed, builder)
        self.assembly = machine_.emit_assembly(parsed)
        self._engine = llvm.create_mcjit_compiler(parsed, machine_)
        self._engine.finalize_object()
        pointers = [ctypes.c_void_p] * (len(inputs) + 1)
        self.entry = ctypes.CFUNCTYPE(None, ctypes.c_int64, *pointers)(
            self._engine.get_function_address("run")
        )

    def __call__(self, *xs: Any) -> Any:
        """The operation of arrays of any one length."""
        n = len(xs[0])
        count = -(-max(n, 1) // self.width) * self.width
        padded = [np.concatenate([x, np.zeros(count - n, x.dtype)]) for x in xs]
        out = np.empty(count, self.output)
        self.entry(count, *[x.ctypes.data for x in padded], out.ctypes.data)
        return out[:n]
