"""The compiler: from a Graph to a native Program. `docs/compiler.md` says how it is built.

`compile_graph` makes a Program; `Series` runs it on batch after batch; `plan_of` says what it will
do, `profile_of` how long each kernel takes. Next: `program.py`, then the stations in their order:
`lower/`, `arrange.py`, `assemble.py`, `engine.py`, `entry.py`.
"""

from backpass.codegen.plan import KernelPlan, Plan, plan_of
from backpass.codegen.profile import KernelProfile, Profile, profile_of
from backpass.codegen.program import Program, compile_graph
from backpass.codegen.series import Series

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
