"""NumPy code that writes in place, as functions of one array x of shape (6,) or (4, 4).

Each is run on plain NumPy (its values, and central differences of them) and under `grad`. `OK` give
the right gradient; `REFUSED` alias memory in ways that traced arrays cannot follow, and raise.
Functions get a copy of their own, so they may write to x.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Snippet = Callable[[Any], Any]
OK: dict[str, tuple[Snippet, bool]] = {}
REFUSED: dict[str, tuple[Snippet, bool]] = {}


def ok(function: Snippet) -> Snippet:
    """A snippet of a vector whose gradient is right."""
    OK[function.__name__] = (function, False)
    return function


def ok_matrix(function: Snippet) -> Snippet:
    """A snippet of a matrix whose gradient is right."""
    OK[function.__name__] = (function, True)
    return function


def refused(function: Snippet) -> Snippet:
    """A snippet of a matrix that raises."""
    REFUSED[function.__name__] = (function, True)
    return function


@ok
def set_one(x: Any) -> Any:
    x[2] = x[0] * x[1]
    return x * x


@ok
def set_flat(x: Any) -> Any:
    m = x.reshape(2, 3) * 1.0
    m.flat[::4] += 1.0
    m.flat[1:3] = x[0]
    m.flat[[3, 5]] = x[:1]
    m.flat[4] *= x[5]
    return m * m


@ok
def set_all_flat(x: Any) -> Any:
    m = np.zeros_like(x).reshape(3, 2).copy()
    m.flat = x[:4] ** 2
    return m * x.reshape(3, 2)


@ok
def out_where(x: Any) -> Any:
    y = x * 3.0
    np.log(x, out=y, where=x > 0.5)
    return y * x


@ok
def out_where_undefined(x: Any) -> Any:
    low = x - x[0]
    return np.divide(x, low, out=np.zeros_like(x), where=low != 0.0)


@ok
def out_of_two(x: Any) -> Any:
    part, whole = np.zeros_like(x), np.zeros_like(x)
    np.modf(x * 3.0, out=(part, whole))
    return part * x + whole


@ok
def set_constant(x: Any) -> Any:
    x[1] = 3.0
    return x * x


@ok
def set_slice(x: Any) -> Any:
    x[1:4] = x[2:5] ** 2
    return x * x


@ok
def set_negative_step(x: Any) -> Any:
    x[::-2] = x[:3] * 2
    return x * x


@ok
def set_broadcast(x: Any) -> Any:
    x[2:] = x[0]
    return x * x


@ok
def set_by_array(x: Any) -> Any:
    x[np.array([0, 3, 3])] = x[:3] ** 2
    return x * x


@ok
def set_by_list(x: Any) -> Any:
    x[[1, 4]] = x[[4, 1]]
    return x * np.arange(6.0)


@ok
def set_by_mask(x: Any) -> Any:
    x[x > 0.2] = 0.5
    return x * x


@ok
def set_by_mask_array(x: Any) -> Any:
    mask = np.array([True, False, True, False, True, False])
    x[mask] = x[:3] ** 2
    return x * x


@ok
def add_in_place(x: Any) -> Any:
    y = x * 2
    y += x
    y *= x
    y -= 1.0
    y /= x + 3
    return y


@ok
def power_in_place(x: Any) -> Any:
    x **= 2
    return x * x


@ok
def add_to_a_slice(x: Any) -> Any:
    x[1:3] += x[3:5]
    return x * x


@ok
def multiply_every_second(x: Any) -> Any:
    x[::2] *= x[1::2]
    return x * x


@ok
def add_by_repeated_array(x: Any) -> Any:
    y = np.zeros_like(x)
    y[[0, 0, 1]] += x[:3] ** 2
    return y


@ok
def add_at(x: Any) -> Any:
    y = np.zeros_like(x)
    np.add.at(y, [0, 0, 1], x[:3] ** 2)
    return y * y


@ok
def subtract_at(x: Any) -> Any:
    y = x * 1.0
    np.subtract.at(y, np.array([2, 2]), x[:2] ** 2)
    return y * y


@ok
def ufunc_out(x: Any) -> Any:
    y = np.zeros_like(x)
    np.multiply(x, x, out=y)
    np.exp(y, out=y)
    return y


@ok
def reduction_out(x: Any) -> Any:
    y = np.zeros_like(x)
    np.cumsum(x * x, out=y)
    return y * x


@ok
def copyto(x: Any) -> Any:
    y = np.zeros_like(x)
    np.copyto(y, x * x)
    np.copyto(y, x, where=np.array([True, False] * 3))
    return y * y


@ok
def fill(x: Any) -> Any:
    y = x * x
    x.fill(2.0)
    return y * x


@ok
def buffer_in_a_loop(x: Any) -> Any:
    y = np.zeros_like(x)
    y[0] = x[0]
    for i in range(1, 6):
        y[i] = np.tanh(y[i - 1]) * x[i]
    return y


@ok
def fibonacci(x: Any) -> Any:
    y = np.ones_like(x)
    for i in range(2, 6):
        y[i] = y[i - 1] * x[i] + y[i - 2]
    return y


@ok
def view_written_through(x: Any) -> Any:
    v = x[1:5]
    v[1:3] = x[0] ** 2
    v *= 2
    return x * x


@ok
def view_of_a_view(x: Any) -> Any:
    v = x[1:][::2]
    v[0] = x[5] * 3
    return x * x


@ok
def read_then_write(x: Any) -> Any:
    first = x[0]
    x[0] = 5.0
    return first * x


@ok
def scalar_accumulator(x: Any) -> Any:
    total = x[0]
    first = total
    total += x[1] ** 2
    total *= 2
    return first * total


@ok
def accumulator_of_sums(x: Any) -> Any:
    total = np.sum(x)
    before = total
    for i in range(3):
        total -= x[i] ** 2
    return before * total


@ok
def names_of_one_array(x: Any) -> Any:
    y = x
    y[0] = 2.0
    x *= 3
    return y * y


@ok
def copy_is_separate(x: Any) -> Any:
    y = x.copy()
    x[0] = 9.0
    y[1] = 7.0
    return x * y


@ok
def flatten_is_separate(x: Any) -> Any:
    y = x.flatten()
    x[0] = 9.0
    return x * y


@ok
def plain_buffer_reused(x: Any) -> Any:
    c = np.zeros(6)
    total = 0.0
    for i in range(6):
        c[i] = 1.0
        total = total + np.sum(x * x * c)
    return total


@ok
def plain_constant_changed_later(x: Any) -> Any:
    c = np.arange(6.0)
    y = x * c
    c *= 2
    return y * c


@ok
def bubble_sort(x: Any) -> Any:
    for i in range(6):
        for j in range(5 - i):
            if x[j] > x[j + 1]:
                x[j], x[j + 1] = x[j + 1], x[j]
    return x * np.arange(6.0)


@ok
def cumulative_product(x: Any) -> Any:
    for i in range(1, 6):
        x[i] *= x[i - 1]
    return x


@ok
def stencil(x: Any) -> Any:
    y = x * 1.0
    for _ in range(3):
        y[1:-1] = (x[2:] - 2 * x[1:-1] + x[:-2]) * y[1:-1]
        x = y * 0.5
    return y


@ok_matrix
def swap_rows_by_list(m: Any) -> Any:
    m[[0, 2]] = m[[2, 0]]
    return m * np.arange(16.0).reshape(4, 4)


@ok_matrix
def swap_rows_by_copy(m: Any) -> Any:
    row = m[0].copy()
    m[0] = m[1]
    m[1] = row
    return m * np.arange(16.0).reshape(4, 4)


@ok_matrix
def gauss_elimination(m: Any) -> Any:
    a = m + 4 * np.eye(4)
    for k in range(3):
        for i in range(k + 1, 4):
            a[i, k:] -= a[k, k:] * (a[i, k] / a[k, k])
    return np.log(a[0, 0]) + np.log(a[1, 1]) + np.log(a[2, 2]) + np.log(a[3, 3])


@ok_matrix
def pivoting(m: Any) -> Any:
    a = m + np.diag(np.array([0.1, 4.0, 3.0, 2.0]))
    for k in range(3):
        p = k + int(np.argmax(np.abs(a[k:, k])))
        a[[k, p]] = a[[p, k]]
        for i in range(k + 1, 4):
            a[i, k:] -= a[k, k:] * (a[i, k] / a[k, k])
    return np.prod(a[np.arange(4), np.arange(4)])


@ok_matrix
def cholesky_by_loops(m: Any) -> Any:
    a = m @ m.T + 4 * np.eye(4)
    low = np.zeros_like(a)
    for i in range(4):
        for j in range(i + 1):
            s = a[i, j] - np.sum(low[i, :j] * low[j, :j])
            low[i, j] = np.sqrt(s) if i == j else s / low[j, j]
    return low


@ok_matrix
def column_through_a_view(m: Any) -> Any:
    column = m[:, 1]
    column *= 2
    return m * m


@ok_matrix
def rows_of_an_iteration(m: Any) -> Any:
    for row in m:
        row[0] = row[1] * row[2]
    return m * m


@ok_matrix
def fill_the_diagonal(m: Any) -> Any:
    np.fill_diagonal(m, 2.0)
    return m * m


@ok_matrix
def last_axis_with_ellipsis(m: Any) -> Any:
    m[..., 0] += m[..., 1] ** 2
    m[None, 1:2, ..., -1] = 3.0
    return m * m


@ok_matrix
def writes_only_into_the_reshaped(m: Any) -> Any:
    flat = m.reshape(-1)
    flat[::5] = 1.0
    return flat * flat


@ok_matrix
def matmul_in_place(m: Any) -> Any:
    y = m * 1.0
    y @= m
    return y


@ok_matrix
def row_by_a_traced_integer(m: Any) -> Any:
    row = m[np.argmax(m[:, 0])]
    row *= 2
    return m * m


@refused
def base_after_its_reshape(m: Any) -> Any:
    flat = m.reshape(-1)
    flat[3] = 5.0
    return m * m


@refused
def view_after_its_base(m: Any) -> Any:
    v = m[1:]
    m[2, 0] = 5.0
    return v * v


@refused
def transpose_after_its_base(m: Any) -> Any:
    t = m.T
    m[0, 1] = 5.0
    return t * t


@refused
def ravel_written(m: Any) -> Any:
    m.ravel()[0] = 5.0
    r = m.ravel()
    r[0] = 7.0
    return m * m


@refused
def diagonal_after_its_base(m: Any) -> Any:
    d = np.diag(m)
    m[0, 0] = 5.0
    return d * d


@refused
def einsum_view(m: Any) -> Any:
    d = np.einsum("ii->i", m)
    d[:] = 1.0
    return m * m


@refused
def rot90_view(m: Any) -> Any:
    r = np.rot90(m)
    m[0, 0] = 5.0
    return r * r


@refused
def row_by_argmax_after_its_base(m: Any) -> Any:
    row = m[np.argmax(m[:, 0])]
    m[...] = 1.0
    return row * row


@refused
def swapped_views(m: Any) -> Any:
    m[0], m[1] = m[1], m[0]
    return m * np.arange(16.0).reshape(4, 4)


@refused
def two_views(m: Any) -> Any:
    a, b = m[:2], m[1:3]
    a[1] = 2.0
    return b * b


@refused
def split_parts(m: Any) -> Any:
    a, b = np.split(m, 2)
    a[0] = b[0]
    return m * m


@refused
def same_dtype_without_copy(m: Any) -> Any:
    y = m.astype(np.float64, copy=False)
    y[0] = 1.0
    return m * m


@refused
def into_a_plain_array(m: Any) -> Any:
    y = np.zeros(4)
    y[0] = m[0, 0]
    return y


@refused
def out_into_a_plain_array(m: Any) -> Any:
    y = np.zeros((4, 4))
    np.multiply(m, m, out=y)
    return y


@refused
def nan_to_num_in_place(m: Any) -> Any:
    np.nan_to_num(m, copy=False)
    return m * m
