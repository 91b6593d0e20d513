"""The LLVM text of the builtin `bp_entry(PyObject *self, PyObject *const *args, ssize_t n)`.

`self` is the array whose memory is the program's CONTEXT. With
one array more than the program has arguments, that array is the table of a series
(`series_text.py`), which is then run in place of the step. The fields of an array object are at
fixed distances from the end of its object header: data +0, rank +8, dimensions +16, descriptor +40,
flags +48; in a descriptor, the byte order is at +10 and the type number at +12 (`entry.py` verifies
it once). Invariant: from the check that the context is free to the mark that it is taken, and from
the end of the step to the return, the interpreter's lock is held.
"""

from __future__ import annotations

from backpass.codegen.runtime import (
    CONTEXT,
    INTERRUPTED,
    PARALLEL,
    SERVICES,
    SHORT,
    WRITES,
    fields,
)
from backpass.codegen.series_text import series_text

ARGUMENT = {
    "slot": 0,
    "descr": 8,
    "dims": 16,
    "flags": 24,
    "rank": 32,
    "type": 40,
    "bytes": 48,
    "moved": 56,  # since it was last compared with the others
}
ARGUMENT_BYTES = 64
WRITEABLE = 0x400  # among the flags


# Where the fields lie after the object header.
_FIELDS = {
    "HEAD_TYPE": -8,
    "HEAD_DATA": 0,
    "HEAD_RANK": 8,
    "HEAD_DIMS": 16,
    "HEAD_DESCR": 40,
    "HEAD_FLAGS": 48,
    "HEAD_ORDER": 10,
    "HEAD_NUMBER": 12,
}


def entry_text(head: int) -> str:
    """The module; `head` is the size of an object header."""
    text = "\n".join([_FIT, _CLASH, _ENTER, series_text(), _ENTRY])
    for name, offset in _FIELDS.items():
        text = text.replace(name, str(head + offset))
    return text


_FIT = f"""
; Whether an object is the array that an argument's entry in the table asks for.
define internal i1 @bp_fits(ptr %x, ptr %argument, ptr %ndarray) #0 {{
entry:
{fields("argument", ARGUMENT, "descr", "dims", "flags", "rank", "type")}
  %type.at = getelementptr i8, ptr %x, i64 HEAD_TYPE
  %rank.at = getelementptr i8, ptr %x, i64 HEAD_RANK
  %dims.at = getelementptr i8, ptr %x, i64 HEAD_DIMS
  %descr.at = getelementptr i8, ptr %x, i64 HEAD_DESCR
  %flags.at = getelementptr i8, ptr %x, i64 HEAD_FLAGS
  %type = load ptr, ptr %type.at
  %is.array = icmp eq ptr %type, %ndarray
  br i1 %is.array, label %layout, label %no
layout:
  %has = load i32, ptr %flags.at
  %needs = load i32, ptr %argument.flags
  %both = and i32 %has, %needs
  %flags.fit = icmp eq i32 %both, %needs
  %rank = load i32, ptr %rank.at
  %rank.wanted = load i32, ptr %argument.rank
  %rank.fits = icmp eq i32 %rank, %rank.wanted
  %so.far = and i1 %flags.fit, %rank.fits
  br i1 %so.far, label %dtype, label %no
dtype:
  %descr = load ptr, ptr %descr.at
  %descr.wanted = load ptr, ptr %argument.descr
  %same = icmp eq ptr %descr, %descr.wanted
  br i1 %same, label %shape, label %other
other:
  %number.at = getelementptr i8, ptr %descr, i64 HEAD_NUMBER
  %number = load i32, ptr %number.at
  %number.wanted = load i32, ptr %argument.type
  %number.fits = icmp eq i32 %number, %number.wanted
  %order.at = getelementptr i8, ptr %descr, i64 HEAD_ORDER
  %order = load i8, ptr %order.at
  %native = icmp eq i8 %order, {ord("=")}
  %orderless = icmp eq i8 %order, {ord("|")}
  %order.fits = or i1 %native, %orderless
  %equal = and i1 %number.fits, %order.fits
  br i1 %equal, label %shape, label %no
shape:
  %dims = load ptr, ptr %dims.at
  %dims.wanted = load ptr, ptr %argument.dims
  %rank64 = zext i32 %rank to i64
  br label %next
next:
  %i = phi i64 [0, %shape], [%i1, %again]
  %end = icmp eq i64 %i, %rank64
  br i1 %end, label %yes, label %compare
compare:
  %a.at = getelementptr i64, ptr %dims, i64 %i
  %b.at = getelementptr i64, ptr %dims.wanted, i64 %i
  %a = load i64, ptr %a.at
  %b = load i64, ptr %b.at
  %n.fits = icmp eq i64 %a, %b
  br i1 %n.fits, label %again, label %no
again:
  %i1 = add i64 %i, 1
  br label %next
yes:
  ret i1 true
no:
  ret i1 false
}}
"""

_CLASH = f"""
declare i64 @llvm.umin.i64(i64, i64)
; Which argument shares memory with another, one of the two being written to: the one that is only
; read, if one is; -1 if there is none. Only those that moved are compared with all.
define internal i64 @bp_clash(ptr %context) #0 {{
entry:
{fields("context", CONTEXT, "count", "arguments")}
  %count = load i64, ptr %context.count
  %table = load ptr, ptr %context.arguments
  br label %outer
outer:
  %i = phi i64 [0, %entry], [%i1, %next]
  %i.end = icmp eq i64 %i, %count
  br i1 %i.end, label %none, label %look
look:
  %a.row = mul i64 %i, {ARGUMENT_BYTES}
  %a = getelementptr i8, ptr %table, i64 %a.row
{fields("a", ARGUMENT, "flags", "bytes", "moved")}
  %moved = load i64, ptr %a.moved
  %still = icmp eq i64 %moved, 0
  br i1 %still, label %next, label %measure
measure:
  %a.slot = load i64, ptr %a
  %a.at = getelementptr i8, ptr %context, i64 %a.slot
  %a.from = load i64, ptr %a.at
  %a.size = load i64, ptr %a.bytes
  %a.to = add i64 %a.from, %a.size
  %a.flag = load i64, ptr %a.flags
  %a.bit = and i64 %a.flag, {WRITEABLE}
  br label %inner
inner:
  %j = phi i64 [0, %measure], [%j1, %again]
  %j.end = icmp eq i64 %j, %count
  br i1 %j.end, label %settled, label %pair
pair:
  %b.row = mul i64 %j, {ARGUMENT_BYTES}
  %b = getelementptr i8, ptr %table, i64 %b.row
{fields("b", ARGUMENT, "flags", "bytes")}
  %b.slot = load i64, ptr %b
  %b.at = getelementptr i8, ptr %context, i64 %b.slot
  %b.from = load i64, ptr %b.at
  %b.size = load i64, ptr %b.bytes
  %b.to = add i64 %b.from, %b.size
  %b.flag = load i64, ptr %b.flags
  %b.bit = and i64 %b.flag, {WRITEABLE}
  %bits = or i64 %a.bit, %b.bit
  %written = icmp ne i64 %bits, 0
  %other = icmp ne i64 %i, %j
  %begins = icmp ult i64 %b.from, %a.to
  %ends = icmp ult i64 %a.from, %b.to
  %meet = and i1 %begins, %ends
  %matters = and i1 %written, %other
  %less = call i64 @llvm.umin.i64(i64 %a.size, i64 %b.size)
  %some = icmp ne i64 %less, 0
  %share = and i1 %meet, %some
  %clashes = and i1 %share, %matters
  br i1 %clashes, label %found, label %again
again:
  %j1 = add i64 %j, 1
  br label %inner
settled:
  store i64 0, ptr %a.moved
  br label %next
next:
  %i1 = add i64 %i, 1
  br label %outer
found:
  %b.reads = icmp eq i64 %b.bit, 0
  %which = select i1 %b.reads, i64 %j, i64 %i
  ret i64 %which
none:
  ret i64 -1
}}
"""

_ENTER = f"""
; Run a program that is free and whose slots are bound; called and left with the interpreter's lock.
define void @bp_enter(ptr %context) #0 {{
entry:
{fields("context", CONTEXT, "services", "flags", "busy", "thread_state", "polling", "owner")}
  %services = load ptr, ptr %context.services
{fields("services", SERVICES, "save_thread", "restore_thread", "thread_ident", "main_thread")}
{fields("services", SERVICES, "run", "generation")}
  %run = load ptr, ptr %services.run
  %flags = load i64, ptr %context.flags
  %short.bit = and i64 %flags, {SHORT}
  %short = icmp ne i64 %short.bit, 0
  br i1 %short, label %at_once, label %release
at_once:
  call void %run(ptr %context)
  ret void
release:
  %ident = load ptr, ptr %services.thread_ident
  %me = call i64 %ident()
  %main = load i64, ptr %services.main_thread
  %on.main = icmp eq i64 %me, %main
  %polls = zext i1 %on.main to i64
  %generation = load i64, ptr %services.generation
  store i64 %me, ptr %context.owner
  store i64 %polls, ptr %context.polling
  store i64 %generation, ptr %context.busy
  %save = load ptr, ptr %services.save_thread
  %state = call ptr %save()
  store ptr %state, ptr %context.thread_state
  call void %run(ptr %context)
  %state1 = load ptr, ptr %context.thread_state
  %restore = load ptr, ptr %services.restore_thread
  call void %restore(ptr %state1)
  store i64 0, ptr %context.owner
  store i64 0, ptr %context.busy
  ret void
}}
"""

_ENTRY = f"""
define ptr @bp_entry(ptr %self, ptr %args, i64 %nargs) #0 {{
entry:
  %data.at = getelementptr i8, ptr %self, i64 HEAD_DATA
  %context = load ptr, ptr %data.at
{fields("context", CONTEXT, "services", "flags", "busy", "count", "arguments", "status")}
{fields("context", CONTEXT, "step", "own_step", "series")}
  %services = load ptr, ptr %context.services
{fields("services", SERVICES, "team", "start_team", "wait_until_free", "generation", "ndarray")}
{fields("services", SERVICES, "call_no_args", "call_one_arg", "decref", "incref", "long", "none")}
  %flags = load i64, ptr %context.flags
  %parallel.bit = and i64 %flags, {PARALLEL}
  %parallel = icmp ne i64 %parallel.bit, 0
  br i1 %parallel, label %need_team, label %free
need_team:
  %team = load ptr, ptr %services.team
  %exists = icmp ne ptr %team, null
  br i1 %exists, label %free, label %start
start:
  %start.function = load ptr, ptr %services.start_team
  %call0 = load ptr, ptr %services.call_no_args
  %started = call ptr %call0(ptr %start.function)
  %start.failed = icmp eq ptr %started, null
  br i1 %start.failed, label %raise, label %release.start
release.start:
  %decref0 = load ptr, ptr %services.decref
  call void %decref0(ptr %started)
  br label %free
free:
  %busy = load i64, ptr %context.busy
  %generation = load i64, ptr %services.generation
  %taken = icmp eq i64 %busy, %generation
  br i1 %taken, label %wait, label %check
wait:
  %wait.function = load ptr, ptr %services.wait_until_free
  %call1 = load ptr, ptr %services.call_one_arg
  %waited = call ptr %call1(ptr %wait.function, ptr %self)
  %wait.failed = icmp eq ptr %waited, null
  br i1 %wait.failed, label %raise, label %release.wait
release.wait:
  %decref1 = load ptr, ptr %services.decref
  call void %decref1(ptr %waited)
  br label %free
check:
  %count = load i64, ptr %context.count
  %ndarray = load ptr, ptr %services.ndarray
  %table = load ptr, ptr %context.arguments
  %fewer = icmp slt i64 %nargs, %count
  %given = select i1 %fewer, i64 %nargs, i64 %count
  br label %next
next:
  %i = phi i64 [0, %check], [%i1, %bind]
  %dirty = phi i64 [0, %check], [%dirty1, %bind]
  %end = icmp eq i64 %i, %given
  br i1 %end, label %all, label %argument
argument:
  %x.at = getelementptr ptr, ptr %args, i64 %i
  %x = load ptr, ptr %x.at
  %row = mul i64 %i, {ARGUMENT_BYTES}
  %spec = getelementptr i8, ptr %table, i64 %row
  %fits = call i1 @bp_fits(ptr %x, ptr %spec, ptr %ndarray)
  br i1 %fits, label %bind, label %code
bind:
  %x.data.at = getelementptr i8, ptr %x, i64 HEAD_DATA
  %x.data = load ptr, ptr %x.data.at
  %slot = load i64, ptr %spec
  %slot.at = getelementptr i8, ptr %context, i64 %slot
  %x.old = load ptr, ptr %slot.at
  store ptr %x.data, ptr %slot.at
{fields("spec", ARGUMENT, "moved")}
  %moved.before = load i64, ptr %spec.moved
  %is.other = icmp ne ptr %x.old, %x.data
  %moved = select i1 %is.other, i64 1, i64 %moved.before
  store i64 %moved, ptr %spec.moved
  %dirty1 = or i64 %dirty, %moved
  %i1 = add i64 %i, 1
  br label %next
all:
  %own = load ptr, ptr %context.own_step
  %exact = icmp eq i64 %nargs, %count
  br i1 %exact, label %compare, label %more
more:
  %count1 = add i64 %count, 1
  %one.more = icmp eq i64 %nargs, %count1
  br i1 %one.more, label %extra, label %code
extra:
  %series.at = getelementptr ptr, ptr %args, i64 %count
  %series = load ptr, ptr %series.at
  %series.type.at = getelementptr i8, ptr %series, i64 HEAD_TYPE
  %series.type = load ptr, ptr %series.type.at
  %is.table = icmp eq ptr %series.type, %ndarray
  br i1 %is.table, label %series.of, label %code
series.of:
  %words.at = getelementptr i8, ptr %series, i64 HEAD_DATA
  %words = load ptr, ptr %words.at
  store ptr %words, ptr %context.series
  br label %compare
compare:
  %step = phi ptr [%own, %all], [@bp_series, %series.of]
  store ptr %step, ptr %context.step
  %writes.bit = and i64 %flags, {WRITES}
  %writes = icmp ne i64 %writes.bit, 0
  %any.moved = icmp ne i64 %dirty, 0
  %must = and i1 %writes, %any.moved
  br i1 %must, label %clash, label %ready
clash:
  %clashing = call i64 @bp_clash(ptr %context)
  %fine = icmp slt i64 %clashing, 0
  %clash.code = add i64 %clashing, %count
  br i1 %fine, label %ready, label %code
ready:
  call void @bp_enter(ptr %context)
  br label %after
after:
  %status = load i64, ptr %context.status
  switch i64 %status, label %failed [i64 0, label %done i64 {INTERRUPTED}, label %raise]
done:
  %none = load ptr, ptr %services.none
  %incref = load ptr, ptr %services.incref
  call void %incref(ptr %none)
  ret ptr %none
failed:
  %minus = sub i64 0, %status
  br label %code
code:
  %result = phi i64 [%i, %argument], [%i, %more], [%i, %extra],
                    [%clash.code, %clash], [%minus, %failed]
  %long = load ptr, ptr %services.long
  %number = call ptr %long(i64 %result)
  ret ptr %number
raise:
  ret ptr null
}}
"""
