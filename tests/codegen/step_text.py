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
    """A call of a kernel: by all threads together (each for its `bands`, if any), or in a lane."""

    function: str
    together: bool
    lane: int
    bands: int
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
    r"call void @(\w+)\(ptr %team, i64 (%\w+|0), i64 (%n|\d+), ptr %(\w+), ptr %status(.*)\)"
)
_IGNORED = (
    r"%slot(\d+) = load ptr, ptr %at\1",
    r"%(status|at\.team) = getelementptr i8, ptr %context, i64 \d+",
    r"%team = load ptr, ptr %at\.team",
    r"%mine(\d+) = icmp eq i64 %tid, %lane\1",
    r"%after(\d+) = add i64 %before\1, \d+",
    r"%first(\d+) = udiv i64 %before\1, %n",
    r"%last(\d+) = udiv i64 %after\1, %n",
    r"%some(\d+) = icmp ult i64 %first\1, %last\1",
    r"br i1 %some(\d+), label %enter\1, label %all\1",
    r"enter\d+:",
    r"br label %bands\d+",
    r"%band(\d+) = phi i64 \[ %first\1, %enter\1 \], \[ %next\1, %bands\1 \]",
    r"%next(\d+) = add i64 %band\1, 1",
    r"%more(\d+) = icmp ult i64 %next\1, %last\1",
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
        self.alone: str | None = None  # the block of a lane that is open
        self.lane = 0
        self.band: str | None = None  # the loop over bands that is open
        self.bands = 0
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
        elif (
            not self._begins(line)
            and not self._ends_alone(line)
            and not any([re.fullmatch(p, line) for p in _IGNORED])
        ):
            raise AssertionError(f"a line that no step has: {line}")

    def _begins(self, line: str) -> bool:
        """Whether a lane's block or a loop over bands begins here, or such a loop ends."""
        if found := re.fullmatch(r"%lane\d+ = urem i64 (\d+), %n", line):
            self.lane = int(found[1])
        elif found := re.fullmatch(r"br i1 %mine(\d+), label %alone\1, label %all\1", line):
            assert self.alone is None and self.band is None
            self.alone = found[1]
        elif found := re.fullmatch(r"%before\d+ = mul i64 %tid, (\d+)", line):
            self.bands = int(found[1])
        elif found := re.fullmatch(r"bands(\d+):", line):
            assert self.alone is None and self.band is None
            self.band = found[1]
        elif re.fullmatch(rf"br i1 %more{self.band}, label %bands{self.band}, label %all.*", line):
            self.band, self.alone = None, self.band  # what ends it is a label as of a lane
        else:
            return False
        return True

    def _call(self, function: str, tid: str, n: str, scratch: str, buffers: str) -> None:
        bands = self.bands if self.band else 0
        own = (f"%band{self.band}", str(bands)) if bands else ("%tid", "%n")
        assert (tid, n) in (own, ("0", "1"))
        together = tid != "0"
        assert together or not bands, "a kernel of one thread is called for each band"
        assert not (together and self.alone), "a kernel of all threads is called by one alone"
        lane = 0 if self.alone is None else self.lane
        places = tuple([self.places[b] for b in re.findall(r", ptr %(\w+)", buffers)])
        self.events.append(Called(function, together, lane, bands, self.places[scratch], places))

    def _wait(self, interruptible: bool) -> None:
        assert self.alone is None and self.band is None, "one thread alone waits for the others"
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
