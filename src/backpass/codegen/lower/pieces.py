"""A map with padded reads, cut where its guards change: inside a piece nothing is guarded.

The gradient of `x[1:] - x[:-1]` reads one array to the left of each element and another to the
right; only the first and the last element lack one of them. A guard is a comparison of an affine
form with a bound, so along a variable it changes at one place; there the domain is cut. The pieces
are groups over boxes of the domain, which together are the whole of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from backpass.codegen.lower.groups import Group
from backpass.codegen.lower.index import Form, Place

LEAST = 256  # points of a domain that is worth a cut
CUTS = 3  # along one variable


@dataclass(frozen=True, slots=True)
class Guard:
    """A comparison of a form with a bound, `>=` or `<`."""

    form: Form
    bound: int


Box = tuple[tuple[int, int], ...]  # for each variable its first value, and one more than its last


def pieces(group: Group, guards: Sequence[Guard]) -> list[Group]:
    """The groups over the pieces of a group's domain; the group alone where no cut helps."""
    if group.inner is not None or group.head is not None or group.size < LEAST:
        return [group]
    boxes: list[Box] = [tuple([(0, n) for n in group.extents])]
    for axis, places in enumerate(_changes(guards, group.extents)):
        if not places:
            continue
        main = max(boxes, key=_points)
        boxes.remove(main)
        ends = [main[axis][0], *places, main[axis][1]]
        for first, last in pairwise(ends):
            boxes.append((*main[:axis], (first, last), *main[axis + 1 :]))
    return [_within(group, box) for box in boxes] if len(boxes) > 1 else [group]


def _changes(guards: Sequence[Guard], extents: Sequence[int]) -> list[list[int]]:
    """For each variable where it is cut, in order."""
    found: list[set[int]] = [set() for _ in extents]
    for guard in guards:
        used = [v for v, c in enumerate(guard.form.coefs) if c]
        if len(used) == 1:
            (axis,) = used
            place = _change(guard, axis)
            if 0 < place < extents[axis]:
                found[axis].add(place)
    return [_few(sorted(places), n) for places, n in zip(found, extents, strict=True)]


def _change(guard: Guard, axis: int) -> int:
    """The value of the variable from which on the guard is another than before."""
    c, distance = guard.form.coefs[axis], guard.bound - guard.form.constant
    return -(-distance // c) if c > 0 else -distance // -c + 1


def _few(places: list[int], extent: int) -> list[int]:
    """The cuts themselves, or those around their longest piece if that is most of the extent."""
    if len(places) <= CUTS:
        return places
    ends = [0, *places, extent]
    first, last = max(pairwise(ends), key=lambda pair: pair[1] - pair[0])
    if 2 * (last - first) < extent:
        return []
    return [end for end in (first, last) if 0 < end < extent]


def _points(box: Box) -> int:
    count = 1
    for first, last in box:
        count *= last - first
    return count


def _within(group: Group, box: Box) -> Group:
    """The group over a box, its variables counted from the box's corner."""
    corner = [first for first, _ in box]

    def moved(place: Place) -> Place:
        return tuple([_moved(f, corner) for f in place])

    return replace(
        group,
        extents=[last - first for first, last in box],
        places={node: moved(place) for node, place in group.places.items()},
        sources={node: moved(place) for node, place in group.sources.items()},
    )


def _moved(f: Form, corner: Sequence[int]) -> Form:
    steps = [c * first for c, first in zip(f.coefs, corner, strict=True)]
    return Form(f.constant + sum(steps), f.coefs)
