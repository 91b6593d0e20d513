"""The epilogue of a product: its ops, each as seldom as its value changes.

A value is uniform (computed once, before all loops), of a row, or of an element; the first two are
scalars until an element needs them in every lane. So the scalars of an optimizer's update cost
nothing in the loops, and a bias along the rows one load a row. Only the wanted lanes touch memory.
"""

from __future__ import annotations

from backpass.codegen import access, arithmetic
from backpass.codegen.counted import Index
from backpass.codegen.gemm_tile import at
from backpass.codegen.text import INT64, Function, Reg, constant
from backpass.loops.kernel import Access, Gemm, Indexed, Op, ScatterAdd

_UNIFORM, _ROW, _ELEMENT = range(3)


class Epilogue:
    """The epilogue of `gemm` in `f`: first `uniform`, then for each row `row` and its `vector`s."""

    def __init__(self, f: Function, gemm: Gemm | ScatterAdd, lanes: int) -> None:
        self._f = f
        self._gemm = gemm
        self._lanes = lanes
        self._levels = levels(gemm)
        self._values = [constant(0, op.dtype) for op in gemm.epilogue]
        self._splats: dict[int, Reg] = {}
        self._place: tuple[Index, Index, Index] = (0, 0, 0)
        self._wanted = 1

    def uniform(self) -> None:
        """The ops whose values never change; once, where the function begins."""
        self._run(_UNIFORM, None)

    def row(self, batch: Index, row: Index) -> None:
        """The ops whose values do not change along a row."""
        self._place = (batch, row, 0)
        self._splats = {}
        self._run(_ROW, None)

    def vector(self, acc: Reg, column: Index, wanted: int) -> None:
        """All others, for `wanted` elements of the current row from `column` on."""
        self._place = (*self._place[:2], column)
        self._wanted = wanted
        self._run(_ELEMENT, acc)

    def _run(self, level: int, acc: Reg | None) -> None:
        for number, op in enumerate(self._gemm.epilogue):
            if self._levels[number] != level:
                continue
            if op.code == "acc" and acc is not None:
                self._values[number] = acc
            elif op.code == "store":
                self._store(op)
            else:
                self._values[number] = self._value(op, level)

    def _value(self, op: Op, level: int) -> Reg:
        f = self._f
        match op.code:
            case "const":
                return constant(op.param, op.dtype)
            case "index":
                return self._index(op.param)
            case "load":
                return self._load(op, op.param, self._pointer(op.param), level)
            case "load_at":
                return self._load_at(op, op.param, level)
            case _:
                args = [self._get(arg, level) for arg in op.args]
                return arithmetic.emit(f, op.code, args, op.dtype, op.param)

    def _get(self, number: int, level: int) -> Reg:
        """A value as an op of `level` reads it: in every lane where that is of elements."""
        value = self._values[number]
        if level < _ELEMENT or value.width > 1:
            return value
        if number not in self._splats:
            self._splats[number] = access.splat(self._f, value, self._lanes)
        return self._splats[number]

    def _index(self, axis: int) -> Reg:
        index = self._place[axis]
        scalar = constant(index, INT64) if isinstance(index, int) else Reg(index, INT64, 1)
        if axis < 2:
            return scalar
        lanes = access.lane_numbers(0, 1, self._lanes)
        first = access.splat(self._f, scalar, self._lanes)
        return self._f.let(f"add nsw {first}, {lanes.name}", INT64, self._lanes)

    def _pointer(self, where: Access) -> str:
        size = self._gemm.buffers[where.buffer].dtype.itemsize
        steps = zip(self._place, where.strides, strict=True)
        places = [(index, stride * size) for index, stride in steps if stride]
        return at(self._f, f"%b{where.buffer}", (where.offset, size), *places)

    def _load(self, op: Op, where: Access, pointer: str, level: int) -> Reg:
        if level < _ELEMENT:
            return access.load_scalar(self._f, op.dtype, pointer)
        stride = where.strides[2]
        if stride == 0:
            return access.splat(
                self._f, access.load_scalar(self._f, op.dtype, pointer), self._lanes
            )
        return access.load_vector(self._f, op.dtype, pointer, stride, self._lanes, self._wanted)

    def _load_at(self, op: Op, param: Indexed, level: int) -> Reg:
        f = self._f
        pointer = self._pointer(param.access)
        indices = [self._values[arg] for arg in op.args]
        if all(index.width == 1 for index in indices):
            offset = access.wrap_indices(f, indices, param, 1)
            pointer = access.offset_pointer(f, op.dtype, pointer, offset)
            return self._load(op, param.access, pointer, level)
        lanes = [access.splat(f, index, self._lanes) for index in indices]
        offsets = access.wrap_indices(f, lanes, param, self._wanted)
        stride = param.access.strides[2]
        if stride:
            steps = access.lane_numbers(0, stride, self._lanes)
            offsets = f.let(f"add nsw {offsets}, {steps.name}", INT64, self._lanes)
        return access.gather(f, op.dtype, pointer, offsets, self._wanted)

    def _store(self, op: Op) -> None:
        where: Access = op.param
        value = self._get(op.args[0], _ELEMENT)
        access.store_vector(self._f, value, self._pointer(where), where.strides[2], self._wanted)


def levels(gemm: Gemm | ScatterAdd) -> list[int]:
    """For each op of the epilogue, how often its value changes."""
    found: list[int] = []
    for op in gemm.epilogue:
        args = max([_UNIFORM, *[found[arg] for arg in op.args]])
        match op.code:
            case "acc" | "store":
                found.append(_ELEMENT)
            case "load":
                found.append(_level_of(op.param))
            case "load_at":
                found.append(max(args, _level_of(op.param.access)))
            case "index":
                found.append(_ELEMENT if op.param == 2 else _ROW)
            case _:
                found.append(args)
    return found


def _level_of(where: Access) -> int:
    batch, row, column = where.strides
    if column:
        return _ELEMENT
    return _ROW if batch or row else _UNIFORM
