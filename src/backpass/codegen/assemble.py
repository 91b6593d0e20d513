"""From arranged steps to the text of a program and the layout of its memory.

Steps between two reference calls are a segment: one native function. Within it, kernels that do not
wait for each other share a phase; a barrier stands between phases. What is live in one phase never
shares memory, so threads that are not at the same kernel cannot disturb each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from backpass.codegen.arrange import Arranged, Step, bytes_of, reads, writes
from backpass.codegen.gemm import emit_gemm
from backpass.codegen.image import ARENA
from backpass.codegen.loopnest import emit_loops
from backpass.codegen.lower.elements import Key
from backpass.codegen.lower.lower import Call
from backpass.codegen.lower.schedule import Bound
from backpass.codegen.machine import Machine
from backpass.codegen.memory import ArenaPlan, Block, plan_arena
from backpass.codegen.memory_verify import verify_plan
from backpass.codegen.phases import Place, is_parallel, placed
from backpass.codegen.scatter import emit_scatter
from backpass.codegen.scatter_rows import emit_rows
from backpass.codegen.step_table import table_text
from backpass.codegen.step_text import ALL, TABLE, Home, StepParts, StepText, Who
from backpass.codegen.straight import emit_straight, is_long, is_straight
from backpass.codegen.text import Module
from backpass.codegen.workspace import Workspace
from backpass.loops import Gemm, LoopKernel

Region = str | Key  # a key's memory, or a workspace by its name


@dataclass(frozen=True, slots=True)
class Segment:
    """A native function, or a reference call; the slots that it needs."""

    name: str
    call: Call | None
    slots: tuple[int, ...]
    parallel: bool
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Assembly:
    """The text of a module and all that is needed to run it."""

    text: str
    segments: tuple[Segment, ...]
    homes: Mapping[Key, Home]
    arena: ArenaPlan
    names: Mapping[str, str]  # of each kernel: its function


class Assembler:
    """Builds an Assembly.

    Args:
        arranged: the steps.
        slots: the slot of each key that is the caller's or a constant; the rest goes to the arena.
        machine: what code is made for.
        threads: as many as may ever run it.
        apart: make every step a segment.
    """

    def __init__(
        self,
        arranged: Arranged,
        slots: Mapping[Key, int],
        machine: Machine,
        threads: int,
        apart: bool = False,
    ) -> None:
        self.arranged, self.machine, self.threads = arranged, machine, threads
        self.apart = apart
        self.slots = dict(slots)
        for new, old in arranged.in_place.items():
            self.slots[new] = slots[old]
        self.module = Module(fused=fused(machine))
        self._emitted: dict[str, tuple[str, Workspace]] = {}
        self._shared: set[str] = set()  # functions that steps need
        self.places = placed(arranged, lambda key: self.slots.get(key, key), threads)
        self.commit = self._commit()

    def build(self) -> Assembly:
        """Emit everything."""
        functions = [
            self._function(s) if isinstance(s, Bound) else None for s in self.arranged.steps
        ]
        blocks, regions = self._blocks(functions)
        plan = plan_arena(blocks)
        verify_plan(blocks, plan)
        offsets = dict(zip(regions, plan.offsets, strict=True))
        homes: dict[Key, Home] = {k: Home(s, 0) for k, s in self.slots.items()}
        for region, offset in offsets.items():
            if not isinstance(region, str):
                homes[region] = Home(ARENA, offset)
        segments: list[Segment] = []
        for numbers in self._runs():
            segments.append(self._segment(len(segments), numbers, functions, homes, offsets))
        names = {
            s.kernel.name: f[0]
            for s, f in zip(self.arranged.steps, functions, strict=True)
            if isinstance(s, Bound) and f is not None
        }
        return Assembly(str(self.module), tuple(segments), homes, plan, names)

    # -- kernels

    def _function(self, step: Bound) -> tuple[str, Workspace]:
        """The function of a kernel, emitted once for all that are equal; long ones seldom are."""
        kernel = step.kernel
        key = kernel.name if is_long(kernel) else repr(replace(kernel, name=""))
        if key not in self._emitted:
            name = f"kernel{len(self._emitted)}"
            if isinstance(kernel, Gemm):
                space = emit_gemm(self.module, kernel, name, self.machine)
            elif is_straight(kernel):
                space = emit_straight(self.module, kernel, name)
            elif isinstance(kernel, LoopKernel):
                space = emit_loops(self.module, kernel, name)
            elif kernel.epilogue:
                space = emit_rows(self.module, kernel, name)
            else:
                space = emit_scatter(self.module, kernel, name)
            self._emitted[key] = (name, space)
        return self._emitted[key]

    def _commit(self) -> int:
        """The first step of the phase that first writes to memory of the caller."""
        first, places = self.arranged.commit, self.places
        while 0 < first < len(places) and places[first - 1].phase == places[first].phase:
            first -= 1
        return first

    def _blocks(
        self, functions: Sequence[tuple[str, Workspace] | None]
    ) -> tuple[list[Block], list[Region]]:
        """The arena's blocks: intermediate arrays over their life, workspaces in their phase."""
        life: dict[Key, tuple[int, int]] = {}
        size: dict[Key, int] = {}
        blocks: list[Block] = []
        regions: list[Region] = []
        for step, place, function in zip(self.arranged.steps, self.places, functions, strict=True):
            phase = place.phase
            for k in [*reads(step), *writes(step)]:
                if k not in self.slots:
                    first, _ = life.get(k, (phase, phase))
                    life[k] = (first, phase)
                    size[k] = max(size.get(k, 0), bytes_of(k, step))
            if function is not None and isinstance(step, Bound):
                count = step.bands or (self.threads if is_parallel(step) else 1)
                space = function[1].shared + count * function[1].per_thread
                blocks.append(Block(step.kernel.name, space, phase, phase))
                regions.append(f"{step.kernel.name}.{phase}")
        for k, (first, last) in life.items():
            blocks.append(Block(str(k), size[k], first, last))
            regions.append(k)
        return blocks, regions

    # -- segments

    def _runs(self) -> list[list[int]]:
        """The numbers of the steps of each segment."""
        runs: list[list[int]] = []
        for i, step in enumerate(self.arranged.steps):
            alone = self.apart or isinstance(step, Call) or not runs
            if alone or isinstance(self.arranged.steps[i - 1], Call):
                runs.append([])
            runs[-1].append(i)
        return runs

    def _segment(
        self,
        number: int,
        numbers: list[int],
        functions: Sequence[tuple[str, Workspace] | None],
        homes: Mapping[Key, Home],
        offsets: Mapping[Region, int],
    ) -> Segment:
        steps = tuple([self.arranged.steps[i] for i in numbers])
        used = {homes[k].slot for s in steps for k in [*reads(s), *writes(s)]}
        first = steps[0]
        if isinstance(first, Call):
            return Segment("", first, tuple(sorted(used)), False, steps)
        parallel = any(map(is_parallel, steps))
        name = f"step{number}"
        parts = StepParts(name, parallel)
        for i, step in zip(numbers, steps, strict=True):
            function = functions[i]
            assert function is not None and isinstance(step, Bound)
            place = self.places[i]
            space = offsets[f"{step.kernel.name}.{place.phase}"]
            parts.kernel(
                function[0],
                [homes[k] for k in step.keys],
                space,
                phase=place.phase,
                who=_who(step, place),
                committed=i >= self.commit,
                commits=i == self.commit,
            )
        self._write(parts)
        return Segment(name, None, tuple(sorted(used | {ARENA})), parallel, steps)

    def _write(self, parts: StepParts) -> None:
        """The function of a step, and what it needs."""
        if parts.calls <= TABLE:
            self.module.functions.append(StepText(parts).text())
            return
        text, needed = table_text(parts)
        for name, function in needed:
            if name not in self._shared:
                self._shared.add(name)
                self.module.functions.append(function)
        self.module.functions.append(text)


def fused(machine: Machine) -> bool:
    """Whether the machine multiplies and adds in one instruction, and converts half floats."""
    return bool({"+fma", "+neon"} & set(machine.features.split(",")))


def _who(step: Bound, place: Place) -> Who:
    if step.bands:
        return Who("band", step.bands)
    return ALL if is_parallel(step) else Who("lane", place.lane)
