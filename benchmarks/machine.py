"""The machine and the versions of a run, as the report describes them."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PACKAGES = ("numpy", "scipy", "llvmlite", "torch", "jax", "scikit-learn")
_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")


def describe() -> dict[str, Any]:
    """Processor, caches, memory, versions, commit, date and load average."""
    return {
        "cpu": _cpu_name(),
        "llvm_cpu": _llvm_cpu(),
        "cores": os.cpu_count(),
        "caches": cache_bytes(),
        "memory_bytes": _memory_bytes(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "commit": _commit(),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "load": load(),
    }


def available_cpus() -> int:
    """The CPUs this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def load() -> list[float]:
    """The load average over 1, 5 and 15 minutes; empty where the system has none."""
    return [round(x, 2) for x in os.getloadavg()] if hasattr(os, "getloadavg") else []


def cache_bytes() -> dict[str, int]:
    """Bytes of one L1 data, L2 and L3 cache; those that the system tells."""
    found: dict[str, int] = {}
    for index in sorted(_CACHES.glob("index*")) if _CACHES.is_dir() else []:
        level, kind, size = [_text(index / n) for n in ("level", "type", "size")]
        if kind != "Instruction" and size[:-1].isdecimal():
            found[f"L{level}"] = int(size[:-1]) * {"K": 2**10, "M": 2**20}.get(size[-1], 1)
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _cpu_name() -> str:
    info = _text(Path("/proc/cpuinfo"))
    values = dict(
        [part.strip() for part in line.split(":", 1)] for line in info.splitlines() if ":" in line
    )
    if "model name" not in values:
        return platform.processor() or platform.machine()
    return f"{values['model name']} (family {values['cpu family']}, model {values['model']})"


def _llvm_cpu() -> str:
    import llvmlite.binding as llvm

    return llvm.get_host_cpu_name()


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str:
    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", *words], cwd=ROOT, capture_output=True, text=True, check=False
        )
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", "src")
    return git("rev-parse", "--short", "HEAD") + (" with changes" if changed else "")
