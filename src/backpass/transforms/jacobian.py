"""jacrev, jacfwd, hessian, hvp: combinations of vjp, jvp and vmap."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from backpass.ir import Operand, type_of
from backpass.trace import to_result, unwrap
from backpass.transforms.arguments import Position, positions
from backpass.transforms.batch import vmap
from backpass.transforms.forward import jvp, push_forward
from backpass.transforms.grad import Run, grad, run
from backpass.tree import Tree, flatten, unflatten

Function = Callable[..., Any]


def _basis(types: Sequence[Any]) -> list[np.ndarray[Any, Any]]:
    """For each of several tensors the rows of the identity over all their elements together."""
    total = sum([t.size for t in types])
    rows, at = [], 0
    for t in types:
        block = np.zeros((total, t.size), t.dtype)
        block[at : at + t.size] = np.eye(t.size, dtype=t.dtype)
        rows.append(block.reshape(total, *t.shape))
        at += t.size
    return rows


def _cut(rows: Sequence[Any], types: Sequence[Any], *, rows_first: bool) -> list[list[Any]]:
    """rows[j] of shape (total, *shape_j), cut by the tensors the total runs over: result[i][j]."""
    found: list[list[Any]] = []
    at = 0
    for t in types:
        line = []
        for row in rows:
            part = row[at : at + t.size]
            shape = part.shape[1:]
            part = part.reshape((*t.shape, *shape))
            if not rows_first:
                part = np.moveaxis(part, tuple(range(len(t.shape))), tuple(range(-len(t.shape), 0)))
            line.append(part)
        found.append(line)
        at += t.size
    return found


def _nested(rows: list[list[Any]], outer: Tree, inner: Sequence[Tree], argnums: Position) -> Any:
    """A tree of outputs, each a tree of inputs, as JAX nests Jacobians."""
    lines = []
    for row in rows:
        trees, at = [], 0
        for tree in inner:
            trees.append(unflatten(tree, row[at : at + tree.leaf_count]))
            at += tree.leaf_count
        lines.append(trees[0] if isinstance(argnums, int) else tuple(trees))
    return unflatten(outer, lines)


def _arrays_only(name: str, done: Run) -> list[Tree]:
    for place in done.places:
        if any([cells is not None for cells in place.cells]):
            raise TypeError(
                f"{name}: Jacobians of a Module are not built; differentiate with respect to arrays"
            )
    return [place.structure for place in done.places]


def jacrev(function: Function, argnums: Position = 0, has_aux: bool = False) -> Function:
    """The Jacobian by reverse mode: one walk back, mapped over the elements of the output.

    Args:
        function: a function of arrays or containers of them, with floating outputs.
        argnums: which arguments to differentiate.
        has_aux: whether the function returns `(output, aux)`.

    Returns:
        A function that returns an array of shape (*output shape, *input shape); for containers, the
        output's container of the input's containers of such arrays. Best where outputs are fewer
        than inputs.

    >>> import numpy as np
    >>> jacrev(np.square)(np.array([1.0, 2.0]))
    array([[2., 0.],
           [0., 4.]])
    """

    @functools.wraps(function)
    def wrapped(*args: Any, **options: Any) -> Any:
        wrt = positions("jacrev", argnums, len(args))
        done = run("jacrev", function, args, options, wrt, has_aux)
        inner = _arrays_only("jacrev", done)
        types = [type_of(x) for x in done.outputs]

        def pull(*cts: Any) -> list[Any]:
            return flatten(done.pull([unwrap(ct) for ct in cts]))[0]

        rows = (
            vmap(pull)(*_basis(types))
            if sum([t.size for t in types])
            else _empty(types, done.leaves)
        )
        jacobian = _nested(_cut(rows, types, rows_first=True), done.structure, inner, argnums)
        done.overlay.hand_outward()
        return (jacobian, done.aux) if has_aux else jacobian

    return wrapped


def _empty(types: Sequence[Any], others: Sequence[Operand]) -> list[Any]:
    return [np.zeros((0, *type_of(x).shape), type_of(x).dtype) for x in others]


def jacfwd(function: Function, argnums: Position = 0, has_aux: bool = False) -> Function:
    """The Jacobian by forward mode, mapped over the elements of the input.

    Arguments and result are those of `jacrev`. Best where inputs are fewer than outputs.

    >>> import numpy as np
    >>> jacfwd(np.square)(np.array([1.0, 2.0]))
    array([[2., 0.],
           [0., 4.]])
    """

    @functools.wraps(function)
    def wrapped(*args: Any, **options: Any) -> Any:
        wrt = positions("jacfwd", argnums, len(args))
        done = run("jacfwd", function, args, options, wrt, has_aux)
        inner = _arrays_only("jacfwd", done)
        push = push_forward(done)
        types = [v.type for v in done.leaves]

        def moved(*tangents: Any) -> list[Any]:
            return [to_result(x) for x in push([unwrap(t) for t in tangents])]

        columns = (
            vmap(moved)(*_basis(types))
            if sum([t.size for t in types])
            else _empty(types, done.outputs)
        )
        by_input = _cut(columns, types, rows_first=False)
        rows = [list(row) for row in zip(*by_input, strict=True)]
        jacobian = _nested(rows, done.structure, inner, argnums)
        done.overlay.hand_outward()
        return (jacobian, done.aux) if has_aux else jacobian

    return wrapped


def hessian(function: Function, argnums: Position = 0, has_aux: bool = False) -> Function:
    """The matrix of second derivatives of a scalar function, forward over reverse.

    Returns:
        A function that returns an array of shape (*input shape, *input shape).

    >>> import numpy as np
    >>> hessian(lambda x: np.sum(x**3))(np.array([1.0, 2.0]))
    array([[ 6.,  0.],
           [ 0., 12.]])
    """
    return jacfwd(jacrev(function, argnums, has_aux), argnums, has_aux)


def hvp(function: Function, argnums: int = 0) -> Function:
    """Hessian times vector without the Hessian, forward over reverse (Pearlmutter 1994).

    Returns:
        `product(x, v, *args)`: the product for the scalar `function(x, *args)`, in SciPy's `hessp`
        order.

    >>> import numpy as np
    >>> hvp(lambda x: np.sum(x**3))(np.array([1.0, 2.0]), np.array([1.0, 1.0]))
    array([ 6., 12.])
    """

    def product(x: Any, v: Any, *args: Any) -> Any:
        def gradient(point: Any) -> Any:
            return grad(function, argnums)(*args[:argnums], point, *args[argnums:])

        return jvp(gradient, (x,), (v,))[1]

    return product


__all__ = ["hessian", "hvp", "jacfwd", "jacrev"]
