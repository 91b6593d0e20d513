"""Which steps run side by side: chains of bands, lanes of serial steps, and barriers between.

A step belongs to a phase; a barrier stands between phases. In one phase nobody writes what another
touches, unless the same thread does both: a serial step runs in a `lane` (lane l is thread l modulo
their number), a banded one owns rows of what it touches (`bands.py`), any other parallel step may
touch an element from any thread. What a phase makes has memory of its own until the phase ends, so
a phase that made much ends even where nobody need wait.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from math import prod

from backpass.codegen.arrange import Arranged, Step, bytes_of, can_fail, reads, writes
from backpass.codegen.bands import Rows, banded, heights_of, owners, turned
from backpass.codegen.halves import in_halves
from backpass.codegen.lower.elements import Key
from backpass.codegen.lower.lower import Call
from backpass.codegen.lower.schedule import Bound
from backpass.codegen.schedule import BESIDE, chosen
from backpass.ir import Value
from backpass.loops import Gemm, LoopKernel

LANES_AT_MOST = 4
WINDOW = 12  # steps that a chain may pass over
SMALL = 1024  # elements of what is made long before it is read
PRODUCT = 1 << 16  # multiply-adds of a product that is worth a barrier
MADE = 3 << 17  # bytes that a phase makes beside its largest step, and keeps: more would cost much
WORTH = 2000.0  # ns of serial steps that are worth a chain
Owner = int | Rows | None  # a lane; rows in bands; any thread
Memory = Callable[[Key], Hashable]


def is_parallel(step: Step) -> bool:
    """Whether threads share a step."""
    if isinstance(step, Call):
        return False
    kernel = step.kernel
    return kernel.schedule.parallel if isinstance(kernel, LoopKernel) else kernel.parallel


def nanoseconds(step: Step) -> float:
    """About what a step takes on one thread; measured on Zen 4, for comparisons only."""
    if isinstance(step, Call):
        return 0.0
    return step.work / 56 + 200 if isinstance(step.kernel, Gemm) else step.work / 24


@dataclass(slots=True)
class _Touched:
    """Who has read and written which memory."""

    read: dict[Hashable, set[Owner]] = field(default_factory=dict[Hashable, set[Owner]])
    written: dict[Hashable, set[Owner]] = field(default_factory=dict[Hashable, set[Owner]])

    def add(self, step: Step, memory: Memory, own: Callable[[Key], Owner]) -> None:
        """A step has run."""
        for key in reads(step):
            self.read.setdefault(memory(key), set()).add(own(key))
        for key in writes(step):
            self.written.setdefault(memory(key), set()).add(own(key))

    def others(self, key: Key, memory: Memory, writes: bool) -> set[Owner]:
        """Who must have finished with an array before it is read or written."""
        found = self.written.get(memory(key), set[Owner]())
        return found | self.read.get(memory(key), set[Owner]()) if writes else found

    def waits(self, step: Step, memory: Memory, own: Callable[[Key], Owner]) -> bool:
        """Whether a step may only run after a barrier."""
        for stored, keys in ((False, reads(step)), (True, writes(step))):
            for key in keys:
                mine, others = own(key), self.others(key, memory, stored)
                if others and (mine is None or others != {mine}):
                    return True
        return False


def _owner(step: Step, lane: int) -> Callable[[Key], Owner]:
    if isinstance(step, Bound) and step.bands:
        rows = owners(step)
        return lambda key: rows[key]
    owner = None if is_parallel(step) else lane
    return lambda _: owner


# -- chains


def chained(arranged: Arranged) -> Arranged:
    """Steps that share rows one after the other, in bands, where that saves barriers.

    Before: product | rows' softmax | column sums | product, with barriers. After: product, softmax
    and product of one band after the other; then the column sums.
    """
    if not any(map(is_parallel, arranged.steps)):
        return arranged
    arranged = replace(arranged, steps=tuple(map(_shared, arranged.steps)))
    if any([isinstance(s, Call) for s in arranged.steps]):
        return arranged
    forms = _forms(arranged)
    steps = [form.plain for form in forms]
    arranged = replace(arranged, steps=tuple(steps))
    memory = _memory(arranged.in_place)
    before = _before(arranged, memory)
    late = [form.late for form in forms]
    able = [form.banded for form in forms]
    early = [not before[i] and _is_small(s) and not late[i] for i, s in enumerate(steps)]
    queue, done = sorted(range(len(steps)), key=lambda i: not early[i]), set[int]()
    order: list[Step] = []
    outside: list[bool] = []
    for at, i in enumerate(queue):
        if i not in done:
            rest = (queue[k] for k in range(at, len(queue)))
            pending = islice((k for k in rest if k not in done), 1 + WINDOW)
            run = _run(list(pending), done, before, able, memory)
            chain = [steps[k] if len(run) == 1 else able[k] or steps[k] for k in run]
            first = [] if len(run) == 1 else [c for k in run if (c := forms[k].copy) is not None]
            order += [*map(_shared, first), *chain]
            outside += [False for _ in first] + [late[k] for k in run]
            done.update(run)
    commit = outside.index(True) if any(outside) else len(order)
    return Arranged(tuple(order), arranged.in_place, commit)


@dataclass(frozen=True, slots=True)
class _Form:
    """A step, and what it is in bands, if it can be; `copy` must have run before the chain."""

    plain: Step
    late: bool
    banded: Bound | None = None
    copy: Bound | None = None


def _form(step: Step, arranged: Arranged, heights: Mapping[int, int]) -> _Form:
    late = _is_late(step, arranged)
    if late or isinstance(step, Call):
        return _Form(step, late)
    found = step if step.bands else banded(step, heights)
    if found is None and (pair := turned(step)) is not None:
        copy, product = pair
        found = banded(product, heights)
        return _Form(step, late) if found is None else _Form(step, late, found, copy)
    return _Form(step, late, found)


def _forms(arranged: Arranged) -> list[_Form]:
    """The forms of all steps, with sums over rows that bands make in two halves."""
    heights = heights_of(arranged.steps)
    made: dict[Key, Rows] = {}
    forms: list[_Form] = []
    for step in arranged.steps:
        form = _form(step, arranged, heights)
        if form.banded is not None:
            own = owners(form.banded)
            made.update({k: rows for k in writes(step) if (rows := own[k]) is not None})
        halves = None if isinstance(step, Call) else in_halves(step, made)
        forms += [form] if halves is None else [_form(s, arranged, heights) for s in halves]
    return forms


def _shared(step: Step) -> Step:
    """A serial step by all threads, if that is worth a barrier."""
    if isinstance(step, Call) or is_parallel(step):
        return step
    if isinstance(step.kernel, Gemm):
        return replace(step, kernel=replace(step.kernel, parallel=step.work >= PRODUCT))
    if not isinstance(step.kernel, LoopKernel):
        return step
    able = prod(step.kernel.extents[: step.kernel.outer]) > 1
    return replace(step, kernel=chosen(step.kernel, able, BESIDE))


def _is_small(step: Step) -> bool:
    """Whether a step may go first, since it is done soon and what it makes takes no room."""
    if not isinstance(step, Bound) or is_parallel(step):
        return False
    return all([b.size <= SMALL for b in step.kernel.buffers if b.written])


def _memory(in_place: Mapping[Key, Value]) -> Memory:
    return lambda key: in_place.get(key, key)


def _is_late(step: Step, arranged: Arranged) -> bool:
    """Whether a step writes to memory of the caller that outlives a failure."""
    return any([k in arranged.in_place or isinstance(k, Value) for k in writes(step)])


def _before(arranged: Arranged, memory: Memory) -> list[set[int]]:
    """The steps that each must come after, of those next to it in each array's history."""
    found: list[set[int]] = []
    writer: dict[Hashable, int] = {}
    readers: dict[Hashable, list[int]] = {}
    fallible: list[int] = []
    for i, step in enumerate(arranged.steps):
        own: set[int] = set(fallible) if _is_late(step, arranged) else set()
        for key in map(memory, reads(step)):
            own |= {writer[key]} if key in writer else set()
        for key in map(memory, writes(step)):
            own |= {writer[key]} if key in writer else set()
            own.update(readers.get(key, ()))
        for key in map(memory, reads(step)):
            readers.setdefault(key, []).append(i)
        for key in map(memory, writes(step)):
            writer[key], readers[key] = i, []
        if can_fail(step):
            fallible.append(i)
        found.append(own - {i})
    return found


def _run(
    pending: Sequence[int],
    done: set[int],
    before: Sequence[set[int]],
    able: Sequence[Bound | None],
    memory: Memory,
) -> list[int]:
    """The first of some pending steps, and those that can follow it band by band."""
    first = pending[0]
    start = able[first]
    if start is None:
        return [first]
    run, touched, chain = {first: None}, _Touched(), [start]
    touched.add(start, memory, _owner(start, 0))
    made = most = _made(start, memory)
    for i in pending[1:]:
        step = able[i]
        if step is None or step.bands != start.bands:
            continue
        more = _made(step, memory)
        if _much(made + more, max(most, more)):
            continue
        own = _owner(step, 0)
        if all([b in done or b in run for b in before[i]]) and not touched.waits(step, memory, own):
            run[i] = None
            made, most = made + more, max(most, more)
            chain.append(step)
            touched.add(step, memory, own)
    worth = sum(map(nanoseconds, chain)) >= WORTH
    return list(run) if worth else [first]


def _made(step: Step, memory: Memory) -> int:
    """The bytes of what a step makes in memory that is not a caller's."""
    return sum([bytes_of(key, step) for key in writes(step) if memory(key) is key])


def _much(made: int, most: int) -> bool:
    """Whether steps make too much for one phase; the `most` of one has to have its room anyway."""
    return made - most > MADE


# -- phases


@dataclass(frozen=True, slots=True)
class Place:
    """The phase of a step, and its lane if it is serial."""

    phase: int
    lane: int


def placed(arranged: Arranged, memory: Memory, lanes: int) -> list[Place]:
    """Phases as few as the order allows, and serial steps in the lanes with least to do.

    Args:
        memory: what each array lies in.
        lanes: how many there are; with no parallel step there is one.
    """
    steps = arranged.steps
    if not any(map(is_parallel, steps)):
        return [Place(i, 0) for i in range(len(steps))]
    lanes = max(1, min(lanes, LANES_AT_MOST))
    found: list[Place] = []
    phase, touched, loads, begin, made, most = 0, _Touched(), [0.0] * lanes, 0, 0, 0
    for i, step in enumerate(steps):
        free = _lanes(step, touched, memory, lanes)
        own = _made(step, memory)
        apart = isinstance(step, Call) or (i > 0 and isinstance(steps[i - 1], Call))
        failing = i == arranged.commit and any([can_fail(s) for s in steps[begin:i]])
        if i and (apart or not free or failing or _much(made + own, max(most, own))):
            phase, touched, loads, begin = phase + 1, _Touched(), [0.0] * lanes, i
            free, made, most = range(lanes), 0, 0
        made, most = made + own, max(most, own)
        lane = min(free, key=lambda n: loads[n])
        if is_parallel(step):
            loads = [n + nanoseconds(step) / lanes for n in loads]
        else:
            loads[lane] += nanoseconds(step)
        touched.add(step, memory, _owner(step, lane))
        found.append(Place(phase, lane))
    return found


def _lanes(step: Step, touched: _Touched, memory: Memory, lanes: int) -> Sequence[int]:
    """The lanes in which a step can run without a barrier: any for a parallel one."""
    if is_parallel(step):
        return () if touched.waits(step, memory, _owner(step, 0)) else range(lanes)
    return [n for n in range(lanes) if not touched.waits(step, memory, _owner(step, n))]
