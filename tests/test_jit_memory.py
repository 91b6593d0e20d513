"""jit whatever its arrays' memory: shared, strided, unaligned, read-only, of foreign byte order.

The oracle is the same function without jit, on the same arrays. No argument is written, and Cells
are updated in their own memory or nothing is.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.compiled import assert_compiled

import backpass as bp
from backpass import nn, optim
from backpass.errors import AliasError
from backpass.trace import Cell

Array = np.ndarray[Any, Any]
RNG = np.random.default_rng(8)
SHAPES = [(6, 8), (160, 200)]  # of one thread, and of many


def plain(shape: tuple[int, ...], dtype: Any = np.float64) -> Array:
    return RNG.normal(size=shape).astype(dtype)


def misaligned(x: Array) -> Array:
    room = np.zeros(x.nbytes + 1, np.uint8)
    found = room[1:].view(x.dtype).reshape(x.shape)
    found[...] = x
    assert not found.flags.aligned
    return found


def in_columns(x: Array) -> Array:
    room = np.zeros((*x.shape, 3), x.dtype)
    room[..., 1] = x
    return room[..., 1]


def readonly(x: Array) -> Array:
    found = x.copy()
    found.flags.writeable = False
    return found


LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "fortran": np.asfortranarray,
    "strided": in_columns,
    "reversed": lambda x: x[::-1, ::-1].copy()[::-1, ::-1],
    "misaligned": misaligned,
    "readonly": readonly,
    "swapped": lambda x: x.astype(x.dtype.newbyteorder()),
    "repeated": lambda x: np.broadcast_to(x[:1], x.shape),
    "misaligned, swapped and reversed": lambda x: misaligned(x.astype(x.dtype.newbyteorder()))[
        ::-1
    ],
}


def formula(x: Any, y: Any) -> Any:
    return np.sum(np.tanh(x) * y, axis=1) + np.sin(x[:, 0]), x.T @ y


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts_of_arguments(name: str, shape: tuple[int, int], dtype: Any) -> None:
    fast = bp.jit(formula)
    for first in (plain(shape, dtype), LAYOUTS[name](plain(shape, dtype))):
        for second in (plain(shape, dtype), LAYOUTS[name](plain(shape, dtype))):
            before = first.tobytes(), second.tobytes()
            for _ in range(2):  # the short way too
                for got, expected in zip(fast(first, second), formula(first, second), strict=True):
                    native = expected.astype(expected.dtype.newbyteorder("="))
                    assert_compiled(got, native, name)
            assert (first.tobytes(), second.tobytes()) == before


def test_foreign_byte_order_inside_of_a_function() -> None:
    """What is traced is of native order: the values are NumPy's."""
    swapped = np.dtype(np.float32).newbyteorder()
    x = plain((5, 7))
    for function in (
        lambda x: x.astype(swapped) * 2,
        lambda x: x.astype(swapped),
        lambda x: np.full_like(x, 1 / 3, dtype=swapped) + x,
    ):
        expected = function(x)
        native = expected.astype(expected.dtype.newbyteorder("="))
        assert_compiled(bp.jit(function)(x), native)
    cell = Cell(x.astype(x.dtype.newbyteorder()))
    assert cell.array.dtype.isnative
    cell.cast(swapped)
    assert cell.array.dtype == np.float32


def test_a_file_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(plain((30, 40)).tobytes())
    x = np.memmap(path, np.float64, "r", shape=(30, 40))
    for got, expected in zip(bp.jit(formula)(x, x), formula(x, x), strict=True):
        assert_compiled(got, np.asarray(expected))


@pytest.mark.parametrize("shape", SHAPES)
def test_one_array_twice(shape: tuple[int, int]) -> None:
    x = plain(shape)
    fast = bp.jit(bp.grad(lambda a, b: np.sum(np.sin(a) * b), argnums=(0, 1)))
    for a, b in ((x, x), (x, x.copy()), (x, x[::-1]), (x[1:], x[:-1])):
        for got, expected in zip(fast(a, b), (np.cos(a) * b, np.sin(a)), strict=True):
            assert_compiled(got, expected)


# -- Cells


class Net(nn.Module):
    """One table in two places: it embeds, and it scores."""

    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        self.table = nn.Embedding(rows, width)
        self.inner = nn.Linear(width, width)
        self.head = nn.Linear(width, rows)
        self.head.weight = self.table.weight

    def forward(self, index: Any) -> Any:
        return self.head(np.tanh(self.inner(self.table(index))))


def loss(model: Any, x: Any, y: Any) -> Any:
    return nn.functional.cross_entropy(model(x), y)


def step(model: Any, optimizer: Any, x: Any, y: Any) -> Any:
    value, grads = bp.value_and_grad(loss)(model, x, y)
    optimizer.step(grads)
    return value


@pytest.mark.parametrize("rows", [12, 700])
def test_a_table_that_embeds_and_scores(rows: int) -> None:
    models = []
    for _ in range(2):
        bp.manual_seed(4)
        models.append(Net(rows, 32).double())
    optimizers = [optim.Adam(m.parameters(), lr=1e-2) for m in models]
    assert len(list(models[0].parameters())) == 4
    fast = bp.jit(step)
    for _ in range(5):
        x, y = RNG.integers(0, rows, (2, 90))
        assert_compiled(fast(models[0], optimizers[0], x, y), step(models[1], optimizers[1], x, y))
    for one, two in zip(models[0].parameters(), models[1].parameters(), strict=True):
        np.testing.assert_allclose(one.array, two.array, rtol=1e-9, atol=1e-12)
    assert models[0].head.weight is models[0].table.weight


def layers(dtype: Any = np.float64) -> tuple[Any, Any]:
    bp.manual_seed(9)
    model = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 3)).to(dtype)
    return model, optim.SGD(model.parameters(), lr=0.3, momentum=0.9)


DATA_OF_A_PARAMETER: dict[str, Callable[[Any], Array]] = {
    "itself": lambda model: model[0].weight.array,
    "transposed": lambda model: model[0].weight.array.T,
    "rows": lambda model: model[0].weight.array[2:6],
    "reversed": lambda model: model[0].weight.array[::-1],
    "view of a view": lambda model: model[0].weight.array[1:][1:][:, ::-1],
    "reinterpreted": lambda model: model[0].weight.array.view(np.int64).view(np.float64),
}


@pytest.mark.parametrize("name", DATA_OF_A_PARAMETER)
def test_data_that_is_a_parameters_memory(name: str) -> None:
    (one, its), (two, own) = layers(), layers()
    fast = bp.jit(step)
    for _ in range(4):
        x, x2 = (DATA_OF_A_PARAMETER[name](m) for m in (one, two))
        y = np.arange(len(x)) % 3
        assert_compiled(fast(one, its, x, y), step(two, own, x2, y), name)
        for a, b in zip(one.parameters(), two.parameters(), strict=True):
            assert_compiled(a.array, b.array, name)


def test_one_cell_as_two_arguments() -> None:
    @bp.jit
    def moved(a: Any, b: Any) -> Any:
        a.write(a.read() + 1.0)
        b.write(b.read() * 2.0)
        return a.read() - b.read()

    cell, other = Cell(np.arange(4.0)), Cell(np.arange(4.0))
    np.testing.assert_array_equal(moved(cell, other), np.arange(4.0) + 1 - 2 * np.arange(4.0))
    np.testing.assert_array_equal(moved(cell, cell), np.zeros(4))
    np.testing.assert_array_equal(cell.array, 2 * (np.arange(4.0) + 2))
    np.testing.assert_array_equal(other.array, 2 * np.arange(4.0))


def held_in(model: Any, arrays: dict[str, Array]) -> None:
    """Let parameters lie where these arrays do, with their values."""
    for name, cell in model.named_parameters():
        if name in arrays:
            arrays[name][...] = cell.array
            cell._array = arrays[name]


def test_cells_that_are_parts_of_one_buffer() -> None:
    (one, its), (two, own) = layers(), layers()
    room = np.zeros(64 + 8 + 24 + 3)
    held_in(
        one,
        {
            "0.weight": room[:64].reshape(8, 8),
            "0.bias": room[64:72],
            "2.weight": room[72:96].reshape(3, 8),
            "2.bias": room[96:],
        },
    )
    x, y = plain((10, 8)), np.arange(10) % 3
    fast = bp.jit(step)
    for _ in range(4):
        assert_compiled(fast(one, its, x, y), step(two, own, x, y))
    expected = np.concatenate([p.array.reshape(-1) for p in two.parameters()])
    assert_compiled(room, expected)


def test_data_that_is_a_part_of_the_buffer_that_cells_lie_in() -> None:
    (one, its), (two, own) = layers(), layers()
    room = np.zeros(100)
    held_in(one, {"0.weight": room[:64].reshape(8, 8), "0.bias": room[64:72]})
    room[72:] = plain((28,))
    y = np.arange(10) % 3
    fast = bp.jit(step)
    for first in (0, 8, 20):  # all of the weight and the bias, less, and less
        x = room[first : first + 80].reshape(10, 8)
        for _ in range(2):
            kept = x.copy()
            assert_compiled(fast(one, its, x, y), step(two, own, kept, y))
        for a, b in zip(one.parameters(), two.parameters(), strict=True):
            assert_compiled(a.array, b.array)


@pytest.mark.parametrize("apart", [0, 1, 7])
def test_cells_that_share_elements_are_refused_and_nothing_is_written(apart: int) -> None:
    model, optimizer = layers()
    room = np.zeros(16)
    held_in(model, {"0.bias": room[:8], "2.bias": room[apart : apart + 3]})
    before = [
        c.array.copy() for c in [*model.parameters(), *optimizer.__backpass_cells__().values()]
    ]
    x, y = plain((10, 8)), np.arange(10) % 3
    fast = bp.jit(step)
    for _ in range(2):
        with pytest.raises(AliasError, match=r"share memory.* give each its own array"):
            fast(model, optimizer, x, y)
    after = [c.array for c in [*model.parameters(), *optimizer.__backpass_cells__().values()]]
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", ["fortran", "strided", "reversed", "misaligned"])
def test_layouts_of_cells(name: str) -> None:
    (one, its), (two, own) = layers(), layers()
    held_in(one, {"0.weight": LAYOUTS[name](np.zeros((8, 8)))})
    kept = one[0].weight.array
    x, y = plain((10, 8)), np.arange(10) % 3
    fast = bp.jit(step)
    for _ in range(4):
        assert_compiled(fast(one, its, x, y), step(two, own, x, y), name)
    assert one[0].weight.array is kept
    np.testing.assert_allclose(kept, two[0].weight.array, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("jit", [False, True])
def test_a_parameter_that_may_not_be_written_is_an_error_and_changes_nothing(jit: bool) -> None:
    model, optimizer = layers()
    model[2].bias.array.flags.writeable = False
    cells = [*model.parameters(), *optimizer.__backpass_cells__().values()]
    before = [c.array.copy() for c in cells]
    x, y = plain((10, 8)), np.arange(10) % 3
    for _ in range(2):
        with pytest.raises(ValueError, match="read-only"):
            (bp.jit(step) if jit else step)(model, optimizer, x, y)
        if jit:
            for a, cell in zip(before, cells, strict=True):
                np.testing.assert_array_equal(a, cell.array)
