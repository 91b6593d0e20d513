"""What training costs around the step: a step inside Trainer.fit, and `backpass train digits`.

A step of fit is the difference of two fits of different length by their steps, so that what fit
does once is not in it: MLP 16-32-32-3, batches of 32. The aim is 8 times the step's FLOP at the
measured FMA peak, and 3 us. `backpass train digits` is run as it is, and once more with what
scikit-learn's MLPClassifier can do too (no dropout, no batch norm, no early stop), on as many rows
and epochs as that gets. backpass also computes validation, metrics and the gradient's flow in each
epoch, MLPClassifier its loss alone.

Run alone: python -m benchmarks.fit_step, with --digits for what `make demo` prints.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.workloads.dense import dense_flops

SIZES, BATCH, STEPS = (16, 32, 32, 3), 32, 100
HIDDEN, EPOCHS, LEARNING_RATE, ROWS = (64, 64), 40, 0.003, 1168
SAME = ["--dropout", "0", "--no-batch-norm", "--optimizer", "adam", "--patience", "0"]


def seconds_of_a_fit_step(repeats: int) -> float:
    """The median over `repeats` of (long fit - short fit) by the steps between them."""
    import backpass as bp
    from backpass import nn, optim

    rng = np.random.default_rng(0)
    x = rng.standard_normal((BATCH * STEPS, SIZES[0])).astype(np.float32)
    y = rng.integers(0, SIZES[-1], BATCH * STEPS)
    layers = [nn.Linear(a, b) for a, b in itertools.pairwise(SIZES)]
    model = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])
    optimizer = optim.SGD(model.parameters(), lr=0.01)
    trainer = bp.Trainer(model, nn.CrossEntropyLoss(), optimizer, progress="none")

    def seconds(epochs: int) -> float:
        begin = time.perf_counter()
        trainer.fit((x, y), epochs=epochs, batch_size=BATCH)
        return time.perf_counter() - begin

    seconds(1)  # compiles
    found = []
    for _ in range(repeats):
        short, long = seconds(1), seconds(4)
        found.append((long - short) / (3 * STEPS))
    return statistics.median(found)


def train_digits(flags: list[str]) -> dict[str, float]:
    """Seconds of training as the run says, seconds of the whole command, and the accuracy."""
    with tempfile.TemporaryDirectory() as folder:
        out = str(Path(folder) / "run")
        command = [sys.executable, "-m", "backpass", "train", "digits", "--quiet", "--output", out]
        begin = time.perf_counter()
        subprocess.run([*command, *flags], check=True, stdout=subprocess.DEVNULL)
        wall = time.perf_counter() - begin
        found = json.loads((Path(out) / "metrics.json").read_text(encoding="utf-8"))
        epochs = len((Path(out) / "history.jsonl").read_text(encoding="utf-8").splitlines())
    return {
        "seconds": found["seconds"],
        "command_seconds": wall,
        "epochs": epochs,
        "test_accuracy": found["test"]["accuracy"],
    }


def digits() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Standardised images and labels to train on, and to test with."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    x, y = np.asarray(images), np.asarray(labels)
    x = x.astype(np.float32)
    order = np.random.default_rng(0).permutation(len(x))
    train, test = order[:ROWS], order[-359:]
    mean, deviation = x[train].mean(0), x[train].std(0) + 1e-6
    x = (x - mean) / deviation
    return x[train], y[train], x[test], y[test]


def fit_digits() -> dict[str, float]:
    """`Trainer.fit` of the same network on the same rows: as MLPClassifier, it computes its loss.

    Compiling is in the seconds: the first time all of it, later what it takes from the disk.
    """
    import backpass as bp
    from backpass import nn, optim

    x, y, test_x, test_y = digits()
    nn.manual_seed(0)
    sizes = (x.shape[1], *HIDDEN)
    layers = [m for a, b in itertools.pairwise(sizes) for m in (nn.Linear(a, b), nn.ReLU())]
    model = nn.Sequential(*layers, nn.Linear(HIDDEN[-1], 10))
    optimizer = optim.Adam(model.parameters(), lr=LEARNING_RATE)
    trainer = bp.Trainer(model, nn.CrossEntropyLoss(), optimizer, progress="none")
    begin = time.perf_counter()
    trainer.fit((x, y), epochs=EPOCHS, batch_size=BATCH)
    seconds = time.perf_counter() - begin
    right = trainer.predict(test_x).argmax(axis=1) == test_y
    return {"seconds": seconds, "epochs": EPOCHS, "test_accuracy": float(np.mean(right))}


def sklearn_digits() -> dict[str, float]:
    """MLPClassifier of the same size on as many rows, epochs and batches."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    x, y, test_x, test_y = digits()
    make: Any = MLPClassifier  # its types are too narrow
    network = make(
        HIDDEN,
        batch_size=BATCH,
        learning_rate_init=LEARNING_RATE,
        max_iter=EPOCHS,
        n_iter_no_change=EPOCHS,
        tol=0.0,
        random_state=0,
    )
    begin = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        network.fit(x, y)
    seconds = time.perf_counter() - begin
    return {
        "seconds": seconds,
        "epochs": network.n_iter_,
        "test_accuracy": float(network.score(test_x, test_y)),
    }


def measure(repeats: int) -> dict[str, Any]:
    """All of it; training on the digits in turns, the faster of two each."""
    found: dict[str, Any] = {
        "fit_step_s": seconds_of_a_fit_step(repeats),
        "fit_step_flops": dense_flops(SIZES, BATCH),
    }
    same = [*SAME, "--epochs", str(EPOCHS)]
    turns = 2 if repeats > 2 else 1
    found["digits_fit_first"] = fit_digits()
    ours = [(train_digits(same), fit_digits(), sklearn_digits()) for _ in range(turns)]
    for name, column in zip(("same", "fit", "sklearn"), zip(*ours, strict=True), strict=True):
        found[f"digits_{name}"] = min(column, key=lambda r: r["seconds"])
    found["digits_default"] = train_digits([])
    return found


def tell_of_digits() -> None:
    """Print what training on the digits takes here, and what it takes scikit-learn."""
    size = "-".join(map(str, (64, *HIDDEN, 10)))
    print(f"One network ({size}, {EPOCHS} epochs in batches of {BATCH}, Adam) trained by")
    for name, found in (
        ("Trainer.fit, compiling", fit_digits()),
        ("Trainer.fit, compiled before", fit_digits()),
        (
            "backpass train, which also validates and saves",
            train_digits([*SAME, "--epochs", str(EPOCHS)]),
        ),
        ("scikit-learn's MLPClassifier", sklearn_digits()),
    ):
        accuracy = f"test accuracy {found['test_accuracy']:.4f}"
        print(f"  {name:<47} {found['seconds']:.2f} s, {accuracy}")


def main() -> None:
    """Measure, and print an object as the last line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--digits", action="store_true", help="only the digits, told in two lines")
    options = parser.parse_args()
    if options.digits:
        tell_of_digits()
        return
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    out.write(json.dumps(measure(options.repeats)) + "\n")
    out.flush()


if __name__ == "__main__":
    main()
