"""The same bits on any number of threads: whole training steps, large enough for threads to share.

Each number of threads is a process of its own; more threads than cores are allowed, and slow.
"""

from __future__ import annotations

import pytest
from tests.codegen.native_steps import said

STEPS = """
    import hashlib
    import numpy as np
    import backpass as bp
    from backpass import nn, optim

    bp.manual_seed(3)
    rng = np.random.default_rng(4)
    model = nn.Sequential(
        nn.Linear(96, 256), nn.LayerNorm(256), nn.GELU(), nn.Dropout(0.2),
        nn.Linear(256, 256), nn.BatchNorm1d(256), nn.ReLU(), nn.Linear(256, 10),
    )
    optimizer = OPTIMIZER

    @bp.jit
    def step(model, optimizer, x, y):
        loss = lambda model: nn.functional.cross_entropy(model(x), y)
        value, grads = bp.value_and_grad(loss)(model)
        optimizer.step(grads)
        return value

    sums = hashlib.sha256()
    for _ in range(10):
        x = rng.normal(size=(192, 96)).astype(np.float32)
        sums.update(step(model, optimizer, x, rng.integers(0, 10, 192)).tobytes())
    for p in model.parameters():
        sums.update(np.asarray(p.data).tobytes())
    total = bp.jit(lambda x: (np.sum(np.sin(x)), np.max(x), np.mean(x * x)))
    for value in total(rng.normal(size=300_001)):
        sums.update(np.asarray(value).tobytes())
    assert any(k.parallel for k in step.plan(model, optimizer, x, np.zeros(192, int)).kernels)
    print(sums.hexdigest())
"""
OPTIMIZERS = {
    "sgd": "optim.SGD(model.parameters(), lr=0.05, momentum=0.9)",
    "adamw": "optim.AdamW(model.parameters(), lr=1e-3)",
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_threads_do_not_change_a_bit(name: str) -> None:
    script = STEPS.replace("OPTIMIZER", OPTIMIZERS[name])
    found = {n: said(script, env={"BACKPASS_NUM_THREADS": str(n)}) for n in (1, 2, 3, 7)}
    again = said(script, env={"BACKPASS_NUM_THREADS": "2"})
    assert len({*found.values(), again}) == 1, found
