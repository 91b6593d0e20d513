"""The order of a program's steps: topological, with a low peak of live bytes.

Trace order is the ground, because the user's code and the walk back are mostly in a good order.
Three orders are made from it: forward, where a step that frees more than it makes runs at once;
backward, the same seen from the end; and forward on top of swaps of neighbours. Each is smoothed by
such swaps, and the one with the lowest peak is taken if it beats the given order. Invariant: equal
flows give equal orders, and the peak is never above that of the given order. All of it is linear
but for one heap.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from backpass.ir import Graph
from backpass.passes.liveness import Flow, flow_of

SWEEPS = 4
TINY = 256  # bytes: where no array is larger, the order saves no memory worth the search


def order(graph: Graph) -> Graph:
    """The same graph, its nodes in an order whose peak of live bytes is at most the given one.

    Before: `%1 = sin(%0); %2 = cos(%0); %3 = sum(%1); %4 = sum(%2)`, where two arrays are live.
    After: `%1 = sin(%0); %2 = sum(%1); %3 = cos(%0); %4 = sum(%3)`, where one is.
    """
    if all([t.nbytes <= TINY for node in graph.nodes for t in node.types]):
        return graph
    found = best_order(flow_of(graph))
    return Graph(graph.inputs, tuple([graph.nodes[i] for i in found]), graph.outputs)


def best_order(flow: Flow) -> list[int]:
    """The steps of a flow in an order of few live bytes; the given one if none is better."""
    given = list(range(len(flow.makes)))
    best, peak = given, flow.most_live(given)
    if peak <= flow.least():
        return given
    for made in (
        lambda: freeing_first(flow, given),
        lambda: freeing_last(flow, given),
        lambda: freeing_first(flow, swapped(flow, given)),
    ):
        found = swapped(flow, made())
        its = flow.most_live(found)
        if its < peak:
            best, peak = found, its
    return best


class _Ready:
    """The steps that can run next: first what shrinks memory most, then in the order of `ranks`.

    `growth` is by how many bytes memory grows with each step; when it has changed, the step is
    offered again, and its older entry is void.
    """

    __slots__ = ("growth", "heap", "ranks", "waiting")

    def __init__(self, growth: list[int], ranks: list[int], waiting: list[int]) -> None:
        self.growth = growth
        self.ranks = ranks
        self.waiting = waiting  # for each step how many others must run before; -1: it has run
        self.heap: list[tuple[int, int, int, int]] = []
        for step in range(len(growth)):
            self.offer(step)

    def offer(self, step: int) -> None:
        """Put a step on the heap if it can run."""
        if not self.waiting[step]:
            growth = self.growth[step]
            shrinks = growth if growth < 0 else int(growth > 0)
            heapq.heappush(self.heap, (shrinks, self.ranks[step], step, growth))

    def changed(self, step: int, growth: int) -> None:
        """Memory grows by more with this step than was said before."""
        self.growth[step] += growth
        self.offer(step)

    def arrived(self, step: int) -> None:
        """One of the steps that this one waits for has run."""
        self.waiting[step] -= 1
        self.offer(step)

    def take(self) -> int | None:
        """The next step, None at the end."""
        while self.heap:
            _, _, step, growth = heapq.heappop(self.heap)
            if not self.waiting[step] and growth == self.growth[step]:
                self.waiting[step] = -1
                return step
        return None


def _ranks(base: Sequence[int]) -> list[int]:
    ranks = [0] * len(base)
    for place, step in enumerate(base):
        ranks[step] = place
    return ranks


def freeing_first(flow: Flow, base: Sequence[int]) -> list[int]:
    """A step that frees more than it makes runs as soon as it can; the others in `base`'s order.

    The last reader of a buffer frees it. So when one reader is left, that one's growth falls.
    """
    left = flow.left()
    growth = [flow.made(s) - sum([flow.sizes[b] for b in m if not left[b]])
              for s, m in enumerate(flow.makes)]  # fmt: skip
    for b, readers in enumerate(flow.readers):
        if left[b] == len(readers) == 1:
            growth[readers[0]] -= flow.sizes[b]
    ready = _Ready(growth, _ranks(base), [len(w) for w in flow.waits])
    found: list[int] = []
    while (step := ready.take()) is not None:
        found.append(step)
        for b in flow.reads[step]:
            left[b] -= 1
            if left[b] == 1 and b not in flow.kept:
                last = next(r for r in flow.readers[b] if ready.waiting[r] >= 0)
                ready.changed(last, -flow.sizes[b])
        for user in flow.users[step]:
            ready.arrived(user)
    return found


def freeing_last(flow: Flow, base: Sequence[int]) -> list[int]:
    """The same from the end: backwards, a step makes what it reads and frees what it makes.

    A buffer is live, going backwards, from its last reader on. So when one reader has run, the
    growth of the other readers falls.
    """
    live = [b in flow.kept for b in range(len(flow.sizes))]
    growth = [
        sum([flow.sizes[b] for b in flow.reads[step] if not live[b]])
        - sum([flow.sizes[b] for b in flow.makes[step] if live[b] or flow.readers[b]])
        for step in range(len(flow.makes))
    ]
    ranks = [-rank for rank in _ranks(base)]
    ready = _Ready(growth, ranks, [len(u) for u in flow.users])
    found: list[int] = []
    while (step := ready.take()) is not None:
        found.append(step)
        for b in flow.reads[step]:
            if live[b]:
                continue
            live[b] = True
            for reader in flow.readers[b]:
                if ready.waiting[reader] >= 0:
                    ready.changed(reader, -flow.sizes[b])
        for before in flow.waits[step]:
            ready.arrived(before)
    found.reverse()
    return found


def swapped(flow: Flow, base: Sequence[int]) -> list[int]:
    """Neighbours swapped where that lowers the higher of the two, or what is live between them."""
    found = list(base)
    for _ in range(SWEEPS):
        if not _sweep(flow, found):
            break
    return found


def _sweep(flow: Flow, found: list[int]) -> bool:
    """One sweep of swaps in place, from the first step to the last; whether any was made."""
    left, any_swap = flow.left(), False
    for at in range(len(found) - 1):
        a, b = found[at], found[at + 1]
        if a not in flow.waits[b] and _both(flow, b, a, left) < _both(flow, a, b, left):
            found[at], found[at + 1] = b, a
            any_swap = True
        flow.run(found[at], left)
    return any_swap


def _both(flow: Flow, first: int, then: int, left: list[int]) -> tuple[int, int]:
    """The highest memory during two steps, and the memory between them, over that before them."""
    high = flow.made(first)
    between = high - flow.run(first, left)
    for b in flow.reads[first]:
        left[b] += 1
    return max(high, between + flow.made(then)), between
