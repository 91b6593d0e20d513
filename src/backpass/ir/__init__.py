"""The tensor graph: the language that every transform and pass speaks.

`graph.py` holds the types and the one way a node comes into being (`Primitive.__call__`); `show.py`
prints a Graph as stable text; `verify.py` checks one. Nothing here knows NumPy's broadcasting,
Python operators or how a graph is run. Go to `prims/` for the operations themselves, to `trace/`
for how Python code becomes a Graph.
"""

from backpass.ir.graph import (
    BatchRule,
    Graph,
    Lowering,
    Node,
    NotDifferentiable,
    NotLowered,
    Operand,
    Primitive,
    Scope,
    ScopeKind,
    SourceLine,
    TensorType,
    Value,
    VjpRule,
    array_of,
    constant,
    is_live,
    leaf,
    type_of,
)
from backpass.ir.show import show
from backpass.ir.verify import verify

__all__ = [
    "BatchRule",
    "Graph",
    "Lowering",
    "Node",
    "NotDifferentiable",
    "NotLowered",
    "Operand",
    "Primitive",
    "Scope",
    "ScopeKind",
    "SourceLine",
    "TensorType",
    "Value",
    "VjpRule",
    "array_of",
    "constant",
    "is_live",
    "leaf",
    "show",
    "type_of",
    "verify",
]
