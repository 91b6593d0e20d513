"""The LLVM text of the team: `bp_run` runs a program's step, `bp_worker` is the life of a worker.

A job is a gate that opens: the workers read step and context, run their share, and the last of them
opens the gate `finished`. Invariant: a job begins after all workers have finished the one before,
and ends for the caller after all have finished it.
"""

from __future__ import annotations

import platform

from backpass.codegen.runtime import (
    CONTEXT,
    FORKED,
    GATES,
    IDLE_YIELDS,
    PARALLEL,
    SERVICES,
    TEAM,
    YIELDS,
    fields,
    pausing,
)

# The rounding and subnormal modes are a thread's own, and any library may have changed them: a step
# runs in IEEE's default ones, so that its bits do not depend on the thread.
_MODE_X86 = """
declare void @llvm.x86.sse.stmxcsr(ptr)
declare void @llvm.x86.sse.ldmxcsr(ptr)
define internal void @bp_call(ptr %step, ptr %context, i64 %tid, i64 %n) #0 {
entry:
  %theirs = alloca i32
  %ours = alloca i32
  call void @llvm.x86.sse.stmxcsr(ptr %theirs)
  %mode = load i32, ptr %theirs
  %modes = and i32 %mode, 65472
  %usual = icmp eq i32 %modes, 8064
  br i1 %usual, label %plain, label %changed
plain:
  call void %step(ptr %context, i64 %tid, i64 %n)
  ret void
changed:
  store i32 8064, ptr %ours
  call void @llvm.x86.sse.ldmxcsr(ptr %ours)
  call void %step(ptr %context, i64 %tid, i64 %n)
  call void @llvm.x86.sse.ldmxcsr(ptr %theirs)
  ret void
}
"""
_MODE_ARM = """
declare i64 @llvm.aarch64.get.fpcr()
declare void @llvm.aarch64.set.fpcr(i64)
define internal void @bp_call(ptr %step, ptr %context, i64 %tid, i64 %n) #0 {
entry:
  %theirs = call i64 @llvm.aarch64.get.fpcr()
  call void @llvm.aarch64.set.fpcr(i64 0)
  call void %step(ptr %context, i64 %tid, i64 %n)
  call void @llvm.aarch64.set.fpcr(i64 %theirs)
  ret void
}
"""
_MODE_OTHER = """
define internal void @bp_call(ptr %step, ptr %context, i64 %tid, i64 %n) #0 {
entry:
  call void %step(ptr %context, i64 %tid, i64 %n)
  ret void
}
"""


def _arithmetic_mode() -> str:
    match platform.machine().lower():
        case "x86_64" | "amd64":
            return _MODE_X86
        case "aarch64" | "arm64":
            return _MODE_ARM
        case _:
            return _MODE_OTHER


# One job at a time: who finds the team taken, by another Python thread, runs alone.
_RUN = f"""
declare i64 @llvm.umin.i64(i64, i64)
define void @bp_run(ptr %context) #0 {{
entry:
{fields("context", CONTEXT, "status", "stopped_round", "services", "step", "team")}
{fields("context", CONTEXT, "flags", "threads")}
  store i64 0, ptr %context.status
  store i64 -1, ptr %context.stopped_round
  %step = load ptr, ptr %context.step
  %flags = load i64, ptr %context.flags
  %wants = and i64 %flags, {PARALLEL}
  %parallel = icmp ne i64 %wants, 0
  br i1 %parallel, label %ask, label %alone
ask:
  %services = load ptr, ptr %context.services
{fields("services", SERVICES, "team")}
  %team = load ptr, ptr %services.team
  %exists = icmp ne ptr %team, null
  br i1 %exists, label %count, label %alone
count:
{fields("team", TEAM, "size", "lock", "step", "context", "threads", "job", "finished")}
  %size = load i64, ptr %team.size
  %most = load i64, ptr %context.threads
  %n = call i64 @llvm.umin.i64(i64 %size, i64 %most)
  %many = icmp ugt i64 %n, 1
  br i1 %many, label %take, label %alone
take:
  %taken = cmpxchg ptr %team.lock, i64 0, i64 1 acq_rel monotonic
  %mine = extractvalue {{ i64, i1 }} %taken, 1
  br i1 %mine, label %together, label %alone
together:
  store ptr %team, ptr %context.team
  store ptr %step, ptr %team.step
  store ptr %context, ptr %team.context
  store i64 %n, ptr %team.threads
  %old = load atomic i64, ptr %team.finished acquire, align 8
  call void @bp_open(ptr %team, ptr %team.job)
  call void @bp_call(ptr %step, ptr %context, i64 0, i64 %n)
  %status = load i64, ptr %context.status
  %forked = icmp eq i64 %status, {FORKED}
  br i1 %forked, label %exit, label %wait
wait:
  call void @bp_await(ptr %team, ptr %team.finished, i64 %old, i64 {YIELDS})
  store atomic i64 0, ptr %team.lock release, align 8
  ret void
alone:
  store ptr null, ptr %context.team
  call void @bp_call(ptr %step, ptr %context, i64 0, i64 1)
  ret void
exit:
  ret void
}}
"""

_WORKER = f"""
define void @bp_worker(ptr %team, i64 %tid) #0 {{
entry:
{fields("team", TEAM, "job", "step", "context", "threads", "size", "ready", "finished")}
  br label %next
next:
  %seen = phi i64 [0, %entry], [%job, %done], [%job, %last]
  call void @bp_await(ptr %team, ptr %team.job, i64 %seen, i64 {IDLE_YIELDS})
  %job = load atomic i64, ptr %team.job acquire, align 8
  %step = load ptr, ptr %team.step
  %stop = icmp eq ptr %step, null
  br i1 %stop, label %exit, label %work
work:
  %context = load ptr, ptr %team.context
  %n = load i64, ptr %team.threads
  %takes.part = icmp ult i64 %tid, %n
  br i1 %takes.part, label %share, label %done
share:
  call void @bp_call(ptr %step, ptr %context, i64 %tid, i64 %n)
  br label %done
done:
  %size = load i64, ptr %team.size
  %before = atomicrmw add ptr %team.ready, i64 1 acq_rel
  %count = add i64 %before, 2
  %all = icmp eq i64 %count, %size
  br i1 %all, label %last, label %next
last:
  store atomic i64 0, ptr %team.ready monotonic, align 8
  call void @bp_open(ptr %team, ptr %team.finished)
  br label %next
exit:
  ret void
}}

define void @bp_spin(i64 %count) #0 {{
entry:
  br label %loop
loop:
  %i = phi i64 [0, %entry], [%i1, %loop]
  PAUSE
  %i1 = add i64 %i, 1
  %more = icmp ult i64 %i1, %count
  br i1 %more, label %loop, label %exit
exit:
  ret void
}}

; Have the workers return, unless a job runs: then 0. The lock stays taken.
define i64 @bp_stop(ptr %team) #0 {{
entry:
{fields("team", TEAM, "lock", "step", "job")}
  %taken = cmpxchg ptr %team.lock, i64 0, i64 1 acq_rel monotonic
  %mine = extractvalue {{ i64, i1 }} %taken, 1
  br i1 %mine, label %stop, label %exit
stop:
  store ptr null, ptr %team.step
  call void @bp_open(ptr %team, ptr %team.job)
  ret i64 1
exit:
  ret i64 0
}}
"""


def team_text() -> str:
    """The module."""
    return "\n".join([pausing(GATES + _WORKER), _arithmetic_mode(), _RUN])
