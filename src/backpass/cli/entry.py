"""The entry point: `backpass ...` and `python -m backpass ...`.

Its own work is what must hold whatever a command does: streams that a reader may close, a working
folder that may be gone, and a sentence where the extra `train` is not installed.
"""

import sys
from collections.abc import Sequence
from types import ModuleType

MISSING: str | None = None
commands: ModuleType | None = None
try:
    from backpass.cli import commands, terminal
except ModuleNotFoundError as error:
    if error.name is None or error.name.partition(".")[0] not in ("typer", "rich"):
        raise
    MISSING = error.name


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status (see `failures`).

    Args:
        arguments: what follows the program's name; sys.argv's if None.
    """
    if MISSING is not None or commands is None:
        sys.stderr.write(
            f"backpass: the command line needs {MISSING}, which is not installed. Install it with: "
            "pip install 'backpass[train]'\n"
        )
        return 1
    terminal.patient_streams()
    try:
        given = None if arguments is None else list(arguments)
        commands.application()(args=given, prog_name="backpass")
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    else:
        status = 0
    sys.stdout.flush()
    sys.stderr.flush()
    lost = getattr(sys.stdout, "failure", None)
    if lost is not None:
        sys.stderr.write(f"backpass: standard output could not be written: {lost.strerror}.\n")
        return status or 1
    return status
