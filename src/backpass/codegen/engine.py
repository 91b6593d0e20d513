"""From LLVM text to machine code in this process: `load(text, machine) -> Library`.

Each module gets the runtime functions that it names (`runtime.py`) and the attribute group `#0`.
Its object code is small-model and position-independent, so it can be kept on disk (`cache.py`) and
loaded at any address. No IR pass runs: kernels are written as they shall be, and the code generator
alone schedules and allocates registers.

A long module is cut into parts (`parts.py`), each compiled by a thread of its own in an LLVM
context of its own.

Invariant: threads are inside LLVM for one `load` at a time, and none is when the process forks.
"""

from __future__ import annotations

import ctypes
import itertools
import sys
import threading
from collections import deque
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from backpass import config
from backpass.codegen import cache
from backpass.codegen.llvm import emitter, llvm
from backpass.codegen.machine import Machine
from backpass.codegen.once import once, process_lock
from backpass.codegen.parts import cut
from backpass.codegen.runtime import runtime_text

_NUMBERS = itertools.count()
_UNLOADED: deque[Any] = deque()  # code that nobody refers to
PARTS = 4  # of a module, at most
_OPTIONS = "opt=2 pic small packed"  # part of the cache's key: what else object code depends on


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
        codes = compile_parts(_whole(text, machine), machine)
        library = _link(codes, names)
        cache.write(key, _packed(codes))
        return library


def load_kept(key: str, names: list[str]) -> Library | None:
    """The library of the object code kept under a key, which defines these functions, if any."""
    with process_lock():
        _UNLOADED.clear()
        code = cache.read(key)
        if code is None:
            return None
        try:
            return _link(_unpacked(code), names)
        except (RuntimeError, ValueError):
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


def compile_parts(text: str, machine: Machine) -> list[bytes]:
    """The object code of a whole module, in one part or several."""
    texts = cut(text, min(PARTS, config.available_cpus()))
    with process_lock():
        jobs = [_Job(part, machine) for part in texts]
        started = _started(jobs[1:])
        try:
            for job in [jobs[0], *jobs[1 + len(started) :]]:
                job.run()
        finally:
            _join(started)
        return [job.code() for job in jobs]


def _started(jobs: list[_Job]) -> list[threading.Thread]:
    """Threads of the first jobs, of all if so many threads can be had."""
    threads: list[threading.Thread] = []
    for job in jobs:
        thread = threading.Thread(target=job.run)
        try:
            thread.start()
        except (RuntimeError, MemoryError):  # a limit of the system, or the interpreter ends
            break
        threads.append(thread)
    return threads


def _join(threads: list[threading.Thread]) -> None:
    """Wait for threads that are inside LLVM. An interrupt meanwhile is raised at the end."""
    interrupt: KeyboardInterrupt | None = None
    for thread in threads:
        while thread.is_alive():
            try:
                thread.join()
            except KeyboardInterrupt as error:
                interrupt = error
    if interrupt is not None:
        raise interrupt


class _Job:
    """A module on its way to object code. It takes no lock of ours: its maker has that."""

    def __init__(self, text: str, machine: Machine) -> None:
        self._text = text
        self._llvm, self._emit = llvm(), emitter()
        self._target, self._context = _target_machine(machine), llvm().create_context()
        self._code = b""
        self._error: BaseException | None = None

    def run(self) -> None:
        """Compile it. What fails is raised by `code`."""
        try:
            module = self._llvm.parse_assembly(self._text, self._context)
            module.verify()
            self._code = self._emit(self._target, module)
        except BaseException as error:
            self._error = error

    def code(self) -> bytes:
        """The object code.

        Raises:
            RuntimeError: LLVM cannot read or verify the text.
        """
        if self._error is not None:
            raise self._error
        return self._code


def _packed(codes: list[bytes]) -> bytes:
    """Objects as one content: their number, their sizes, their bytes."""
    sizes = [n.to_bytes(8, "little") for n in (len(codes), *map(len, codes))]
    return b"".join([*sizes, *codes])


def _unpacked(content: bytes) -> list[bytes]:
    """The objects of a content.

    Raises:
        ValueError: it is no such content.
    """
    words = [int.from_bytes(content[i : i + 8], "little") for i in range(0, 8 * (PARTS + 1), 8)]
    at = 8 * (1 + words[0])
    codes: list[bytes] = []
    for size in words[1 : 1 + words[0]]:
        codes.append(content[at : at + size])
        at += size
    if not 1 <= len(codes) == words[0] or at != len(content):
        raise ValueError("not the content of an object file of backpass")
    return codes


def assembly(text: str, machine: Machine) -> str:
    """The assembly of a module, to be read by people."""
    with process_lock():
        parsed = llvm().parse_assembly(_whole(text, machine))
        return _target_machine(machine).emit_assembly(parsed)


def _link(codes: list[bytes], names: list[str]) -> Library:
    builder = llvm().JITLibraryBuilder()
    for code in codes:
        builder.add_object_img(code)
    builder.add_current_process()
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
