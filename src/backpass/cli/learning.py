"""What learns: network, loss, optimizer, schedule and callbacks of a run, as its config says.

Everything here is a function of the config and the data, so a resumed run builds the same trainer
and only then takes its state from the checkpoint.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from backpass import nn, optim
from backpass.cli.evaluation import metrics_of
from backpass.cli.preparation import Prepared
from backpass.cli.run_model import loss_of
from backpass.cli.settings import RunConfig
from backpass.errors import ConfigError
from backpass.optim import lr_scheduler
from backpass.train import (
    Callback,
    EarlyStopping,
    ExponentialMovingAverage,
    GradientFlow,
    LearningRateSchedule,
    ModelCheckpoint,
    OverfittingWarning,
    StochasticWeightAveraging,
    Trainer,
)

_OPTIMIZERS: Mapping[str, Callable[..., optim.Optimizer]] = {
    "adamw": optim.AdamW,
    "adam": optim.Adam,
    "sgd": lambda params, **rest: optim.SGD(params, momentum=0.9, nesterov=True, **rest),
    "rmsprop": optim.RMSprop,
    "adagrad": optim.Adagrad,
    "lion": optim.Lion,
}
_AT_THE_END = ("roc_auc", "average_precision")  # a sort of all scores for each class
_SWA_START = 0.75
_WARMUP_SHARE = 0.1


def make_trainer(prepared: Prepared, directory: Path, progress: Any) -> Trainer:
    """A trainer with fresh weights, from the seed of the config."""
    config = prepared.config
    nn.manual_seed(config.seed)
    model = prepared.spec.build()
    settings = {"lr": config.lr, "weight_decay": config.weight_decay}
    optimizer = _OPTIMIZERS[config.optimizer](model.named_parameters(), **settings)
    return Trainer(
        model,
        loss_of(config.task),
        optimizer,
        metrics=metrics_of(in_epochs(config.metrics), prepared.preprocessor),
        callbacks=_callbacks(prepared, optimizer),
        gradient_clip_norm=config.gradient_clip or None,
        accumulate=config.accumulate,
        seed=config.seed,
        progress=progress,
        directory=directory,
    )


def in_epochs(names: Sequence[str]) -> list[str]:
    """The metrics that are measured in every epoch; those that rank all scores wait for the end."""
    return [name for name in names if name not in _AT_THE_END]


def drop_last(prepared: Prepared) -> bool:
    """Whether the last batch would be a single sample, which BatchNorm cannot take.

    Raises:
        ConfigError: every batch would be one.
    """
    config, n = prepared.config, prepared.sizes["train"]
    if not config.batch_norm or n % config.batch_size != 1 % config.batch_size:
        return False
    if config.batch_size == 1 or n == 1:
        raise ConfigError(
            "batch_norm needs at least two samples in a batch: give --no-batch-norm, or a "
            "--batch-size of 2 or more."
        )
    return True


def _steps_per_epoch(prepared: Prepared) -> int:
    config = prepared.config
    batches = -(-prepared.sizes["train"] // config.batch_size) - drop_last(prepared)
    return -(-batches // config.accumulate)


def _callbacks(prepared: Prepared, optimizer: optim.Optimizer) -> list[Callback]:
    config = prepared.config
    found: list[Callback] = [
        GradientFlow(),
        ModelCheckpoint(save_best=False, every_n_steps=config.checkpoint_every or None),
    ]
    if config.schedule != "constant":
        found.append(_schedule(config, optimizer, _steps_per_epoch(prepared)))
    if config.ema:
        found.append(ExponentialMovingAverage(config.ema))
    if "validation" in prepared.parts:
        found.append(OverfittingWarning())
    if config.swa:
        found.append(StochasticWeightAveraging(_SWA_START))
    elif "validation" in prepared.parts:
        # without patience the best weights are kept all the same
        found.append(EarlyStopping("val_loss", config.patience or config.epochs + 1))
    return found


def _schedule(
    config: RunConfig, optimizer: optim.Optimizer, steps_per_epoch: int
) -> LearningRateSchedule:
    epochs = config.epochs
    total = max(epochs * steps_per_epoch, 2)
    match config.schedule:
        case "cosine":
            return LearningRateSchedule(lr_scheduler.CosineAnnealingLR(optimizer, epochs))
        case "step":
            size = max(epochs // 3, 1)
            return LearningRateSchedule(lr_scheduler.StepLR(optimizer, size))
        case "plateau":
            patience = max((config.patience or epochs) // 4, 1)
            return LearningRateSchedule(
                lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=patience)
            )
        case "one-cycle":
            moving = "momentum" in optimizer.defaults or "betas" in optimizer.defaults
            cycle = lr_scheduler.OneCycleLR(
                optimizer, config.lr, total_steps=total, cycle_momentum=moving
            )
            return LearningRateSchedule(cycle, "step")
        case "warmup":
            warmup = lr_scheduler.WarmupCosine(optimizer, int(total * _WARMUP_SHARE), total)
            return LearningRateSchedule(warmup, "step")
    raise ConfigError(f"there is no schedule {config.schedule!r}.")
