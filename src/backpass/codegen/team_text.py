"""The LLVM text of the team: `bp_run` runs a program's step, `bp_worker` is the life of a worker.

A job is a gate that opens: the workers read step and context, run their share, and the last of them
opens the gate `finished`. Invariant: a job begins after all workers have finished the one before,
and ends for the caller after all have finished it.
"""

from __future__ import annotations

import platform

from backpass.codegen.runtime import (
    CONTEXT,
    CPU_SET_BYTES,
    FORKED,
    GATES,
    IDLE_YIELDS,
    MEETINGS,
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
{fields("services", SERVICES, "team", "getcpu")}
  %team = load ptr, ptr %services.team
  %exists = icmp ne ptr %team, null
  br i1 %exists, label %count, label %alone
count:
{fields("team", TEAM, "size", "lock", "step", "context", "threads", "job", "finished", "cpu")}
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
  %getcpu = load ptr, ptr %services.getcpu
  %places = icmp ne ptr %getcpu, null
  br i1 %places, label %place, label %begin
place:
  %cpu = call i32 %getcpu()
  %cpu64 = sext i32 %cpu to i64
  store i64 %cpu64, ptr %team.cpu
  br label %begin
begin:
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

# A system may wake a worker on the CPU of its caller, and leave both there though another is idle:
# a step of many short kernels then takes longer than on one thread. So a worker that met its caller
# some times in a row forbids itself that CPU, which moves it, and allows it again.
_APART = f"""
define internal void @bp_apart(ptr %team, ptr %met) #0 {{
entry:
  %own = alloca [{CPU_SET_BYTES} x i8], align 8
  %others = alloca [{CPU_SET_BYTES} x i8], align 8
{fields("team", TEAM, "services", "cpu")}
  %services = load ptr, ptr %team.services
{fields("services", SERVICES, "getcpu", "getaffinity", "setaffinity")}
  %getcpu = load ptr, ptr %services.getcpu
  %places = icmp ne ptr %getcpu, null
  br i1 %places, label %look, label %exit
look:
  %here32 = call i32 %getcpu()
  %here = sext i32 %here32 to i64
  %theirs = load i64, ptr %team.cpu
  %same = icmp eq i64 %here, %theirs
  %known = icmp ult i64 %here, {8 * CPU_SET_BYTES}
  %meets = and i1 %same, %known
  br i1 %meets, label %count, label %alone
alone:
  store i64 0, ptr %met
  ret void
count:
  %before = load i64, ptr %met
  %times = add i64 %before, 1
  %often = icmp uge i64 %times, {MEETINGS}
  %kept = select i1 %often, i64 0, i64 %times
  store i64 %kept, ptr %met
  br i1 %often, label %ask, label %exit
ask:
  %getaffinity = load ptr, ptr %services.getaffinity
  %asked = call i32 %getaffinity(i32 0, i64 {CPU_SET_BYTES}, ptr %own)
  %told = icmp eq i32 %asked, 0
  br i1 %told, label %copy, label %exit
copy:
  %k = phi i64 [0, %ask], [%k1, %copy]
  %any = phi i64 [0, %ask], [%any1, %copy]
  %from = getelementptr i64, ptr %own, i64 %k
  %to = getelementptr i64, ptr %others, i64 %k
  %word = load i64, ptr %from
  %first = shl i64 %k, 6
  %bit = sub i64 %here, %first
  %inside = icmp ult i64 %bit, 64
  %place = and i64 %bit, 63
  %one = shl i64 1, %place
  %mask = select i1 %inside, i64 %one, i64 0
  %keep = xor i64 %mask, -1
  %rest = and i64 %word, %keep
  store i64 %rest, ptr %to
  %any1 = or i64 %any, %rest
  %k1 = add i64 %k, 1
  %more = icmp ult i64 %k1, {CPU_SET_BYTES // 8}
  br i1 %more, label %copy, label %copied
copied:
  %elsewhere = icmp ne i64 %any1, 0
  br i1 %elsewhere, label %move, label %exit
move:
  %setaffinity = load ptr, ptr %services.setaffinity
  %moved = call i32 %setaffinity(i32 0, i64 {CPU_SET_BYTES}, ptr %others)
  %restored = call i32 %setaffinity(i32 0, i64 {CPU_SET_BYTES}, ptr %own)
  br label %exit
exit:
  ret void
}}
"""

_WORKER = f"""
define void @bp_worker(ptr %team, i64 %tid) #0 {{
entry:
  %met = alloca i64
  store i64 0, ptr %met
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
  call void @bp_apart(ptr %team, ptr %met)
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
    return "\n".join([pausing(GATES + _APART + _WORKER), _arithmetic_mode(), _RUN])
