"""Whatever the bytes of a file are, `load` gives a Table or a DataError: no other end."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backpass import data
from backpass.errors import BackpassError

FUZZ = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
MARKS = [",", ";", "\t", "|", "\n", "\r\n", "\r", '"', '""', " ", "sep=;"]
CELLS = ["a", "b", "1", "2.5", "1,5", "-", "NA", "inf", "true", "1e400", "é"]
STRANGE = ["\ufeff", "\0", "\u2028", "\x1c", "\x85"]
CSV_PIECES = st.sampled_from([*MARKS, *CELLS, *STRANGE])


def ends_well(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        table = data.load(path)
    except BackpassError as error:
        assert len(str(error)) < 2000
        assert "\n" not in str(error).strip()
        return
    assert len(table) >= 1
    assert len({column.name for column in table.columns}) == len(table.columns)
    assert all(len(column) == len(table) for column in table.columns)


@FUZZ
@given(st.lists(CSV_PIECES, max_size=40), st.sampled_from(["utf-8", "utf-16", "utf-8-sig"]))
def test_csv_pieces(tmp_path: Path, pieces: list[str], encoding: str) -> None:
    ends_well(tmp_path / "t.csv", "".join(pieces).encode(encoding))


@FUZZ
@given(st.binary(max_size=200))
def test_bytes_as_text(tmp_path: Path, content: bytes) -> None:
    ends_well(tmp_path / "t.txt", content)


def npz(save: Callable[..., None]) -> bytes:
    buffer = io.BytesIO()
    save(buffer, x=np.arange(12.0).reshape(4, 3), y=np.arange(4))
    return buffer.getvalue()


def npy() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.arange(12.0).reshape(4, 3))
    return buffer.getvalue()


@pytest.mark.filterwarnings("ignore")  # of NumPy and zipfile, on damaged headers
@pytest.mark.parametrize(
    ("content", "name"),
    [
        (npz(np.savez), "t.npz"),
        (npz(np.savez_compressed), "t.npz"),
        (npy(), "t.npy"),
    ],
    ids=["npz", "packed", "npy"],
)
@FUZZ
@given(draw=st.data())
def test_damaged_arrays(tmp_path: Path, content: bytes, name: str, draw: st.DataObject) -> None:
    damaged = bytearray(content)
    for _ in range(draw.draw(st.integers(1, 3))):
        place = draw.draw(st.integers(0, len(content) - 1))
        damaged[place] = draw.draw(st.integers(0, 255))
    cut = draw.draw(st.none() | st.integers(0, len(content)))
    ends_well(tmp_path / name, bytes(damaged[:cut]))
