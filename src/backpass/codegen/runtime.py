"""The native runtime as LLVM text: barrier, interruption, team of threads; and what they share.

Three blocks of memory, laid out by the tables below. SERVICES, one for the process: addresses of
what native code calls. TEAM: persistent workers and their gates. CONTEXT, one for each program: its
status and, from `SLOTS` on, the pointers of its buffers. All addresses are read from these blocks,
so object code holds none and can be kept on disk.

A module may call, without declaring them:

    void @bp_barrier(ptr team, i64 n)               all n threads of the team wait for each other
    i32 @bp_poll(ptr context)                       thread 0, or a program on one thread: not 0 if
                                                    the step must leave (Ctrl-C)
    i32 @bp_boundary(ptr context, i64 tid, i64 n)   poll and barrier: all threads get one answer

A step is `void @NAME(ptr %context, i64 %tid, i64 %n)`. Invariant: a gate is a number that only
grows; who waits for its change spins, then yields, then sleeps on it; who opens it wakes them.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping

SERVICES = {
    "syscall": 0,
    "futex": 8,  # its number; syscall is 0 where there is none
    "yield": 16,
    "nanosleep": 24,
    "clock_gettime": 32,
    "clock": 40,
    "save_thread": 48,
    "restore_thread": 56,
    "check_signals": 64,
    "thread_ident": 72,
    "call_no_args": 80,
    "call_one_arg": 88,
    "decref": 96,
    "incref": 104,
    "long": 112,
    "none": 120,
    "ndarray": 128,
    "start_team": 136,  # Python functions
    "wait_until_free": 144,
    "main_thread": 152,
    "generation": 160,  # 1, and one more in each forked child
    "team": 168,
    "run": 176,
    "getcpu": 184,  # sched_getcpu, and what moves a thread; 0 where there is none
    "getaffinity": 192,
    "setaffinity": 200,
}
SERVICES_BYTES = 256

TEAM = {
    "services": 0,
    "size": 8,
    "spins": 16,
    "job": 64,  # gate
    "lock": 128,
    "step": 192,
    "context": 200,
    "threads": 208,  # that run the job: those from this number on have nothing to do
    "cpu": 216,  # of the caller when it gave the job; -1: unknown
    "ready": 256,  # workers that have finished the job
    "finished": 320,  # gate
    "arrived": 384,
    "round": 448,  # gate
}
TEAM_BYTES = 512
_SLEEPERS = 8  # in a gate, after its number

CONTEXT = {
    "status": 0,  # 0, 1: an index out of range, 2: interrupted, 3: forked inside a step
    "stopped_round": 8,
    "services": 64,
    "step": 72,
    "team": 80,
    "thread_state": 88,
    "polled": 96,  # when, in ns
    "polling": 104,
    "busy": 112,  # the generation in which it runs; 0 if it does not
    "owner": 120,  # the thread that runs it
    "threads": 176,  # at most
    "flags": 184,
    "count": 128,
    "arguments": 136,
    "own_step": 144,  # the program's; `step` is that, or bp_series
    "series": 152,  # the table of a series
}
SLOTS = 192  # of pointers; also the size of a CONTEXT without them
PARALLEL, SHORT, WRITES = 1, 2, 4  # flags of a context
OUT_OF_RANGE, INTERRUPTED, FORKED = 1, 2, 3
_POLL_NS = 20_000_000
IDLE_YIELDS, YIELDS = 100, 1000
MEETINGS = 8  # jobs in a row that a worker shares its caller's CPU, before it moves
CPU_SET_BYTES = 128  # of the C library's sets of CPUs


def slot_offset(slot: int) -> int:
    """Where the pointer of a slot lies in a context."""
    return SLOTS + 8 * slot


def fields(base: str, layout: Mapping[str, int], *names: str) -> str:
    """Instructions that set `%base.name` to the address of each field."""
    return "\n".join(
        f"  %{base}.{name} = getelementptr i8, ptr %{base}, i64 {layout[name]}" for name in names
    )


def pausing(text: str) -> str:
    """A text with this processor's instruction for spinning loops at each PAUSE."""
    match platform.machine().lower():
        case "x86_64" | "amd64":
            instruction = "call void @llvm.x86.sse2.pause()"
        case "aarch64" | "arm64":
            instruction = "call void @llvm.aarch64.hint(i32 1)"
        case _:
            return text.replace("PAUSE", "fence acquire")
    name = instruction.partition("@")[2].partition("(")[0]
    arguments = "i32" if "i32" in instruction else ""
    return f"declare void @{name}({arguments})\n" + text.replace("PAUSE", instruction)


GATES = f"""
; Return when the number at %gate is no longer %old.
define internal void @bp_await(ptr %team, ptr %gate, i64 %old, i64 %yields) #0 {{
entry:
{fields("team", TEAM, "services", "spins")}
  %services = load ptr, ptr %team.services
{fields("services", SERVICES, "syscall", "futex", "yield", "nanosleep")}
  %spins = load i64, ptr %team.spins
  %sleepers = getelementptr i8, ptr %gate, i64 {_SLEEPERS}
  %time = alloca [2 x i64]
  br label %spin
spin:
  %i = phi i64 [0, %entry], [%i1, %again]
  %a = load atomic i64, ptr %gate acquire, align 8
  %a.open = icmp ne i64 %a, %old
  br i1 %a.open, label %exit, label %again
again:
  PAUSE
  %i1 = add i64 %i, 1
  %i.end = icmp ult i64 %i1, %spins
  br i1 %i.end, label %spin, label %patience
patience:
  %y = phi i64 [0, %again], [%y1, %give]
  %b = load atomic i64, ptr %gate acquire, align 8
  %b.open = icmp ne i64 %b, %old
  br i1 %b.open, label %exit, label %more
more:
  %y.left = icmp ult i64 %y, %yields
  br i1 %y.left, label %give, label %sleep
give:
  %yield = load ptr, ptr %services.yield
  %y.result = call i32 %yield()
  %y1 = add i64 %y, 1
  br label %patience
sleep:
  %s0 = atomicrmw add ptr %sleepers, i64 1 seq_cst
  %syscall = load ptr, ptr %services.syscall
  %known = icmp ne ptr %syscall, null
  br i1 %known, label %futex, label %nap
futex:
  %number = load i64, ptr %services.futex
  %low = and i64 %old, 4294967295
  %f = call i64 (i64, ...) %syscall(i64 %number, ptr %gate, i64 128, i64 %low, ptr null)
  br label %woken
nap:
  %nanosleep = load ptr, ptr %services.nanosleep
  %ns = getelementptr i8, ptr %time, i64 8
  store i64 0, ptr %time
  store i64 50000, ptr %ns
  %n.result = call i32 %nanosleep(ptr %time, ptr null)
  br label %woken
woken:
  %s1 = atomicrmw sub ptr %sleepers, i64 1 seq_cst
  %c = load atomic i64, ptr %gate acquire, align 8
  %c.open = icmp ne i64 %c, %old
  br i1 %c.open, label %exit, label %sleep
exit:
  ret void
}}

define internal void @bp_open(ptr %team, ptr %gate) #0 {{
entry:
{fields("team", TEAM, "services")}
  %sleepers = getelementptr i8, ptr %gate, i64 {_SLEEPERS}
  %old = atomicrmw add ptr %gate, i64 1 seq_cst
  %count = load atomic i64, ptr %sleepers seq_cst, align 8
  %any = icmp ne i64 %count, 0
  br i1 %any, label %wake, label %exit
wake:
  %services = load ptr, ptr %team.services
{fields("services", SERVICES, "syscall", "futex")}
  %syscall = load ptr, ptr %services.syscall
  %known = icmp ne ptr %syscall, null
  br i1 %known, label %futex, label %exit
futex:
  %number = load i64, ptr %services.futex
  %f = call i64 (i64, ...) %syscall(i64 %number, ptr %gate, i64 129, i64 2147483647)
  br label %exit
exit:
  ret void
}}
"""

_BARRIER = f"""
define internal void @bp_barrier(ptr %team, i64 %n) #0 {{
entry:
  %alone = icmp eq i64 %n, 1
  br i1 %alone, label %exit, label %arrive
arrive:
{fields("team", TEAM, "arrived", "round")}
  %old = load atomic i64, ptr %team.round acquire, align 8
  %before = atomicrmw add ptr %team.arrived, i64 1 acq_rel
  %count = add i64 %before, 1
  %last = icmp eq i64 %count, %n
  br i1 %last, label %open, label %wait
open:
  store atomic i64 0, ptr %team.arrived monotonic, align 8
  call void @bp_open(ptr %team, ptr %team.round)
  ret void
wait:
  call void @bp_await(ptr %team, ptr %team.round, i64 %old, i64 {YIELDS})
  ret void
exit:
  ret void
}}
"""

_POLL = f"""
define internal i32 @bp_poll(ptr %context) #0 {{
entry:
{fields("context", CONTEXT, "polling", "polled", "services", "thread_state", "busy", "status")}
  %time = alloca [2 x i64]
  %polling = load i64, ptr %context.polling
  %on = icmp ne i64 %polling, 0
  br i1 %on, label %clock, label %quiet
clock:
  %services = load ptr, ptr %context.services
{fields("services", SERVICES, "clock", "clock_gettime", "generation")}
{fields("services", SERVICES, "save_thread", "restore_thread", "check_signals")}
  %gettime = load ptr, ptr %services.clock_gettime
  %which = load i64, ptr %services.clock
  %which32 = trunc i64 %which to i32
  %t = call i32 %gettime(i32 %which32, ptr %time)
  %s = load i64, ptr %time
  %ns.at = getelementptr i8, ptr %time, i64 8
  %ns = load i64, ptr %ns.at
  %s.ns = mul i64 %s, 1000000000
  %now = add i64 %s.ns, %ns
  %then = load i64, ptr %context.polled
  %past = sub i64 %now, %then
  %due = icmp ugt i64 %past, {_POLL_NS}
  br i1 %due, label %ask, label %quiet
ask:
  store i64 %now, ptr %context.polled
  %restore = load ptr, ptr %services.restore_thread
  %save = load ptr, ptr %services.save_thread
  %signals = load ptr, ptr %services.check_signals
  %state = load ptr, ptr %context.thread_state
  call void %restore(ptr %state)
  %r = call i32 %signals()
  %state1 = call ptr %save()
  store ptr %state1, ptr %context.thread_state
  %interrupted = icmp ne i32 %r, 0
  br i1 %interrupted, label %leave, label %same
leave:
  store i64 {INTERRUPTED}, ptr %context.status
  ret i32 {INTERRUPTED}
same:
  %mine = load i64, ptr %context.busy
  %generation = load i64, ptr %services.generation
  %forked = icmp ne i64 %mine, %generation
  br i1 %forked, label %child, label %quiet
child:
  store i64 {FORKED}, ptr %context.status
  ret i32 {FORKED}
quiet:
  ret i32 0
}}
"""

# Thread 0 says before it arrives at which round all stop. A thread that is late reads the answer of
# its own round, whatever thread 0 has said since.
_BOUNDARY = f"""
define internal i32 @bp_boundary(ptr %context, i64 %tid, i64 %n) #0 {{
entry:
{fields("context", CONTEXT, "team", "stopped_round")}
  %team = load ptr, ptr %context.team
{fields("team", TEAM, "round")}
  %first = icmp eq i64 %tid, 0
  br i1 %first, label %poll, label %meet
poll:
  %r = call i32 @bp_poll(ptr %context)
  %alone = icmp eq i64 %n, 1
  %forked = icmp eq i32 %r, {FORKED}
  %now = or i1 %alone, %forked
  br i1 %now, label %answer, label %together
answer:
  ret i32 %r
together:
  %stop = icmp ne i32 %r, 0
  br i1 %stop, label %say, label %meet
say:
  %here = load atomic i64, ptr %team.round monotonic, align 8
  store atomic i64 %here, ptr %context.stopped_round monotonic, align 8
  br label %meet
meet:
  %round = load atomic i64, ptr %team.round monotonic, align 8
  call void @bp_barrier(ptr %team, i64 %n)
  %stopped = load atomic i64, ptr %context.stopped_round monotonic, align 8
  %yes = icmp eq i64 %stopped, %round
  %result = select i1 %yes, i32 {INTERRUPTED}, i32 0
  ret i32 %result
}}
"""


def runtime_text(text: str) -> str:
    """Definitions of the runtime functions that a module calls."""
    boundary = "@bp_boundary(" in text
    parts: list[str] = []
    if boundary or "@bp_barrier(" in text:
        parts += [pausing(GATES), _BARRIER]
    if boundary or "@bp_poll(" in text:
        parts.append(_POLL)
    if boundary:
        parts.append(_BOUNDARY)
    return "\n".join(parts)
