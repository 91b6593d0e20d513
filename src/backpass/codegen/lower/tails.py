"""The last map of rows as a kernel of its own, where its lanes want to go another way.

A row that is summed and then mapped has two wishes: many short rows are summed best with a row in
each lane, but what is stored element by element lies side by side along the row. Where the stores
would be made lane by lane, the map becomes a second kernel, which reads the rows' numbers; in a
chain of bands its rows are still in the nearest cache.
"""

from __future__ import annotations

from backpass.codegen.lower.groups import Group, core, is_map
from backpass.codegen.lower.schedule import Bound
from backpass.codegen.schedule import cost
from backpass.ir import Node
from backpass.loops import LoopKernel

APART = 2000.0  # instructions of a kernel that is called by itself, and what it reads again


def tail_of(group: Group, stored: set[Node], roots: list[Node]) -> tuple[Group, set[Node]] | None:
    """What of a group only stores elements after its reductions, and what it needs of each row.

    Before: `r = sum(a, 1); store(b * r)` is one kernel. After: the group of `b * r`, which needs r.
    """
    if group.inner is None or group.chunked():
        return None
    read = {c for m in group.places for v in m.inputs if (c := core(v).node) in group.places}
    last = [m for m in roots if is_map(m) and not group.is_row(m) and m not in read]
    part = Group(group.number, group.extents)
    needed, pending = set[Node](), list(last)
    while pending:
        node = pending.pop()
        part.places[node] = group.places[node]
        for v in node.inputs:
            c = core(v).node
            if c is None or c not in group.places or c in part.places:
                continue
            if group.is_row(c) or c in group.sources:
                needed.add(c)
            elif c not in stored:
                pending.append(c)
    if not needed:
        return None
    part.places = dict(sorted(part.places.items(), key=lambda item: item[0].order))
    return part, needed


def better_apart(whole: Bound, parts: list[Bound]) -> bool:
    """Whether two kernels cost less than the one."""
    kernels = [b.kernel for b in (whole, *parts) if isinstance(b.kernel, LoopKernel)]
    one, *others = map(cost, kernels)
    return APART + sum(others) < one
