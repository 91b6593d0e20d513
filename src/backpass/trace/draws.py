"""Random numbers that a function draws while it is traced: they become constants of its program.

NumPy's generators are no operands, so a draw happens once, at the trace, and every later call gets
the same numbers. That is a mistake nearly always, so it is said. Seen are the process-wide streams
of `numpy.random` and `random`, and generators that the function itself closes over or names.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any

Streams = list[tuple[str, Callable[[], Any]]]  # each with what gives its state


@contextmanager
def draws_said(function: Callable[..., Any]) -> Iterator[None]:
    """Warn after the trace of `function` if a random stream has moved meanwhile."""
    streams = _streams(function)
    before = [state() for _, state in streams]
    yield
    for (name, state), old in zip(streams, before, strict=True):
        if state() != old:
            _warn(function, name)
            return


def _warn(function: Callable[..., Any], stream: str) -> None:
    """The warning, at the line where the function begins."""
    code = getattr(function, "__code__", None)
    warnings.warn_explicit(
        f"jit: {getattr(function, '__name__', 'the function')} drew from {stream} while it was "
        "traced; the numbers are constants now, the same in every call. Draw outside and pass "
        "them as an argument, or use nn.Dropout or nn.RngState.",
        UserWarning,
        code.co_filename if code else "<unknown>",
        code.co_firstlineno if code else 1,
    )


def _streams(function: Callable[..., Any]) -> Streams:
    found: Streams = []
    legacy, plain = sys.modules.get("numpy.random"), sys.modules.get("random")
    if legacy is not None:
        found.append(("numpy.random", lambda: _words(legacy.get_state())))
    if plain is not None:
        found.append(("random", plain.getstate))
    for name, value in _named(function).items():
        bits: Any = getattr(value, "bit_generator", None)
        if bits is not None and hasattr(bits, "state"):
            found.append((name, lambda bits=bits: repr(bits.state)))
    return found


def _words(state: Any) -> Any:
    """numpy.random's state, as what can be compared."""
    return state[0], state[1].tobytes(), *state[2:]


def _named(function: Callable[..., Any]) -> dict[str, Any]:
    """The globals, outer variables and defaults that a function names itself."""
    if not isinstance(function, FunctionType):
        return {}
    code = function.__code__
    found = {k: function.__globals__[k] for k in code.co_names if k in function.__globals__}
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # a variable that is not assigned yet
            continue
    defaults = function.__defaults__ or ()
    names = code.co_varnames[: code.co_argcount][-len(defaults) :] if defaults else ()
    return found | dict(zip(names, defaults, strict=True))


__all__ = ["draws_said"]
