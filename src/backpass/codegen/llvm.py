"""LLVM by llvmlite, loaded and started when it is first used: it is large, not always needed."""

from __future__ import annotations

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
