"""Kernels as text."""

from __future__ import annotations

from dataclasses import replace

from tests.loops import kernels

from backpass.loops import Schedule, show


def test_a_loop_kernel() -> None:
    assert show(kernels.centred_rows(3, 8, Schedule(1, 2, True))) == (
        """loops centred (i<3) vector=j unroll=2 parallel:
  b0: float32[24]
  b1: float32[24] written
  b2: float32[8] scratch written
  for j<8:
    %0: float32 = load b0[8*i + j]
    %1: float32 = reduce(%0) max
  for j<8:
    %2: float32 = load b0[8*i + j]
    %3: float32 = sub(%2, %1)
    store b2[j], %3
    %5: float32 = reduce(%3) sum
  once:
    %6: float32 = const 1.0
    %7: float32 = div(%6, %5)
  for j<8:
    %8: float32 = load b2[j]
    %9: float32 = mul(%8, %7)
    store b1[8*i + j], %9"""
    )


def test_a_clip_and_an_indexed_access() -> None:
    text = show(kernels.block_sums(130, 70, Schedule()))
    assert "  clip 70*i + j < 130" in text.splitlines()
    text = show(kernels.rows_at(4, 3, 5, Schedule()))
    assert "    %1: float32 = load_at b0[j + 3*wrap(%0, 4)]" in text.splitlines()


def test_a_product() -> None:
    assert show(replace(kernels.product(2, 3, 4, 5), parallel=True)) == (
        """gemm product 2 x (3, 4, 5) float32 parallel:
  b0: float32[30]
  b1: float32[20]
  b2: float32[4]
  b3: float32[24] written
  x = b0[15*i + 5*j + l], y = b1[k + 4*l]
  %0: float32 = acc
  %1: float32 = load b2[k]
  %2: float32 = add(%0, %1)
  %3: float32 = const 0.0
  %4: float32 = maximum(%2, %3)
  store b3[12*i + 4*j + k], %4"""
    )


def test_a_scatter() -> None:
    assert show(kernels.scatter((2, 3), 5, 4)).splitlines()[0::5] == [
        "scatter_add scatter n<5, width 4:",
        "  b0[wrap(b2[n], 2), wrap(b3[n], 3), :] += b1[4*i + j]",
    ]
