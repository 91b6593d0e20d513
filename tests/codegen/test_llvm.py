"""Object code without llvmlite's lock is the same as with it, and can be had with it."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest

from backpass.codegen import llvm
from backpass.codegen.machine import host

TEXT = "define i64 @twice(i64 %x) {\n  %y = add i64 %x, %x\n  ret i64 %y\n}\n"


def emitted() -> bytes:
    binding = llvm.llvm()
    machine = host()
    target = binding.Target.from_default_triple().create_target_machine(
        cpu=machine.cpu, features=machine.features
    )
    module = binding.parse_assembly(TEXT, binding.create_context())
    return vars(llvm.emitter)["__wrapped__"]()(target, module)


def test_another_llvmlite_emits_with_its_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = emitted()

    def missing(*args: Any, **options: Any) -> Any:
        raise AttributeError("_handle")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert emitted() == expected
