"""A step as a table does what the same step written out does."""

from __future__ import annotations

import random
import re
from pathlib import Path

import numpy as np
import pytest
from tests.codegen.step_text import Called, Event, Leaves, Waits, events_of
from tests.codegen.training import training_step

from backpass import nn, optim
from backpass.codegen import step_table
from backpass.codegen.runtime import slot_offset
from backpass.codegen.step_table import table_text
from backpass.codegen.step_text import Home, StepParts, StepText, Who

SLOTS = {slot_offset(n): n for n in range(100)}


def some_step(seed: int) -> StepParts:
    """Kernels of all kinds in a few phases."""
    rng = random.Random(seed)
    step, phase, bands = StepParts("step0", True), 0, 0
    commit = rng.randrange(20)
    for i in range(20):
        if i == commit or rng.random() < 0.3:
            phase, bands = phase + 1, rng.choice([0, 3, 4])
        who = rng.choice([Who("all", 0), Who("lane", rng.randrange(5))])
        step.kernel(
            f"kernel{rng.randrange(6)}",
            [Home(rng.randrange(9), 64 * rng.randrange(99)) for _ in range(rng.randrange(5))],
            64 * rng.randrange(99),
            phase=phase,
            who=Who("band", bands) if bands else who,
            committed=i >= commit,
            commits=i == commit,
        )
    return step


def read_back(text: str) -> list[Event]:
    """What a table says."""
    found = re.search(r"@step0\.table = internal constant \[(\d+) x i64\] \[(.*)\]", text)
    assert found
    words = found[2].split(", ")
    assert len(words) == int(found[1]) and all([w.startswith("i64 ") for w in words])
    words = [re.sub(r"ptrtoint \(ptr @(\w+) to i64\)", r"\1", w[4:]) for w in words]
    events: list[Event] = []
    at = 0
    while (what := int(words[at])) != step_table.END:
        number, size = int(words[at + 1]), int(words[at + 2])
        at += 3
        end = at + size // 8
        if what in (step_table.BARRIER, step_table.BOUNDARY):
            events.append(Waits(what == step_table.BOUNDARY))
        elif what == step_table.CHECK:
            events.append(Leaves())
        assert (size > 0) == (what in (step_table.ALL, step_table.LANE, step_table.BANDS))
        while at < end:
            function, by, own = words[at], words[at + 1], int(words[at + 2]) // 8
            numbers = list(map(int, words[at + 3 : at + own]))
            places = [(SLOTS[s], o) for s, o in zip(numbers[::2], numbers[1::2], strict=True)]
            assert by == f"bp_call{len(places)}"
            lane = number if what == step_table.LANE else 0
            bands = number if what == step_table.BANDS else 0
            together = what != step_table.LANE
            events.append(Called(function, together, lane, bands, places[0], tuple(places[1:])))
            at += own
        assert at == end
    return events


@pytest.mark.parametrize("seed", range(20))
def test_a_table_says_what_the_text_says(seed: int) -> None:
    step = some_step(seed)
    assert read_back(table_text(step)[0]) == events_of(StepText(step).text(), "step0")


def trained(depth: int) -> list[bytes]:
    """Losses and weights of a few steps on two threads, and of one that fails."""
    nn.manual_seed(0)
    layers = [nn.Sequential(nn.LayerNorm(48), nn.Linear(48, 48), nn.ReLU()) for _ in range(depth)]
    model = nn.Sequential(*layers, nn.Dropout(0.5), nn.Linear(48, 10))
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(96, 48)).astype(np.float32), rng.integers(0, 10, 96)

    step = training_step()
    losses = [float(step(model, optimizer, x, y)) for _ in range(5)]
    with pytest.raises(IndexError):
        step(model, optimizer, x, y + 1)
    losses.append(float(step(model, optimizer, x, y)))
    cells = [*model.__backpass_cells__().values(), *optimizer.__backpass_cells__().values()]
    return [np.array(losses).tobytes(), *[np.array(c.read()).tobytes() for c in cells]]


@pytest.mark.parametrize("threads", ["1", "2", "3"])
def test_a_step_as_a_table_gives_the_same_bits(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, threads: str
) -> None:
    monkeypatch.setenv("BACKPASS_NUM_THREADS", threads)
    found = []
    for most in (0, 10_000):
        monkeypatch.setenv("BACKPASS_CACHE_DIR", str(tmp_path / str(most)))
        monkeypatch.setattr("backpass.codegen.assemble.TABLE", most)
        found.append(trained(3))
    assert found[0] == found[1]
    code = (tmp_path / "0").glob("*.bpo")
    assert any([b"bp_walk" in path.read_bytes() for path in code])
    assert not any([b"bp_walk" in p.read_bytes() for p in (tmp_path / "10000").glob("*.bpo")])
