"""Statements of random programs that move elements: shapes, indices, joins and writes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from tests.codegen.graph_statement import (
    Pool,
    Rng,
    Statement,
    is_float,
    is_integer,
    pick,
)

import backpass as bp


def reshape(rng: Rng, pool: Pool) -> Statement | None:
    """reshape, transpose, moves and new axes."""
    i = pick(rng, pool, lambda a: np.ndim(a) > 0)
    if i is None:
        return None
    a = np.asarray(pool[i])
    order = tuple(map(int, rng.permutation(a.ndim)))
    place = int(rng.integers(a.ndim + 1))
    factors = [n for n in (2, 3, 4) if a.size and a.size % n == 0] or [1]
    rows = int(rng.choice(factors))
    options: list[tuple[str, Callable[[Any], Any]]] = [
        ("{}.reshape(-1)", lambda x: x.reshape(-1)),
        (f"{{}}.reshape({rows}, {a.size // rows})", lambda x: x.reshape(rows, a.size // rows)),
        (f"transpose({{}}, {order})", lambda x: np.transpose(x, order)),
        ("{}.T", lambda x: x.T),
        (f"expand_dims({{}}, {place})", lambda x: np.expand_dims(x, place)),
        ("squeeze({})", np.squeeze),
        ("tile({}, 2)", lambda x: np.tile(x, 2)),
        ("broadcast_to({}, (2, ...))", lambda x: np.broadcast_to(x, (2, *x.shape))),
        ("ravel({}, order='F')", lambda x: np.ravel(x, order="F")),
        ("swapaxes({}, 0, -1)", lambda x: np.swapaxes(x, 0, -1)),
    ]
    text, run = options[rng.integers(len(options))]
    return Statement(text, (i,), run)


def pad(rng: Rng, pool: Pool) -> Statement | None:
    """np.pad with a constant, the edge or a reflection; triangles and diagonals."""
    i = pick(rng, pool, lambda a: is_float(a) and np.ndim(a) > 0 and np.size(a) > 0)
    if i is None:
        return None
    widths = [tuple(map(int, rng.integers(0, 3, 2))) for _ in range(np.ndim(pool[i]))]
    options: list[tuple[str, Callable[[Any], Any]]] = [
        (f"pad({{}}, {widths})", lambda x: np.pad(x, widths)),
        (f"pad({{}}, {widths}, edge)", lambda x: np.pad(x, widths, mode="edge")),
        ("pad({}, 1, constant 0.5)", lambda x: np.pad(x, 1, constant_values=0.5)),
    ]
    if np.ndim(pool[i]) == 2:
        options.append(("tril({})", np.tril))
        options.append(("triu({}, 1)", lambda x: np.triu(x, 1)))
        options.append(("diagonal({})", np.diagonal))
    text, run = options[rng.integers(len(options))]
    return Statement(text, (i,), run)


def concatenate(rng: Rng, pool: Pool) -> Statement | None:
    """Two arrays that agree in all axes but one, joined; or stacked."""
    i = pick(rng, pool, lambda a: np.ndim(a) > 0)
    if i is None:
        return None
    shape = np.shape(pool[i])
    axis = int(rng.integers(len(shape)))

    def fits(b: Any) -> bool:
        other = np.shape(b)
        return len(other) == len(shape) and all(
            [m == n for k, (m, n) in enumerate(zip(other, shape, strict=True)) if k != axis]
        )

    j = pick(rng, pool, fits)
    if j is None:
        return None
    if np.shape(pool[j]) == shape and rng.random() < 0.4:
        text, run = f"stack({{}}, {{}}, {axis})", lambda a, b: np.stack([a, b], axis)
    else:
        text, run = f"concatenate({{}}, {{}}, {axis})", lambda a, b: np.concatenate([a, b], axis)
    return Statement(text, (i, j), run)


def _slice(rng: Rng, extent: int) -> slice:
    bounds = rng.integers(-extent - 1, extent + 2, 2)
    start, stop = [int(x) if rng.random() < 0.6 else None for x in bounds]
    return slice(start, stop, (None, 1, 2, -1, -2)[rng.integers(5)])


def index(rng: Rng, pool: Pool) -> Statement | None:
    """Slices with steps, whole numbers, new axes, ellipsis, constant index arrays and masks."""
    i = pick(rng, pool, lambda a: np.ndim(a) > 0 and np.size(a) > 0)
    if i is None:
        return None
    shape = np.shape(pool[i])
    key: list[Any] = [_slice(rng, n) for n in shape[: rng.integers(1, len(shape) + 1)]]
    place = int(rng.integers(len(key)))
    choice = rng.random()
    if choice < 0.2:
        key[place] = int(rng.integers(-shape[place], shape[place]))
    elif choice < 0.4:
        key[place] = rng.integers(-shape[place], shape[place], 3)
    elif choice < 0.5:
        key[place] = rng.random(shape[place]) < 0.6
    elif choice < 0.6:
        key.append(None)
    elif choice < 0.7:
        key = [Ellipsis, key[-1] if len(key) == len(shape) else slice(None)]
    found = tuple(key)
    return Statement(f"{{}}[{_shown(found)}]", (i,), lambda x: x[found])


def _shown(key: tuple[Any, ...]) -> str:
    return ", ".join([str(k.tolist()) if isinstance(k, np.ndarray) else str(k) for k in key])


def gather(rng: Rng, pool: Pool) -> Statement | None:
    """Rows by an integer array of the pool, brought into range, negative ones too."""
    i = pick(rng, pool, lambda a: np.ndim(a) > 0 and np.shape(a)[0] > 0)
    j = pick(rng, pool, lambda a: is_integer(a) and np.ndim(a) <= 2)
    if i is None or j is None:
        return None
    n = np.shape(pool[i])[0]

    def run(a: Any, k: Any) -> Any:
        return bp.numpy.asarray(a)[k % (2 * n) - n]

    return Statement(f"{{}}[{{}} % {2 * n} - {n}]", (i, j), run)


def write(rng: Rng, pool: Pool) -> Statement | None:
    """A copy in which a part is overwritten or added to, in place."""
    i = pick(rng, pool, lambda a: is_float(a) and np.ndim(a) > 0 and np.size(a) > 0)
    if i is None:
        return None
    key = _slice(rng, np.shape(pool[i])[0])
    part = np.asarray(pool[i])[key]
    j = pick(rng, pool, lambda b: is_float(b) and _broadcasts(np.shape(b), part.shape))
    if j is None:
        return None
    adds = rng.random() < 0.5

    def run(a: Any, b: Any) -> Any:
        fresh = bp.numpy.asarray(a).copy()
        if adds:
            fresh[key] += b
        else:
            fresh[key] = b
        return fresh

    return Statement(f"copy of {{}} with [{key}] {'+=' if adds else '='} {{}}", (i, j), run)


def _broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    try:
        return np.broadcast_shapes(shape, to) == to
    except ValueError:
        return False
