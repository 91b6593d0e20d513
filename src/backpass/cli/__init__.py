"""The command line: `backpass train`, `resume`, `evaluate`, `predict` and `info`.

Start reading at `commands` (what each takes), then `running` (the road of a training run) and
`settings` (the one table of settings). `failures` says how a command ends, `run_folder` what a run
leaves.
"""

from backpass.cli.entry import main

__all__ = ["main"]
