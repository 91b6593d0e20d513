"""Workspace: the scratch bytes that a kernel's machine code asks of its caller.

The shared part comes first, then one part for each thread; both are multiples of 64 and the whole
is aligned to 64 (docs/compiler.md).
"""

from __future__ import annotations

from dataclasses import dataclass

ALIGNMENT = 64


@dataclass(frozen=True, slots=True)
class Workspace:
    """`shared` bytes for all threads together, then `per_thread` bytes for each."""

    shared: int = 0
    per_thread: int = 0

    def size(self, threads: int) -> int:
        """The bytes for a team of `threads`."""
        return self.shared + self.per_thread * threads


def aligned(size: int) -> int:
    """`size` rounded up to a multiple of the alignment."""
    return -(-size // ALIGNMENT) * ALIGNMENT
