"""Memory of a jitted training step: it does not grow, and its plan says what it takes.

Each measurement is in a process of its own, where nothing else moves the resident set.
"""

from __future__ import annotations

import json
import sys

import pytest
from tests.codegen.native_steps import said

MIB = 1 << 20
# Of the whole process: what the allocators of Python and C may keep for later.
SLACK = 1 * MIB

STEP = """
    import json, resource, tracemalloc
    from pathlib import Path
    import numpy as np
    import backpass as bp
    from backpass import nn, optim

    def resident():
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize()

    def made(sizes, batch):
        bp.manual_seed(2)
        layers = []
        for a, b in zip(sizes, sizes[1:]):
            layers += [nn.Linear(a, b), nn.ReLU(), nn.Dropout(0.1)]
        model = nn.Sequential(*layers, nn.Linear(sizes[-1], 5))
        optimizer = optim.Adam(model.parameters(), lr=1e-3)
        rng = np.random.default_rng(0)
        x = rng.normal(size=(batch, sizes[0])).astype(np.float32)
        return model, optimizer, x, rng.integers(0, 5, batch)

    @bp.jit
    def step(model, optimizer, x, y):
        loss = lambda model: nn.functional.cross_entropy(model(x), y)
        value, grads = bp.value_and_grad(loss)(model)
        optimizer.step(grads)
        return value
"""

GROWTH = (
    STEP
    + """
    arguments = made((20, 32, 32), 64)
    for _ in range(1000):
        step(*arguments)
    before = resident()
    for _ in range(10_000):
        step(*arguments)
    grown = resident() - before
    tracemalloc.start()
    for _ in range(100):
        step(*arguments)
    objects = tracemalloc.get_traced_memory()[0]
    for _ in range(10_000):
        step(*arguments)
    objects = tracemalloc.get_traced_memory()[0] - objects
    print(json.dumps([grown, objects]))
"""
)

PEAK = (
    STEP
    + """
    arguments = made((512, 1024, 1024), 1024)
    model, optimizer, x, y = arguments
    plan = step.plan(*arguments)
    small = made((20, 32, 32), 64)
    step(*small)  # what a first call of any step loads
    bp.jit(lambda x: np.sum(np.sin(x)))(np.ones(500_000))  # the threads, and their stacks
    for part in (model, optimizer):
        for cell in part.__backpass_cells__().values():
            cell.array[...] = cell.array.copy()  # every page is there
    x[...] = x.copy()
    Path("/proc/self/clear_refs").write_text("5")  # the highest resident set from here on
    before = resident()
    for _ in range(100):
        step(*arguments)
    status = Path("/proc/self/status").read_text()
    high = int(status.partition("VmHWM:")[2].split()[0]) * 1024
    print(json.dumps([high - before, plan.peak_bytes]))
"""
)

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self")


@linux
def test_ten_thousand_steps_do_not_grow() -> None:
    resident, objects = json.loads(said(GROWTH))
    assert resident <= SLACK / 4
    assert objects <= 16 * 1024


@linux
@pytest.mark.slow
def test_a_step_takes_what_its_plan_says() -> None:
    grown, planned = json.loads(said(PEAK, timeout=120))
    assert planned > 12 * MIB
    assert planned / 2 <= grown <= planned + SLACK
