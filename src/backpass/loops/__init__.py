"""The kernel language: loop nests as data, between the tensor graph and native code."""

from backpass.loops.interpret import interpret
from backpass.loops.kernel import (
    LANES,
    Access,
    Buffer,
    Clip,
    Gemm,
    Indexed,
    Kernel,
    LoopKernel,
    Op,
    ScatterAdd,
    Schedule,
    Space,
    Stage,
)
from backpass.loops.show import show
from backpass.loops.verify import verify

__all__ = [
    "LANES",
    "Access",
    "Buffer",
    "Clip",
    "Gemm",
    "Indexed",
    "Kernel",
    "LoopKernel",
    "Op",
    "ScatterAdd",
    "Schedule",
    "Space",
    "Stage",
    "interpret",
    "show",
    "verify",
]
