"""The door to scikit-learn, which backpass only needs when a metric is computed through it.

`require` runs when such a metric is made, so that a missing package is told before the first epoch
and not after it; `load` imports `sklearn.metrics` (about a second) when the first result is wanted.
"""

from importlib.util import find_spec
from types import ModuleType

from backpass.errors import MissingDependencyError


def require(name: str) -> None:
    """Raise MissingDependencyError when scikit-learn is not installed; imports nothing."""
    if find_spec("sklearn") is None:
        raise MissingDependencyError("scikit-learn", f"The {name} metric", extra="train")


def load() -> ModuleType:
    """The module `sklearn.metrics`."""
    import sklearn.metrics as sklearn_metrics

    return sklearn_metrics
