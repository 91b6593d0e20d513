"""From Python code to a Graph: the Tracer, NumPy's protocols, capture, and Cells.

A Cell is a named array that outlives calls.
"""

from backpass.trace.capture import Captured, capture, evaluate
from backpass.trace.cells import Cell, Overlay, Stateful, bound, is_stateful
from backpass.trace.tracer import Tracer, to_result, unwrap, wrap

__all__ = [
    "Captured",
    "Cell",
    "Overlay",
    "Stateful",
    "Tracer",
    "bound",
    "capture",
    "evaluate",
    "is_stateful",
    "to_result",
    "unwrap",
    "wrap",
]
