"""Steps written by hand in LLVM text, and scripts that run in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tests.signals import obeying_ctrl_c

from backpass.codegen import engine, entry
from backpass.codegen.entry import ArgumentSpec, Context, Entry
from backpass.codegen.machine import host
from backpass.codegen.runtime import CONTEXT, slot_offset
from backpass.config import MAX_THREADS

F8 = np.dtype(np.float64)

# Slot 2 = slot 0 + slot 1, elementwise; each thread its share.
ADD = f"""
define void @add(ptr %context, i64 %tid, i64 %n) #0 {{
entry:
  %x.at = getelementptr i8, ptr %context, i64 {slot_offset(0)}
  %y.at = getelementptr i8, ptr %context, i64 {slot_offset(1)}
  %z.at = getelementptr i8, ptr %context, i64 {slot_offset(2)}
  %x = load ptr, ptr %x.at
  %y = load ptr, ptr %y.at
  %z = load ptr, ptr %z.at
  %from.n = mul i64 %tid, SIZE
  %from = udiv i64 %from.n, %n
  %tid1 = add i64 %tid, 1
  %to.n = mul i64 %tid1, SIZE
  %to = udiv i64 %to.n, %n
  %any = icmp ult i64 %from, %to
  br i1 %any, label %loop, label %exit
loop:
  %i = phi i64 [%from, %entry], [%i1, %loop]
  %a.at = getelementptr double, ptr %x, i64 %i
  %b.at = getelementptr double, ptr %y, i64 %i
  %c.at = getelementptr double, ptr %z, i64 %i
  %a = load double, ptr %a.at
  %b = load double, ptr %b.at
  %c = fadd double %a, %b
  store double %c, ptr %c.at
  %i1 = add i64 %i, 1
  %more = icmp ult i64 %i1, %to
  br i1 %more, label %loop, label %exit
exit:
  ret void
}}
"""

# COUNT times: every thread adds 1 to its own place of slot 0, all meet, and thread 0 adds the sum
# of all places to slot 1. Without a barrier that works, the sum is wrong. Leaves if interrupted.
ROUNDS = f"""
define void @rounds(ptr %context, i64 %tid, i64 %n) #0 {{
entry:
  %places.at = getelementptr i8, ptr %context, i64 {slot_offset(0)}
  %sum.at = getelementptr i8, ptr %context, i64 {slot_offset(1)}
  %team.at = getelementptr i8, ptr %context, i64 {CONTEXT["team"]}
  %places = load ptr, ptr %places.at
  %sum = load ptr, ptr %sum.at
  %team = load ptr, ptr %team.at
  %mine = getelementptr i64, ptr %places, i64 %tid
  br label %round
round:
  %r = phi i64 [0, %entry], [%r1, %end]
  %v = load i64, ptr %mine
  %v1 = add i64 %v, 1
  store i64 %v1, ptr %mine
  call void @bp_barrier(ptr %team, i64 %n)
  %first = icmp eq i64 %tid, 0
  br i1 %first, label %add, label %end
add:
  %i = phi i64 [0, %round], [%i1, %add]
  %place = getelementptr i64, ptr %places, i64 %i
  %p = load i64, ptr %place
  %s = load i64, ptr %sum
  %s1 = add i64 %s, %p
  store i64 %s1, ptr %sum
  %i1 = add i64 %i, 1
  %more = icmp ult i64 %i1, %n
  br i1 %more, label %add, label %end
end:
  %stop = call i32 @bp_boundary(ptr %context, i64 %tid, i64 %n)
  %go = icmp eq i32 %stop, 0
  %r1 = add i64 %r, 1
  %left = icmp ult i64 %r1, COUNT
  %again = and i1 %go, %left
  br i1 %again, label %round, label %exit
exit:
  ret void
}}
"""

# Stores 1 in the status, as a kernel does for an index out of range.
OUT_OF_RANGE = """
define void @out(ptr %context, i64 %tid, i64 %n) #0 {
  store i64 1, ptr %context
  ret void
}
"""


@dataclass(frozen=True, slots=True)
class Native:
    """A hand-written program."""

    entry: Entry
    context: Context


def adder(size: int, *, parallel: bool = False, short: bool = False) -> Native:
    """entry(x, y, z): z = x + y, all float64 of `size` elements."""
    specs = [ArgumentSpec(i, F8, (size,), writeable=i == 2) for i in range(3)]
    context = Context(3, specs, parallel=parallel, short=short)
    library = engine.load(ADD.replace("SIZE", str(size)), host())
    return Native(entry.make_entry(library, "add", context), context)


def rounds(
    count: int, *, parallel: bool = True, threads_at_most: int = MAX_THREADS
) -> tuple[Native, np.ndarray, np.ndarray]:
    """entry() runs rounds of a barrier; the places of the threads, and the sum of all rounds."""
    context = Context(2, parallel=parallel, threads_at_most=threads_at_most)
    places, total = np.zeros(1024, np.int64), np.zeros(1, np.int64)
    context.bind(0, places)
    context.bind(1, total)
    library = engine.load(ROUNDS.replace("COUNT", str(count)), host())
    return Native(entry.make_entry(library, "rounds", context), context), places, total


def run_script(
    script: str, *, timeout: float = 60, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run Python text in a process of its own that can import `tests.codegen`."""
    root = Path(__file__).parents[2]
    paths = [str(root), str(root / "src")]
    with obeying_ctrl_c():
        return subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script)],
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(paths),
                "BACKPASS_NUM_THREADS": "2",
                **(env or {}),
            },
            capture_output=True,
            text=True,
            timeout=timeout,
        )


def said(script: str, *, timeout: float = 60, env: dict[str, str] | None = None) -> str:
    """What a script prints; it must end well and say nothing on stderr."""
    done = run_script(script, timeout=timeout, env=env)
    assert done.returncode == 0, (done.returncode, done.stdout, done.stderr)
    assert done.stderr == ""
    return done.stdout.strip()
