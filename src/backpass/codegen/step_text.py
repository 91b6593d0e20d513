"""The text of a step function: kernels in order, who runs each, and barriers between phases.

A step of many kernels is a table that one small function walks (`step_table.py`): LLVM needs longer
for a function of many calls than for all kernels together, and its time grows faster than they do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from backpass.codegen.image import ARENA
from backpass.codegen.runtime import CONTEXT, slot_offset

TABLE = 64  # calls, above which a step is a table


@dataclass(frozen=True, slots=True)
class Home:
    """Where an array lies: at a byte offset from the pointer in a slot."""

    slot: int
    offset: int


@dataclass(frozen=True, slots=True)
class Who:
    """Who runs a kernel: all threads; a lane (its number); each of so many bands, by its owner."""

    kind: Literal["all", "lane", "band"]
    number: int


ALL = Who("all", 0)


@dataclass(frozen=True, slots=True)
class Called:
    """A call of a kernel: where its scratch lies, and its buffers."""

    function: str
    places: tuple[Home, ...]


@dataclass(frozen=True, slots=True)
class Run:
    """Calls one after another by whom it is said."""

    who: Who
    calls: list[Called]


@dataclass(frozen=True, slots=True)
class Meet:
    """All threads meet; they leave there on Ctrl-C, but not after the first write."""

    committed: bool


@dataclass(frozen=True, slots=True)
class Check:
    """The step ends here if a kernel has failed: what is next writes to the caller's memory."""


Part = Run | Meet | Check


class StepParts:
    """What a step does: kernels in order, and barriers between phases."""

    def __init__(self, name: str, parallel: bool) -> None:
        self.name, self.parallel = name, parallel
        self.parts: list[Part] = []
        self.calls = 0
        self._phase: int | None = None

    def kernel(
        self,
        function: str,
        homes: Sequence[Home],
        space: int,
        *,
        phase: int,
        who: Who,
        committed: bool,
        commits: bool,
    ) -> None:
        """A call of a kernel."""
        if self._phase is not None and phase != self._phase and self.parallel:
            self.parts.append(Meet(committed and not commits))
        self._phase = phase
        if commits:
            self.parts.append(Check())
        last = self.parts[-1] if self.parts else None
        if not isinstance(last, Run) or last.who != who:
            last = Run(who, [])
            self.parts.append(last)
        last.calls.append(Called(function, (Home(ARENA, space), *homes)))
        self.calls += 1


class StepText:
    """The text of a step function, its calls written out."""

    def __init__(self, step: StepParts) -> None:
        self.step = step
        self.lines: list[str] = []
        self.loaded: dict[int, str] = {}
        self.count = 0

    def text(self) -> str:
        """The whole function."""
        for part in self.step.parts:
            if isinstance(part, Run):
                self._run(part)
            elif isinstance(part, Meet):
                self._boundary(part.committed)
            else:
                self._leave_if_failed()
        slots = [
            f"  %at{s} = getelementptr i8, ptr %context, i64 {slot_offset(s)}\n"
            f"  {name} = load ptr, ptr %at{s}"
            for s, name in self.loaded.items()
        ]
        head = [
            f"define void @{self.step.name}(ptr %context, i64 %tid, i64 %n) #0 {{",
            "entry:",
            f"  %status = getelementptr i8, ptr %context, i64 {CONTEXT['status']}",
            f"  %at.team = getelementptr i8, ptr %context, i64 {CONTEXT['team']}",
            "  %team = load ptr, ptr %at.team",
        ]
        return "\n".join([*head, *slots, *self.lines, "  ret void", "}"])

    def _run(self, run: Run) -> None:
        who = run.who if self.step.parallel or run.who.kind != "lane" else None
        share = "i64 0, i64 1"
        n = self._begin(who) if who is not None else 0
        if run.who.kind == "band":
            share = f"i64 %band{n}, i64 {run.who.number}"
        elif run.who.kind == "all":
            share = "i64 %tid, i64 %n"
        for call in run.calls:
            scratch, *buffers = [f"ptr {self._pointer(home)}" for home in call.places]
            given = ", ".join(["ptr %team", share, scratch, "ptr %status", *buffers])
            self.lines.append(f"  call void @{call.function}({given})")
        if who is not None:
            self._end(who, n)

    def _begin(self, who: Who) -> int:
        """Open a block that is run by a lane, or once for each of a thread's bands; its number."""
        if who.kind == "all":
            return 0
        self.count += 1
        n = self.count
        if who.kind == "lane":
            self.lines += [
                f"  %lane{n} = urem i64 {who.number}, %n",
                f"  %mine{n} = icmp eq i64 %tid, %lane{n}",
                f"  br i1 %mine{n}, label %alone{n}, label %all{n}",
                f"alone{n}:",
            ]
            return n
        self.lines += [
            f"  %before{n} = mul i64 %tid, {who.number}",
            f"  %after{n} = add i64 %before{n}, {who.number}",
            f"  %first{n} = udiv i64 %before{n}, %n",
            f"  %last{n} = udiv i64 %after{n}, %n",
            f"  %some{n} = icmp ult i64 %first{n}, %last{n}",
            f"  br i1 %some{n}, label %enter{n}, label %all{n}",
            f"enter{n}:",
            f"  br label %bands{n}",
            f"bands{n}:",
            f"  %band{n} = phi i64 [ %first{n}, %enter{n} ], [ %next{n}, %bands{n} ]",
        ]
        return n

    def _end(self, who: Who, n: int) -> None:
        """Close a block."""
        if who.kind == "lane":
            self.lines += [f"  br label %all{n}", f"all{n}:"]
        elif who.kind == "band":
            self.lines += [
                f"  %next{n} = add i64 %band{n}, 1",
                f"  %more{n} = icmp ult i64 %next{n}, %last{n}",
                f"  br i1 %more{n}, label %bands{n}, label %all{n}",
                f"all{n}:",
            ]

    def _boundary(self, committed: bool) -> None:
        self.count += 1
        n = self.count
        if committed:
            self.lines.append("  call void @bp_barrier(ptr %team, i64 %n)")
            return
        self.lines += [
            f"  %left{n} = call i32 @bp_boundary(ptr %context, i64 %tid, i64 %n)",
            f"  %leaves{n} = icmp ne i32 %left{n}, 0",
        ]
        self._leave_where(f"%leaves{n}", n)

    def _leave_if_failed(self) -> None:
        self.count += 1
        n = self.count
        self.lines += [
            f"  %status{n} = load atomic i64, ptr %status monotonic, align 8",
            f"  %failed{n} = icmp ne i64 %status{n}, 0",
        ]
        self._leave_where(f"%failed{n}", n)

    def _leave_where(self, condition: str, n: int) -> None:
        self.lines += [
            f"  br i1 {condition}, label %out{n}, label %on{n}",
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
