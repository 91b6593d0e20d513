"""How the tests of the command line run it: in this process, or as a process of its own."""

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.signals import obeying_ctrl_c

from backpass.cli import main

QUICK = ("--epochs", "2", "--hidden", "8", "--quiet")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str


Cli = Callable[..., Ended]


def run_here(*arguments: object) -> Ended:
    """Run `backpass` in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main([str(argument) for argument in arguments])
    return Ended(status, out.getvalue(), err.getvalue())


def start(
    *arguments: object, cwd: Path, env: Mapping[str, str] | None = None, **options: Any
) -> subprocess.Popen[str]:
    """Start `backpass` as a process of its own."""
    command = [sys.executable, "-m", "backpass", *map(str, arguments)]
    with obeying_ctrl_c():
        return subprocess.Popen(
            command,
            cwd=cwd,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", **(env or {})},
            text=True,
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
        )


def run_there(*arguments: object, cwd: Path, **options: Any) -> Ended:
    """Run `backpass` as a process of its own, to its end."""
    with start(*arguments, cwd=cwd, **options) as process:
        out, err = process.communicate(timeout=300)
    return Ended(process.returncode, out or "", err or "")
