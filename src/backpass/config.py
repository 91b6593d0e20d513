"""What the environment asks of backpass. The only module that reads environment variables.

    BACKPASS_CACHE_DIR    folder of the compile cache; default $XDG_CACHE_HOME/backpass
    BACKPASS_NUM_THREADS  threads of a native step; default OMP_NUM_THREADS, then our CPUs
    BACKPASS_DEBUG        any text but the empty one shows the traceback of an error
    NO_COLOR              any text but the empty one turns colours off (https://no-color.org)

Nothing is read at import: each function reads when it is called, so a test or a user may change the
environment in between. The number of threads never changes a result, only the time it takes.
"""

import math
import os
import tempfile
from pathlib import Path

from backpass.errors import ConfigError

MAX_THREADS = 1024
_CGROUP_ROOT = Path("/sys/fs/cgroup")


def cache_dir() -> Path:
    """Return the absolute folder in which compiled code may be kept. It need not exist yet.

    It is the first of: BACKPASS_CACHE_DIR; `backpass` in XDG_CACHE_HOME; `~/.cache/backpass`; and,
    where the home folder cannot be written, a folder of this user in the temporary folder. Whoever
    creates it must use mode 0o700 and check its owner, since the last one lies in a shared place.
    """
    chosen = os.environ.get("BACKPASS_CACHE_DIR")
    if chosen:
        return Path(os.path.abspath(chosen))
    xdg = os.environ.get("XDG_CACHE_HOME")
    if xdg and os.path.isabs(xdg):  # the XDG specification says to ignore a relative path
        return Path(xdg) / "backpass"
    home = os.path.expanduser("~")
    if os.path.isabs(home) and os.access(home, os.W_OK):
        return Path(home) / ".cache" / "backpass"
    return Path(tempfile.gettempdir()) / f"backpass-{os.getuid()}"


def num_threads() -> int:
    """Return how many threads a native step may use, at least 1.

    It is BACKPASS_NUM_THREADS, else OMP_NUM_THREADS, else the CPUs that this process may use.

    Raises:
        ConfigError: the variable is not a whole number from 1 to 1024.
    """
    own = os.environ.get("BACKPASS_NUM_THREADS", "").strip()
    if own:
        return _thread_count("BACKPASS_NUM_THREADS", own)
    shared = os.environ.get("OMP_NUM_THREADS", "").strip()
    if shared:  # OpenMP allows a list, one number for each level of nesting; ours is the first
        return _thread_count("OMP_NUM_THREADS", shared.split(",")[0].strip())
    return available_cpus()


def use_color() -> bool:
    """Return whether colours are allowed; whether this is a terminal, the caller must ask."""
    return not os.environ.get("NO_COLOR")


def debug() -> bool:
    """Return whether the command line shows the traceback of an error."""
    return bool(os.environ.get("BACKPASS_DEBUG"))


def available_cpus() -> int:
    """Return the CPUs this process may use: its affinity mask, cut by its control group's quota.

    A quota of 1.5 CPUs gives 2: a thread more costs less than half a CPU left idle.
    """
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS
    count = len(affinity(0)) if affinity else os.cpu_count() or 1
    quota = _cgroup_quota(_CGROUP_ROOT)
    return max(1, count if quota is None else min(count, math.ceil(quota)))


def _thread_count(name: str, text: str) -> int:
    """Parse the value of a variable that counts threads."""
    if not text.isdecimal() or not 1 <= int(text) <= MAX_THREADS:
        raise ConfigError(
            f"{name}={text!r} is not a number of threads. "
            f"Set it to a whole number from 1 to {MAX_THREADS}, or unset it."
        )
    return int(text)


def _cgroup_quota(root: Path) -> float | None:
    """Return the CPUs that the control group at `root` (version 2 or 1) grants; None: all."""
    period_v1 = _first_line(root / "cpu" / "cpu.cfs_period_us")
    quota_v1 = _first_line(root / "cpu" / "cpu.cfs_quota_us")
    line = _first_line(root / "cpu.max") or f"{quota_v1} {period_v1}"
    match line.split():
        case [quota, period] if quota.isdecimal() and period.isdecimal() and int(period) > 0:
            return int(quota) / int(period)
        case _:  # "max", -1, or no such file
            return None


def _first_line(path: Path) -> str:
    """Return the text of a one-line file of the kernel, empty where it cannot be read."""
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
