"""From settings to arrays: what was found out, and a split that is like the whole."""

from pathlib import Path

import numpy as np
import pytest

from backpass.cli.preparation import prepare
from backpass.cli.running import fingerprint_of
from backpass.cli.settings import RunConfig
from backpass.errors import DataError


@pytest.mark.parametrize("seed", range(5))
def test_the_parts_of_a_regression_are_like_the_whole(seed: int) -> None:
    prepared = prepare(RunConfig(source="diabetes", seed=seed))
    assert prepared.config.task == "regression" and prepared.sizes["test"] == 88
    for _, y in prepared.parts.values():  # standardised over the training part
        assert abs(y.mean()) < 0.1 and abs(y.std() - 1) < 0.1


def test_a_small_regression_is_split_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text("a,y\n" + "".join(f"{i},{i * 0.5 + 0.1}\n" for i in range(9)))
    assert sum(prepare(RunConfig(source=str(path), target="y")).sizes.values()) == 9


def test_what_was_found_out_is_in_the_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("d.csv").write_text("a,y\n" + "".join(f"{i},{i % 2}\n" for i in range(30)))
    config = prepare(RunConfig(source="d.csv", target="y")).config
    assert (config.task, config.metrics) == ("classification", ("accuracy", "f1", "roc_auc"))
    assert config.source == str(tmp_path / "d.csv"), "resume works from any folder"
    assert prepare(config).config == config


def test_the_preprocessing_knows_the_training_part_only() -> None:
    prepared = prepare(RunConfig(source="wine"))
    x, _ = prepared.parts["train"]
    assert np.allclose(x.mean(axis=0), 0, atol=1e-5) and np.allclose(x.std(axis=0), 1, atol=1e-5)
    assert not np.allclose(prepared.parts["test"][0].mean(axis=0), 0, atol=1e-3)


def test_every_value_counts_in_the_fingerprint(tmp_path: Path) -> None:
    lines = ["a,b,y", *(f"{i},{i * i},{'uv'[i % 2]}" for i in range(30))]
    path, seen = tmp_path / "d.csv", set()
    for row in range(1, 31):
        changed = list(lines)
        changed[row] = changed[row].replace(",", "1,", 1)
        path.write_text("\n".join(changed))
        seen.add(fingerprint_of(prepare(RunConfig(source=str(path), target="y"))))
    path.write_text("\n".join(lines))
    config = RunConfig(source=str(path), target="y")
    assert fingerprint_of(prepare(config)) == fingerprint_of(prepare(config)) not in seen
    assert len(seen) == 30


def test_drop_and_impute_count_what_they_leave_out(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    rows = [f"{'' if i == 3 else i},{'' if i == 7 else 'uv'[i % 2]}" for i in range(40)]
    path.write_text("a,y\n" + "\n".join(rows))
    config = RunConfig(source=str(path), target="y")
    with pytest.raises(DataError, match="1 missing value"):
        prepare(config)
    for policy, left in (("drop", 38), ("impute", 39)):
        prepared = prepare(config.with_values(missing=policy))
        assert (prepared.rows_read, len(prepared.table)) == (40, left)
        assert all(np.isfinite(x).all() for x, _ in prepared.parts.values())
