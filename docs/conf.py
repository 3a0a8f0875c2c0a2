"""Sphinx settings: `make docs` builds the pages into docs/_build."""

import sys
from pathlib import Path

import rlkit

sys.path.insert(0, str(Path(__file__).parent))

project = "rlkit"
author = "The rlkit developers"
release = rlkit.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax", "reference_text"]
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
html_theme = "furo"
napoleon_numpy_docstring = False
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
