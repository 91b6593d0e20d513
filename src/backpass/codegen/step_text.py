"""The text of a step function: kernels in order, who runs each, and barriers between phases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from backpass.codegen.image import ARENA
from backpass.codegen.runtime import CONTEXT, slot_offset


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


class StepText:
    """The text of a step function: kernels in order, barriers between phases."""

    def __init__(self, name: str, parallel: bool) -> None:
        self.name, self.parallel = name, parallel
        self.lines: list[str] = []
        self.loaded: dict[int, str] = {}
        self.count = 0
        self.phase: int | None = None
        self.open: Who = ALL  # who runs the block that is open
        self.block = 0  # its number

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
        if self.phase is not None and phase != self.phase and self.parallel:
            self._together()
            self._boundary(committed and not commits)
        self.phase = phase
        if commits:
            self._leave_if_failed()
        if self.parallel and who != self.open:
            self._together()
            self._begin(who)
        buffers = "".join([f", ptr {self._pointer(h)}" for h in homes])
        share = "i64 0, i64 1"
        if who.kind == "band":
            share = f"i64 %band{self.block}, i64 {who.number}"
        elif who.kind == "all":
            share = "i64 %tid, i64 %n"
        scratch = self._pointer(Home(ARENA, space))
        self.lines.append(
            f"  call void @{function}(ptr %team, {share}, ptr {scratch}, ptr %status{buffers})"
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

    def _begin(self, who: Who) -> None:
        """Open a block that is run by a lane, or once for each of a thread's bands."""
        self.open = who
        if who.kind == "all":
            return
        self.count += 1
        n = self.block = self.count
        if who.kind == "lane":
            self.lines += [
                f"  %lane{n} = urem i64 {who.number}, %n",
                f"  %mine{n} = icmp eq i64 %tid, %lane{n}",
                f"  br i1 %mine{n}, label %alone{n}, label %all{n}",
                f"alone{n}:",
            ]
            return
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

    def _together(self) -> None:
        """Close the block that is open."""
        n, who = self.block, self.open
        self.open = ALL
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
        """Before the first write into the caller's memory."""
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
