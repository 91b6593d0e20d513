"""Writing the report so that a failure never harms the one that is there."""

import os
import secrets
from pathlib import Path

from backpass.report.page import render_report
from backpass.report.summary import RunSummary


def write_report(path: str | os.PathLike[str], summary: RunSummary) -> Path:
    """Write report.html: one file that needs no network, in UTF-8.

    The page is drawn in memory, written to a temporary file beside `path`, flushed to the disk and
    moved into place; whatever fails, a report that was there stays whole and no temporary file is
    left.

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
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")
    try:
        # "x": a new file, with the permissions that any new file of this user has.
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return target
