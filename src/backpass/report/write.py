"""Writing the report so that a failure never harms the one that is there."""

import errno
import os
from pathlib import Path

from backpass.files import atomic_write
from backpass.report.page import render_report
from backpass.report.summary import RunSummary


def write_report(path: str | os.PathLike[str], summary: RunSummary) -> Path:
    """Write report.html: one file that needs no network, in UTF-8.

    The page is drawn in memory and takes its place in one step; whatever fails, a report that was
    there stays whole and no temporary file is left.

    Args:
        path: the file to write, for example `run / "report.html"`; its folder must exist.
        summary: what the report shows.

    Returns:
        The path of the report.

    Raises:
        DataError: shapes in the summary disagree.
        OSError: the file cannot be written.

    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = write_report(f"{folder.name}/report.html", RunSummary("digits", "classification"))
    >>> path.read_text(encoding="utf-8")[:15]
    '<!doctype html>'
    """
    target = Path(path)
    content = render_report(summary).encode("utf-8")
    if not target.parent.is_dir():  # a misspelt path, which is not to become a folder
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(target.parent))
    atomic_write(target, content)
    return target
