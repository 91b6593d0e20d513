"""Containers: Sequential, ModuleList, ModuleDict, ParameterList, Identity. Their children's names
are torch's keys.
"""

from __future__ import annotations

import itertools
import operator
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self, overload

from backpass.nn.module import Module
from backpass.nn.parameter import Parameter


def _position(index: Any, count: int, kind: str) -> str:
    """The name of the entry at a position."""
    i = operator.index(index)
    if not -count <= i < count:
        raise IndexError(f"{kind}: index {i} is out of range for {count} entries")
    return str(i % count)


class _Numbered(Module):
    """Modules in order, under the names "0", "1", ..."""

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._modules.values())

    def _name_at(self, index: Any) -> str:
        return list(self._modules)[int(_position(index, len(self), type(self).__name__))]

    def _renumber(self, modules: Iterable[Module]) -> None:
        kept = list(modules)
        for name in list(self._modules):
            delattr(self, name)
        for i, module in enumerate(kept):
            self.add_module(str(i), module)

    def __setitem__(self, index: int, module: Module) -> None:
        self.add_module(self._name_at(index), module)

    def __delitem__(self, index: int | slice) -> None:
        names = list(self._modules)
        gone = names[index] if isinstance(index, slice) else [self._name_at(index)]
        numbered = names == [str(i) for i in range(len(names))]
        for name in gone:
            delattr(self, name)
        if numbered:
            self._renumber(list(self))

    def append(self, module: Module) -> Self:
        """Add a module at the end; returns self."""
        self.add_module(str(len(self)), module)
        return self

    def extend(self, modules: Iterable[Module]) -> Self:
        """Add modules at the end; returns self."""
        for module in list(modules):
            self.append(module)
        return self

    def insert(self, index: int, module: Module) -> None:
        """Put a module before the one at `index`."""
        kept = list(self)
        kept.insert(index, module)
        self._renumber(kept)

    def pop(self, index: int = -1) -> Module:
        """Take a module out and return it."""
        module: Any = self._modules[self._name_at(index)]
        del self[index]
        return module


class Sequential(_Numbered):
    """Modules applied one after another; given in order, or as one OrderedDict of names.

    Indexing gives a module, slicing a Sequential of the same modules.
    """

    @overload
    def __init__(self, *args: Module) -> None: ...
    @overload
    def __init__(self, arg: OrderedDict[str, Module], /) -> None: ...

    def __init__(self, *args: Any) -> None:
        super().__init__()
        named = args[0].items() if len(args) == 1 and isinstance(args[0], dict) else None
        for name, module in named or ((str(i), m) for i, m in enumerate(args)):
            self.add_module(name, module)

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            named: Any = OrderedDict(list(self._modules.items())[index])
            return type(self)(named)
        return self._modules[self._name_at(index)]

    def forward(self, x: Any) -> Any:
        """The last module's output."""
        for module in self:
            x = module(x)
        return x


class ModuleList(_Numbered):
    """A list whose modules are registered."""

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
        super().__init__()
        self.extend(modules or ())

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return type(self)(list(self)[index])
        return self._modules[self._name_at(index)]

    def __iadd__(self, modules: Iterable[Module]) -> Self:
        return self.extend(modules)

    def __repr__(self) -> str:
        lines = []
        for text, run in itertools.groupby(enumerate(map(repr, self)), key=lambda pair: pair[1]):
            places = [i for i, _ in run]
            repeated = len(places) > 1
            name = (
                f"({places[0]}-{places[-1]}): {len(places)} x " if repeated else f"({places[0]}): "
            )
            lines.append(name + text.replace("\n", "\n  "))
        return "ModuleList(\n  " + "\n  ".join(lines) + "\n)" if lines else "ModuleList()"


class ModuleDict(Module):
    """A dictionary whose modules are registered."""

    def __init__(
        self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]] | None = None
    ) -> None:
        super().__init__()
        self.update(modules or {})

    def __getitem__(self, key: str) -> Any:
        return self._modules[key]

    def __setitem__(self, key: str, module: Module) -> None:
        self.add_module(key, module)

    def __delitem__(self, key: str) -> None:
        if key not in self._modules:
            raise KeyError(key)
        delattr(self, key)

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __contains__(self, key: object) -> bool:
        return key in self._modules

    def keys(self) -> Iterable[str]:
        """Names."""
        return self._modules.keys()

    def values(self) -> Iterable[Any]:
        """Modules."""
        return self._modules.values()

    def items(self) -> Iterable[tuple[str, Any]]:
        """Names and modules."""
        return self._modules.items()

    def pop(self, key: str) -> Any:
        """Take a module out and return it."""
        module = self[key]
        del self[key]
        return module

    def update(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]]) -> None:
        """Add modules, replacing those of the same names."""
        for name, module in dict(modules).items():
            self[name] = module


class ParameterList(Module):
    """A list whose Parameters are registered; arrays become Parameters."""

    def __init__(self, values: Iterable[Any] | None = None) -> None:
        super().__init__()
        self.extend(values or ())

    def __len__(self) -> int:
        return len(self._parameters)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._parameters.values())

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return type(self)(list(self)[index])
        return self._parameters[_position(index, len(self), "ParameterList")]

    def __setitem__(self, index: int, value: Any) -> None:
        name = _position(index, len(self), "ParameterList")
        setattr(self, name, value if isinstance(value, Parameter) else Parameter(value))

    def append(self, value: Any) -> Self:
        """Add a Parameter at the end; returns self."""
        setattr(self, str(len(self)), value if isinstance(value, Parameter) else Parameter(value))
        return self

    def extend(self, values: Iterable[Any]) -> Self:
        """Add Parameters at the end; returns self."""
        for value in list(values):
            self.append(value)
        return self

    def extra_repr(self) -> str:
        """One line for each Parameter."""
        return "\n".join([f"({i}): {p.describe()}" for i, p in enumerate(self)])


class Identity(Module):
    """Its input, unchanged; any arguments are ignored."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__()

    def forward(self, x: Any) -> Any:
        """x."""
        return x
