"""The settings of a run: one table, from which the flags and the keys of run.toml both come.

Each field of `RunConfig` is a setting: its section in the file, its kind, its bounds, its sentence
of help. Adding a setting is adding a field. `config_file` reads and writes the file, `flags` makes
the options of the command line, and every value, wherever from, passes `Setting.checked`.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

from backpass.data.missing import Missing
from backpass.data.tasks import TASKS
from backpass.errors import ConfigError
from backpass.wording import did_you_mean, quote

Kind = Literal["text", "whole", "number", "switch", "wholes", "texts"]
Value = str | int | float | bool | tuple[int, ...] | tuple[str, ...]

OPTIMIZERS = ("adamw", "adam", "sgd", "rmsprop", "adagrad", "lion")
SCHEDULES = ("constant", "cosine", "step", "one-cycle", "warmup", "plateau")
ACTIVATIONS = ("relu", "leaky-relu", "elu", "selu", "gelu", "silu", "mish", "tanh", "sigmoid")
IMPUTE = ("mean", "median", "most_frequent")
MOST_SEED = 2**64 - 1

_KIND_WORDS: Mapping[Kind, str] = {
    "text": "a text",
    "whole": "a whole number",
    "number": "a number",
    "switch": "true or false",
    "wholes": "a list of whole numbers, such as 64,64",
    "texts": "a list of texts",
}


@dataclass(frozen=True, slots=True)
class Setting:
    """What is known of one setting: `least` and `most` are inclusive; hidden ones have no flag."""

    section: str
    kind: Kind
    help: str
    choices: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None
    below: float | None = None
    above: float | None = None
    hidden: bool = False

    def checked(self, value: Any, name: str) -> Value:
        """The value in its own type; ConfigError in a sentence that starts with `name` if not."""
        found = self._typed(value)
        if found is None:
            raise ConfigError(f"{name} is {_shown(value)}; it must be {_KIND_WORDS[self.kind]}.")
        for part in found if isinstance(found, tuple) else (found,):
            self._check_part(part, name)
        return found

    def _typed(self, value: Any) -> Value | None:
        match self.kind:
            case "switch":
                return value if isinstance(value, bool) else None
            case "whole":
                return value if _is_whole(value) else None
            case "number":
                is_number = _is_whole(value) or (isinstance(value, float) and math.isfinite(value))
                return float(value) if is_number else None
            case "text":
                return value if isinstance(value, str) else None
            case "wholes":
                return _wholes(_split(value) if isinstance(value, str) else value)
            case "texts":
                listed = _split(value) if isinstance(value, str) else value
                return tuple(listed) if _is_list(listed) and _all_texts(listed) else None

    def _check_part(self, part: str | int | float | bool, name: str) -> None:
        if isinstance(part, str):
            if self.choices and part not in self.choices:
                raise ConfigError(f"{name} is {quote(part)}.{did_you_mean(part, self.choices)}")
            return
        bounds = (
            (self.least, "at least", lambda x, b: x >= b),
            (self.most, "at most", lambda x, b: x <= b),
            (self.below, "below", lambda x, b: x < b),
            (self.above, "above", lambda x, b: x > b),
        )
        for bound, words, holds in bounds:
            if bound is not None and not holds(part, bound):
                raise ConfigError(f"{name} is {part}; it must be {words} {bound}.")


def _setting(section: str, kind: Kind, default: Value, text: str, **rest: Any) -> Any:
    return field(default=default, metadata={"setting": Setting(section, kind, text, **rest)})


@dataclass(frozen=True, slots=True)
class RunConfig:
    """All settings of a run. An empty text, and 0 where the help says so, means "not set"."""

    source: str = _setting("data", "text", "", "Embedded data set, or the path of a file.")
    target: str = _setting("data", "text", "", "Column to predict. Embedded sets have theirs.")
    task: str = _setting(
        "data", "text", "", "Classification or regression; found out if not set.", choices=TASKS
    )
    ignore: tuple[str, ...] = _setting(
        "data", "texts", (), "Column to leave out; may be given several times."
    )
    categories: tuple[str, ...] = _setting(
        "data", "texts", (), "Column of categories though it looks like numbers; repeatable."
    )
    missing: str = _setting(
        "data",
        "text",
        "error",
        "What to do about empty cells: refuse, fill in, or leave such rows out.",
        choices=get_args(Missing),
    )
    missing_values: tuple[str, ...] = _setting(
        "data", "texts", (), "Text that means an empty cell, beside the usual ones; repeatable."
    )
    impute: str = _setting(
        "data", "text", "mean", "What fills an empty cell of numbers.", choices=IMPUTE
    )
    standardize: bool = _setting("data", "switch", True, "Scale numbers to mean 0 and std 1.")
    validation: float = _setting(
        "data", "number", 0.15, "Share of the rows for validation; 0 for none.", least=0, below=1
    )
    test: float = _setting(
        "data", "number", 0.2, "Share of the rows for the final test; 0 for none.", least=0, below=1
    )
    delimiter: str = _setting("data", "text", "", "Field delimiter of a text file.")
    decimal: str = _setting("data", "text", "", "Decimal mark of a text file.", choices=(".", ","))
    encoding: str = _setting("data", "text", "", "Encoding of a text file.")
    data_sha256: str = _setting(
        "data", "text", "", "Written by backpass: tells whether the data have changed.", hidden=True
    )
    dtype: str = _setting("model", "text", "float32", "Precision.", choices=("float32", "float64"))
    hidden: tuple[int, ...] = _setting(
        "model", "wholes", (64, 64), "Units of each hidden layer.", least=1, most=65536
    )
    activation: str = _setting(
        "model", "text", "relu", "After each hidden layer.", choices=ACTIVATIONS
    )
    dropout: float = _setting(
        "model", "number", 0.3, "Dropout after each hidden layer.", least=0, below=1
    )
    batch_norm: bool = _setting("model", "switch", True, "BatchNorm in each hidden layer.")
    optimizer: str = _setting("optimizer", "text", "adamw", "Optimizer.", choices=OPTIMIZERS)
    lr: float = _setting("optimizer", "number", 0.003, "Learning rate.", above=0)
    weight_decay: float = _setting("optimizer", "number", 0.01, "Weight decay.", least=0)
    schedule: str = _setting(
        "optimizer", "text", "constant", "Course of the learning rate.", choices=SCHEDULES
    )
    gradient_clip: float = _setting(
        "optimizer", "number", 0.0, "Largest norm of the gradient; 0 for no limit.", least=0
    )
    accumulate: int = _setting(
        "optimizer", "whole", 1, "Batches whose gradients make one step.", least=1
    )
    epochs: int = _setting("training", "whole", 100, "Most epochs.", least=1)
    batch_size: int = _setting("training", "whole", 32, "Samples in a batch.", least=1)
    patience: int = _setting(
        "training",
        "whole",
        20,
        "Stop after so many epochs without a better validation loss; 0 never stops early.",
        least=0,
    )
    swa: bool = _setting(
        "training", "switch", False, "Average the weights of the last quarter of the epochs."
    )
    ema: float = _setting(
        "training",
        "number",
        0.0,
        "Decay of a moving average of the weights; 0 for none.",
        least=0,
        below=1,
    )
    metrics: tuple[str, ...] = _setting(
        "training",
        "texts",
        (),
        "Metrics, by name; by the task if not set. roc_auc is measured at the end only.",
    )
    checkpoint_every: int = _setting(
        "training", "whole", 0, "Steps between checkpoints; 0 for one after each epoch.", least=0
    )
    seed: int = _setting(
        "training",
        "whole",
        0,
        "Decides the split, the weights and the order.",
        least=0,
        most=MOST_SEED,
    )

    def __post_init__(self) -> None:
        """Check what no setting can check alone."""
        if self.validation + self.test >= 1:
            raise ConfigError(
                f"validation {self.validation} and test {self.test} together leave no rows for "
                "training; their sum must be below 1."
            )
        if self.swa and self.ema:
            raise ConfigError("swa and ema are both set; each averages the weights: choose one.")

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "RunConfig":
        """A config of values by name; ConfigError for unknown names and values that do not fit."""
        known = settings()
        for name in values:
            if name not in known:
                raise ConfigError(
                    f"there is no setting {quote(name)}.{did_you_mean(name, [*known])}"
                )
        checked: dict[str, Any] = {n: known[n].checked(v, n) for n, v in values.items()}
        return cls(**checked)

    def with_values(self, **values: Value) -> "RunConfig":
        """The same config with some values replaced."""
        return dataclasses.replace(self, **values)

    def by_section(self) -> dict[str, dict[str, Value]]:
        """Every value, in the order and the sections of the file."""
        found: dict[str, dict[str, Value]] = {}
        for name, setting in settings().items():
            found.setdefault(setting.section, {})[name] = getattr(self, name)
        return found


def settings() -> dict[str, Setting]:
    """Every setting by its name, in order."""
    return dict(_settings())


def _settings() -> Iterator[tuple[str, Setting]]:
    for each in fields(RunConfig):
        yield each.name, each.metadata["setting"]


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _wholes(values: Any) -> tuple[int, ...] | None:
    """A list of whole numbers, also as texts; None for anything else."""
    if not _is_list(values):
        return None
    found: list[Any] = [int(v) if isinstance(v, str) and v.isdecimal() else v for v in values]
    return tuple(found) if all(map(_is_whole, found)) else None


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple))


def _all_texts(values: Any) -> bool:
    return all(isinstance(value, str) for value in values)


def _split(text: str) -> list[str]:
    """`64, 64` as a list; the empty text is the empty list."""
    return [part.strip() for part in text.split(",")] if text.strip() else []


def _shown(value: Any) -> str:
    """A value as TOML writes it, for a sentence."""
    if isinstance(value, bool):
        return str(value).lower()
    return quote(value) if isinstance(value, str) else str(value)[:60]
