"""Which buffers a program reads and makes, and how many bytes are live at once in an order of it.

A Flow is a program without its meaning: numbered steps, what each must wait for, and the buffers it
makes and reads. A Graph's nodes are such steps, and so are the kernels that it is lowered to. A
view makes no buffer: it is another way to read the one below it. Inputs and constants are the
caller's and count for nothing. Invariant: a buffer is live from the step that makes it to its last
reader, both included, or to the end if it is kept. Next: `order.py`, which looks for an order of
fewer bytes.
"""

from __future__ import annotations

from collections.abc import Sequence

from backpass.ir import Graph, Lowering, Value

Steps = Sequence[Sequence[int]]


class Flow:
    """Steps 0, 1, ... that make and read buffers 0, 1, ...; in the given order they can run.

    Args:
        sizes: the bytes of each buffer.
        makes: for each step the buffers that it makes.
        reads: for each step the buffers that it reads, each once.
        waits: for each step the steps that must run before it, each once.
        kept: the buffers that are live to the end.
    """

    __slots__ = ("_made", "kept", "makes", "readers", "reads", "sizes", "users", "waits")

    def __init__(
        self, sizes: Sequence[int], makes: Steps, reads: Steps, waits: Steps, kept: set[int]
    ) -> None:
        self.sizes = sizes
        self.makes = makes
        self.reads = reads
        self.waits = waits
        self.kept = kept
        self._made = [sum([sizes[b] for b in m]) for m in makes]
        self.readers: list[list[int]] = [[] for _ in sizes]
        self.users: list[list[int]] = [[] for _ in makes]
        for step in range(len(makes)):
            for buffer in reads[step]:
                self.readers[buffer].append(step)
            for before in waits[step]:
                self.users[before].append(step)

    def left(self) -> list[int]:
        """For each buffer how many reads there are before it is free; a kept one is never free."""
        return [len(r) + (b in self.kept) for b, r in enumerate(self.readers)]

    def made(self, step: int) -> int:
        """The bytes that a step makes."""
        return self._made[step]

    def run(self, step: int, left: list[int]) -> int:
        """Take the reads of a step off `left`; the bytes that are free behind it."""
        free = 0
        for b in self.reads[step]:
            left[b] -= 1
            if not left[b]:
                free += self.sizes[b]
        for b in self.makes[step]:
            if not left[b]:
                free += self.sizes[b]
        return free

    def most_live(self, order: Sequence[int]) -> int:
        """The most bytes that are live in one step, if the steps run in this order."""
        left = self.left()
        live = most = 0
        for step in order:
            live += self.made(step)
            most = max(most, live)
            live -= self.run(step, left)
        return most

    def least(self) -> int:
        """A number of bytes that no order can go below."""
        widest = max(
            [self.made(s) + sum([self.sizes[b] for b in r]) for s, r in enumerate(self.reads)],
            default=0,
        )
        return max(widest, sum([self.sizes[b] for b in self.kept]))


def flow_of(graph: Graph) -> Flow:
    """The flow of a graph's nodes; step i is node i."""
    places = {node: i for i, node in enumerate(graph.nodes)}
    buffers: dict[tuple[int, int], int | None] = {}  # of output k of step i; None: the caller's
    sizes: list[int] = []
    makes: list[list[int]] = []
    reads: list[list[int]] = []
    waits: list[list[int]] = []

    def buffer_of(v: Value) -> int | None:
        return None if v.node is None else buffers[places[v.node], v.index]

    for i, node in enumerate(graph.nodes):
        below = [buffer_of(v) for v in node.inputs]
        waits.append(list(dict.fromkeys([places[v.node] for v in node.inputs if v.node])))
        reads.append(list(dict.fromkeys([b for b in below if b is not None])))
        makes.append([])
        for k, kind in enumerate(node.types):
            if node.primitive.lower is Lowering.VIEW:
                buffers[i, k] = below[0]
                continue
            buffers[i, k] = len(sizes)
            makes[i].append(len(sizes))
            sizes.append(kind.nbytes)
    kept = {b for b in map(buffer_of, graph.outputs) if b is not None}
    return Flow(sizes, makes, reads, waits, kept)


def live_peak(graph: Graph) -> int:
    """The most bytes of intermediate values and outputs live at once, in the order of the graph.

    A node's inputs and outputs are live together; a view shares the memory of what it is a view of.
    Inputs and constants of the graph are not counted.
    """
    return flow_of(graph).most_live(range(len(graph.nodes)))
