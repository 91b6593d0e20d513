"""LLVM by llvmlite, loaded and started when it is first used: it is large, not always needed.

llvmlite lets one thread at a time into its library, since modules may share a context. `emitter`'s
is the one call that does not wait for others: a module in a context of its own shares nothing.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from backpass.codegen.once import once


@once
def llvm() -> Any:
    """The module `llvmlite.binding`, ready to make code for this processor."""
    import llvmlite.binding as binding  # pyright: ignore[reportMissingTypeStubs]

    started: Any = binding  # it has no types
    started.initialize_native_target()
    started.initialize_native_asmprinter()
    return started


@once
def emitter() -> Callable[[Any, Any], bytes]:
    """What makes object code of a module that has a context, for a target that it has alone.

    It is the library's function itself, without llvmlite's lock around it; the one with the lock,
    should a release of llvmlite name its insides otherwise.
    """
    try:
        ffi = llvm().ffi
        library = ctypes.CDLL(ffi.lib._name, handle=ffi.lib._handle)
        emit: Any = library.LLVMPY_TargetMachineEmitToMemory
        _ = ffi.lib.LLVMPY_GetBufferSize, ffi.lib.LLVMPY_DisposeMemoryBuffer
    except AttributeError:
        return lambda target, module: target.emit_object(module)
    emit.restype = ffi.LLVMMemoryBufferRef
    emit.argtypes = [ffi.LLVMTargetMachineRef, ffi.LLVMModuleRef, ctypes.c_int, ctypes.c_void_p]

    def emitted(target: Any, module: Any) -> bytes:
        reason = ctypes.c_char_p()
        buffer = emit(target._as_parameter_, module._as_parameter_, 1, ctypes.byref(reason))
        if not buffer:
            raise RuntimeError(f"LLVM made no object code: {(reason.value or b'').decode()}")
        try:
            size = ffi.lib.LLVMPY_GetBufferSize(buffer)
            return ctypes.string_at(ffi.lib.LLVMPY_GetBufferStart(buffer), size)
        finally:
            ffi.lib.LLVMPY_DisposeMemoryBuffer(buffer)

    return emitted
