"""Runs to draw: realistic, extreme and hostile summaries, made up but of the right shape."""

import math
from typing import Any

import numpy as np

from backpass.metrics import RocAuc
from backpass.report import (
    ConfusionCounts,
    ModelRow,
    NormalizationRow,
    RegressionFit,
    RocCurve,
    RunSummary,
)

#: Strings that break pages which do not escape.
HOSTILE = (
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "' onmouseover='alert(3)",
    "]]><!--<svg/onload=alert(4)>",
    "&lt;not&amp;twice&gt;",
    "tab\tnew\nline\x00nul\x1besc",
    "\u202egnp.exe",
    "عمود عربي",
    "\ud800 lone",
    "${7*7}{{7*7}}`",
    "",
)
ENVIRONMENT = {
    "backpass": "0.1.0",
    "python": "3.11.2",
    "numpy": "2.4.1",
    "platform": "Linux x86_64",
    "cpu": {"cores": 2, "features": ["avx2", "fma"]},
}
CONFIG = {
    "seed": 0,
    "data": {"source": "digits", "test_share": 0.2, "validation_share": 0.2, "target": None},
    "model": {"hidden": [64, 64], "activation": "relu", "dropout": 0.1},
    "optimizer": {"name": "adamw", "lr": 0.001, "weight_decay": 0.01},
    "training": {"epochs": 50, "batch_size": 64, "patience": 5, "swa": False},
}


def history(
    epochs: int, metrics: tuple[str, ...] = ("accuracy", "f1", "roc_auc"), *, layers: int = 3
) -> list[dict[str, Any]]:
    """A run that learns, then overfits a little; its first layer has the smallest gradients."""
    rng = np.random.default_rng(epochs)
    entries = []
    for epoch in range(1, epochs + 1):
        progress = 1 - math.exp(-3 * epoch / max(epochs, 8))
        noise = float(rng.normal()) * 0.004
        train = {"loss": 2.4 * math.exp(-5 * epoch / max(epochs, 8)) + 0.01}
        late = max(0.0, epoch / epochs - 0.55)
        validation = {"loss": train["loss"] + 0.08 + 0.35 * late + abs(noise) * 5}
        for k, name in enumerate(metrics):
            train[name] = 0.1 + (0.895 - 0.01 * k) * progress / 0.95
            validation[name] = train[name] - 0.02 - 0.02 * progress + noise
        names = [f"{2 * k}.{part}" for k in range(layers) for part in ("weight", "bias")]
        flow = [
            {
                "parameter": name,
                "gradient_norm": float(
                    10 ** (-4.5 + 4 * k / len(names) - progress + 0.2 * rng.normal())
                ),
                "update_ratio": 10 ** (-3 - progress),
                "dead_share": min(1.0, late * 1.4) if k == 2 else (0.05 if k % 2 == 0 else None),
            }
            for k, name in enumerate(names)
        ]
        entries.append(
            {
                "epoch": epoch,
                "step": 17 * epoch,
                "lr": 1e-3 * 0.5 * (1 + math.cos(math.pi * epoch / epochs)) + 1e-6,
                "train": train,
                "validation": validation,
                "gradient_norm": 3.0 * math.exp(-2 * progress) + abs(noise) * 9,
                "gradient_flow": flow,
                "messages": [],
            }
        )
    return entries


def columns(count: int) -> list[NormalizationRow]:
    """Input columns, every fifth a category, every seventh with missing cells."""
    rng = np.random.default_rng(count)
    rows = []
    for k in range(count):
        missing = 0 if k % 7 else int(rng.integers(0, 20))
        if k % 5 == 4:
            rows.append(
                NormalizationRow(
                    f"column {k}", "category", categories=("red", "green", "blue"), missing=missing
                )
            )
        else:
            mean, std = float(rng.normal() * 10), float(rng.uniform(0.1, 5))
            filled = mean if missing else None
            rows.append(
                NormalizationRow(
                    f"column {k}", "numeric", mean, std, missing=missing, imputed=filled
                )
            )
    return rows


def model_rows(classes: int) -> list[ModelRow]:
    """A small multilayer perceptron."""
    return [
        ModelRow("0", "Linear", (None, 64), 4160),
        ModelRow("1", "ReLU", (None, 64), 0),
        ModelRow("2", "Linear", (None, 64), 4160),
        ModelRow("3", "ReLU", (None, 64), 0),
        ModelRow("4", "Linear", (None, classes), 65 * classes),
    ]


def evaluation(labels: tuple[str, ...], samples: int = 400) -> dict[str, Any]:
    """A confusion matrix and ROC curves of made-up scores."""
    rng = np.random.default_rng(len(labels))
    truth = rng.integers(0, len(labels), samples)
    scores = rng.normal(size=(samples, len(labels)))
    scores[np.arange(samples), truth] += 3.0
    auc = RocAuc()
    auc.update(scores, truth)
    counts = np.zeros((len(labels), len(labels)), np.int64)
    np.add.at(counts, (truth, scores.argmax(axis=1)), 1)
    return {
        "confusion": ConfusionCounts(labels, counts),
        "roc": [RocCurve(labels[c], *curve) for c, curve in auc.curves().items()],
    }


def digits() -> RunSummary:
    """Ten classes, 40 epochs: what `backpass train digits` gives."""
    entries = history(40)
    entries[31]["messages"] = ["overfitting: validation loss rises while training loss falls"]
    entries[32]["messages"] = entries[31]["messages"]
    entries[33]["messages"] = ["half of the units of layer 2 are dead"]
    last = entries[23]
    test = {"loss": 0.0931, "accuracy": 0.9722, "f1": 0.9719, "roc_auc": 0.9991}
    return RunSummary(
        title="digits",
        task="classification",
        source="digits (embedded)",
        history=entries,
        metrics={
            "train": last["train"],
            "validation": last["validation"],
            "test": test,
            "seconds": 12.41,
            "stopped_epoch": 40,
        },
        best_epoch=24,
        monitor="validation loss",
        splits={"train": 1077, "validation": 360, "test": 360},
        normalization=columns(64),
        **evaluation(tuple("0123456789")),
        model=model_rows(10),
        environment=ENVIRONMENT,
        config=CONFIG,
    )


def binary() -> RunSummary:
    """Two classes with long names."""
    entries = history(18, ("accuracy", "roc_auc"), layers=2)
    return RunSummary(
        title="breast-cancer",
        task="classification",
        source="breast-cancer (embedded)",
        history=entries,
        metrics={"train": entries[-1]["train"], "test": {"loss": 0.08, "accuracy": 0.974}},
        best_epoch=18,
        splits={"train": 341, "validation": 114, "test": 114},
        normalization=columns(30),
        **evaluation(("malignant tumour", "benign"), 114),
        model=model_rows(2),
    )


def regression() -> RunSummary:
    """A regression with residuals."""
    entries = history(60, ("rmse", "r2"))
    rng = np.random.default_rng(1)
    true = rng.uniform(25, 346, 89)
    return RunSummary(
        title="diabetes",
        task="regression",
        source="diabetes (embedded)",
        history=entries,
        metrics={"test": {"loss": 2876.1234, "rmse": 53.63, "r2": 0.4821}, "seconds": 754.0},
        best_epoch=33,
        splits={"train": 265, "validation": 88, "test": 89},
        normalization=columns(10),
        regression=RegressionFit(true, true * 0.7 + 45 + rng.normal(size=89) * 40, "progression"),
        model=model_rows(1),
        config=CONFIG,
    )


def broken() -> RunSummary:
    """A run whose loss becomes NaN and then infinite, with vanished and broken gradients."""
    entries = history(12)
    for k, value in ((6, math.nan), (9, math.inf), (10, math.nan)):
        entries[k]["train"]["loss"] = value
        entries[k]["validation"]["loss"] = None
        entries[k]["gradient_norm"] = value
        for row in entries[k]["gradient_flow"]:
            row["gradient_norm"] = value
    for entry in entries[:5]:
        entry["gradient_flow"][0]["gradient_norm"] = 3e-9
        entry["gradient_flow"][1]["gradient_norm"] = 0.0
        entry["messages"] = ["vanishing at layer 0"]
    test = {"loss": math.nan, "accuracy": 0.1, "roc_auc": math.nan}
    return RunSummary(
        "broken run", "classification", history=entries, metrics={"test": test}, best_epoch=6
    )


def one_epoch() -> RunSummary:
    """A single epoch without validation."""
    entries = history(1)
    entries[0]["validation"] = {}
    return RunSummary(
        "one epoch",
        "classification",
        history=entries,
        metrics={"train": {"loss": 2.3}},
        best_epoch=1,
    )


def long_run() -> RunSummary:
    """10,000 epochs, 2,000 columns, 300 parameters, 70 classes."""
    entries = history(10_000, layers=4)
    spike = entries[4321]
    spike["train"]["loss"] = 77.0
    deep = [
        {
            "parameter": f"blocks.{k}.attention.query.projection.weight",
            "gradient_norm": 10.0 ** (-k / 30),
            "update_ratio": 1e-3,
            "dead_share": None,
        }
        for k in range(150)
    ]
    for entry in entries[::500]:
        entry["gradient_flow"] = deep
    return RunSummary(
        "a long run",
        "classification",
        history=entries,
        metrics={"test": {"loss": 1.0}, "seconds": 98_765.0},
        best_epoch=6789,
        splits={"train": 1_000_000, "test": 10},
        normalization=columns(2000),
        **evaluation(tuple(f"class number {k}" for k in range(70)), 3000),
        model=[ModelRow(f"blocks.{k}", "Linear", (None, 512, 64), 10**6) for k in range(200)],
    )


def hostile() -> RunSummary:
    """Every string of the summary tries to break out."""
    entries = history(3, ("accuracy", HOSTILE[0]))
    for row, text in zip(entries[0]["gradient_flow"], HOSTILE, strict=False):
        row["parameter"] = text
    entries[1]["messages"] = list(HOSTILE)
    return RunSummary(
        title=HOSTILE[0],
        task="classification",
        source=HOSTILE[1],
        history=entries,
        metrics={"test": {"loss": 1.0, HOSTILE[1]: 2.0, HOSTILE[2]: HOSTILE[0]}},
        best_epoch=2,
        monitor=HOSTILE[2],
        splits={text: 10 for text in HOSTILE},
        evaluated_on=HOSTILE[3],
        normalization=[
            NormalizationRow(text, text, categories=HOSTILE, missing=1, imputed=text)
            for text in HOSTILE
        ],
        **evaluation(HOSTILE),
        regression=RegressionFit(np.arange(5.0), np.arange(5.0) + 1, HOSTILE[0]),
        model=[ModelRow(text, text, None, 1) for text in HOSTILE],
        environment={text: text for text in HOSTILE},
        config={text: {text: list(HOSTILE)} for text in HOSTILE},
        messages=HOSTILE,
    )


ALL = {
    make.__name__: make
    for make in (digits, binary, regression, broken, one_epoch, long_run, hostile)
}
