"""The kernel language: loop nests as data, between the tensor graph and native code."""

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
]
