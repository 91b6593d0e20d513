"""pandas and polars frames, and Parquet: one table, whatever library holds it."""

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from backpass import data
from backpass.errors import DataError

CONTENT = {
    "n": [1, None, 3],
    "f": [0.5, 1.5, None],
    "t": ["a", None, "b"],
    "b": [True, False, None],
}


def pandas_frame() -> pd.DataFrame:
    return pd.DataFrame(CONTENT)


def nullable_frame() -> pd.DataFrame:
    return pd.DataFrame(CONTENT).convert_dtypes()


def categorical_frame() -> pd.DataFrame:
    return pd.DataFrame(CONTENT).astype({"t": "category"})


def polars_frame() -> pl.DataFrame:
    return pl.DataFrame(CONTENT).with_columns(pl.col("t").cast(pl.Categorical))


@pytest.mark.parametrize(
    "make",
    [pandas_frame, nullable_frame, categorical_frame, polars_frame, lambda: polars_frame().lazy()],
)
def test_every_kind_of_frame_gives_one_table(make: Callable[[], Any]) -> None:
    table = data.load(make())
    assert table.names == ("n", "f", "t", "b")
    assert table.column("n").values[[0, 2]].tolist() == [1, 3]
    assert table.column("n").whole
    assert not table.column("f").whole
    assert table.column("t").values.tolist() == ["a", "", "b"]
    assert table.column("b").values.tolist() == ["true", "false", ""]
    gaps = [column.missing.tolist().index(True) for column in table.columns]
    assert gaps == [1, 2, 1, 2]


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a[1]*.parquet"
    polars_frame().write_parquet(path)
    table = data.load(path, target="t")
    assert table.names == ("n", "f", "b")
    assert table.source == "a[1]*.parquet"
    path.write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        data.load(path)


def test_cut_parquet_files(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    polars_frame().write_parquet(path)
    whole = path.read_bytes()
    for length in range(0, len(whole), 37):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"^a\.parquet cannot be read as Parquet: .*\.$"):
            data.load(path)


def test_a_panic_of_polars_is_an_ordinary_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def panic(_: bytes) -> None:
        raise pl.exceptions.PanicException("assertion failed\n  left: 3")

    path = tmp_path / "a.parquet"
    polars_frame().write_parquet(path)
    monkeypatch.setattr(pl, "read_parquet", panic)
    with pytest.raises(DataError, match="cannot be read as Parquet: assertion failed left: 3"):
        data.load(path)


@pytest.mark.parametrize("library", [pd, pl])
def test_a_date_is_refused_by_name(library: Any) -> None:
    frame = library.DataFrame({"day": [date(2020, 1, 1)], "x": [1.0]})
    if library is pd:
        frame["day"] = pd.to_datetime(frame["day"])
    with pytest.raises(DataError, match=r"column 'day' has type .*leave it out with ignore="):
        data.load(frame)


@pytest.mark.parametrize("library", [pd, pl])
def test_pairs_of_frame_and_series(library: Any) -> None:
    x = library.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]})
    series = (
        library.Series(["u", "v"], name="kind") if library is pd else pl.Series("kind", ["u", "v"])
    )
    for y, name in (
        (series, "kind"),
        (library.DataFrame({"kind": ["u", "v"]}), "kind"),
        (["u", "v"], "target"),
    ):
        table = data.load((x, y))
        assert table.target is not None
        assert (table.target.name, table.target.values.tolist()) == (name, ["u", "v"])
        assert table.names == ("a", "b")
    with pytest.raises(DataError, match="x has 2 rows and y has 1 row"):
        data.load((x, series[:1]))
    assert data.load((np.zeros((2, 1)), series)).names == ("x0",)
    assert data.infer_task(series) == "classification"


def test_a_single_series_and_duplicate_names() -> None:
    assert data.load(pd.Series([1.0, 2.0])).names == ("x0",)
    frame = pd.DataFrame(np.zeros((2, 3)), columns=["a", "a", "b"])
    table = data.load(frame)
    assert table.names == ("a", "a_2", "b")
    assert table.notes == ("Columns with a name that was taken are called 'a_2'.",)


def test_objects_of_mixed_kinds_follow_the_rule_for_texts() -> None:
    frame = pd.DataFrame({"a": [1, "x", None], "b": [1, 2.5, None]}, dtype=object)
    table = data.load(frame)
    assert table.column("a").values.tolist() == ["1", "x", ""]
    assert table.column("b").values[:2].tolist() == [1, 2.5]
