"""Metrics: how good predictions are, streamed over batches, equal to scikit-learn's.

`get("f1")` makes a metric by name; each has `reset`, `update(predictions, targets, weights=None)`,
`compute` and `state_dict`/`load_state_dict`. Classification metrics take raw model outputs
(logits), see `inputs`. Start reading at `metric`.
"""

from backpass.metrics.counts import (
    F1,
    Accuracy,
    BalancedAccuracy,
    ConfusionMatrix,
    Precision,
    Recall,
)
from backpass.metrics.likelihood import CrossEntropy, LogLoss
from backpass.metrics.metric import Metric
from backpass.metrics.ranking import AveragePrecision, RocAuc
from backpass.metrics.registry import MetricInfo, describe, get, names
from backpass.metrics.regression import MAE, MSE, R2, RMSE

__all__ = [
    "F1",
    "MAE",
    "MSE",
    "R2",
    "RMSE",
    "Accuracy",
    "AveragePrecision",
    "BalancedAccuracy",
    "ConfusionMatrix",
    "CrossEntropy",
    "LogLoss",
    "Metric",
    "MetricInfo",
    "Precision",
    "Recall",
    "RocAuc",
    "describe",
    "get",
    "names",
]
