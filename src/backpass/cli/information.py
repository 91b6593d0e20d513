"""`backpass info`: this installation and machine, or a run."""

from pathlib import Path

from rich.console import Console

import backpass
from backpass import config
from backpass.cli.environment import blas, cache, cpu_model, versions
from backpass.cli.evaluation import titles
from backpass.cli.outcome import shown_settings
from backpass.cli.run_folder import open_run
from backpass.cli.terminal import facts, metrics_table, plain
from backpass.codegen import cache as object_cache
from backpass.wording import count, size


def show_machine(to: Console) -> None:
    """What a result may depend on."""
    lines: list[tuple[str, object]] = [("backpass", backpass.__version__)]
    lines += list(versions().items())
    lines += [
        ("cpu", f"{cpu_model()}, {config.available_cpus()} usable"),
        ("threads", config.num_threads()),
        ("blas", blas()),
        ("cache", cache()),
    ]
    facts(to, lines)


def show_cache(to: Console) -> None:
    """Where compiled code is kept, and how much."""
    found = object_cache.contents()
    lines: list[tuple[str, object]] = [
        ("folder", cache()),
        ("files", found.files),
        ("size", size(found.bytes)),
        ("limit", size(object_cache.LIMIT)),
    ]
    facts(to, lines)


def clear_cache(to: Console) -> None:
    """Delete compiled code, and say how much it was."""
    found = object_cache.clear()
    left = object_cache.contents()
    deleted = count(found.files - left.files, "file")
    to.print(plain(f"{deleted} ({size(found.bytes - left.bytes)}) deleted in {found.folder}"))


def show_run(to: Console, path: Path) -> None:
    """The settings, the state and the metrics of a run."""
    folder = open_run(path, finished=False)
    settings = folder.read_config()
    state = folder.state
    lines: list[tuple[str, object]] = [("run", folder.path)]
    for values in shown_settings(settings).values():
        lines += [(name, _words(value)) for name, value in values.items()]
    facts(to, lines)
    if state != "finished":
        to.print(f"\nThis run has not finished. Go on with: backpass resume {path}")
        return
    metrics = folder.read_metrics()
    parts = {name: values for name, values in metrics.items() if isinstance(values, dict)}
    to.print(f"\n{metrics.get('stopped_epoch')} epochs, {metrics.get('seconds')} s")
    metrics_table(to, {n: v for n, v in parts.items() if v}, titles(settings.metrics))
    facts(to, [("report", folder.report)])


def _words(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
