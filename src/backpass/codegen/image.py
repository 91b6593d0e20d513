"""Image: what a program needs to run besides its machine code. It can be kept on disk.

A graph that was compiled on this machine before needs no lowering and no text of kernels: its image
and its object code are read from the cache (`cache.py`), under a key that says all they depend on:
the graph to the last bit of its constants, the updates, the machine, the number of threads, and the
source of the compiler itself. Programs with reference calls have no image on disk, for those call
Python functions. Invariant: what cannot be named exactly has no key, and is compiled each time.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np

from backpass.codegen import cache, engine
from backpass.codegen.machine import Machine
from backpass.codegen.once import once
from backpass.ir import Graph, Node, Primitive, TensorType, Value
from backpass.ir.graph import Array
from backpass.ir.show import splat

ARENA = 0  # the slot of the arena; the caller's arrays and constants follow
MOST_CONSTANTS = 1 << 24  # bytes, above which an image is not kept
MOST_TRACED = 1 << 20  # bytes of constants, above which the passes come before the key
_ROOMS = ("codegen", "codegen/lower", "passes", "loops", "ir", "prims")  # what decides on the code


@dataclass(frozen=True, slots=True)
class SegmentImage:
    """A native function by its name, or a reference call, whose name is "".

    `slots` are those of the arrays that it needs, `written` those of them that it writes.
    """

    name: str
    slots: tuple[int, ...]
    written: tuple[int, ...]
    parallel: bool


@dataclass(frozen=True, slots=True, eq=False)
class Image:
    """A program without its code.

    Attributes:
        types: of the array in each slot; that of the arena is its bytes.
        inputs, outputs: the slots of the graph's inputs, and of the outputs that are returned.
        constants: the arrays of slots that never change.
        segments: in the order in which they run.
        work: weighed operations of a call.
    """

    types: tuple[TensorType, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    constants: Mapping[int, Array]
    segments: tuple[SegmentImage, ...]
    work: int

    def native(self) -> bool:
        """Whether nothing in it calls Python."""
        return all([segment.name for segment in self.segments])


def key_of(
    graph: Graph,
    updates: Mapping[int, int],
    machine: Machine,
    threads: int,
    *,
    traced: bool = False,
) -> str | None:
    """The key of a graph's image, None if something in the graph cannot be named exactly.

    Args:
        graph, updates, machine, threads: as of `build.build`.
        traced: the graph is as it was traced, `passes.clean` comes before it is compiled.
    """
    try:
        source = compiler_source()
        text = _exact(graph, MOST_TRACED if traced else MOST_CONSTANTS)
    except (OSError, _NamelessError):
        return None
    kind = "traced image" if traced else "image"
    own = (kind, source, engine.signature(machine), repr(machine), str(threads))
    return cache.key_of(*own, repr(sorted(updates.items())), text)


def read(key: str) -> tuple[Image, engine.Library] | None:
    """The image and the code under a key; None if one is missing or damaged."""
    content = cache.read(key)
    if content is None:
        return None
    image, code_key = _decoded(content)
    names = [s.name for s in image.segments]
    library = engine.load_kept(code_key, names)
    return None if library is None else (image, library)


def write(key: str, image: Image, code_key: str) -> None:
    """Keep an image, and which code belongs to it."""
    if image.native() and sum([a.nbytes for a in image.constants.values()]) <= MOST_CONSTANTS:
        cache.write(key, _encoded(image, code_key))


# -- on disk: a length, a line of JSON, and the bytes of the constants


def _encoded(image: Image, code_key: str) -> bytes:
    head = {
        "code": code_key,
        "types": [[list(t.shape), t.dtype.str] for t in image.types],
        "inputs": image.inputs,
        "outputs": image.outputs,
        "constants": list(image.constants),
        "segments": [[s.name, s.slots, s.written, s.parallel] for s in image.segments],
        "work": image.work,
    }
    text = json.dumps(head).encode()
    arrays = [np.ascontiguousarray(a).tobytes() for a in image.constants.values()]
    return b"".join([len(text).to_bytes(8, "little"), text, *arrays])


def _decoded(content: bytes) -> tuple[Image, str]:
    size = int.from_bytes(content[:8], "little")
    head: dict[str, Any] = json.loads(content[8 : 8 + size])
    types = [TensorType(tuple(shape), np.dtype(name)) for shape, name in head["types"]]
    constants: dict[int, Array] = {}
    at = 8 + size
    for slot in cast("list[int]", head["constants"]):
        t = types[slot]
        flat = np.frombuffer(content, t.dtype, math.prod(t.shape), at)
        constants[slot] = flat.reshape(t.shape).copy()  # aligned, and of its own
        at += t.nbytes
    segments = [
        SegmentImage(name, tuple(slots), tuple(written), parallel)
        for name, slots, written, parallel in head["segments"]
    ]
    image = Image(
        tuple(types),
        tuple(head["inputs"]),
        tuple(head["outputs"]),
        constants,
        tuple(segments),
        head["work"],
    )
    return image, head["code"]


# -- the exact name of a graph


class _NamelessError(Exception):
    """Something in a graph that no text stands for: a function among the parameters, say."""


def _exact(graph: Graph, most: int) -> str:
    """A text that two graphs share only if they are compiled to the same program.

    What is applied and the constants are texts, each once, numbered as they appear; which node
    applies what to what is a checksum of numbers: of inputs and outputs from 0 on, of constants
    from -1 downwards.
    """
    numbers: dict[object, int] = {v: n for n, v in enumerate(graph.inputs)}
    made = len(numbers)
    constants = _Constants(most)

    def number(v: Value) -> int:
        if v.node is not None:
            return numbers[v.node] + v.index
        found = numbers.get(v)
        if found is None:
            found = numbers[v] = constants.add(v)
        return found

    operations: dict[str, int] = {}
    known: dict[object, int] = {}  # the number of an operation by what is quicker to look up
    stream: list[int] = []
    for node in graph.nodes:
        params = node.params
        key: tuple[object, ...] = (node.primitive, *map(id, node.types))
        if params:
            key += (repr(params), *map(type, params.values()))
        operation = known.get(key)
        if operation is None:
            operation = operations.setdefault(_operation(node), len(operations))
            known[key] = operation
        stream += (operation, len(node.inputs))
        stream += [number(v) for v in node.inputs]
        numbers[node] = made
        made += len(node.types)
    stream += [number(v) for v in graph.outputs]
    digest = hashlib.sha256(np.array(stream, np.int64).tobytes()).hexdigest()
    inputs = " ".join([_type(v.type) for v in graph.inputs])
    return "\n".join([inputs, *operations, *constants.texts, digest])


class _Constants:
    """The texts of constants; an array that two Values share is said to be shared."""

    def __init__(self, most: int) -> None:
        self.texts: list[str] = []
        self._left = most
        self._known: dict[int, int] = {}

    def add(self, v: Value) -> int:
        """The number of a constant that was not met before: -1, -2, ..."""
        number = -1 - len(self.texts)
        first = self._known.setdefault(id(v.array), number)
        self.texts.append(self._text(v) if first == number else f"{_type(v.type)} is {first}")
        return number

    def _text(self, v: Value) -> str:
        array = v.array
        if array is None:
            raise _NamelessError
        if splat(array):
            array = array[(0,) * array.ndim]
            return f"splat {_type(v.type)}{array.tobytes().hex()}"
        self._left -= array.nbytes
        if self._left < 0:
            raise _NamelessError
        strides = [s for s, n in zip(array.strides, array.shape, strict=True) if n > 1]
        kind = f"{_type(v.type)}{sum([s == 0 for s in strides])}of{len(strides)}"
        return kind + hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def _operation(node: Node) -> str:
    params = ",".join([f"{k}={_param(node.params[k])}" for k in sorted(node.params)])
    types = " ".join([_type(t) for t in node.types])
    return f"{_origin(node.primitive)}[{params}]{types}"


@lru_cache(maxsize=1 << 10)
def _origin(primitive: Primitive) -> str:
    rule: Any = primitive.reference
    origin = f"{getattr(rule, '__module__', '')}.{getattr(rule, '__qualname__', '')}"
    return f"{primitive.name}:{primitive.lower}:{origin}"


def _type(t: TensorType) -> str:
    return f"{t.dtype.str}{t.shape}"


def _param(x: object) -> str:
    if x is None or isinstance(x, bool | int | float | str):
        return f"{type(x).__name__}:{x!r}"
    if isinstance(x, np.dtype):
        return f"dtype:{cast('np.dtype[Any]', x).str}"
    if isinstance(x, tuple):
        if all([type(v) is int for v in cast("tuple[object, ...]", x)]):
            return f"ints:{x!r}"
        return "(" + ",".join([_param(v) for v in cast("tuple[object, ...]", x)]) + ")"
    raise _NamelessError


@once
def compiler_source() -> str:
    """A checksum of the source files that decide what a graph is compiled to.

    Raises:
        OSError: they are not there, as in a package without sources.
    """
    root = Path(__file__).parent.parent
    digest = hashlib.sha256(np.__version__.encode())
    for room in _ROOMS:
        files = sorted((root / room).glob("*.py"))
        if not files:
            raise OSError(f"no sources in {root / room}")
        for path in files:
            content = path.read_bytes()
            digest.update(f"{room}/{path.name}:{len(content)}\n".encode())
            digest.update(content)
    return digest.hexdigest()
