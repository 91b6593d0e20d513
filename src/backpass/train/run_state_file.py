"""A whole run as the content of a checkpoint, and back: all or nothing.

Arrays: `model.*` (all Cells, the counters of random layers too), `optimizer.*`, `loss.*`,
`metric.*` (the sums of a running epoch) and `state.*` (arrays of callbacks). JSON: the counters,
the callbacks' other state, what the data were, and the history: its length and SHA-256 where it is
in history.jsonl, else the records themselves.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from backpass.errors import CheckpointError
from backpass.trace import Cell, Stateful
from backpass.train.callback import Callback, TrainerView
from backpass.train.checkpoint_files import Content, read_file, write_file
from backpass.train.history import History, read_history
from backpass.train.modules import cells_of, check_finite_weights
from backpass.train.packing import pack, unpack

FORMAT = 1
_COUNTERS = ("epochs_done", "batches_done", "step", "first_epoch", "steps_in_epoch")
_SUMS = ("loss_total", "weight_total", "norm_total")
_FLAGS = ("in_epoch", "should_stop")


def save_run(trainer: TrainerView, path: Path) -> None:
    """Write everything that a resumed run needs.

    Raises:
        OSError: the system's reason; the old file is whole.
        NonFiniteError: a weight is NaN or infinite.
    """
    cells = _cells(trainer)
    arrays = {name: np.asarray(cell.read()) for name, cell in cells.items()}
    check_finite_weights({n: a for n, a in arrays.items() if n.startswith("model.")})
    for metric in trainer.metrics:
        for key, array in metric.state_dict().items():
            arrays[f"metric.{metric.name}.{key}"] = array
    state = trainer.state
    document = {
        "format": FORMAT,
        "counters": {name: getattr(state, name) for name in _COUNTERS},
        "sums": {name: float(getattr(state, name)).hex() for name in _SUMS},
        "flags": {name: bool(getattr(state, name)) for name in _FLAGS},
        "messages": list(state.messages),
        "seed": trainer.seed,
        "optimizer": type(trainer.optimizer).__name__,
        "identity": trainer.loop.identity() if trainer.has_loop else {},
        "history": _history_entry(trainer),
        "callbacks": [
            {"type": type(c).__name__, "state": pack(c.state_dict(), arrays, f"state.{i}")}
            for i, c in enumerate(_with_state(trainer))
        ],
    }
    write_file(path, Content(arrays, document))


def load_run(trainer: TrainerView, path: Path, identity: Mapping[str, Any] | None = None) -> None:
    """Put a trainer into the state of a checkpoint.

    Args:
        trainer: whose model, optimizer, callbacks, metrics, counters and history are set.
        path: the file.
        identity: what the data of the running fit are; None if that does not matter.

    Raises:
        CheckpointError: the file cannot be read or does not fit; model and optimizer are unchanged
            then.
    """
    content = read_file(path)
    try:
        _load(trainer, path, content, identity)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(
            f"{path} does not hold what a checkpoint holds: {type(error).__name__}: "
            f"{str(error)[:200]}."
        ) from error


def load_model(trainer: TrainerView, path: Path) -> None:
    """Put only the model's arrays into a trainer.

    Raises:
        CheckpointError: the file cannot be read or does not fit; nothing is changed then.
    """
    arrays = read_file(path).arrays
    cells = {f"model.{name}": cell for name, cell in cells_of(trainer.model).items()}
    _check_arrays(path, cells, {n: a for n, a in arrays.items() if n.startswith("model.")})
    for name, cell in cells.items():
        cell.write(arrays[name])


def _load(
    trainer: TrainerView, path: Path, content: Content, identity: Mapping[str, Any] | None
) -> None:
    document, arrays = content.document, content.arrays
    if document.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} has the checkpoint format {str(document.get('format'))[:20]}; this version "
            f"reads {FORMAT}."
        )
    if document["optimizer"] != type(trainer.optimizer).__name__:
        raise CheckpointError(
            f"{path} was written with the optimizer {str(document['optimizer'])[:80]}; this "
            "trainer has "
            f"{type(trainer.optimizer).__name__}."
        )
    if document["seed"] != trainer.seed:
        raise CheckpointError(
            f"{path} was written with seed={str(document['seed'])[:40]}; this trainer has "
            f"seed={trainer.seed}."
        )
    if identity is not None:
        _check_identity(path, document["identity"], identity)
    cells = _cells(trainer)
    _check_arrays(path, cells, arrays)
    counters, sums, flags = _numbers(document)
    history = _history(trainer, path, document["history"], counters["epochs_done"])
    metrics = _metric_states(trainer, arrays)
    _load_callbacks(trainer, path, document["callbacks"], arrays)
    for metric, state in metrics:
        metric.load_state_dict(state)
    for name, cell in cells.items():
        cell.write(arrays[name])
    for name, value in {**counters, **sums, **flags}.items():
        setattr(trainer.state, name, value)
    trainer.state.messages = [str(message) for message in document["messages"]]
    trainer.history.replace(history.records)


def _check_identity(path: Path, stored: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """A resumed run must see the same batches."""
    for part, known in stored.items():
        if own.get(part) != known:
            raise CheckpointError(
                f"{path} was written while training with {part}: {str(known)[:300]}, but now it is "
                f"{own.get(part)}. A resumed run must see the same batches: give the same data "
                "and settings, or take only the weights, with trainer.load_weights, and fit "
                "without resume."
            )


def _cells(trainer: TrainerView) -> dict[str, Cell]:
    """Every Cell of a run by its name in the file, each once."""
    found = {f"model.{name}": cell for name, cell in cells_of(trainer.model).items()}
    if isinstance(trainer.loss, Stateful):
        found.update({f"loss.{n}": c for n, c in trainer.loss.__backpass_cells__().items()})
    if trainer.optimizer is not None:
        known = set(found.values())
        own = trainer.optimizer.__backpass_cells__()
        found.update({f"optimizer.{n}": c for n, c in own.items() if c not in known})
    return found


def _check_arrays(path: Path, cells: Mapping[str, Cell], arrays: Mapping[str, np.ndarray]) -> None:
    kinds = ("model.", "loss.", "optimizer.")
    given = [name for name in arrays if name.startswith(kinds)]
    missing = [name for name in cells if name not in arrays]
    unexpected = [name for name in given if name not in cells]
    wrong = [
        f"{name} is {_kind(arrays[name])} in the file and {_kind(cell)} here"
        for name, cell in cells.items()
        if name in arrays and _kind(arrays[name]) != _kind(cell)
    ]
    said = [_listed("missing", missing), _listed("unexpected", unexpected), _listed("", wrong)]
    if any(said):
        raise CheckpointError(
            f"{path} does not fit this model and optimizer: {'; '.join(filter(None, said))}."
        )


def _kind(x: Any) -> str:
    return f"{x.dtype.name}{list(x.shape)}"


def _listed(what: str, names: list[str]) -> str:
    shown = ", ".join(name[:120] for name in names[:5])
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{what} {shown}{more}".strip() if names else ""


def _numbers(
    document: Mapping[str, Any],
) -> tuple[dict[str, int], dict[str, float], dict[str, bool]]:
    counters = {name: document["counters"][name] for name in _COUNTERS}
    flags = {name: document["flags"][name] for name in _FLAGS}
    if not all(type(n) is int and 0 <= n < 2**62 for n in counters.values()):
        raise CheckpointError(f"a counter of the checkpoint is no count: {str(counters)[:200]}.")
    if not all(type(flag) is bool for flag in flags.values()):
        raise CheckpointError(
            f"a flag of the checkpoint is neither true nor false: {str(flags)[:200]}."
        )
    return counters, {name: float.fromhex(document["sums"][name]) for name in _SUMS}, flags


def _history_entry(trainer: TrainerView) -> dict[str, Any]:
    entry: dict[str, Any] = {"length": len(trainer.history), "sha256": trainer.history.sha256()}
    if trainer.directory is None:
        entry["records"] = trainer.history.records  # no file holds them
    return entry


def _history(trainer: TrainerView, path: Path, entry: Mapping[str, Any], epochs: int) -> History:
    """The history that the checkpoint speaks of, from itself or from history.jsonl."""
    length, sha256 = entry["length"], entry["sha256"]
    if type(length) is not int or length != epochs:
        raise CheckpointError(
            f"{path} counts {epochs} epochs, but {str(length)[:20]} in its history."
        )
    if "records" in entry:
        history = History(entry["records"])
        if len(history) != length or history.sha256() != sha256:
            raise CheckpointError(f"{path} holds a history that does not have its own SHA-256.")
        return history
    folders = [trainer.directory, path.parent.parent, path.parent]
    files = [folder / "history.jsonl" for folder in folders if folder is not None]
    file = next((f for f in files if f.exists()), files[0])
    return read_history(file, length, sha256)


def _metric_states(trainer: TrainerView, arrays: Mapping[str, np.ndarray]) -> list[tuple[Any, Any]]:
    found = []
    names = {metric.name for metric in trainer.metrics}
    stored = {name.split(".")[1] for name in arrays if name.startswith("metric.")}
    if stored != names:
        raise CheckpointError(
            f"the checkpoint has the metrics {sorted(stored)} and this trainer {sorted(names)}; "
            "give the same."
        )
    for metric in trainer.metrics:
        prefix = f"metric.{metric.name}."
        state = {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}
        copy.deepcopy(metric).load_state_dict(state)  # raises if it does not fit
        found.append((metric, state))
    return found


def _load_callbacks(
    trainer: TrainerView, path: Path, entries: Any, arrays: Mapping[str, np.ndarray]
) -> None:
    callbacks = _with_state(trainer)
    stored = [str(entry["type"])[:80] for entry in entries]
    own = [type(c).__name__ for c in callbacks]
    if stored != own:
        raise CheckpointError(
            f"{path} has the callbacks {', '.join(stored) or 'none'} and this trainer "
            f"{', '.join(own) or 'none'} "
            "(those with a state); give the same ones."
        )
    for callback, entry in zip(callbacks, entries, strict=True):
        callback.load_state_dict(unpack(entry["state"], arrays))


def _with_state(trainer: TrainerView) -> list[Callback]:
    kept = Callback.state_dict
    return [c for c in trainer.callbacks.items if type(c).state_dict is not kept]


__all__ = ["load_model", "load_run", "save_run"]
