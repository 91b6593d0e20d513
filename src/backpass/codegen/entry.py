"""The native entry of a program: a Python builtin that checks its arrays and runs the step.

`make_entry(library, step_name, context)` gives a callable of arrays, one for each ArgumentSpec. It
looks at the array objects in native code, puts their data pointers into the context's slots, and
runs the step, on the team if it is parallel. With one array more it runs the step many times: that
array is the table of a series (`series.py`). It returns

    None    done
    i >= 0  argument i does not fit its spec, so nothing ran (`fitting` makes one that does); or,
            from the number of arguments on, argument i minus that shares memory with another and
            one of the two is written to: the one that is only read, if one is
    i < 0   minus the step's status: -1 an index is out of range, -3 it was forked while it ran

and raises what a signal handler raised, KeyboardInterrupt above all; the step has then left early.

Invariant: a context runs once at a time; who finds it busy waits. Where the layout of array objects
is not what we know (`fast_entries_work`), Python and ctypes do the same, in 5 us an array.
"""

from __future__ import annotations

import ctypes
import math
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backpass import config
from backpass.codegen import engine, threads
from backpass.codegen.entry_text import ARGUMENT, ARGUMENT_BYTES, WRITEABLE, entry_text
from backpass.codegen.machine import host
from backpass.codegen.once import once
from backpass.codegen.runtime import (
    CONTEXT,
    PARALLEL,
    SERVICES,
    SHORT,
    WRITES,
    slot_offset,
)
from backpass.codegen.services import Block, aligned_block, get, put, services

Array = np.ndarray[Any, np.dtype[Any]]
Entry = Callable[..., "int | None"]

_C_CONTIGUOUS, _ALIGNED = 0x1, 0x100  # flags of a PyArrayObject
_METH_FASTCALL = 0x80


@dataclass(frozen=True, slots=True)
class ArgumentSpec:
    """What an argument must be: a plain, C-contiguous, aligned array of this dtype and shape."""

    slot: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    writeable: bool = False

    def fits(self, value: object) -> bool:
        """Whether the entry takes this value as it is."""
        if type(value) is not np.ndarray or value.shape != self.shape:
            return False
        dtype: np.dtype[Any] = value.dtype
        if dtype is not self.dtype and not (dtype.num == self.dtype.num and dtype.isnative):
            return False
        return value.flags.num & self.flags == self.flags

    @property
    def flags(self) -> int:
        """Those that NumPy must have set on the array object."""
        return _C_CONTIGUOUS | _ALIGNED | WRITEABLE * self.writeable


def fitting(spec: ArgumentSpec, value: Array) -> Array:
    """An array that fits: `value`'s own memory where possible, else a copy.

    Where the step writes to the argument and the result does not share memory with `value`, the
    caller copies it back.

    Raises:
        ValueError: the shape differs, or the dtype would have to change its kind.
    """
    array = np.asarray(value)
    if array.shape != spec.shape:
        raise ValueError(f"the program takes shape {spec.shape}, not {array.shape}")
    if not np.can_cast(array.dtype, spec.dtype, "equiv"):
        raise ValueError(f"the program takes dtype {spec.dtype}, not {array.dtype}")
    if array.dtype.isnative and array.dtype.num != spec.dtype.num:
        array = array.view(spec.dtype)  # long and long long are one size and two types
    return array if spec.fits(array) else np.array(array, dtype=spec.dtype, order="C")


class _ContextBlock(np.ndarray[tuple[int], np.dtype[np.uint8]]):
    """The memory of a context, and what must live as long: the entry refers to it."""

    kept: dict[int | str, Any]


class Context:
    """The memory of one program: slots of pointers, what its arguments must be, its status.

    Args:
        slots: how many pointers the step reads, at `runtime.slot_offset(i)` of its context.
        arguments: for each argument of the entry, in order.
        parallel: the step may run on several threads.
        threads_at_most: for how many there is scratch memory, whatever the size of the team.
        short: it takes microseconds: the interpreter's lock is kept, and Ctrl-C waits for its end.
    """

    def __init__(
        self,
        slots: int,
        arguments: Sequence[ArgumentSpec] = (),
        *,
        parallel: bool = False,
        short: bool = False,
        threads_at_most: int = config.MAX_THREADS,
    ) -> None:
        self.slots = slots
        self.arguments = tuple(arguments)
        size = slot_offset(slots)
        dims = sum(len(spec.shape) for spec in self.arguments)
        total = size + ARGUMENT_BYTES * len(self.arguments) + 8 * dims
        self.block = aligned_block(total).view(_ContextBlock)
        self.block.kept = {}
        self._put("services", services().ctypes.data)
        writes = any(spec.writeable for spec in self.arguments)
        self._put("flags", PARALLEL * parallel | SHORT * short | WRITES * writes)
        self._put("threads", threads_at_most)
        self._put("count", len(self.arguments))
        self._put("arguments", self.address + size)
        self._describe(size, size + ARGUMENT_BYTES * len(self.arguments))
        self.keep("arguments", self.arguments)  # native code compares addresses of their dtypes

    @property
    def address(self) -> int:
        """Where it lies: the step's `%context`."""
        return self.block.ctypes.data

    @property
    def status(self) -> int:
        """What the last step left: 0, or a status of `runtime`."""
        return get(self.block, CONTEXT["status"])

    def bind(self, slot: int, array: Array) -> None:
        """Have a slot point to an array's memory, which is kept alive."""
        if not 0 <= slot < self.slots:
            raise IndexError(f"slot {slot} of {self.slots}")
        put(self.block, slot_offset(slot), array.ctypes.data)
        self.keep(slot, array)

    def keep(self, name: int | str, thing: Any) -> None:
        """Have something live as long as the context."""
        self.block.kept[name] = thing

    def _put(self, name: str, value: int) -> None:
        put(self.block, CONTEXT[name], value)

    def _describe(self, at: int, dims_at: int) -> None:
        """Write the table of arguments that native code reads."""
        for spec in self.arguments:
            if not 0 <= spec.slot < self.slots:
                raise IndexError(f"slot {spec.slot} of {self.slots}")
            if spec.dtype.kind not in "biufc" or not spec.dtype.isnative:
                raise TypeError(f"a program takes native numbers, not {spec.dtype}")
            for name, value in (
                ("slot", slot_offset(spec.slot)),
                ("descr", id(spec.dtype)),
                ("dims", self.address + dims_at),
                ("flags", spec.flags),
                ("rank", len(spec.shape)),
                ("type", spec.dtype.num),
                ("bytes", math.prod(spec.shape) * spec.dtype.itemsize),
            ):
                put(self.block, at + ARGUMENT[name], value)
            for i, n in enumerate(spec.shape):
                put(self.block, dims_at + 8 * i, n)
            at += ARGUMENT_BYTES
            dims_at += 8 * len(spec.shape)


def make_entry(library: engine.Library, step_name: str, context: Context) -> Entry:
    """The callable of a program; see the module. It keeps the library and the context's arrays."""
    put(context.block, CONTEXT["own_step"], library.address(step_name))
    context.keep("library", library)
    if not fast_entries_work():
        return _SlowEntry(context)
    return _new_builtin(context.block)


class _MethodDef(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


def _new_builtin(block: Block) -> Entry:
    make: Any = ctypes.pythonapi.PyCFunction_NewEx
    make.restype = ctypes.py_object
    make.argtypes = [ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p]
    return make(ctypes.addressof(_method()), block, None)


@once
def _method() -> _MethodDef:
    """The one definition that all entries share: they differ in the context they belong to."""
    threads.prepare()
    put(services(), SERVICES["wait_until_free"], id(_wait_until_free))
    return _MethodDef(b"step", _library().address("bp_entry"), _METH_FASTCALL, None)


@once
def _library() -> engine.Library:
    return engine.load(entry_text(object.__basicsize__), host())


@once
def fast_entries_work() -> bool:
    """Whether array objects lie in memory as native code reads them."""
    if sys.implementation.name != "cpython" or not getattr(sys, "_is_gil_enabled", lambda: True)():
        return False
    if ctypes.sizeof(ctypes.c_void_p) != 8 or sys.byteorder != "little":
        return False
    try:
        probes = (np.zeros((2, 3), np.float32), np.zeros((), np.int64), np.zeros((4, 5, 6))[:, ::2])
        return all(map(_lies_as_expected, probes))
    except AttributeError:
        return False


def _lies_as_expected(array: Array) -> bool:
    head = object.__basicsize__
    if np.ndarray.__basicsize__ < head + 56:
        return False

    def word(offset: int, kind: Any = ctypes.c_uint64) -> int:
        return kind.from_address(id(array) + offset).value

    def words(address: int) -> tuple[int, ...]:
        return tuple((ctypes.c_int64 * array.ndim).from_address(address)) if array.ndim else ()

    descr = word(head + 40)
    return (
        word(head - 8) == id(np.ndarray)
        and word(head) == array.ctypes.data
        and word(head + 8, ctypes.c_int32) == array.ndim
        and words(word(head + 16)) == array.shape
        and words(word(head + 24)) == array.strides
        and descr == id(array.dtype)
        and word(head + 48, ctypes.c_int32) == array.flags.num
        and ctypes.c_char.from_address(descr + head + 10).value == array.dtype.byteorder.encode()
        and ctypes.c_int32.from_address(descr + head + 12).value == array.dtype.num
    )


def _wait_until_free(block: Block) -> None:
    """Wait until another thread's call of the same program has ended."""
    pause = 20e-6
    while get(block, CONTEXT["busy"]) == _generation():
        if get(block, CONTEXT["owner"]) == threading.get_ident():
            raise RuntimeError("a program was called again by a signal handler while it ran")
        time.sleep(pause)
        pause = min(2 * pause, 1e-3)


def _generation() -> int:
    """What a running program's `busy` is: a forked child forgets its parent's calls."""
    return get(services(), SERVICES["generation"])


class _SlowEntry:
    """What the builtin does, in Python and ctypes."""

    def __init__(self, context: Context) -> None:
        _method()  # fills the services
        self.context = context
        self.enter = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)(_library().address("bp_enter"))
        self.series = _library().address("bp_series")
        self.lock = threading.Lock()  # from "it is free" to "it is ours"
        self.words = (ctypes.c_uint64 * (context.block.size // 8)).from_address(context.address)
        self.busy = CONTEXT["busy"] // 8

    def __call__(self, *values: Any) -> int | None:
        if self.words[CONTEXT["flags"] // 8] & PARALLEL:
            threads.team()
        self._take()
        try:
            return self._run(values)
        finally:
            self.words[self.busy] = 0

    def _take(self) -> None:
        generation = _generation()
        while True:
            with self.lock:
                if self.words[self.busy] != generation:
                    self.words[self.busy] = generation
                    return
            _wait_until_free(self.context.block)

    def _run(self, values: tuple[Any, ...]) -> int | None:
        specs = self.context.arguments
        for i, (spec, value) in enumerate(zip(specs, values, strict=False)):
            if not spec.fits(value):
                return i
            self.words[slot_offset(spec.slot) // 8] = value.ctypes.data
        series = values[len(specs) :]
        if len(values) < len(specs) or len(series) > 1 or not _are_tables(series):
            return min(len(values), len(specs))
        own = self.words[CONTEXT["own_step"] // 8]
        self.words[CONTEXT["step"] // 8] = self.series if series else own
        self.words[CONTEXT["series"] // 8] = series[0].ctypes.data if series else 0
        clashing = self._clash(values)
        if clashing is not None:
            return len(specs) + clashing
        self.enter(self.words)
        return -self.words[0] or None

    def _clash(self, values: tuple[Any, ...]) -> int | None:
        """As `bp_clash`: an argument that shares memory with another, where one is written to."""
        specs = self.context.arguments
        begins = [self.words[slot_offset(spec.slot) // 8] for spec in specs]
        for i, a in enumerate(specs):
            for j, b in enumerate(specs):
                if i != j and (a.writeable or b.writeable):
                    last = min(begins[i] + values[i].nbytes, begins[j] + values[j].nbytes)
                    some = values[i].nbytes and values[j].nbytes
                    if some and max(begins[i], begins[j]) < last:
                        return i if b.writeable else j
        return None


def _are_tables(values: tuple[Any, ...]) -> bool:
    return all([type(value) is np.ndarray for value in values])
