"""Settings of Sphinx. `make docs` builds the pages, and a warning is an error."""

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import docstrings

from backpass import __version__

project = "backpass"
author = "The backpass authors"
copyright = "The backpass authors. Apache-2.0"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "_generated"]
source_suffix = {".md": "markdown"}

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "amsmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "description"
napoleon_use_ivar = True

html_theme = "furo"
html_title = f"backpass {__version__}"
html_show_sphinx = False


def setup(app: Any) -> None:
    """Read docstrings as what they are: prose with code in single backquotes."""
    app.connect("autodoc-process-docstring", docstrings.process, priority=400)
