"""The LLVM text of `bp_series`: a program's step, run on one batch of rows after another.

It is a step itself, run in place of the program's own with the program's context and a table of
words (`SERIES`) that says what changes from batch to batch: which rows are copied into which
argument, and by how much the pointer of each output moves. The threads of the team copy a share of
the rows each, wait for each other, and run the program's step; what it left decides whether there
is a next one. Invariant: all threads come to the same decision, since what they look at changes
between two barriers only.
"""

from __future__ import annotations

from backpass.codegen.runtime import CONTEXT, FORKED, fields

SERIES = {
    "count": 0,  # of batches
    "done": 8,  # written: how many ran to their end
    "stop": 16,  # address of a byte for each batch, written by the step: 0 ends the run; or null
    "order": 24,  # address of the rows' numbers, batch after batch
    "rows": 32,  # in a batch
    "gathers": 40,  # how many tables
    "outputs": 48,  # how many outputs
}
SERIES_BYTES = 56
GATHER = {"table": 0, "bytes": 8, "slot": 16}  # a row's bytes; where in the context its pointer is
OUTPUT = {"slot": 0, "bytes": 8}
GATHER_BYTES, OUTPUT_BYTES = 24, 16

_COPY = """
; Copy %size bytes.
define internal void @bp_copy(ptr %to, ptr %from, i64 %size) #0 {
entry:
  %wide = and i64 %size, -64
  br label %next
next:
  %i = phi i64 [0, %entry], [%i1, %block]
  %more = icmp ult i64 %i, %wide
  br i1 %more, label %block, label %rest
block:
  %a = getelementptr i8, ptr %from, i64 %i
  %b = getelementptr i8, ptr %to, i64 %i
  %x = load <64 x i8>, ptr %a, align 1
  store <64 x i8> %x, ptr %b, align 1
  %i1 = add i64 %i, 64
  br label %next
rest:
  %k = phi i64 [%wide, %next], [%k4, %word]
  %k4 = add i64 %k, 4
  %whole = icmp ule i64 %k4, %size
  br i1 %whole, label %word, label %bytes
word:
  %c = getelementptr i8, ptr %from, i64 %k
  %d = getelementptr i8, ptr %to, i64 %k
  %w = load i32, ptr %c, align 1
  store i32 %w, ptr %d, align 1
  br label %rest
bytes:
  %m = phi i64 [%k, %rest], [%m1, %byte]
  %left = icmp ult i64 %m, %size
  br i1 %left, label %byte, label %exit
byte:
  %e = getelementptr i8, ptr %from, i64 %m
  %f = getelementptr i8, ptr %to, i64 %m
  %y = load i8, ptr %e
  store i8 %y, ptr %f
  %m1 = add i64 %m, 1
  br label %bytes
exit:
  ret void
}
"""

_GATHER = f"""
; Copy rows %low to %high of batch %i of each table into the program's arguments.
define internal void @bp_gather(ptr %context, ptr %series, i64 %i, i64 %low, i64 %high) #0 {{
entry:
{fields("series", SERIES, "order", "rows", "gathers")}
  %order.all = load ptr, ptr %series.order
  %rows = load i64, ptr %series.rows
  %gathers = load i64, ptr %series.gathers
  %begin = mul i64 %i, %rows
  %order = getelementptr i64, ptr %order.all, i64 %begin
  %tables = getelementptr i8, ptr %series, i64 {SERIES_BYTES}
  br label %next
next:
  %j = phi i64 [0, %entry], [%j1, %again]
  %end = icmp eq i64 %j, %gathers
  br i1 %end, label %exit, label %table
table:
  %at = mul i64 %j, {GATHER_BYTES}
  %one = getelementptr i8, ptr %tables, i64 %at
{fields("one", GATHER, "table", "bytes", "slot")}
  %source = load ptr, ptr %one.table
  %size = load i64, ptr %one.bytes
  %slot = load i64, ptr %one.slot
  %target.at = getelementptr i8, ptr %context, i64 %slot
  %target = load ptr, ptr %target.at
  br label %each
each:
  %r = phi i64 [%low, %table], [%r1, %copy]
  %r.end = icmp uge i64 %r, %high
  br i1 %r.end, label %again, label %copy
copy:
  %row.at = getelementptr i64, ptr %order, i64 %r
  %row = load i64, ptr %row.at
  %from.bytes = mul i64 %row, %size
  %from = getelementptr i8, ptr %source, i64 %from.bytes
  %to.bytes = mul i64 %r, %size
  %to = getelementptr i8, ptr %target, i64 %to.bytes
  call void @bp_copy(ptr %to, ptr %from, i64 %size)
  %r1 = add i64 %r, 1
  br label %each
again:
  %j1 = add i64 %j, 1
  br label %next
exit:
  ret void
}}
"""

_ADVANCE = f"""
; Move the pointer of each output to the next batch's place.
define internal void @bp_advance(ptr %context, ptr %series) #0 {{
entry:
{fields("series", SERIES, "gathers", "outputs")}
  %gathers = load i64, ptr %series.gathers
  %outputs = load i64, ptr %series.outputs
  %skipped = mul i64 %gathers, {GATHER_BYTES}
  %behind = add i64 %skipped, {SERIES_BYTES}
  %tables = getelementptr i8, ptr %series, i64 %behind
  br label %next
next:
  %j = phi i64 [0, %entry], [%j1, %move]
  %end = icmp eq i64 %j, %outputs
  br i1 %end, label %exit, label %move
move:
  %at = mul i64 %j, {OUTPUT_BYTES}
  %one = getelementptr i8, ptr %tables, i64 %at
{fields("one", OUTPUT, "slot", "bytes")}
  %slot = load i64, ptr %one.slot
  %size = load i64, ptr %one.bytes
  %pointer.at = getelementptr i8, ptr %context, i64 %slot
  %pointer = load ptr, ptr %pointer.at
  %moved = getelementptr i8, ptr %pointer, i64 %size
  store ptr %moved, ptr %pointer.at
  %j1 = add i64 %j, 1
  br label %next
exit:
  ret void
}}
"""

_SERIES = f"""
define void @bp_series(ptr %context, i64 %tid, i64 %n) #0 {{
entry:
{fields("context", CONTEXT, "series", "own_step", "status", "team")}
  %series = load ptr, ptr %context.series
  %step = load ptr, ptr %context.own_step
  %team = load ptr, ptr %context.team
{fields("series", SERIES, "count", "done", "stop", "rows")}
  %count = load i64, ptr %series.count
  %stop = load ptr, ptr %series.stop
  %rows = load i64, ptr %series.rows
  %tid1 = add i64 %tid, 1
  %low.all = mul i64 %tid, %rows
  %high.all = mul i64 %tid1, %rows
  %low = udiv i64 %low.all, %n
  %high = udiv i64 %high.all, %n
  %first = icmp eq i64 %tid, 0
  %stops = icmp ne ptr %stop, null
  br label %next
next:
  %i = phi i64 [0, %entry], [%i1, %go_on]
  %end = icmp eq i64 %i, %count
  br i1 %end, label %exit, label %batch
batch:
  call void @bp_gather(ptr %context, ptr %series, i64 %i, i64 %low, i64 %high)
  call void @bp_barrier(ptr %team, i64 %n)
  call void %step(ptr %context, i64 %tid, i64 %n)
  %status = load atomic i64, ptr %context.status monotonic, align 8
  %forked = icmp eq i64 %status, {FORKED}
  br i1 %forked, label %exit, label %together
together:
  call void @bp_barrier(ptr %team, i64 %n)
  %left = load atomic i64, ptr %context.status monotonic, align 8
  %failed = icmp ne i64 %left, 0
  br i1 %failed, label %exit, label %whole
whole:
  br i1 %stops, label %look, label %count_it
look:
  %flag.at = getelementptr i8, ptr %stop, i64 %i
  %flag = load i8, ptr %flag.at
  %stopped = icmp eq i8 %flag, 0
  br i1 %stopped, label %exit, label %count_it
count_it:
  %i1 = add i64 %i, 1
  br i1 %first, label %alone, label %go_on
alone:
  store i64 %i1, ptr %series.done
  call void @bp_advance(ptr %context, ptr %series)
  br label %go_on
go_on:
  br label %next
exit:
  ret void
}}
"""


def series_text() -> str:
    """The functions, to be part of the entry's module."""
    return "\n".join([_COPY, _GATHER, _ADVANCE, _SERIES])
