"""Settings of Sphinx. `make docs` builds the pages, and a warning is an error."""

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
# Docstrings write code in single backquotes, which is what this role makes of them.
default_role = "code"

html_theme = "furo"
html_title = f"backpass {__version__}"
html_show_sphinx = False
