"""What a user sees when something is wrong: one sentence on stderr, and an exit status.

The rows of the table of faults that concern data and the command line; those that need another
process, a signal or a full disk are in `test_system`.
"""

import shutil
from pathlib import Path

import pytest
from tests.cli.processes import QUICK, Cli

from backpass.cli import entry, running
from backpass.cli.failures import in_flags
from backpass.sentence import Change, Clause, Part, Sentence, Setting

CLEAN = "a,b,y\n" + "".join(f"{i},{i * i % 7},{'yes' if i % 3 else 'no'}\n" for i in range(30))
COLUMNS = "The columns are: 'a', 'b', 'y'."

#: file content, flags, what the sentence says
BAD_DATA = {
    "no target": (CLEAN, (), f"which column is to be predicted? Give --target COLUMN. {COLUMNS}"),
    "absent target": (CLEAN, ("--target", "Y2"), "d.csv has no column 'Y2'. Did you mean 'y'?"),
    "absent ignore": (CLEAN, ("--target", "y", "--ignore", "c"), "d.csv has no column 'c'."),
    "empty cells": (
        CLEAN.replace("\n4,2,", "\n,2,").replace("\n9,4,", "\n,4,"),
        ("--target", "y"),
        "column 'a' has 2 missing values, the first in row 5 (line 6). Mend the data, or add "
        "--missing impute (fill in) or --missing drop (leave such rows out).",
    ),
    "infinity": (CLEAN.replace("\n4,2,", "\ninf,2,"), ("--target", "y"), "1 infinite value"),
    "ragged": (CLEAN.replace("\n4,2,", "\n4,2,8,"), ("--target", "y"), "d.csv:6:"),
    "single class": (CLEAN.replace("no", "yes"), ("--target", "y"), "has a single class, 'yes'"),
    "texts for regression": (
        CLEAN,
        ("--target", "y", "--task", "regression"),
        "Regression needs numbers; for texts, add --task classification.",
    ),
    "empty file": ("", ("--target", "y"), "d.csv is empty"),
    "header only": ("a,b,y\n", ("--target", "y"), "and no rows"),
    "target only": ("y\n1\n2\n3\n", ("--target", "y"), "has no column besides the target"),
    "three rows": (
        "a,y\n1,u\n2,v\n3,w\n",
        ("--target", "y"),
        "give more rows of each.",
    ),
    "binary": ("\x00\x01\x02\x03", ("--target", "y"), "d.csv"),
    "number with text": (
        "a,y\n" + "".join(f"{i},{i % 2}\n" for i in range(40)) + "oops,1\n",
        ("--target", "y"),
        "add --categories a",
    ),
}


@pytest.mark.parametrize("name", BAD_DATA)
def test_bad_data_stop_before_training(name: str, cli: Cli) -> None:
    content, flags, sentence = BAD_DATA[name]
    Path("d.csv").write_text(content)
    ended = cli("train", "d.csv", *flags)
    assert ended.status == 2 and sentence in ended.err
    assert ended.err.startswith("backpass: ") and ended.err.count("\n") == 1
    assert ended.out == "" and not Path("runs").exists()


SOURCES = {
    "digts": "Did you mean digits?",
    "absent.csv": "There is no file 'absent.csv'",
    "nowhere/d.csv": "There is no folder 'nowhere'",
    ".": "is a folder; give the path of one file in it",
    "book.xlsx": "is of no kind that is read here",
    "": "what is to be trained on? Give SOURCE",
}


@pytest.mark.parametrize("source", SOURCES)
def test_a_source_that_is_none(source: str, cli: Cli) -> None:
    Path("book.xlsx").write_bytes(b"PK")
    ended = cli("train", source)
    assert ended.status == 2 and SOURCES[source] in ended.err


def test_very_many_categories_are_refused_with_an_estimate(cli: Cli) -> None:
    rows = "".join(f"id{i},{i % 2}\n" for i in range(60_000))
    Path("d.csv").write_text("name,y\n" + rows)
    ended = cli("train", "d.csv", "--target", "y")
    assert ended.status == 2 and "inputs take" in ended.err and "--ignore name" in ended.err
    assert "max_bytes" not in ended.err


@pytest.fixture
def run(cli: Cli) -> Path:
    """A small run on two columns, one of categories."""
    rows = "".join(f"{i},{'uvw'[i % 3]},{'yes' if i % 3 else 'no'}\n" for i in range(60))
    Path("d.csv").write_text("a,kind,y\n" + rows)
    ended = cli("train", "d.csv", "--target", "y", *QUICK, "-o", "run")
    assert ended.status == 0, ended.err
    return Path("run")


BAD_NEW_DATA = {
    "a,y\n1,yes\n": "lacks 1 of the 2 columns that the model was trained on: 'kind'",
    "a,kind,y\nx,u,yes\n": "column 'a' held numbers in training and holds texts here, such as 'x'",
    "a,kind,y\n1,u,maybe\n": "'maybe'",
    "a,kind,y\n,u,yes\n": "column 'a' has 1 missing value, the first in row 1 (line 2). "
    "Mend the data, or train with --missing impute (fill in) or --missing drop",
    "a,kind\n1,u\n": "lacks the target column 'y', so the predictions cannot be compared",
}


@pytest.mark.parametrize("content", BAD_NEW_DATA)
def test_new_data_that_do_not_fit(content: str, cli: Cli, run: Path) -> None:
    Path("new.csv").write_text(content)
    ended = cli("evaluate", run, "new.csv")
    assert ended.status == 2 and BAD_NEW_DATA[content] in ended.err
    assert ended.err.count("\n") == 1


def test_predictions_do_not_replace_the_data(cli: Cli, run: Path) -> None:
    before = Path("d.csv").read_bytes()
    ended = cli("predict", run, "d.csv", "-o", "./d.csv")
    assert ended.status == 2 and "is the data themselves" in ended.err
    assert Path("d.csv").read_bytes() == before


def test_a_failed_prediction_leaves_the_old_file(cli: Cli, run: Path) -> None:
    Path("out.csv").write_text("old")
    Path("new.csv").write_text("a\n1\n")
    assert cli("predict", run, "new.csv", "-o", "out.csv").status == 2
    assert Path("out.csv").read_text() == "old"


def test_a_word_for_nothing_can_be_named(cli: Cli) -> None:
    rows = "".join(f"{'gone' if i == 7 else i},{i % 2}\n" for i in range(40))
    Path("d.csv").write_text("a,y\n" + rows)
    ended = cli("train", "d.csv", "--target", "y")
    assert ended.status == 2 and "the first 'gone' in line 9" in ended.err
    assert "add --missing-values gone" in ended.err and "add --categories a" in ended.err
    flags = ("--missing-values", "gone", "--missing", "drop")
    ended = cli("train", "d.csv", "--target", "y", *flags, *QUICK[:-1], "-o", "run")
    assert ended.status == 0 and "40 rows (1 left out)" in ended.out, ended.err
    assert cli("predict", "run", "d.csv").out.splitlines()[8] == ",,"


def test_a_constant_column_is_no_division_by_zero(cli: Cli) -> None:
    rows = "".join(f"{i},5,{'yes' if i % 3 else 'no'}\n" for i in range(60))
    Path("d.csv").write_text("a,b,y\n" + rows)
    assert cli("train", "d.csv", "--target", "y", *QUICK).status == 0


def test_a_loss_that_is_not_finite_stops_and_names_the_step(cli: Cli) -> None:
    ended = cli("train", "diabetes", *QUICK, "--lr", "1e30", "--no-batch-norm", "-o", "run")
    assert ended.status == 1 and "Traceback" not in ended.err
    assert "epoch 1" in ended.err or "step" in ended.err
    assert "fit(" not in ended.err and not Path("run/metrics.json").exists()


def test_damaged_files_of_a_run_are_named(cli: Cli, run: Path) -> None:
    shutil.copytree(run, "other")
    Path("other/config.toml").write_text("[data")
    Path("other/metrics.json").write_text("[1")
    assert "config.toml' is no TOML" in cli("info", "other").err
    shutil.copy(run / "config.toml", "other")
    ended = cli("info", "other")
    assert ended.status == 2 and "metrics.json' cannot be read" in ended.err


def test_a_fault_of_ours_is_a_sentence_and_a_traceback_on_request(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("1/0")

    monkeypatch.setattr(running, "prepare", broken)
    ended = cli("train", "iris")
    assert ended.status == 1 and ended.err.startswith("backpass: ZeroDivisionError: 1/0.")
    assert "Traceback" not in ended.err
    assert "Traceback" in cli("train", "iris", "--debug").err
    monkeypatch.setenv("BACKPASS_DEBUG", "1")
    assert "Traceback" in cli("train", "iris").err


def test_without_memory_a_way_out_is_named(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def greedy(*_: object) -> None:
        raise MemoryError("Unable to allocate 3.00 TiB")

    monkeypatch.setattr(running, "make_trainer", greedy)
    ended = cli("train", "iris", "-o", "run")
    assert ended.status == 1
    assert "Unable to allocate 3.00 TiB. Use fewer rows, a smaller --hidden" in ended.err


def test_without_the_extra_the_command_says_what_to_install(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entry, "MISSING", "typer")
    ended = cli("train", "iris")
    assert ended.status == 1 and "pip install 'backpass[train]'" in ended.err


HOSTILE = ("[red]a[/red]", "\x1b[31mred", "<script>alert(1)</script>", "a\u202eb", "{{x}}", "[bold")


def test_hostile_names_and_labels_do_nothing(cli: Cli) -> None:
    header = ",".join(f'"{name}"' for name in HOSTILE)
    rows = "".join(
        ",".join([str(i * (k + 2) % 11) for k in range(len(HOSTILE) - 1)] + [HOSTILE[i % 3]]) + "\n"
        for i in range(60)
    )
    Path("[red]d.csv").write_text(f"{header}\n{rows}")
    ended = cli("train", "[red]d.csv", "--target", "[bold", *QUICK[:-1], "-o", "run")
    assert ended.status == 0, ended.err
    assert "[red]d.csv" in ended.out and "'[bold'" in ended.out
    assert "\x1b" not in ended.out + ended.err and "\u202e" not in ended.out + ended.err
    page = Path("run/report.html").read_text()
    assert "<script>alert" not in page and "&lt;script&gt;alert(1)" in page
    said = cli("predict", "run", "[red]d.csv")
    assert said.status == 0 and said.out.count("\n") == 61
    absent = cli("train", "[red]d.csv", "--target", "\x1b[2J")
    assert absent.status == 2 and "\x1b" not in absent.err


@pytest.mark.parametrize(
    ("part", "in_terms_of_flags"),
    [
        (Setting("encoding", "utf-16-le"), "--encoding utf-16-le"),
        (Change("encoding"), "add --encoding TEXT"),
        (Change("dtype", "float64"), "add --dtype float64"),
        (Setting("task"), "--task"),
        (Change("task"), "add --task classification|regression"),
        (Change("test", 0), "add --test 0"),
        (Setting("ignore", ("a", "unit price")), "--ignore a --ignore 'unit price'"),
        (Setting("ignore", ("\x1b[2J",)), r"--ignore '\x1b[2J'"),
        (Clause(", or raise ", Setting("max_bytes")), ""),
        (Setting("data_sha256", "1"), "data_sha256='1'"),
    ],
)
def test_ways_out_are_flags(part: Part, in_terms_of_flags: str) -> None:
    assert in_flags(Sentence("It is so. ", part, ".")) == f"It is so. {in_terms_of_flags}."


def test_ways_out_of_a_run_belong_to_train() -> None:
    ways = (Change("missing", "drop"), " (or ", Setting("decimal", ","), ")")
    said = Sentence("Mend it, or ", *ways)
    assert (
        in_flags(said, trained=True) == "Mend it, or train with --missing drop (or --decimal ',')"
    )
    assert in_flags(str(said), trained=True) == str(said)


def test_an_identifier_as_target_asks_for_the_right_one(cli: Cli) -> None:
    Path("d.csv").write_text("id,y\n" + "".join(f"C{i},{i % 2}\n" for i in range(30)))
    ended = cli("train", "d.csv", "--target", "id")
    assert ended.status == 2 and "Is this the right --target?" in ended.err
    assert "stratify" not in ended.err


def test_a_column_of_different_texts_is_noted_once(cli: Cli) -> None:
    rows = "".join(f"C{i},{i},{i % 2}\n" for i in range(60))
    Path("d.csv").write_text(f"id,x,y\n{rows}")
    ended = cli("train", "d.csv", "--target", "y", *QUICK[:-1])
    assert ended.status == 0 and (ended.out + ended.err).count("Column 'id'") == 1


def test_help_names_each_command_in_full(cli: Cli) -> None:
    said = cli("--help").out
    assert "Train a network on a table." in said and "..." not in said.partition("Commands:")[2]
