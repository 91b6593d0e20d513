"""What is done to a graph as it was traced before anything else is: the cheap passes, in order."""

from __future__ import annotations

from backpass.ir import Graph, verify
from backpass.passes.cse import cse
from backpass.passes.dce import dce
from backpass.passes.simplify import simplify


def clean(graph: Graph) -> Graph:
    """Simplify, compute equal things once, drop what nobody needs, verify.

    Before: `%1 = identity(%0); %2 = sin(%0); %3 = sin(%1); %4 = add(%2, %3)`.
    After: `%1 = sin(%0); %2 = add(%1, %1)`.
    """
    return verify(dce(cse(simplify(graph))))
