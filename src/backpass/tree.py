"""Nested containers (tuple, list, dict, namedtuple, None and our own types) as a list of leaves.

A type of our own joins by two methods: `__tree_flatten__() -> (children, key)` and the classmethod
`__tree_unflatten__(key, children)`. Everything else is a leaf. A Tree is hashable where its keys
are.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from backpass.errors import TreeError


@dataclass(frozen=True, slots=True)
class Tree:
    """The structure of a nested container without its leaves. `kind` is None for a leaf."""

    kind: type | None
    key: Any
    children: tuple[Tree, ...]

    @property
    def leaf_count(self) -> int:
        """Number of leaves below."""
        return 1 if self.kind is None else sum([c.leaf_count for c in self.children])

    def __str__(self) -> str:
        if self.kind is None:
            return "*"
        inside = ", ".join(map(str, self.children))
        if self.kind in (dict, OrderedDict):
            inside = ", ".join(f"{k!r}: {c}" for k, c in zip(self.key, self.children, strict=True))
        return f"{self.kind.__name__}({inside})"


LEAF = Tree(None, None, ())


def _parts(x: Any) -> tuple[list[Any], Any] | None:
    """Children and key of a container, None for a leaf."""
    kind = type(x)
    if kind in (tuple, list):
        return list(x), None
    if kind in (dict, OrderedDict):
        return list(x.values()), tuple(x)
    if x is None:
        return [], None
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return list(x), None
    if hasattr(kind, "__tree_flatten__"):
        children, key = x.__tree_flatten__()
        return list(children), key
    return None


def _make(kind: type, key: Any, children: Sequence[Any]) -> Any:
    if kind in (tuple, list):
        return kind(children)
    if kind in (dict, OrderedDict):
        return kind(zip(key, children, strict=True))
    if kind is type(None):
        return None
    if hasattr(kind, "__tree_unflatten__"):
        return kind.__tree_unflatten__(key, children)
    return kind(*children)


def flatten(x: Any) -> tuple[list[Any], Tree]:
    """The leaves of x from left to right, and its structure. Dictionaries keep their order.

    >>> flatten({"a": 1, "b": (2, 3)})[0]
    [1, 2, 3]
    """
    parts = _parts(x)
    if parts is None:
        return [x], LEAF
    leaves: list[Any] = []
    children = []
    for child in parts[0]:
        below, structure = flatten(child)
        leaves.extend(below)
        children.append(structure)
    return leaves, Tree(type(x), parts[1], tuple(children))


def unflatten(structure: Tree, leaves: Sequence[Any]) -> Any:
    """The container of this structure with these leaves.

    >>> unflatten(flatten((1, [2, 3]))[1], [4, 5, 6])
    (4, [5, 6])
    """
    if structure.leaf_count != len(leaves):
        raise TreeError(f"{structure} has {structure.leaf_count} leaves, {len(leaves)} were given")
    return _build(structure, iter(leaves))


def unflattener(structure: Tree) -> Callable[[Sequence[Any]], Any]:
    """`unflatten` of one structure, to be done often: a leaf and tuples of leaves in little time.

    The number of leaves is not checked.

    >>> unflattener(flatten((1, (2, 3)))[1])([4, 5, 6])
    (4, (5, 6))
    """
    children = structure.children
    if structure.kind is None:
        return lambda leaves: leaves[0]
    if structure.kind is tuple and all([c.kind is None for c in children]):
        return tuple
    if structure.kind is tuple and children[0].kind is None and len(children) == 2:
        below = unflattener(children[1])  # as of `value_and_grad`
        return lambda leaves: (leaves[0], below(leaves[1:]))
    return lambda leaves: unflatten(structure, leaves)


def _build(structure: Tree, leaves: Iterator[Any]) -> Any:
    if structure.kind is None:
        return next(leaves)
    return _make(structure.kind, structure.key, [_build(c, leaves) for c in structure.children])


def tree_map(function: Callable[..., Any], x: Any, *others: Any) -> Any:
    """function applied to the leaves of containers of one structure.

    >>> tree_map(lambda a, b: a + b, {"w": 1}, {"w": 2})
    {'w': 3}
    """
    leaves, structure = flatten(x)
    columns = [leaves]
    for other in others:
        more, its = flatten(other)
        if its != structure:
            raise TreeError(f"the containers differ in structure: {structure} and {its}")
        columns.append(more)
    return unflatten(structure, [function(*row) for row in zip(*columns, strict=True)])


def tree_leaves(x: Any) -> list[Any]:
    """The leaves of x from left to right."""
    return flatten(x)[0]
