"""Data: from whatever the user has to batches of arrays.

The road: `load` reads a source into a `Table`; `train_validation_test_split` divides its rows;
`Preprocessor.fit` learns from the training part, and its `transform` gives arrays; a `DataLoader`
gives batches in an order that depends on (seed, epoch) alone. Each step also works alone.

>>> from backpass import data
>>> table = data.load("iris")
>>> split = data.train_validation_test_split(table, stratify=table.target, seed=0)
>>> preprocessor = data.Preprocessor.fit(table.take(split.train))
>>> x, y = preprocessor.transform(table.take(split.train))
>>> loader = data.DataLoader(x, y, batch_size=32, seed=0)
>>> [len(y) for x, y in loader]
[32, 32, 32, 10]
"""

from backpass.data.cells import MISSING_VALUES
from backpass.data.encoders import CategoryFeature, ClassTarget, NumberFeature, NumberTarget
from backpass.data.loader import DataLoader
from backpass.data.missing import check_complete, check_finite, drop_missing
from backpass.data.permutation import permutation
from backpass.data.preprocessor import Preprocessor
from backpass.data.sources import EMBEDDED, load
from backpass.data.splits import Split, train_validation_test_split
from backpass.data.standardizer import Standardizer
from backpass.data.streams import BatchStream
from backpass.data.table import Column, Table
from backpass.data.tasks import TASKS, Task, check_task, infer_task

__all__ = [
    "EMBEDDED",
    "MISSING_VALUES",
    "TASKS",
    "BatchStream",
    "CategoryFeature",
    "ClassTarget",
    "Column",
    "DataLoader",
    "NumberFeature",
    "NumberTarget",
    "Preprocessor",
    "Split",
    "Standardizer",
    "Table",
    "Task",
    "check_complete",
    "check_finite",
    "check_task",
    "drop_missing",
    "infer_task",
    "load",
    "permutation",
    "train_validation_test_split",
]
