"""How many bytes the array of a key takes."""

from __future__ import annotations

from backpass.codegen.arrange import Step
from backpass.codegen.lower.elements import Key, Named
from backpass.codegen.lower.lower import Call
from backpass.ir import Node, Value
from backpass.loops import Space


def bytes_of(key: Key, step: Step) -> int:
    """The bytes of an array that a step reads or writes."""
    if isinstance(key, Node):
        return key.types[0].nbytes
    if isinstance(key, Value):
        return key.type.nbytes
    if not isinstance(key, Named):
        node, index = key
        return node.types[index].nbytes
    assert not isinstance(step, Call)
    memory = [b for b in step.kernel.buffers if b.space is Space.MEMORY]
    buffer = memory[step.keys.index(key)]
    return buffer.size * buffer.dtype.itemsize
