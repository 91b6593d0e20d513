"""From LLVM text to machine code in this process: `load(text, machine) -> Library`.

Each module gets the runtime functions that it names (`runtime.py`) and the attribute group `#0`.
Its object code is small-model and position-independent, so it can be kept on disk (`cache.py`) and
loaded at any address. No IR pass runs: kernels are written as they shall be, and the code generator
alone schedules and allocates registers.

Invariant: one thread at a time is inside LLVM, and none is when the process forks.
"""

from __future__ import annotations

import ctypes
import itertools
import sys
from collections import deque
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from backpass.codegen import cache
from backpass.codegen.llvm import llvm
from backpass.codegen.machine import Machine
from backpass.codegen.once import once, process_lock
from backpass.codegen.runtime import runtime_text

_NUMBERS = itertools.count()
_UNLOADED: deque[Any] = deque()  # code that nobody refers to
_OPTIONS = "opt=2 pic small"  # part of the cache's key: what else object code depends on


class Library:
    """Loaded machine code. It stays where it is for as long as the Library is referred to."""

    __slots__ = ("__weakref__", "_tracker")

    def __init__(self, tracker: Any) -> None:
        self._tracker = tracker

    def __del__(self, ending: Callable[[], bool] = sys.is_finalizing) -> None:
        """Unload the code now if no other thread is inside LLVM, else before the next load.

        This may run at any place of any thread, so it must not wait. When the interpreter ends, a
        daemon thread may still run the code: it stays.
        """
        if ending():
            self._tracker.detach()
            return
        _UNLOADED.append(self._tracker)
        del self._tracker
        if process_lock().acquire(blocking=False):
            try:
                _UNLOADED.clear()
            finally:
                process_lock().release()

    def address(self, name: str) -> int:
        """Where a function lies.

        Raises:
            KeyError: the module defines no such function for the outside.
        """
        return self._tracker[name]


def load(text: str, machine: Machine) -> Library:
    """Compile a module, or take its object code from the cache, and load it.

    Args:
        text: LLVM functions with attribute group `#0`, which is defined here; of the runtime
            functions (`bp_barrier`, ...) it has neither a definition nor a declaration.

    Raises:
        RuntimeError: LLVM cannot read or verify the text, which is a fault of whoever wrote it.
    """
    names = _exported(text)
    key = key_of(text, machine)
    with process_lock():
        found = load_kept(key, names)
        if found is not None:
            return found
        code = compile_text(_whole(text, machine), machine)
        library = _link(code, names)
        cache.write(key, code)
        return library


def load_kept(key: str, names: list[str]) -> Library | None:
    """The library of the object code kept under a key, which defines these functions, if any."""
    with process_lock():
        _UNLOADED.clear()
        code = cache.read(key)
        if code is None:
            return None
        try:
            return _link(code, names)
        except RuntimeError:
            cache.warn(f"the code kept as {key} cannot be loaded, so it is compiled again.")
            return None


def key_of(text: str, machine: Machine) -> str:
    """Under which key the object code of a module is kept."""
    return cache.key_of(_whole(text, machine), signature(machine))


@lru_cache(maxsize=8)
def signature(machine: Machine) -> str:
    """What object code depends on besides the text: LLVM, the platform, the options."""
    with process_lock():
        return "\n".join([_llvm_version(), triple(), machine.cpu, machine.features, _OPTIONS])


def _whole(text: str, machine: Machine) -> str:
    return "\n".join([text, runtime_text(text), _attributes(machine)])


def compile_text(text: str, machine: Machine) -> bytes:
    """The object code of a whole module."""
    with process_lock():
        target = _target_machine(machine)
        module = llvm().parse_assembly(text)
        module.verify()
        return target.emit_object(module)


def assembly(text: str, machine: Machine) -> str:
    """The assembly of a module, to be read by people."""
    with process_lock():
        parsed = llvm().parse_assembly(_whole(text, machine))
        return _target_machine(machine).emit_assembly(parsed)


def _link(code: bytes, names: list[str]) -> Library:
    builder = llvm().JITLibraryBuilder().add_object_img(code).add_current_process()
    for name in names:
        builder.export_symbol(name)
    return Library(builder.link(_jit(), f"backpass{next(_NUMBERS)}"))


def _exported(text: str) -> list[str]:
    """The functions that a module defines for the outside."""
    names: list[str] = []
    for line in text.splitlines():
        if line.startswith("define ") and " internal " not in line and " private " not in line:
            names.append(line.partition("@")[2].partition("(")[0])
    return names


def _attributes(machine: Machine) -> str:
    return (
        f'attributes #0 = {{ nounwind "target-cpu"="{machine.cpu}" '
        f'"target-features"="{machine.features}" '
        f'"prefer-vector-width"="{8 * machine.vector_bytes}" }}\n'
    )


def triple() -> str:
    """What LLVM calls this platform, for example "x86_64-unknown-linux-gnu"."""
    return llvm().get_default_triple()


def _llvm_version() -> str:
    return ".".join(map(str, llvm().llvm_version_info))


@lru_cache(maxsize=8)
def _target_machine(machine: Machine) -> Any:
    return _target().create_target_machine(
        cpu=machine.cpu, features=machine.features, opt=2, reloc="pic", codemodel="small"
    )


@once
def _jit() -> Any:
    machine = _target().create_target_machine(opt=2, reloc="pic", codemodel="small", jit=True)
    jit = llvm().create_lljit_compiler(machine, use_jit_link=True)
    # Never disposed of: a daemon thread may run its code until the process is gone.
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(jit))
    return jit


def _target() -> Any:
    return llvm().Target.from_default_triple()
