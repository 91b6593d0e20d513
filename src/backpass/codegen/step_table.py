"""A step of many kernels as a table of numbers, and the function that walks it.

An entry is three words, and after them the calls, if it has any: what (`ALL`, ...), a number,
and how many bytes of calls. A call is the kernel's address, the address of the function
that calls kernels of as many buffers, the bytes of the whole call, and the kernel's pointers:
scratch and buffers, each as the offset of its slot in the context and an offset from what lies
there. Invariant: what it does is what `step_text.py` writes out, in the same order.
"""

from __future__ import annotations

from backpass.codegen.runtime import CONTEXT, fields, slot_offset
from backpass.codegen.step_text import Called, Check, Meet, Run, StepParts

END, ALL, LANE, BANDS, BARRIER, BOUNDARY, CHECK = range(7)
_KINDS = {"all": ALL, "lane": LANE, "band": BANDS}

_WALK = f"""
define internal void @bp_walk(ptr %context, i64 %tid, i64 %n, ptr %table) #0 {{
entry:
{fields("context", CONTEXT, "team", "status")}
  %team = load ptr, ptr %context.team
  br label %next
next:
  %at = phi ptr [%table, %entry], [%after, %calls], [%after, %meet], [%after, %on]
  %at.number = getelementptr i8, ptr %at, i64 8
  %at.bytes = getelementptr i8, ptr %at, i64 16
  %at.calls = getelementptr i8, ptr %at, i64 24
  %what = load i64, ptr %at
  %number = load i64, ptr %at.number
  %bytes = load i64, ptr %at.bytes
  %after = getelementptr i8, ptr %at.calls, i64 %bytes
  switch i64 %what, label %exit [
    i64 {ALL}, label %all
    i64 {LANE}, label %lane
    i64 {BANDS}, label %bands
    i64 {BARRIER}, label %meet
    i64 {BOUNDARY}, label %boundary
    i64 {CHECK}, label %check
  ]
all:
  %all.end = add i64 %tid, 1
  br label %calls
lane:
  %lane.owner = urem i64 %number, %n
  %lane.mine = icmp eq i64 %lane.owner, %tid
  %lane.end = zext i1 %lane.mine to i64
  br label %calls
bands:
  %bands.before = mul i64 %tid, %number
  %bands.behind = add i64 %bands.before, %number
  %bands.first = udiv i64 %bands.before, %n
  %bands.end = udiv i64 %bands.behind, %n
  br label %calls
calls:
  %part = phi i64 [%tid, %all], [0, %lane], [%bands.first, %bands], [%part1, %done]
  %end = phi i64 [%all.end, %all], [%lane.end, %lane], [%bands.end, %bands], [%end, %done]
  %parts = phi i64 [%n, %all], [1, %lane], [%number, %bands], [%parts, %done]
  %some = icmp ult i64 %part, %end
  br i1 %some, label %call, label %next
call:
  %c = phi ptr [%at.calls, %calls], [%c1, %call]
  %c.by = getelementptr i8, ptr %c, i64 8
  %c.bytes = getelementptr i8, ptr %c, i64 16
  %c.places = getelementptr i8, ptr %c, i64 24
  %kernel = load ptr, ptr %c
  %by = load ptr, ptr %c.by
  %size = load i64, ptr %c.bytes
  call void %by(ptr %kernel, ptr %context, ptr %team, i64 %part, i64 %parts, ptr %c.places)
  %c1 = getelementptr i8, ptr %c, i64 %size
  %more = icmp ult ptr %c1, %after
  br i1 %more, label %call, label %done
done:
  %part1 = add i64 %part, 1
  br label %calls
meet:
  call void @bp_barrier(ptr %team, i64 %n)
  br label %next
boundary:
  %left = call i32 @bp_boundary(ptr %context, i64 %tid, i64 %n)
  %leaves = icmp ne i32 %left, 0
  br i1 %leaves, label %exit, label %on
check:
  %status = load atomic i64, ptr %context.status monotonic, align 8
  %failed = icmp ne i64 %status, 0
  br i1 %failed, label %exit, label %on
on:
  br label %next
exit:
  ret void
}}
"""


def table_text(step: StepParts) -> tuple[str, list[tuple[str, str]]]:
    """The function of a step; and by their names what it needs, which may be there already."""
    words: list[str | int] = []
    sizes: set[int] = set()
    for part in step.parts:
        if isinstance(part, Run):
            calls = [word for call in part.calls for word in _call(call)]
            words += (_KINDS[part.who.kind], part.who.number, 8 * len(calls), *calls)
            sizes.update([len(call.places) for call in part.calls])
        elif isinstance(part, Meet):
            words += (BARRIER if part.committed else BOUNDARY, 0, 0)
        else:
            assert isinstance(part, Check)
            words += (CHECK, 0, 0)
    words += (END, 0, 0)
    numbers = ", ".join([f"i64 {word}" for word in words])
    text = f"""
@{step.name}.table = internal constant [{len(words)} x i64] [{numbers}], align 8
define void @{step.name}(ptr %context, i64 %tid, i64 %n) #0 {{
  tail call void @bp_walk(ptr %context, i64 %tid, i64 %n, ptr @{step.name}.table)
  ret void
}}"""
    needed = [(_caller(count), _caller_text(count)) for count in sorted(sizes)]
    return text, [("bp_walk", _WALK), *needed]


def _call(call: Called) -> list[str | int]:
    """The words of a call."""
    places = [n for home in call.places for n in (slot_offset(home.slot), home.offset)]
    kernel, by = f"@{call.function}", f"@{_caller(len(call.places))}"
    size = 8 * (3 + len(places))
    return [f"ptrtoint (ptr {kernel} to i64)", f"ptrtoint (ptr {by} to i64)", size, *places]


def _caller(count: int) -> str:
    return f"bp_call{count}"


def _caller_text(count: int) -> str:
    """The function that calls a kernel of so many pointers."""
    lines: list[str] = []
    for k in range(count):
        lines += [
            f"  %a{k} = getelementptr i64, ptr %places, i64 {2 * k}",
            f"  %b{k} = getelementptr i64, ptr %places, i64 {2 * k + 1}",
            f"  %slot{k} = load i64, ptr %a{k}",
            f"  %at{k} = getelementptr i8, ptr %context, i64 %slot{k}",
            f"  %base{k} = load ptr, ptr %at{k}",
            f"  %offset{k} = load i64, ptr %b{k}",
            f"  %p{k} = getelementptr i8, ptr %base{k}, i64 %offset{k}",
        ]
    status = f"  %status = getelementptr i8, ptr %context, i64 {CONTEXT['status']}"
    scratch, *buffers = [f"ptr %p{k}" for k in range(count)]
    given = ", ".join(["ptr %team", "i64 %part", "i64 %parts", scratch, "ptr %status", *buffers])
    head = "ptr %kernel, ptr %context, ptr %team, i64 %part, i64 %parts, ptr %places"
    return "\n".join(
        [
            f"define internal void @{_caller(count)}({head}) #0 {{",
            status,
            *lines,
            f"  call void %kernel({given})",
            "  ret void",
            "}",
        ]
    )
