"""What a result may depend on: versions, processor, threads, BLAS, caches.

Shown by `backpass info` and in the report. Nothing is started to find it out; what cannot be found
is left out.
"""

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

import backpass
from backpass import config

_PACKAGES = ("numpy", "llvmlite", "scikit-learn", "scipy", "polars", "safetensors", "rich", "typer")


def environment() -> dict[str, Any]:
    """Nested plain values for the report."""
    return {
        "backpass": backpass.__version__,
        "python": platform.python_version(),
        "packages": versions(),
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": {"model": cpu_model(), "usable": config.available_cpus()},
        "threads": config.num_threads(),
        "blas": blas(),
    }


def versions() -> dict[str, str]:
    """The installed packages that a run uses."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def cpu_model() -> str:
    """The processor as the kernel calls it, else its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def blas() -> str:
    """The BLAS that NumPy was built with: the arithmetic of matrix products is its own."""
    built: dict[str, Any] = getattr(np.show_config(mode="dicts"), "get", {}.get)(
        "Build Dependencies", {}
    )
    found = built.get("blas", {})
    return f"{found.get('name', 'unknown')} {found.get('version', '')}".strip()


def cache() -> str:
    """The cache's folder, and whether it can be used."""
    folder = config.cache_dir()
    place = next((p for p in (folder, *folder.parents) if p.exists()), folder)
    if not os.access(place, os.W_OK):
        return f"{folder} (cannot be written)"
    return f"{folder}{'' if folder.is_dir() else ' (not made yet)'}"
