"""What each command does when all is well."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.cli.processes import QUICK, Cli, run_there

import backpass
from backpass import data
from backpass.cli.model_file import read_model
from backpass.codegen import cache as object_cache

HEAVY = ("sklearn", "scipy.stats", "polars", "pandas", "safetensors", "rich.progress")


def metrics(run: Path) -> dict:
    """metrics.json, by a strict reader."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads((run / "metrics.json").read_text(), parse_constant=refuse)


def test_a_run_leaves_its_files(iris_run: Path) -> None:
    names = {path.name for path in iris_run.iterdir()}
    assert names == {
        *("model.safetensors", "config.toml", "metrics.json", "history.jsonl", "report.html"),
        "checkpoints",
    }
    found = metrics(iris_run)
    assert set(found) == {"train", "validation", "test", "seconds", "stopped_epoch"}
    assert set(found["test"]) == {"loss", "accuracy", "f1", "roc_auc"}
    assert found["stopped_epoch"] == 8 and found["test"]["accuracy"] > 0.8
    history = [json.loads(line) for line in (iris_run / "history.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in history] == list(range(1, 9))
    assert {"parameter", "gradient_norm", "update_ratio", "dead_share"} == set(
        history[0]["gradient_flow"][0]
    )
    page = (iris_run / "report.html").read_text()
    for part in ("Confusion matrix", "ROC curves", "Gradient flow", "Split", "BatchNorm1d"):
        assert part in page


def test_train_says_what_it_does(cli: Cli) -> None:
    ended = cli("train", "iris", "--epochs", 3, "-o", "run")
    assert ended.status == 0, ended.err
    for words in (
        "iris: 150 rows, 4 columns, 4 inputs",
        "'target' (classification, 3 classes: 'setosa', 'versicolor', 'virginica')",
        "train 98, validation 22, test 30 (seed 0)",
        "4 - 64 - 64 - 3 (relu, batch norm)",
        "at most 3 epochs",
        "Accuracy",
        "AUC-ROC",
        "report  run/report.html",
    ):
        assert words in ended.out
    assert "epoch 3/3  loss" in ended.err and "gradient_norm" in ended.err


def test_quiet_is_quiet(cli: Cli) -> None:
    ended = cli("train", "iris", *QUICK)
    assert (ended.status, ended.out, ended.err) == (0, "", "")
    assert metrics(Path("runs/iris-1"))["stopped_epoch"] == 2


def test_the_written_config_repeats_the_run(cli: Cli, iris_run: Path) -> None:
    ended = cli("train", "--config", iris_run / "config.toml", "-q", "-o", "again")
    assert ended.status == 0, ended.err
    for name in ("model.safetensors", "history.jsonl", "config.toml"):
        assert (iris_run / name).read_bytes() == Path("again", name).read_bytes()


def test_a_regression_is_measured_in_the_unit_of_its_target(cli: Cli) -> None:
    ended = cli("train", "diabetes", "--epochs", 12, "-q", "-o", "run")
    assert ended.status == 0, ended.err
    found = metrics(Path("run"))["test"]
    assert set(found) == {"loss", "r2", "mae", "rmse"}
    assert 30 < found["mae"] < 80 and 0 < found["r2"] < 1  # the target goes from 25 to 346
    assert cli("predict", "run", "diabetes", "-o", "out.csv").status == 0
    said = np.loadtxt("out.csv", skiprows=1)
    target = data.load("diabetes").target
    assert target is not None
    true = target.values
    again = json.loads(cli("evaluate", "run", "diabetes", "--json").out)
    assert again["mae"] == pytest.approx(np.abs(said - true).mean(), rel=1e-4)
    assert again["r2"] == pytest.approx(1 - ((said - true) ** 2).mean() / true.var(), rel=1e-4)


def people(path: str, rows: int, *, target: bool = True) -> None:
    """A table as a spreadsheet makes it: BOM, CRLF, semicolons, decimal commas, TRUE."""
    cities = ["Köln", "Ulm", "Berlin, Mitte"]
    lines = ["name;age;city;income;car" + ";bought" * target]
    for i in range(rows):
        cells = [f"P{i}", str(20 + i % 50), cities[i % 3], f"{30 + i % 7},5"]
        cells.append("TRUE" if i % 5 else "FALSE")
        lines.append(";".join(cells + (["yes" if i % 50 > 24 else "no"] if target else [])))
    Path(path).write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode() + b"\r\n")


def test_a_spreadsheet_trains_and_predicts_with_one_command_each(cli: Cli) -> None:
    people("people.csv", 200)
    ended = cli("train", "people.csv", "--target", "bought", "--epochs", 10, "-o", "run")
    assert ended.status == 0, ended.err
    assert "note: Numbers have decimal commas (column 'income')." in ended.out
    assert "Column 'name' has 200 different texts" in ended.out and "--ignore" in ended.out
    people("new.csv", 12, target=False)
    ended = cli("predict", "run", "new.csv", "-o", "out.csv")
    assert ended.status == 0 and "12 predictions in out.csv" in ended.err
    rows = list(csv.reader(Path("out.csv").read_text().splitlines()))
    assert rows[0] == ["prediction", "probability no", "probability yes"] and len(rows) == 13
    for label, *shares in rows[1:]:
        assert sum(map(float, shares)) == pytest.approx(1, abs=1e-4)
        assert label == ("no", "yes")[int(np.argmax([float(share) for share in shares]))]


def test_the_order_of_rows_and_columns_is_kept(cli: Cli) -> None:
    people("people.csv", 60)
    assert cli("train", "people.csv", "--target", "bought", *QUICK, "-o", "run").status == 0
    forward = cli("predict", "run", "people.csv").out.splitlines()
    header, *lines = Path("people.csv").read_text("utf-8-sig").splitlines()
    turned = [";".join(line.split(";")[::-1]) for line in (header, *lines[::-1])]
    Path("turned.csv").write_text("\n".join(turned))
    backward = cli("predict", "run", "turned.csv").out.splitlines()
    assert backward[1:] == forward[:0:-1]


def test_rows_with_missing_values_keep_their_line(cli: Cli) -> None:
    people("people.csv", 60)
    text = Path("people.csv").read_text("utf-8-sig").replace("P3;23", "P3;").replace("P9;29", "P9;")
    Path("people.csv").write_text(text)
    for policy in ("drop", "impute"):
        ended = cli(
            *("train", "people.csv", "--target", "bought", "--missing", policy),
            *("--ignore", "name", *QUICK, "-o", policy),
        )
        assert ended.status == 0, ended.err
        lines = cli("predict", policy, "people.csv").out.splitlines()
        assert len(lines) == 61
        assert [i for i, line in enumerate(lines[1:]) if line == ",,"] == (
            [3, 9] if policy == "drop" else []
        )


def test_unknown_categories_are_named(cli: Cli) -> None:
    people("people.csv", 60)
    assert cli("train", "people.csv", "--target", "bought", *QUICK, "-o", "run").status == 0
    people("new.csv", 3, target=False)
    Path("new.csv").write_text(Path("new.csv").read_text("utf-8-sig").replace("Ulm", "Paris"))
    ended = cli("predict", "run", "new.csv")
    assert ended.status == 0 and "city" in ended.err and "'Paris'" in ended.err
    assert "'TRUE'" not in ended.err


def test_evaluate_equals_what_training_measured(cli: Cli, iris_run: Path) -> None:
    found = json.loads(cli("evaluate", iris_run, "iris", "--json").out)
    assert found["rows"] == 150
    parts, sizes = metrics(iris_run), {"train": 98, "validation": 22, "test": 30}
    mean = sum(parts[name]["accuracy"] * size for name, size in sizes.items()) / 150
    assert found["accuracy"] == pytest.approx(mean)
    shown = cli("evaluate", iris_run, "iris").out
    assert "150 rows" in shown and f"{found['accuracy']:.4f}" in shown


def test_the_weights_load_as_torch_would_name_them(iris_run: Path) -> None:
    saved = read_model(iris_run / "model.safetensors")
    assert list(saved.network.state_dict())[:2] == ["0.weight", "1.weight"]
    assert saved.preprocessor.classes == ("setosa", "versicolor", "virginica")


def test_info(cli: Cli, iris_run: Path) -> None:
    machine = cli("info").out
    for name in ("backpass", "numpy", "cpu", "threads", "blas", "cache"):
        assert name in machine
    run = cli("info", iris_run).out
    assert "batch_size" in run and "AUC-ROC" in run and "8 epochs" in run


def test_the_cache_of_compiled_code(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKPASS_CACHE_DIR", str(tmp_path / "cache"))
    assert "(not made yet)" in cli("cache", "info").out
    object_cache.write("a", bytes(3000))
    object_cache.write("b", bytes(3000))
    shown = cli("cache", "info").out
    assert "2\n" in shown and "5.96 KiB" in shown and "512 MiB" in shown
    assert "2 files (5.96 KiB) deleted" in cli("cache", "clear").out
    assert "0 files (0 bytes) deleted" in cli("cache", "clear").out
    assert list((tmp_path / "cache").iterdir()) == []


def test_version_and_help(cli: Cli) -> None:
    assert cli("--version").out.strip() == f"backpass {backpass.__version__}"
    shown = cli("--help")
    assert shown.status == 0
    for command in ("train", "resume", "evaluate", "predict", "info", "cache"):
        assert f"  {command} " in shown.out


def test_help_loads_no_heavy_package(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom backpass.cli import main\nmain(['train', '--help'])\n"
        f"print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_the_module_is_the_command(tmp_path: Path) -> None:
    ended = run_there("--version", cwd=tmp_path)
    assert (ended.status, ended.out.strip()) == (0, f"backpass {backpass.__version__}")


@pytest.mark.parametrize(
    "flags",
    [
        ("--schedule", "cosine", "--optimizer", "adam", "--gradient-clip", "1"),
        ("--schedule", "one-cycle", "--optimizer", "sgd", "--lr", "0.05"),
        ("--schedule", "warmup", "--optimizer", "lion", "--accumulate", "3"),
        ("--schedule", "step", "--optimizer", "rmsprop", "--activation", "gelu"),
        ("--schedule", "plateau", "--optimizer", "adagrad", "--no-standardize"),
        ("--schedule", "one-cycle", "--optimizer", "adagrad", "--dropout", "0"),
        ("--swa", "--dtype", "float64", "--hidden", ""),
        ("--ema", "0.9", "--validation", "0", "--no-batch-norm"),
        ("--test", "0", "--metrics", "accuracy,precision", "--batch-size", "3"),
    ],
    ids=" ".join,
)
def test_settings_go_together(flags: tuple[str, ...], cli: Cli) -> None:
    ended = cli("train", "iris", *QUICK, "--epochs", 4, *flags, "-o", "run")
    assert ended.status == 0, ended.err
    assert cli("evaluate", "run", "iris").status == 0
    found = metrics(Path("run"))
    assert (found["validation"] == {}) == ("--validation" in flags)
    assert (found["test"] == {}) == ("--test" in flags)
