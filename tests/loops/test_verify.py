"""The verifier takes sound kernels and catches planted faults."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from tests.loops import kernels
from tests.loops.kernels import BOOL, F32, I64, call, const, load, reduce, store
from tests.loops.random_kernels import loop_kernels

from backpass.errors import VerificationError
from backpass.loops import (
    Access,
    Buffer,
    Clip,
    Indexed,
    LoopKernel,
    Op,
    Schedule,
    Space,
    Stage,
    verify,
)


def kernel(*stages: Stage, **changes: object) -> LoopKernel:
    """A kernel over (4, 6), one outer axis; buffers: x, y (written), scratch, indices."""
    buffers = (
        Buffer(F32, 24),
        Buffer(F32, 24, written=True),
        Buffer(F32, 6, Space.SCRATCH, written=True),
        Buffer(I64, 24),
    )
    plain = LoopKernel("k", buffers, (4, 6), 1, stages, None, Schedule(1))
    return replace(plain, **changes)


def loops(*ops: Op) -> Stage:
    return Stage(True, ops)


def once(*ops: Op) -> Stage:
    return Stage(False, ops)


ROW = (6, 1)
X = load(0, ROW)
GATHER = Indexed(Access(0, 0, (0, 1)), (6,), (4,))
FAULTS: dict[str, Callable[[], LoopKernel]] = {
    "all >= 1": lambda: kernel(extents=(4, 0)),
    "outer axes of": lambda: kernel(outer=3),
    "unroll 0": lambda: kernel(schedule=Schedule(1, 0)),
    "neither the last outer axis": lambda: kernel(schedule=Schedule(2)),
    "not an outer and an inner": lambda: kernel(clip=Clip(1, 0, 24)),
    "do not make 4 blocks": lambda: kernel(clip=Clip(0, 1, 18)),
    "differ in extent": lambda: kernel(clip=Clip(0, 1, 20), schedule=Schedule(0)),
    "not an earlier op": lambda: kernel(loops(X, call("neg", 1))),
    "op 0 is not visible": lambda: kernel(loops(X), once(call("neg", 0))),
    "op 1 is not visible": lambda: kernel(loops(X, reduce("sum", 0), call("neg", 1))),
    "only a stage with loops": lambda: kernel(once(const(1.0), reduce("sum", 0))),
    "none of": lambda: kernel(loops(X, reduce("mean", 0))),
    "takes one bool": lambda: kernel(loops(X, Op("reduce", (0,), BOOL, "any"))),
    "any and all": lambda: kernel(loops(X, reduce("any", 0))),
    "runs along lanes": lambda: kernel(loops(X, Op("scan", (0,), F32, "sum"))),
    "elements 1 to 24 of 24": lambda: kernel(loops(load(0, ROW, 1))),
    "elements -1 to": lambda: kernel(loops(load(0, (6, -1), 4))),
    "int64 in a buffer of float32": lambda: kernel(loops(load(0, ROW, dtype=I64))),
    "strides for 2 axes": lambda: kernel(loops(load(0, (1,)))),
    "not visited": lambda: kernel(once(load(0, ROW))),
    "not said to be written": lambda: kernel(loops(X, store(0, 0, ROW))),
    "stores": lambda: kernel(loops(load(3, ROW, dtype=I64), store(0, 1, ROW))),
    "write an element twice": lambda: kernel(loops(X, store(0, 1, (0, 1)))),
    "axis 1 is not visited": lambda: kernel(once(Op("index", (), I64, 1))),
    "an index is int64": lambda: kernel(loops(Op("index", (), F32, 1))),
    "other elements of one buffer": lambda: kernel(loops(load(1, ROW, 0), store(0, 1, (6, -1), 5))),
    "may touch what another writes": lambda: kernel(
        loops(load(1, (0, 1)), reduce("sum", 0)), loops(store(1, 1, ROW))
    ),
    "scratch that nothing wrote": lambda: kernel(loops(load(2, (0, 1)))),
    "indices of": lambda: kernel(loops(X, Op("load_at", (0,), F32, GATHER))),
    "elements 0 to 29 of 24": lambda: kernel(
        loops(
            load(3, ROW, dtype=I64),
            Op("load_at", (0,), F32, replace(GATHER, extents=(5,))),
        )
    ),
}


@pytest.mark.parametrize("words", FAULTS)
def test_a_planted_fault_is_told(words: str) -> None:
    with pytest.raises(VerificationError, match=words):
        verify(FAULTS[words]())


def test_the_clip_is_honoured() -> None:
    whole = kernels.block_sums(130, 70, Schedule(1))
    assert verify(whole) is whole
    with pytest.raises(VerificationError, match="elements 0 to 130 of 130"):
        verify(replace(whole, clip=Clip(0, 1, 131)))


def test_in_place_rows_and_disjoint_parts_are_sound() -> None:
    verify(
        kernel(
            loops(load(1, ROW), reduce("max", 0)),
            loops(load(1, ROW), call("sub", 2, 1), store(3, 1, ROW)),
        )
    )
    halves = (Buffer(F32, 48, written=True),)
    verify(kernel(loops(load(0, ROW, 24), store(0, 0, ROW)), buffers=halves))


def test_products_and_scatters() -> None:
    product, scatter = kernels.product(2, 3, 4, 5), kernels.scatter((2, 3), 5, 2)
    assert verify(product) is product and verify(scatter) is scatter
    for broken, words in [
        (replace(product, y=product.x), "stride along axis 1"),
        (replace(product, depth=6), "x: 0 to"),
        (replace(product, epilogue=product.epilogue[:-1]), "stores nothing"),
        (replace(scatter, counts=(6,)), "updates 0 to 11 of 10"),
        (replace(scatter, extents=(2, 4)), "out has 12"),
        (replace(scatter, indices=(2,)), "1 indices for 2"),
        (replace(scatter, updates=Access(1, 0, (2,))), "strides for"),
        (replace(scatter, updates=Access(0, 0, (2, 1))), "updates are written"),
        (replace(scatter, out=1), "not said to be written"),
    ]:
        with pytest.raises(VerificationError, match=words):
            verify(broken)


@settings(max_examples=50, deadline=None)
@given(loop_kernels())
def test_random_kernels_are_sound(case: tuple[LoopKernel, object]) -> None:
    verify(case[0])
