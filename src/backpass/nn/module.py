"""Module: a mutable object whose attributes are Parameters, Buffers and other Modules, with torch's
names and order.

Assignment registers (see `registration`). Identity is kept, so one Parameter under two names is
tied. To transforms a Module is a set of Cells by
qualified name and a key of everything else (`__backpass_cells__`, `__backpass_static__`); both are
kept until an attribute of some module changes.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NoReturn, Self

import numpy as np

from backpass.errors import DTypeError, UnsupportedError
from backpass.nn import state, structure
from backpass.nn.hooks import ForwardHook, RemovableHandle
from backpass.nn.parameter import Buffer, Parameter
from backpass.nn.registration import OWN, Registered
from backpass.nn.rng import RngState
from backpass.nn.summary import Summary, summarize
from backpass.trace import Cell


class Module(Registered):
    """The base of all layers and networks: subclass it, register in `__init__`, compute in
    `forward`.

    >>> class Scale(Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.factor = Parameter(np.array([2.0]))
    ...     def forward(self, x):
    ...         return x * self.factor
    >>> Scale()(np.ones(2)).tolist(), list(Scale().state_dict())
    ([2.0, 2.0], ['factor'])

    Arrays of other dtypes than the parameters' are promoted as NumPy does; nothing is cast silently
    to less.
    """

    _modules: dict[str, Module | None]

    # -- running

    def forward(self, *args: Any, **options: Any) -> Any:
        """What the module computes; every subclass says it."""
        raise NotImplementedError(f"{type(self).__name__} has no forward method")

    def __call__(self, *args: Any, **options: Any) -> Any:
        """`forward`, then the hooks."""
        output = self.forward(*args, **options)
        if self._hooks:
            for hook in tuple(self._hooks.values()):
                changed = hook(self, args, output)
                output = output if changed is None else changed
        return output

    def register_forward_hook(self, hook: ForwardHook) -> RemovableHandle:
        """Call `hook(module, args, output)` after each forward; what it returns, if not None, is
        the new output.

        Under jit a hook runs when the function is traced; adding or removing one traces anew.
        """
        return RemovableHandle(self._hooks, hook)

    def train(self, mode: bool = True) -> Self:
        """Training mode for this module and all below (Dropout drops, BatchNorm uses the batch);
        returns self.
        """
        for module in self.modules():
            module.training = bool(mode)
        return self

    def eval(self) -> Self:
        """Evaluation mode; returns self."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Set whether the parameters are differentiated; returns self."""
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    def apply(self, fn: Callable[[Module], Any]) -> Self:
        """Call fn on every module below and then on this one; returns self."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    def to(self, dtype: Any) -> Self:
        """Hold floating parameters and buffers in another floating dtype; returns self.

        Raises:
            TypeError: (DTypeError) the dtype is not floating.
        """
        if isinstance(dtype, str) and dtype.split(":")[0] in ("cpu", "cuda", "mps"):
            raise DTypeError(
                f"{type(self).__name__}.to({dtype!r}): arrays are in the machine's memory, and "
                "there are no devices to choose from. Drop the line; .to takes a floating dtype"
            )
        kind = np.dtype(dtype)
        if kind.kind != "f":
            raise DTypeError(f"{type(self).__name__}.to: {kind} is not a floating dtype")
        for cell in self.__backpass_cells__().values():
            if cell.dtype.kind == "f":
                cell.cast(kind)
        return self

    def float(self) -> Self:
        """float32 parameters and buffers."""
        return self.to(np.float32)

    def double(self) -> Self:
        """float64 parameters and buffers."""
        return self.to(np.float64)

    def zero_grad(self, set_to_none: bool = True) -> NoReturn:
        """Refused: there is no `.grad` to clear."""
        raise UnsupportedError(
            "zero_grad: modules hold no gradients here; value_and_grad returns them, fresh at "
            "each call. Drop the line"
        )

    # -- what is inside, in torch's order

    def named_modules(
        self, memo: set[int] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """This module and all below with qualified names, each once (by its first name)."""
        memo = set() if memo is None else memo
        if remove_duplicate:
            if id(self) in memo:
                return
            memo.add(id(self))
        yield prefix, self
        for name, child in self._modules.items():
            if child is not None:
                yield from child.named_modules(memo, _joined(prefix, name), remove_duplicate)

    def modules(self) -> Iterator[Module]:
        """This module and all below, each once."""
        for _, module in self.named_modules():
            yield module

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Direct children with their names, each once."""
        seen: set[int] = set()
        for name, child in self._modules.items():
            if child is not None and id(child) not in seen:
                seen.add(id(child))
                yield name, child

    def children(self) -> Iterator[Module]:
        """Direct children, each once."""
        for _, child in self.named_children():
            yield child

    def _named(
        self, kind: str, prefix: str, recurse: bool, remove_duplicate: bool
    ) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        modules = (
            self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate)
            if recurse
            else [(prefix, self)]
        )
        for above, module in modules:
            for name, cell in module.__dict__[kind].items():
                if cell is None or (remove_duplicate and id(cell) in seen):
                    continue
                seen.add(id(cell))
                yield _joined(above, name), cell

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """Parameters with qualified names, a tied one once, by its first name."""
        return self._named("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Parameters, a tied one once. Each then knows its qualified name, for messages."""
        if recurse:
            self.__backpass_cells__()
        for _, parameter in self.named_parameters(recurse=recurse):
            yield parameter

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Buffer]]:
        """Buffers with qualified names."""
        return self._named("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Buffer]:
        """Buffers."""
        for _, buffer in self.named_buffers(recurse=recurse):
            yield buffer

    def rng_cells(self) -> dict[str, RngState]:
        """The streams of random layers by qualified name: not in the `state_dict`, but a checkpoint
        wants them.
        """
        return dict(self._named("_rngs", "", True, True))

    def get_submodule(self, target: str) -> Module:
        """The module of a qualified name such as "encoder.0"; "" is this one."""
        module: Module = self
        for name in target.split(".") if target else ():
            child = module._modules.get(name)
            if child is None:
                raise AttributeError(
                    f"{type(module).__name__} has no child {name!r} (of {target!r}); it has "
                    f"{[*module._modules]}"
                )
            module = child
        return module

    def _get_cell(self, kind: str, target: str) -> Any:
        above, _, name = target.rpartition(".")
        found = self.get_submodule(above).__dict__[kind].get(name)
        if found is None:
            raise AttributeError(f"{type(self).__name__} has no {kind.strip('_')} {target!r}")
        return found

    def get_parameter(self, target: str) -> Parameter:
        """The Parameter of a qualified name."""
        return self._get_cell("_parameters", target)

    def get_buffer(self, target: str) -> Buffer:
        """The Buffer of a qualified name."""
        return self._get_cell("_buffers", target)

    # -- state

    def _state_cells(self) -> dict[str, Cell]:
        """The Cells of the state_dict, a shared one under each of its names."""
        found: dict[str, Cell] = {}
        for above, module in self.named_modules(remove_duplicate=False):
            for kind in ("_parameters", "_buffers"):
                for name, cell in module.__dict__[kind].items():
                    if cell is not None and not (kind == "_buffers" and name in module._transient):
                        found[_joined(above, name)] = cell
        return found

    def state_dict(self) -> dict[str, Any]:
        """Copies of all parameters and persistent buffers, by torch's keys and in torch's order."""
        return {name: np.array(cell.read()) for name, cell in self._state_cells().items()}

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True
    ) -> state.IncompatibleKeys:
        """Write arrays by key, all or nothing; they are cast to the model's dtypes.

        Args:
            state_dict: qualified names to arrays, as `state_dict` gives them, or torch's.
            strict: whether missing and unexpected keys are errors; wrong shapes always are.

        Raises:
            ValueError: (CheckpointError) listing every key that does not fit; nothing was changed.
        """
        return state.load(type(self).__name__, self._state_cells(), state_dict, strict)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": None}

    def __setstate__(self, found: dict[str, Any]) -> None:
        self.__dict__.update(found)
        structure.changed()

    # -- what transforms ask

    def __backpass_cells__(self) -> Mapping[str, Cell]:
        """Parameters, buffers and streams, each once by qualified name."""
        cells = self._known()[1]
        for name, cell in cells.items():
            cell.name = name
        return cells

    def __backpass_static__(self) -> Hashable:
        """Everything else that running it depends on."""
        _, cells, key = self._known()
        if key is None:
            key = self._key()[0]
        return key, tuple([cell.trainable for cell in cells.values()])

    def __backpass_version__(self) -> object | None:
        """The same object as long as no attribute changed; None if one can change unseen."""
        kept = self._kept
        if kept is None or kept[0] is not structure.token():
            kept = self._known()
        return None if kept[2] is None else kept

    def _key(self) -> tuple[structure.Key, bool]:
        return structure.key_of([module._part() for module in self.modules()])

    def _part(self) -> structure.Part:
        """This module alone, as the key sees it."""
        return structure.Part(
            module=self,
            plain={k: v for k, v in self.__dict__.items() if k not in OWN},
            cells={**self._parameters, **self._buffers, **self._rngs},
            children=self._modules,
            hooks=tuple(self._hooks.values()),
        )

    def _known(self) -> tuple[object, Mapping[str, Cell], structure.Key | None]:
        kept, token = self._kept, structure.token()
        if kept is None or kept[0] is not token:
            cells: dict[str, Cell] = {}
            for kind in ("_parameters", "_buffers", "_rngs"):
                cells.update(self._named(kind, "", True, True))
            key, mutable = self._key()
            kept = (token, MappingProxyType(cells), None if mutable else key)
            object.__setattr__(self, "_kept", kept)
        return kept

    # -- what a person sees

    def extra_repr(self) -> str:
        """What `repr` says between the parentheses."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        lines = extra.split("\n") if extra else []
        for name, child in self._modules.items():
            lines.append(f"({name}): " + repr(child).replace("\n", "\n  "))
        if not lines:
            return f"{type(self).__name__}()"
        if len(lines) == 1 and extra:
            return f"{type(self).__name__}({lines[0]})"
        return f"{type(self).__name__}(\n  " + "\n  ".join(lines) + "\n)"

    def summary(self, *inputs: Any, dtype: Any = None) -> Summary:
        """A table of the layers with the shapes they give, from a run in evaluation mode on these
        inputs.

        Args:
            inputs: for each argument of `forward` an example array, or its shape (with the batch)
                for zeros.
            dtype: of the zeros; that of the parameters if None.

        Returns:
            A Summary, which prints as a table. The run changes no state.
        """
        return summarize(self, inputs, dtype)


def _joined(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name
