"""From a product and the maps that follow it to a Gemm, its epilogue included.

The axes of a product are four: batch, rows, columns, depth. Where the variables of one of them do
not lie in memory as one run with one stride, the operand is copied into order first
(`MustCopyError`), and where that is so only for what the epilogue reads or writes, the epilogue is
a kernel of its own. Transposed operands are only strides; rows and columns change places where the
epilogue's memory runs along the rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from backpass.codegen.lower.elements import Elements, Entry, MustCopyError, Named, Spot, key_of
from backpass.codegen.lower.groups import Group, core, seen_at
from backpass.codegen.lower.index import (
    Form,
    NotAffineError,
    Place,
    domain_of,
    linear,
    number,
    variable,
)
from backpass.codegen.lower.schedule import Bound, Buffers, scheduled
from backpass.codegen.lower.stages import Stages
from backpass.ir import Node, Value
from backpass.loops import Access, Gemm, Op

PARALLEL_PRODUCT = 1 << 18  # multiply-adds below which threads do not pay
Classes = tuple[list[int], list[int], list[int], list[int]]


def product_kernels(name: str, group: Group, stored: set[Node], roots: list[Node]) -> list[Bound]:
    """A Gemm with an epilogue, or a Gemm and a loop kernel."""
    head = group.head
    assert head is not None
    elements = Elements(group, stored)
    shape = head.types[0].shape
    for node in roots:
        value = Value(node.types[0], node, 0, None, frozenset())
        entry = elements.element(value, group.places[node])
        form = linear(group.places[node], node.types[0].shape, len(group.extents))
        elements.store(entry, node, form)
    entries = Stages(elements.entries, group.extents, 0).entries
    product = Product(head, group.extents)
    forms = product.merged([f for e in entries if (f := e.form) is not None])
    if forms is not None:
        return [product.kernel(name, entries)]
    form = linear(group.places[head], shape, len(group.extents))
    key = Named("product", head)
    alone = [Entry("acc", (), head.types[0].dtype)]
    alone.append(Entry("store", (0,), head.types[0].dtype, Spot(key, form)))
    first = Product(head, group.extents)
    if first.merged([form]) is None:
        raise AssertionError(f"{name}: a product cannot be stored in its own order")
    read = [
        replace(e, code="load", param=Spot(key, form)) if e.code == "acc" else e for e in entries
    ]
    return [first.kernel(name, alone), scheduled(f"{name}e", group.extents, read, None)]


class Product:
    """A product's operands over joint variables: those of the output, then those of the depth."""

    def __init__(self, node: Node, extents: Sequence[int]) -> None:
        self.node = node
        params: Any = node.params
        x, y = node.inputs
        n_batch = len(params["x_batch"])
        x_free = [i for i in range(x.ndim) if i not in (*params["x_batch"], *params["x_sum"])]
        y_free = [i for i in range(y.ndim) if i not in (*params["y_batch"], *params["y_sum"])]
        _, out = domain_of(node.types[0].shape)
        depth: list[int] = [x.shape[i] for i in params["x_sum"]]
        deep = [n for n in depth if n != 1]
        self.extents = [*extents, *deep]
        count = len(self.extents)
        out = tuple([Form(0, (*f.coefs, *[0] * len(deep))) for f in out])
        sums: list[Form] = []
        at = len(extents)
        for n in depth:
            sums.append(number(0, count) if n == 1 else variable(at, count))
            at += n != 1
        batch, rows = out[:n_batch], out[n_batch : n_batch + len(x_free)]
        columns = out[n_batch + len(x_free) :]
        self.x = self._form(
            0, _placed(x, (params["x_batch"], x_free, params["x_sum"]), (batch, rows, sums))
        )
        self.y = self._form(
            1, _placed(y, (params["y_batch"], y_free, params["y_sum"]), (batch, columns, sums))
        )
        self.classes: Classes = (
            _variables(batch),
            _variables(rows),
            _variables(columns),
            list(range(len(extents), count)),
        )

    def _form(self, which: int, place: Place) -> Form:
        v = self.node.inputs[which]
        c = core(v)
        try:
            return linear(seen_at(v, place, self.extents), c.shape, len(self.extents))
        except NotAffineError as failed:
            raise MustCopyError(self.node, which) from failed

    def merged(self, others: Sequence[Form]) -> bool | None:
        """Whether each class of variables is one run in the operands and in `others`.

        None if only the others say no.
        """
        for which, form in enumerate((self.x, self.y)):
            for axes in self.classes:
                if not self._one_run(axes, form):
                    raise MustCopyError(self.node, which)
        wide = [
            Form(f.constant, (*f.coefs, *[0] * (len(self.extents) - len(f.coefs)))) for f in others
        ]
        ok = all([self._one_run(axes, f) for f in wide for axes in self.classes[:3]])
        return True if ok else None

    def _one_run(self, axes: list[int], form: Form) -> bool:
        return all([form.coefs[a] == form.coefs[b] * self.extents[b] for a, b in pairwise(axes)])

    def _three(self, form: Form, order: Sequence[int]) -> Form:
        """A form over (batch, row, column, depth), classes in `order`."""
        found: list[int] = []
        for which in order:
            axes = self.classes[which]
            found.append(form.coefs[axes[-1]] if axes and axes[-1] < len(form.coefs) else 0)
        return Form(form.constant, tuple(found))

    def _count(self, which: int) -> int:
        count = 1
        for v in self.classes[which]:
            count *= self.extents[v]
        return count

    def kernel(self, name: str, entries: Sequence[Entry]) -> Bound:
        """The Gemm whose epilogue is `entries`."""
        turned = self._runs_along_rows(entries)
        order = (0, 2, 1) if turned else (0, 1, 2)
        x, y = (self.y, self.x) if turned else (self.x, self.y)
        sources = self.node.inputs[::-1] if turned else self.node.inputs
        epilogue = [
            _over(e, self._three(f, order)) if (f := e.form) is not None else e for e in entries
        ]
        extents = [self._count(c) for c in order]
        buffers = Buffers(extents, None)
        accesses: list[Access] = []
        for v, form in zip(sources, (x, y), strict=True):
            c = core(v)
            place = buffers.place(
                c.dtype, Spot(key_of(c), Form(c.type.size - 1, (0,) * 3)), written=False
            )
            accesses.append(Access(place, form.constant, self._three(form, (*order, 3)).coefs))
        ops: list[Op] = []
        numbers: dict[int, int] = {}
        work = [i for i, e in enumerate(epilogue) if e.code != "store"]
        for i in [*work, *[i for i, e in enumerate(epilogue) if e.code == "store"]]:
            ops.extend(buffers.ops(epilogue[i], numbers, len(ops)))
            numbers[i] = len(ops) - 1
        multiplied = extents[0] * extents[1] * extents[2] * self._count(3)
        batch, rows, columns = extents
        kernel = Gemm(
            name,
            tuple(buffers.found),
            batch,
            rows,
            columns,
            self._count(3),
            self.node.types[0].dtype,
            accesses[0],
            accesses[1],
            tuple(ops),
            multiplied >= PARALLEL_PRODUCT,
        )
        return Bound(kernel, tuple(buffers.keys), multiplied)

    def _runs_along_rows(self, entries: Sequence[Entry]) -> bool:
        """Whether the epilogue's memory lies side by side along the rows rather than the
        columns."""
        balance = 0
        for e in entries:
            if isinstance(e.param, Spot):
                _, row, column = self._three(e.param.form, (0, 1, 2)).coefs
                balance += (abs(row) == 1) - (abs(column) == 1)
        return balance > 0 or (balance == 0 and self._count(2) == 1)


def _over(e: Entry, form: Form) -> Entry:
    return replace(e, param=replace(e.param, form=form) if isinstance(e.param, Spot) else form)


def _placed(v: Value, axes: Sequence[Sequence[int]], forms: Sequence[Sequence[Form]]) -> Place:
    """The place in an operand: `forms` on the axes that they belong to."""
    found: dict[int, Form] = {}
    for own, given in zip(axes, forms, strict=True):
        found.update(zip(own, given, strict=True))
    return tuple([found[i] for i in range(v.ndim)])


def _variables(forms: Sequence[Form]) -> list[int]:
    return [i for f in forms for i, c in enumerate(f.coefs) if c]
