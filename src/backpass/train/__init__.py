"""Training: the Trainer, its callbacks, the history, and checkpoints that resume bit for bit.

Start reading at `trainer` (the face), then `loop` (the epochs) and `step` (the compiled step);
`callback` states the protocol of what hangs in; `run_state_file` says what a checkpoint holds.
"""

from backpass.train.averaging import (
    ExponentialMovingAverage,
    StochasticWeightAveraging,
    recompute_batch_norm,
)
from backpass.train.callback import Callback, TrainerView
from backpass.train.checkpoint_files import find_checkpoint, latest_checkpoint
from backpass.train.early_stopping import EarlyStopping
from backpass.train.gradient_flow import GradientFlow
from backpass.train.history import EpochRecord, History
from backpass.train.interrupt import TrainingInterrupted
from backpass.train.learning_rate import LearningRateMonitor, LearningRateSchedule
from backpass.train.model_checkpoint import ModelCheckpoint
from backpass.train.overfitting import OverfittingWarning
from backpass.train.progress import ProgressBar
from backpass.train.step_result import FlowSample, StepResult
from backpass.train.trainer import Trainer

__all__ = [
    "Callback",
    "EarlyStopping",
    "EpochRecord",
    "ExponentialMovingAverage",
    "FlowSample",
    "GradientFlow",
    "History",
    "LearningRateMonitor",
    "LearningRateSchedule",
    "ModelCheckpoint",
    "OverfittingWarning",
    "ProgressBar",
    "StepResult",
    "StochasticWeightAveraging",
    "Trainer",
    "TrainerView",
    "TrainingInterrupted",
    "find_checkpoint",
    "latest_checkpoint",
    "recompute_batch_norm",
]
