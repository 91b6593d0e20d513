"""From a Graph to something that runs: a Program, evaluated by its primitives' NumPy references.

The native compiler takes over the same entry, `compile_graph(graph) -> Program`.
"""

from backpass.codegen.program import Program, compile_graph

__all__ = ["Program", "compile_graph"]
