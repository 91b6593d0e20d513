"""From arranged steps to the text of a program and the layout of its memory.

Steps between two reference calls are a segment: one native function. Within it, kernels that do not
wait for each other share a phase; a barrier stands between phases. What is live in one phase never
shares memory, so threads that are not at the same kernel cannot disturb each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

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
from backpass.codegen.runtime import CONTEXT, slot_offset
from backpass.codegen.scatter import emit_scatter
from backpass.codegen.straight import emit_straight, is_long, is_straight
from backpass.codegen.text import Module
from backpass.codegen.workspace import Workspace
from backpass.loops import Gemm, LoopKernel

Region = str | Key  # a key's memory, or a workspace by its name


@dataclass(frozen=True, slots=True)
class Home:
    """Where an array lies: at a byte offset from the pointer in a slot."""

    slot: int
    offset: int


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
        self.phases = self._phases()

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
            else:
                space = emit_scatter(self.module, kernel, name)
            self._emitted[key] = (name, space)
        return self._emitted[key]

    # -- time

    def _phases(self) -> list[int]:
        """The phase of each step: the same for neighbours that need not wait for each other."""
        steps = self.arranged.steps
        if not any([_parallel(s) for s in steps]):
            return list(range(len(steps)))
        found: list[int] = []
        phase = 0
        read: dict[Any, bool] = {}  # what the phase has read and written, and whether in parallel
        written: dict[Any, bool] = {}
        for i, step in enumerate(steps):
            parallel = _parallel(step)
            own_reads, own_writes = self._memory(reads(step)), self._memory(writes(step))
            waits = isinstance(step, Call) or (i > 0 and isinstance(steps[i - 1], Call))
            waits |= any([k in written and (parallel or written[k]) for k in own_reads])
            waits |= any([k in written and (parallel or written[k]) for k in own_writes])
            waits |= any([k in read and (parallel or read[k]) for k in own_writes])
            waits |= i == self.arranged.commit
            if waits and i:
                phase += 1
                read, written = {}, {}
            found.append(phase)
            read.update({k: parallel or read.get(k, False) for k in own_reads})
            written.update({k: parallel or written.get(k, False) for k in own_writes})
        return found

    def _memory(self, keys: Sequence[Key]) -> list[Any]:
        """Keys by the memory that they have: what is in place counts as what it replaces."""
        return [self.slots.get(k, k) for k in keys]

    def _blocks(
        self, functions: Sequence[tuple[str, Workspace] | None]
    ) -> tuple[list[Block], list[Region]]:
        """The arena's blocks: intermediate arrays over their life, workspaces in their phase."""
        life: dict[Key, tuple[int, int]] = {}
        size: dict[Key, int] = {}
        blocks: list[Block] = []
        regions: list[Region] = []
        for step, phase, function in zip(self.arranged.steps, self.phases, functions, strict=True):
            for k in [*reads(step), *writes(step)]:
                if k not in self.slots:
                    first, _ = life.get(k, (phase, phase))
                    life[k] = (first, phase)
                    size[k] = max(size.get(k, 0), bytes_of(k, step))
            if function is not None and isinstance(step, Bound):
                count = self.threads if _parallel(step) else 1
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
        parallel = any(map(_parallel, steps))
        name = f"step{number}"
        text = StepText(name, parallel)
        for i, step in zip(numbers, steps, strict=True):
            function = functions[i]
            assert function is not None and isinstance(step, Bound)
            space = offsets[f"{step.kernel.name}.{self.phases[i]}"]
            text.kernel(
                function[0],
                [homes[k] for k in step.keys],
                space,
                phase=self.phases[i],
                parallel=_parallel(step),
                committed=i >= self.arranged.commit,
                commits=i == self.arranged.commit,
            )
        self.module.functions.append(text.close())
        return Segment(name, None, tuple(sorted(used | {ARENA})), parallel, steps)


class StepText:
    """The text of a step function: kernels in order, barriers between phases."""

    def __init__(self, name: str, parallel: bool) -> None:
        self.name, self.parallel = name, parallel
        self.lines: list[str] = []
        self.loaded: dict[int, str] = {}
        self.count = 0
        self.phase: int | None = None
        self.alone = 0  # the number of the block of thread 0 that is open

    def kernel(
        self,
        function: str,
        homes: Sequence[Home],
        space: int,
        *,
        phase: int,
        parallel: bool,
        committed: bool,
        commits: bool,
    ) -> None:
        """A call of a kernel."""
        if self.phase is not None and phase != self.phase and self.parallel:
            self._together()
            self._boundary(committed and not commits)
        self.phase = phase
        if commits:
            self._leave_if_failed()
        if self.parallel and not parallel and not self.alone:
            self.count += 1
            n = self.count
            self.lines += [
                f"  %first{n} = icmp eq i64 %tid, 0",
                f"  br i1 %first{n}, label %alone{n}, label %all{n}",
                f"alone{n}:",
            ]
            self.alone = n
        elif parallel:
            self._together()
        buffers = "".join([f", ptr {self._pointer(h)}" for h in homes])
        who = "i64 %tid, i64 %n" if parallel else "i64 0, i64 1"
        scratch = self._pointer(Home(ARENA, space))
        self.lines.append(
            f"  call void @{function}(ptr %team, {who}, ptr {scratch}, ptr %status{buffers})"
        )

    def close(self) -> str:
        """The whole function."""
        self._together()
        slots = [
            f"  %at{s} = getelementptr i8, ptr %context, i64 {slot_offset(s)}\n"
            f"  {name} = load ptr, ptr %at{s}"
            for s, name in self.loaded.items()
        ]
        head = [
            f"define void @{self.name}(ptr %context, i64 %tid, i64 %n) #0 {{",
            "entry:",
            f"  %status = getelementptr i8, ptr %context, i64 {CONTEXT['status']}",
            f"  %at.team = getelementptr i8, ptr %context, i64 {CONTEXT['team']}",
            "  %team = load ptr, ptr %at.team",
        ]
        return "\n".join([*head, *slots, *self.lines, "  ret void", "}"])

    def _together(self) -> None:
        if self.alone:
            self.lines += [f"  br label %all{self.alone}", f"all{self.alone}:"]
            self.alone = 0

    def _boundary(self, committed: bool) -> None:
        self.count += 1
        n = self.count
        if committed:
            self.lines.append("  call void @bp_barrier(ptr %team, i64 %n)")
            return
        self.lines += [
            f"  %left{n} = call i32 @bp_boundary(ptr %context, i64 %tid, i64 %n)",
            f"  %leaves{n} = icmp ne i32 %left{n}, 0",
            f"  br i1 %leaves{n}, label %out{n}, label %on{n}",
            f"out{n}:",
            "  ret void",
            f"on{n}:",
        ]

    def _leave_if_failed(self) -> None:
        """Before the first write into the caller's memory."""
        self.count += 1
        n = self.count
        self.lines += [
            f"  %status{n} = load atomic i64, ptr %status monotonic, align 8",
            f"  %failed{n} = icmp ne i64 %status{n}, 0",
            f"  br i1 %failed{n}, label %out{n}, label %on{n}",
            f"out{n}:",
            "  ret void",
            f"on{n}:",
        ]

    def _pointer(self, home: Home) -> str:
        base = self.loaded.setdefault(home.slot, f"%slot{home.slot}")
        if not home.offset:
            return base
        self.count += 1
        name = f"%p{self.count}"
        self.lines.append(f"  {name} = getelementptr i8, ptr {base}, i64 {home.offset}")
        return name


def fused(machine: Machine) -> bool:
    """Whether the machine multiplies and adds in one instruction, and converts half floats."""
    return bool({"+fma", "+neon"} & set(machine.features.split(",")))


def _parallel(step: Step) -> bool:
    if isinstance(step, Call):
        return False
    kernel = step.kernel
    return kernel.schedule.parallel if isinstance(kernel, LoopKernel) else kernel.parallel
