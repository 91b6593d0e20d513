"""Arrays and .npy/.npz files: what becomes of each dtype, and hostile or damaged files."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from backpass import data
from backpass.data.arrays import column_of_array
from backpass.errors import DataError, DataTooLargeError


@pytest.mark.parametrize(
    ("values", "expected", "missing", "whole"),
    [
        (np.array([1, 2], dtype=np.int8), [1.0, 2.0], [False, False], True),
        (np.array([1, 2], dtype=">u2"), [1.0, 2.0], [False, False], True),
        (np.array([1.5, np.inf], dtype=np.float16), [1.5, np.inf], [False, True], False),
        (np.array([True, False]), ["true", "false"], [False, False], False),
        (np.array(["a", ""]), ["a", ""], [False, True], False),
        (np.array([1, None], dtype=object), [1.0, np.nan], [False, True], True),
        (np.array([0.5, 2], dtype=object), [0.5, 2.0], [False, False], False),
        (np.array([True, None], dtype=object), ["true", ""], [False, True], False),
        (np.array(["a", None, np.nan], dtype=object), ["a", "", ""], [False, True, True], False),
        (np.array(["a", 1], dtype=object), ["a", "1"], [False, False], False),
        (np.array([2**60, 2**60 + 1]), [str(2**60), str(2**60 + 1)], [False, False], False),
        (np.ma.array([1.0, 2.0], mask=[False, True]), [1.0, np.nan], [False, True], False),
    ],
)
def test_a_column_from_any_dtype(
    values: np.ndarray, expected: list, missing: list[bool], whole: bool
) -> None:
    column = column_of_array("a", values)
    assert column.missing.tolist() == missing
    assert column.whole is whole
    for got, want in zip(column.values.tolist(), expected, strict=True):
        assert got == want or (got != got and want != want)


def test_structured_arrays_have_named_columns() -> None:
    array = np.array([(1, "a"), (2, "b")], dtype=[("n", "i4"), ("t", "U1")])
    table = data.load(array, target="t")
    assert table.names == ("n",)
    assert table.target is not None
    assert table.target.values.tolist() == ["a", "b"]


def test_a_file_of_objects_is_never_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "evil.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"evil\.npy holds Python objects, which only unpickling"):
        data.load(path)
    np.savez(tmp_path / "evil.npz", x=np.array([print], dtype=object), y=np.zeros(1))
    with pytest.raises(DataError, match=r"evil\.npz: array 'x' holds Python objects"):
        data.load(tmp_path / "evil.npz")


def test_a_header_that_promises_more_than_the_file_holds(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": "<f8", "fortran_order": False, "shape": (10**6, 100)}
    )
    path = tmp_path / "a.npy"
    path.write_bytes(buffer.getvalue() + bytes(800))
    with pytest.raises(DataError, match=r"a\.npy is cut short or damaged: its header says 763 MiB"):
        data.load(path)
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": "<f8", "fortran_order": False, "shape": (2**40, 2**40)}
    )
    path.write_bytes(buffer.getvalue())
    with pytest.raises(DataTooLargeError, match=r"a\.npy takes .*TiB; the cap is 4 GiB"):
        data.load(path)


def test_an_array_that_is_too_large_for_a_table() -> None:
    wide = np.broadcast_to(np.uint8(0), (2**20, 2**11))
    sentence = (
        r"1,048,576 rows x 2,048 columns take 16 GiB as a table \(float64\); the cap is 8 GiB"
    )
    with pytest.raises(DataTooLargeError, match=sentence):
        data.load(wide)


@pytest.mark.parametrize("shape", [(-1,), (-2, -3)])
def test_a_header_with_a_negative_shape(tmp_path: Path, shape: tuple[int, ...]) -> None:
    buffer = io.BytesIO()
    header = {"descr": "<f8", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, header)
    (tmp_path / "a.npy").write_bytes(buffer.getvalue() + bytes(48))
    with pytest.raises(DataError, match=r"a\.npy is damaged: its header gives it the shape \(-"):
        data.load(tmp_path / "a.npy")


@pytest.mark.parametrize("cut", [0, 3, 9, 60, 130])
def test_cut_files(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.arange(20.0))
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DataError, match=r"^a\.npy is (not in NumPy's format|cut short)"):
        data.load(path)


def test_damaged_archives(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, x=np.arange(2000.0), y=np.arange(2000))
    content = path.read_bytes()
    for damaged in (content[:200], b"", b"PK" + bytes(50), content[:300] + b"\xff" + content[301:]):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"^a\.npz"):
            data.load(path)


def test_an_archive_that_names_an_array_twice(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.arange(3.0))
    with zipfile.ZipFile(path, "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("x.npy", buffer.getvalue())
        archive.writestr("x.npy", buffer.getvalue())
    with pytest.raises(DataError, match=r"a\.npz holds two arrays called 'x'"):
        data.load(path)
