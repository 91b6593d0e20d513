"""What samples may be given as: arrays of one length, from arrays, lists, frames and series.

The DataLoader and the Trainer both look through here, so that they refuse the same things in the
same words.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from backpass.data.frames import is_frame, is_series
from backpass.data.streams import one_shot_name
from backpass.errors import DataError
from backpass.wording import count


def refuse_one_shot(item: Any) -> None:
    """Raise DataError for what can be read once only, as a generator."""
    once = one_shot_name(item)
    if once is not None:
        raise DataError(
            f"The data is a {once}, a one-shot iterator: it would be used up in epoch 1 and "
            "nothing would be left for epoch 2, and it cannot be shuffled. Pass arrays or a list "
            "(list(...)), or wrap ready-made batches in BatchStream."
        )


def as_array(values: Any, name: str) -> np.ndarray:
    """A plain array from an array, a list, a frame or a series.

    Raises:
        DataError: what is masked, sparse, ragged or read once, or holds Python objects.
    """
    refuse_one_shot(values)
    if np.ma.isMaskedArray(values):
        raise DataError(f"{name} is a masked array. Fill it: {name}.filled(value).")
    if type(values).__module__.startswith("scipy.sparse"):
        raise DataError(f"{name} is a sparse matrix. Pass {name}.toarray().")
    if isinstance(values, np.ndarray):
        return values
    if is_frame(values) or is_series(values):
        values = (values.collect() if hasattr(values, "collect") else values).to_numpy()
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise DataError(
            f"{name} cannot be made an array, since its rows differ in shape: {error} Several "
            "arrays are given side by side, (x1, x2, y)."
        ) from error
    if array.dtype == object:
        raise DataError(
            f"{name} is a {type(values).__name__} that holds Python objects, not numbers. Texts "
            "and categories become numbers with backpass.data.Preprocessor."
        )
    return array


def check_lengths(named: Mapping[str, np.ndarray]) -> None:
    """Raise DataError unless all arrays have samples, and as many as each other."""
    for name, array in named.items():
        if array.ndim == 0:
            raise DataError(
                f"{name} is a single value; give an array of samples, (N, ...). Options are given "
                "by name: batch_size=32."
            )
    lengths = {name: len(array) for name, array in named.items()}
    if len(set(lengths.values())) > 1:
        said = " and ".join(f"{name} has {count(n, 'row')}" for name, n in lengths.items())
        raise DataError(f"{said}; they need the same number of rows.")
    if next(iter(lengths.values())) == 0:
        raise DataError(f"{', '.join(named)}: there are no rows.")
