"""Lion, which torch does not have, against the paper's algorithm written out."""

import numpy as np
import pytest

from backpass import optim
from backpass.trace import Cell


@pytest.mark.parametrize("maximize", [False, True])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_lion_is_the_papers_algorithm_2(weight_decay: float, maximize: bool) -> None:
    r = np.random.default_rng(0)
    start = r.normal(size=(3, 4))
    cell = Cell(start, name="w")
    optimizer = optim.Lion(
        [cell], lr=0.01, betas=(0.9, 0.99), weight_decay=weight_decay, maximize=maximize
    )
    w, m = start.copy(), np.zeros_like(start)
    for _ in range(50):
        g = r.normal(size=w.shape)
        optimizer.step({"w": g})
        g = -g if maximize else g
        c = 0.9 * m + 0.1 * g
        w = w - 0.01 * (np.sign(c) + weight_decay * w)
        m = 0.99 * m + 0.01 * g
    np.testing.assert_allclose(cell.read(), w, rtol=1e-12)
