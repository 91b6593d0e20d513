"""Registration: what assigning an attribute of a Module does.

`self.weight = nn.Parameter(...)` names the Parameter "weight"; buffers, modules and streams of
random bits have their own registries. Everything else is a plain attribute. Each change that may
make another program of the module is told to `structure`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from backpass.nn import structure
from backpass.nn.hooks import ForwardHook
from backpass.nn.parameter import Buffer, Parameter
from backpass.nn.rng import RngState
from backpass.trace import Cell, Tracer

REGISTRIES = ("_parameters", "_buffers", "_modules", "_rngs")
OWN = frozenset((*REGISTRIES, "_transient", "_hooks", "_kept"))


class Registered:
    """The attributes of a Module, which is the only kind of it."""

    training: bool
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Buffer | None]
    _modules: dict[str, Any]
    _rngs: dict[str, RngState | None]
    _transient: set[str]
    _hooks: dict[int, ForwardHook]
    _kept: tuple[object, Mapping[str, Cell], structure.Key | None] | None

    def __init__(self) -> None:
        for name in REGISTRIES:
            object.__setattr__(self, name, {})
        object.__setattr__(self, "_transient", set())  # names of buffers that state_dict leaves out
        object.__setattr__(self, "_hooks", {})
        object.__setattr__(self, "_kept", None)
        object.__setattr__(self, "training", True)
        structure.changed()

    def __setattr__(self, name: str, value: Any) -> None:
        if "_parameters" not in self.__dict__:
            raise AttributeError(
                f"{type(self).__name__}: call super().__init__() before setting {name!r}"
            )
        registry = _registry_of(value)
        if registry is not None:
            self._place(registry, name, value)
            return
        for kind in REGISTRIES:
            if name in self.__dict__[kind]:
                self._replace(kind, name, value)
                return
        if isinstance(value, Cell):
            raise TypeError(
                f"{type(self).__name__}.{name}: a bare Cell; use nn.Parameter or nn.Buffer"
            )
        old = self.__dict__.get(name, structure)
        object.__setattr__(self, name, value)
        if not structure.same(old, value):
            structure.changed()

    def _place(self, registry: str, name: str, value: Any) -> None:
        """Register under one name, taking the name away from where it was."""
        self.__dict__.pop(name, None)
        for kind in REGISTRIES:
            if kind != registry:
                self.__dict__[kind].pop(name, None)
        if isinstance(value, Buffer):
            self._transient.discard(name)
            if not value.persistent:
                self._transient.add(name)
        self.__dict__[registry][name] = value
        structure.changed()

    def _replace(self, kind: str, name: str, value: Any) -> None:
        """Assign to a registered name what registers nowhere: None, or an array into a buffer."""
        if value is None:
            self.__dict__[kind][name] = None
            structure.changed()
        elif kind == "_buffers" and isinstance(value, (np.ndarray, np.generic, Tracer)):
            buffer = self._buffers[name]
            if buffer is not None:
                buffer.write(value)
                return
            self._place(kind, name, Buffer(value, name not in self._transient))
        else:
            raise TypeError(
                f"{type(self).__name__}.{name}: cannot assign {type(value).__name__} to a "
                "registered "
                f"{kind.strip('_').rstrip('s')}; assign an nn.Parameter, nn.Buffer or nn.Module, "
                "or write its array "
                f"with .{name}.data = array"
            )

    def __getattr__(self, name: str) -> Any:
        for kind in REGISTRIES:
            found = self.__dict__.get(kind)
            if found is not None and name in found:
                return found[name]
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __delattr__(self, name: str) -> None:
        structure.changed()
        for kind in REGISTRIES:
            if name in self.__dict__[kind]:
                del self.__dict__[kind][name]
                self._transient.discard(name)
                return
        object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        names = [name for kind in REGISTRIES for name in self.__dict__[kind]]
        return sorted({*object.__dir__(self), *names})

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Register a Parameter, or an empty place for one, which has no key in the `state_dict`."""
        self._check_name(name)
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(
                f"register_parameter {name!r}: expected an nn.Parameter or None, got "
                f"{type(param).__name__}"
            )
        self._place("_parameters", name, param)

    def register_buffer(self, name: str, tensor: Any, persistent: bool = True) -> None:
        """Register an array that is state but not trained; None keeps an empty place."""
        self._check_name(name)
        self._place("_buffers", name, None if tensor is None else Buffer(tensor, persistent))
        if not persistent:
            self._transient.add(name)

    def add_module(self, name: str, module: Registered | None) -> None:
        """Register a child."""
        self._check_name(name)
        if module is not None and not isinstance(module, Registered):
            raise TypeError(
                f"add_module {name!r}: expected an nn.Module or None, got {type(module).__name__}"
                + ("; unpack it: *modules" if isinstance(module, (list, tuple)) else "")
            )
        self._place("_modules", name, module)

    register_module = add_module

    def _check_name(self, name: str) -> None:
        if not isinstance(name, str) or not name or "." in name:
            raise KeyError(f"{name!r} cannot name a part of a module: it must be text without '.'")
        if hasattr(self, name) and not any([name in self.__dict__[kind] for kind in REGISTRIES]):
            raise KeyError(f"{type(self).__name__} already has an attribute {name!r}")


def _registry_of(value: Any) -> str | None:
    if isinstance(value, Parameter):
        return "_parameters"
    if isinstance(value, Registered):
        return "_modules"
    if isinstance(value, Buffer):
        return "_buffers"
    return "_rngs" if isinstance(value, RngState) else None
