"""Which elements an access may touch: the least, the greatest, and whether it touches one twice.

The clip cuts the last block of an axis, so the greatest element is that of a domain with a corner
missing. `injective` is a sufficient condition: sorted by size, each stride must step over all that
the smaller ones span.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from backpass.loops.kernel import Access, Clip, Indexed


def span(
    access: Access, extents: Sequence[int], clip: Clip | None, axes: Iterable[int]
) -> tuple[int, int]:
    """The least and the greatest element over the indices of `axes`, the others being 0."""
    visited = set(axes)
    low = high = access.offset
    clipped = set[int]()
    if clip is not None and {clip.outer, clip.inner} <= visited:
        clipped = {clip.outer, clip.inner}
        corners = _clipped_corners(access, extents, clip)
        low, high = low + min(corners), high + max(corners)
    for axis in visited - clipped:
        reach = access.strides[axis] * (extents[axis] - 1)
        low, high = low + min(reach, 0), high + max(reach, 0)
    return low, high


def _clipped_corners(access: Access, extents: Sequence[int], clip: Clip) -> list[int]:
    """The linear part of an access at the corners of the clipped pair of axes."""
    outer, inner = access.strides[clip.outer], access.strides[clip.inner]
    blocks, block = extents[clip.outer], extents[clip.inner]
    last = clip.total - (blocks - 1) * block
    places = [(0, 0), (blocks - 1, 0), (blocks - 1, last - 1)]
    if blocks > 1:
        places += [(0, block - 1), (blocks - 2, block - 1)]
    return [outer * i + inner * j for i, j in places]


def indexed_span(indexed: Indexed, low: int, high: int) -> tuple[int, int]:
    """The span of an access widened by all that its indices can add."""
    for stride, extent in zip(indexed.strides, indexed.extents, strict=True):
        reach = stride * (extent - 1)
        low, high = low + min(reach, 0), high + max(reach, 0)
    return low, high


def injective(strides: Sequence[int], extents: Sequence[int], inside: int = 0) -> bool:
    """Whether different indices give elements more than `inside` apart."""
    pairs = sorted((abs(s), n) for s, n in zip(strides, extents, strict=True) if n > 1)
    for stride, extent in pairs:
        if stride <= inside:
            return False
        inside += stride * (extent - 1)
    return True
