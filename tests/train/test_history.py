"""History: access by name, and the bytes of history.jsonl."""

import json
import math

import pytest
from tests.train.runs import blobs, trainer

from backpass.train import GradientFlow, History
from backpass.train.history import as_json_number, json_line

RECORDS = [
    {"epoch": 1, "lr": 0.1, "train": {"loss": 1.0}, "validation": {"loss": 3.0}},
    {"epoch": 2, "lr": 0.1, "train": {"loss": 0.5}},
    {"epoch": 3, "lr": 0.1, "train": {"loss": None}, "validation": {"loss": 2.0}},
]


def test_values_by_name_over_the_epochs() -> None:
    history = History(RECORDS)
    assert history["loss"] == [1.0, 0.5, None]
    assert history["val_loss"] == [3.0, None, 2.0]
    assert history.best("val_loss") == (3, 2.0)
    assert history.best("val_loss", "max") == (1, 3.0)
    assert history.best("loss") == (2, 0.5)
    assert (history[0]["epoch"], history[-1]["epoch"], len(history)) == (1, 3, 3)
    with pytest.raises(KeyError, match=r"no 'val_los'\. Did you mean 'val_loss'\?"):
        history["val_los"]


def test_numbers_that_json_lacks_are_null() -> None:
    assert [as_json_number(x) for x in (1.5, math.nan, math.inf)] == [1.5, None, None]
    assert json_line({"a": None}) == '{"a":null}\n'


def test_the_file_holds_the_records_and_no_time(tmp_path: object) -> None:
    texts = []
    for _ in range(2):
        run = trainer(metrics=["accuracy"], callbacks=[GradientFlow()], directory=tmp_path)
        history = run.fit(blobs(), validation_data=blobs(30), epochs=2, batch_size=16)
        text = (run.directory / "history.jsonl").read_text()  # pyright: ignore[reportOptionalOperand]
        assert text == history.to_jsonl()
        texts.append(text)
    assert texts[0] == texts[1]
    first = json.loads(texts[0].splitlines()[0])
    assert list(first) == [
        "epoch",
        "step",
        "lr",
        "train",
        "validation",
        "gradient_norm",
        "gradient_flow",
        "messages",
    ]
    assert list(first["train"]) == list(first["validation"]) == ["loss", "accuracy"]
    flow = first["gradient_flow"]
    assert [row["parameter"] for row in flow] == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert set(flow[0]) == {"parameter", "gradient_norm", "update_ratio", "dead_share"}
