"""The text of a step function read back: which kernels it calls on what memory, where it waits.

It knows the few forms of lines that a step has and refuses all others, so that a test of what a
step does need not trust whoever wrote it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from backpass.codegen.runtime import slot_offset

Place = tuple[int, int]  # a slot, and bytes from its pointer


@dataclass(frozen=True, slots=True)
class Called:
    """A call of a kernel: by all threads together, or by thread 0 alone."""

    function: str
    together: bool
    scratch: Place
    buffers: tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class Waits:
    """All threads meet; an interruptible one leaves on Ctrl-C."""

    interruptible: bool


@dataclass(frozen=True, slots=True)
class Leaves:
    """The step ends here if a kernel has failed."""


Event = Called | Waits | Leaves

_SLOT = re.compile(r"%at(\d+) = getelementptr i8, ptr %context, i64 (\d+)")
_MOVED = re.compile(r"%(p\d+) = getelementptr i8, ptr %slot(\d+), i64 (\d+)")
_CALL = re.compile(
    r"call void @(\w+)\(ptr %team, i64 (%tid|0), i64 (%n|1), ptr %(\w+), ptr %status(.*)\)"
)
_IGNORED = (
    r"%slot(\d+) = load ptr, ptr %at\1",
    r"%(status|at\.team) = getelementptr i8, ptr %context, i64 \d+",
    r"%team = load ptr, ptr %at\.team",
    r"%first\d+ = icmp eq i64 %tid, 0",
    r"%leaves(\d+) = icmp ne i32 %left\1, 0",
    r"%failed(\d+) = icmp ne i64 %status\1, 0",
    r"br i1 %(leaves|failed)(\d+), label %out\2, label %on\2",
    r"(entry|out\d+|on\d+):",
    r"ret void",
    r"define void @\w+\(ptr %context, i64 %tid, i64 %n\) #0 \{",
    r"\}",
)


def step_of(text: str, name: str) -> str:
    """The function of a step out of a module's text."""
    found = re.search(rf"^define void @{name}\(ptr %context.*?^\}}", text, re.S | re.M)
    assert found, f"no function {name}"
    return found.group()


class _Reader:
    def __init__(self) -> None:
        self.places: dict[str, Place] = {}
        self.alone: str | None = None
        self.events: list[Event] = []

    def read(self, line: str) -> None:
        """One line."""
        if found := _SLOT.fullmatch(line):
            slot, offset = map(int, found.groups())
            assert offset == slot_offset(slot)
            self.places[f"slot{slot}"] = (slot, 0)
        elif found := _MOVED.fullmatch(line):
            self.places[found[1]] = (int(found[2]), int(found[3]))
        elif found := _CALL.fullmatch(line):
            self._call(*found.groups())
        elif re.fullmatch(r"%left\d+ = call i32 @bp_boundary\(ptr %context, .*\)", line):
            self._wait(True)
        elif line == "call void @bp_barrier(ptr %team, i64 %n)":
            self._wait(False)
        elif re.fullmatch(r"%status\d+ = load atomic i64, ptr %status monotonic, align 8", line):
            self.events.append(Leaves())
        elif found := re.fullmatch(r"br i1 %first(\d+), label %alone\1, label %all\1", line):
            assert self.alone is None
            self.alone = found[1]
        elif not self._ends_alone(line) and not any([re.fullmatch(p, line) for p in _IGNORED]):
            raise AssertionError(f"a line that no step has: {line}")

    def _call(self, function: str, tid: str, n: str, scratch: str, buffers: str) -> None:
        assert (tid, n) in (("%tid", "%n"), ("0", "1"))
        together = tid == "%tid"
        assert not (together and self.alone), "a kernel of all threads is called by one alone"
        places = tuple([self.places[b] for b in re.findall(r", ptr %(\w+)", buffers)])
        self.events.append(Called(function, together, self.places[scratch], places))

    def _wait(self, interruptible: bool) -> None:
        assert self.alone is None, "one thread alone waits for the others"
        self.events.append(Waits(interruptible))

    def _ends_alone(self, line: str) -> bool:
        if line == f"br label %all{self.alone}":
            return True
        if line == f"all{self.alone}:":
            self.alone = None
            return True
        return line == f"alone{self.alone}:"


def events_of(text: str, name: str) -> list[Event]:
    """What a step does, in order.

    Raises:
        AssertionError: the text has a line of another form.
    """
    reader = _Reader()
    lines = [line.strip() for line in step_of(text, name).splitlines()]
    slots = [line for line in lines if _SLOT.fullmatch(line)]
    for line in [*slots, *[line for line in lines if not _SLOT.fullmatch(line)]]:
        reader.read(line)
    assert reader.alone is None
    return reader.events
