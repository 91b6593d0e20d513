"""The compiler: from a Graph to a native Program. `docs/compiler.md` says how it is built.

`compile_graph` makes a Program; `Series` runs it on batch after batch; `plan_of` says what it will
do, `profile_of` how long each kernel takes. Next: `program.py`, then the stations in their order:
`lower/`, `arrange.py`, `assemble.py`, `engine.py`, `entry.py`.
"""

import importlib
from typing import TYPE_CHECKING, Any

from backpass.codegen.program import Program, compile_graph
from backpass.codegen.series import Series

if TYPE_CHECKING:
    from backpass.codegen.plan import KernelPlan, Plan, plan_of
    from backpass.codegen.profile import KernelProfile, Profile, profile_of

# What is imported when it is asked for: it needs all stations, and a program on disk none.
_LATE = {
    "KernelPlan": "plan",
    "Plan": "plan",
    "plan_of": "plan",
    "KernelProfile": "profile",
    "Profile": "profile",
    "profile_of": "profile",
}


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LATE[name]}"), name)


__all__ = [
    "KernelPlan",
    "KernelProfile",
    "Plan",
    "Profile",
    "Program",
    "Series",
    "compile_graph",
    "plan_of",
    "profile_of",
]
