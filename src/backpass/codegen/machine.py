"""Machine: what code generation must know of a processor; `host()` is the one we run on.

Invariant: pure data. A kernel is made for a Machine, never for "this computer", so that the code
for another processor can be written and inspected here. Nothing is probed at import.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from backpass.codegen.llvm import llvm

_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_DEFAULT_CACHES = (32 << 10, 512 << 10, 8 << 20)


@dataclass(frozen=True, slots=True)
class Machine:
    """A processor.

    Attributes:
        cpu, features: as LLVM writes them, for example "znver4" and "+avx2,-avx512f".
        vector_bytes: the widest vector that is worth using: 16, 32 or 64.
        vector_registers: how many of them there are: 16 or 32.
        l1, l2, l3: bytes of the data caches that one core can use; l3 is shared.
    """

    cpu: str
    features: str
    vector_bytes: int
    vector_registers: int
    l1: int
    l2: int
    l3: int


@lru_cache(maxsize=1)
def host() -> Machine:
    """The machine this process runs on."""
    found: dict[str, bool] = dict(llvm().get_host_cpu_features())
    wide, registers = _vectors(found)
    l1, l2, l3 = cache_sizes(_CACHES)
    flags = ",".join(("+" if on else "-") + name for name, on in sorted(found.items()))
    return Machine(llvm().get_host_cpu_name(), flags, wide, registers, l1, l2, l3)


def _vectors(features: dict[str, bool]) -> tuple[int, int]:
    """Bytes and number of the vector registers."""
    if features.get("avx512f") and features.get("avx512vl"):
        return 64, 32
    if features.get("avx2") and features.get("fma"):
        return 32, 16
    return 16, 32 if os.uname().machine in ("aarch64", "arm64") else 16


def cache_sizes(folder: Path) -> tuple[int, int, int]:
    """Bytes of the data caches of levels 1, 2, 3 as the kernel lists them; usual sizes if not.

    A machine without a third level has its second one's size there.
    """
    found: dict[int, int] = {}
    for index in sorted(folder.glob("index*")):
        try:
            level, kind, size = [
                (index / name).read_text(encoding="ascii").strip()
                for name in ("level", "type", "size")
            ]
            if kind != "Instruction":
                found[int(level)] = int(size.rstrip("KMG")) * _UNITS.get(size[-1], 1)
        except (OSError, ValueError):
            continue  # a container may hide any of these files
    l1 = found.get(1, _DEFAULT_CACHES[0])
    l2 = found.get(2, _DEFAULT_CACHES[1])
    return l1, l2, found.get(3, l2 if 2 in found else _DEFAULT_CACHES[2])
