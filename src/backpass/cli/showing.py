"""What `backpass train` says: the data and the model before, the results and the paths after."""

from pathlib import Path

from rich.console import Console

from backpass.cli.evaluation import titles
from backpass.cli.failures import in_flags
from backpass.cli.outcome import Outcome, model_rows
from backpass.cli.preparation import Prepared
from backpass.cli.run_folder import RunFolder
from backpass.cli.terminal import facts, metrics_table, plain
from backpass.train import Trainer
from backpass.wording import count, quote, quote_list

_LONGEST_CLASSES = 60
_MOST_MESSAGES = 8


def show_start(
    to: Console,
    prepared: Prepared,
    trainer: Trainer,
    folder: RunFolder,
    checkpoint: Path | None,
) -> None:
    """The data, the split, the network, and where the run is written."""
    config, table = prepared.config, prepared.table
    left_out = prepared.rows_read - len(table)
    rows = count(prepared.rows_read, "row") + (f" ({left_out:,} left out)" if left_out else "")
    columns = count(len(table.columns), "column")
    kind = config.task
    if classes := prepared.preprocessor.classes:
        names = quote_list(classes, len(classes))
        named = f": {names}" if len(names) <= _LONGEST_CLASSES else ""
        kind += f", {count(len(classes), 'class', 'classes')}{named}"
    split = ", ".join(f"{name} {size:,}" for name, size in prepared.sizes.items())
    layers = model_rows(prepared, trainer)
    parameters = sum(row.parameters for row in layers)
    lines = [
        ("data", f"{config.source}: {rows}, {columns}, {prepared.spec.inputs:,} inputs"),
        ("target", f"{quote(config.target)} ({kind})"),
        ("split", f"{split} (seed {config.seed})"),
        ("model", f"{_chain(prepared)}, {parameters:,} parameters, {config.dtype}"),
        ("training", _course(prepared)),
        ("run", str(folder.path)),
    ]
    if checkpoint is not None:
        lines.append(("resumed", checkpoint.name))
    facts(to, lines)
    for message in prepared.messages[:_MOST_MESSAGES]:
        to.print(f"note: {plain(in_flags(message))}")


def _chain(prepared: Prepared) -> str:
    spec = prepared.spec
    inside = f" ({spec.activation}{', batch norm' if spec.batch_norm else ''})"
    sizes = [spec.inputs, *spec.hidden, spec.outputs]
    return " - ".join(f"{size:,}" for size in sizes) + (inside if spec.hidden else "")


def _course(prepared: Prepared) -> str:
    config = prepared.config
    stop = f", patience {config.patience}" if config.patience and not config.swa else ""
    schedule = f" {config.schedule}" if config.schedule != "constant" else ""
    return (
        f"{config.optimizer}, lr {config.lr:g}{schedule}, batches of {config.batch_size:,}, at "
        f"most {count(config.epochs, 'epoch')}{stop}"
    )


def show_outcome(to: Console, prepared: Prepared, outcome: Outcome, folder: RunFolder) -> None:
    """The table of metrics, what training had to say, and the paths."""
    found = outcome.metrics
    parts = {name: found[name] for name in prepared.parts}
    best = f", best {outcome.best_epoch}" if outcome.best_epoch else ""
    epochs = count(found["stopped_epoch"], "epoch")
    to.print(f"\ntrained {epochs}{best}, {found['seconds']:.1f} s")
    metrics_table(to, parts, titles(prepared.config.metrics))
    for message in outcome.messages[-_MOST_MESSAGES:]:
        to.print(f"note: {plain(in_flags(message))}")
    facts(to, [("run", str(folder.path)), ("report", str(folder.report))])
